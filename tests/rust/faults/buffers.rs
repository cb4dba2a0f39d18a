//! F09 to F17: how many buffers a packet takes.

use vnet_rx::device::{Action, Sending, pattern};
use vnet_rx::receive::DeviceFault;
use vnet_rx::scenario::{Fault, Operation};
use vnet_rx::virtio::Mode;

use super::{POLL, World, check, configs};

const MERGEABLE: &[Mode] = &[Mode::Mergeable];

#[test]
fn f09_zero_buffers_drop_one() {
    check(Fault::F09, MERGEABLE);
}

#[test]
fn f10_the_field_is_ignored_where_buffers_do_not_merge() {
    check(Fault::F10, &[Mode::Small, Mode::Big]);
}

#[test]
fn f11_more_buffers_than_are_outstanding_break() {
    check(Fault::F11, MERGEABLE);
    // Fewer are outstanding than the ring has.
    for config in configs(MERGEABLE) {
        let mut world = World::new(&config);
        world.step(&Operation::Refill);
        world.act(Sending::new(60));
        world.act(Sending { num_buffers: Some(64), ..Sending::new(60) });
        assert_eq!(world.broken(), Some(DeviceFault::BufferCount), "63 are outstanding");
        world.expect_refusal(DeviceFault::BufferCount);
        world.step(&Operation::Reset);
        world.expect_next_good();
    }
}

#[test]
fn f12_one_frag_too_many_drops_all_buffers() {
    check(Fault::F12, MERGEABLE);
    for config in configs(MERGEABLE) {
        for case in Fault::F12.cases(&config.rx_config().unwrap()) {
            let mut world = World::new(&config);
            case.operations.iter().for_each(|operation| {
                world.step(operation);
            });
            let Some(Action::Send(sending)) = case.actions().next() else { panic!("{case:?}") };
            let consumed = world.seen.counters[12] - u64::from(world.seen.state.unwrap().num);
            assert_eq!(consumed, u64::from(sending.buffers.unwrap()), "all, dropped or not");
        }
    }
}

#[test]
fn f13_an_incomplete_packet_waits_and_is_delivered_whole() {
    check(Fault::F13, MERGEABLE);
}

#[test]
fn f14_a_packet_that_is_never_finished_breaks() {
    check(Fault::F14, MERGEABLE);
}

#[test]
fn f15_an_empty_later_buffer_is_dropped() {
    check(Fault::F15, MERGEABLE);
}

#[test]
fn f16_a_partial_buffer_is_delivered_and_counted() {
    check(Fault::F16, MERGEABLE);
    for config in configs(MERGEABLE) {
        let mut world = World::new(&config);
        world.step(&Operation::Refill);
        // 100, 50, 4096, 1 and what is left, the last one: three are not full.
        world.act(Sending { fill: vec![100, 50, 4096, 1], ..Sending::new(5000) });
        assert_eq!(world.fault(DeviceFault::PartialBuffer), 3);
        assert_eq!(world.delivered, [pattern(5000, 0)]);
    }
}

#[test]
fn f17_a_bad_later_buffer_breaks_or_drops_the_whole_packet() {
    check(Fault::F17, MERGEABLE);
    // While the packet waits, and when its rest has come.
    for config in configs(MERGEABLE) {
        let mut world = World::new(&config);
        world.step(&Operation::Refill);
        world.act(Sending { hold: 2, id_add: vec![(3, 0x10_0000)], ..Sending::new(12_288) });
        assert_eq!(world.broken(), None, "later entries are not read before all have completed");
        let num = world.seen.state.unwrap().num;
        world.step(&Operation::Device { actions: vec![Action::Publish { count: 2 }] });
        world.step(&POLL);
        assert_eq!(world.broken(), Some(DeviceFault::BadUsedId));
        assert_eq!(world.seen.state.unwrap().num, num, "nothing was consumed");
        world.step(&Operation::Reset);
        world.expect_next_good();
    }
}
