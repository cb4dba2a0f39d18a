//! The proof of the proofs: with any one ordering weakened, a model fails.
//!
//! Each model runs again in a process of its own, which is told by its environment what to weaken:
//! a model that fails in the middle of a destructor takes its process along.

use std::process::Command;

use vnet_rx::sync::{Site, weaken};

/// The environment variable that names the site to weaken.
const WEAKEN: &str = "VNET_RX_WEAKEN";

/// Every site.
const SITES: [Site; 16] = [
    Site::PublishAvail,
    Site::KickFence,
    Site::SeeUsed,
    Site::RearmFence,
    Site::SeeUsedAgain,
    Site::SeeAvail,
    Site::PublishUsed,
    Site::CallFence,
    Site::ArmFence,
    Site::Pop,
    Site::PopAgain,
    Site::Push,
    Site::Tag,
    Site::Return,
    Site::Restock,
    Site::Close,
];

/// Weakens what the environment says.
pub fn weaken_as_told() {
    let told = std::env::var(WEAKEN).ok();
    let site = told.map(|told| SITES.into_iter().find(|site| format!("{site:?}") == told).unwrap());
    weaken(site);
}

/// Whether a model, by its full name, passes with `site` weakened.
fn passes(model: &str, site: Option<Site>) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", model]);
    if let Some(site) = site {
        command.env(WEAKEN, format!("{site:?}"));
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("running 1 test"), "there is no model {model}: {said}");
    output.status.success()
}

/// Demands that each of these models fails with `site` weakened. (That they pass with nothing
/// weakened is what they are tests for.)
fn each_fails(site: Site, models: &[&str]) {
    for model in models {
        assert!(!passes(model, Some(site)), "{model} passes without {site:?}");
        println!("{site:?}: {model} fails, as it must");
    }
}

#[test]
fn a_child_process_with_nothing_weakened_passes() {
    assert!(passes("handshakes::no_kick_is_lost_by_flags", None));
}

macro_rules! demand {
    ($($test:ident: $site:ident => $($room:ident::$model:ident),*;)*) => {
        $(#[test]
        fn $test() {
            each_fails(Site::$site, &[$(concat!(stringify!($room), "::", stringify!($model))),*]);
        })*
    };
}

demand! {
    publish_avail_needs_release: PublishAvail =>
        handshakes::descriptors_are_whole_when_the_device_sees_them;
    see_avail_needs_acquire: SeeAvail =>
        handshakes::descriptors_are_whole_when_the_device_sees_them;
    publish_used_needs_release: PublishUsed =>
        handshakes::completions_are_whole_when_the_driver_sees_them,
        queue::a_packet_is_received_or_notified_by_flags;
    see_used_needs_acquire: SeeUsed =>
        handshakes::completions_are_whole_when_the_driver_sees_them,
        queue::a_packet_is_received_or_notified_by_flags;
    see_used_again_needs_acquire: SeeUsedAgain =>
        handshakes::completions_seen_after_arming_are_whole,
        queue::a_packet_is_received_or_notified_by_event_idx;
    the_kick_needs_its_fence: KickFence =>
        handshakes::no_kick_is_lost_by_flags, handshakes::no_kick_is_lost_by_event_idx;
    the_devices_arming_needs_its_fence: ArmFence =>
        handshakes::no_kick_is_lost_by_flags, handshakes::no_kick_is_lost_by_event_idx;
    the_rearm_needs_its_fence: RearmFence =>
        handshakes::no_notification_is_lost_by_flags,
        handshakes::no_notification_is_lost_by_event_idx,
        queue::a_packet_is_received_or_notified_by_flags;
    the_devices_call_needs_its_fence: CallFence =>
        handshakes::no_notification_is_lost_by_flags,
        handshakes::no_notification_is_lost_by_event_idx,
        queue::a_packet_is_received_or_notified_by_flags;
    pop_needs_acquire: Pop => lists::two_threads_take_and_give_pages;
    pop_needs_acquire_when_it_tries_again: PopAgain => lists::two_threads_take_and_give_pages;
    push_needs_release: Push => lists::two_threads_take_and_give_pages,
        lists::pages_are_taken_at_once_while_another_thread_takes_and_gives;
    the_tag_keeps_aba_away: Tag => lists::a_page_that_comes_back_under_a_pop_is_noticed,
        lists::pages_just_pushed_are_taken_at_once_unless_another_thread_was_there,
        lists::pages_are_taken_at_once_while_another_thread_takes_and_gives;
    an_object_comes_home_with_release: Return =>
        lists::an_object_dropped_elsewhere_is_reused_as_good_as_new;
    restocking_needs_acquire: Restock =>
        lists::an_object_dropped_elsewhere_is_reused_as_good_as_new;
    closing_needs_acquire: Close => lists::closing_races_with_drops_in_two_threads;
}
