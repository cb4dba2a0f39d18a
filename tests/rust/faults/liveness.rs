//! F32 to F36, F38: notifications, devices that do nothing or never stop, memory.

use vnet_rx::scenario::{Fault, Operation, Outcome};
use vnet_rx::virtio::Mode;

use super::{POLL, World, check, configs};

#[test]
fn f32_a_spurious_notification_is_a_poll_that_finds_nothing() {
    check(Fault::F32, &Mode::ALL);
    for config in configs(&Mode::ALL) {
        let mut world = World::new(&config);
        world.step(&Operation::Refill);
        let before = world.seen.counters;
        for polls in 1..=100 {
            assert_eq!(world.step(&POLL).result, Outcome::Number(0));
            let mut expected = before;
            expected[14] = polls;
            assert_eq!(world.seen.counters, expected, "counted, and nothing else is");
        }
    }
}

#[test]
fn f33_a_lost_notification_is_made_good_by_the_watchdog() {
    check(Fault::F33, &Mode::ALL);
    for config in configs(&Mode::ALL) {
        let mut world = World::new(&config);
        assert_eq!(world.step(&Operation::Watchdog).result, Outcome::Flag(false));
        assert_eq!(world.step(&Operation::Watchdog).result, Outcome::Flag(false), "nothing is out");
        world.step(&Operation::Refill);
        let kicks = world.seen.counters[13];
        assert_eq!(world.step(&Operation::Watchdog).result, Outcome::Flag(false));
        for more in 1..=3 {
            assert_eq!(world.step(&Operation::Watchdog).result, Outcome::Flag(true));
            assert_eq!(world.seen.counters[13], kicks + more);
        }
    }
}

#[test]
fn f34_a_device_that_completes_nothing_costs_nothing() {
    check(Fault::F34, &Mode::ALL);
}

#[test]
fn f35_bad_packets_without_end_are_bounded_by_the_budget() {
    check(Fault::F35, &Mode::ALL);
}

#[test]
fn f36_a_disconnect_breaks_and_a_reset_reclaims_all() {
    check(Fault::F36, &Mode::ALL);
}

#[test]
fn f38_out_of_memory_leaves_a_smaller_ring_and_loses_nothing() {
    check(Fault::F38, &Mode::ALL);
    for config in configs(&Mode::ALL) {
        for case in Fault::F38.cases(&config.rx_config().unwrap()) {
            let mut world = World::new(&config);
            world.step(&case.operations[0]);
            world.step(&case.operations[1]);
            let smaller = world.seen.state.unwrap();
            assert!(smaller.refill_needed, "{case:?} in {config:?}");
            world.step(&case.operations[2]);
            let full = world.seen.state.unwrap();
            assert!(!full.refill_needed && full.num > smaller.num);
        }
    }
}
