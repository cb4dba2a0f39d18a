//! F18 to F22: what the device writes to the ring beside its used entries.

use vnet_rx::device::{Action, Area, Sending};
use vnet_rx::scenario::{Fault, Operation, Outcome};
use vnet_rx::virtio::Mode;

use super::{POLL, World, check, configs};

#[test]
fn f18_an_index_that_jumps_breaks() {
    check(Fault::F18, &Mode::ALL);
}

#[test]
fn f19_an_index_that_goes_back_breaks() {
    check(Fault::F19, &Mode::ALL);
}

#[test]
fn f20_an_overwritten_descriptor_table_has_no_effect() {
    check(Fault::F20, &Mode::ALL);
}

#[test]
fn f21_an_overwritten_avail_ring_has_no_effect_on_the_driver() {
    check(Fault::F21, &Mode::ALL);
}

#[test]
fn f20_f21_what_the_driver_knows_is_what_it_would_know_without() {
    // Two queues, one of them with a device that overwrites everything all the time.
    for config in configs(&Mode::ALL) {
        let (mut plain, mut hurt) = (World::new(&config), World::new(&config));
        for world in [&mut plain, &mut hurt] {
            world.step(&Operation::Refill);
        }
        for round in 0..3u8 {
            let sent = Operation::Device { actions: vec![Sending::new(900).into()] };
            let overwritten = [Area::Desc, Area::Avail].map(|area| Action::Scribble {
                area,
                at: if area == Area::Desc { 0 } else { 4 },
                bytes: vec![round.wrapping_mul(77); 2000],
            });
            for world in [&mut plain, &mut hurt] {
                world.step(&sent);
            }
            hurt.step(&Operation::Device { actions: overwritten.into() });
            plain.step(&POLL);
            hurt.step(&POLL);
            let (one, other) = (&plain.seen, &hurt.seen);
            assert_eq!(one.counters, other.counters);
            assert_eq!(one.state, other.state);
            assert_eq!((&one.posted, &one.pool), (&other.posted, &other.pool));
            assert_eq!(one.free_descriptors, other.free_descriptors);
            assert_eq!(plain.delivered, hurt.delivered);
        }
        hurt.step(&Operation::Reset);
        hurt.expect_next_good();
    }
}

#[test]
fn f22_garbage_notification_words_cost_a_kick_at_worst() {
    check(Fault::F22, &Mode::ALL);
    for config in configs(&Mode::ALL) {
        // The words ask for no kick ever again; the watchdog sends one when nothing moves.
        let mut world = World::new(&config);
        world.step(&Operation::Refill);
        let actions = vec![Action::Flags { value: 0xffff }, Action::Event { ahead: 0x8000 }];
        world.step(&Operation::Device { actions });
        let kicks = world.seen.counters[13];
        for _ in 0..3 {
            world.act(Sending::new(60));
            world.step(&Operation::Refill);
            world.step(&Operation::ReleaseAll);
        }
        assert_eq!(world.seen.counters[13], kicks, "missed");
        assert_eq!(world.step(&Operation::Watchdog).result, Outcome::Flag(false), "things moved");
        assert_eq!(world.step(&Operation::Watchdog).result, Outcome::Flag(true));
        assert_eq!(world.seen.counters[13], kicks + 1);
        world.expect_next_good();
    }
}
