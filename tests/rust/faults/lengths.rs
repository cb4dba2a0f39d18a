//! F06 to F08, F31: used lengths.

use vnet_rx::device::{Sending, pattern};
use vnet_rx::scenario::{Fault, Operation};
use vnet_rx::virtio::Mode;

use super::{World, check, configs};

#[test]
fn f06_an_overlong_length_is_dropped() {
    check(Fault::F06, &Mode::ALL);
}

#[test]
fn f07_a_short_packet_is_dropped() {
    check(Fault::F07, &Mode::ALL);
}

#[test]
fn f08_the_shortest_packet_is_delivered() {
    check(Fault::F08, &Mode::ALL);
}

#[test]
fn f31_stale_bytes_are_bounded_by_the_length() {
    check(Fault::F31, &Mode::ALL);
    // The bytes beyond what was written are those of an older packet in the same page, or zero.
    for config in configs(&Mode::ALL) {
        let mut world = World::new(&config);
        world.step(&Operation::Refill);
        world.act(Sending { seed: 9, ..Sending::new(400) });
        world.step(&Operation::ReleaseAll);
        for _ in 0..70 {
            world.step(&Operation::Refill);
            world.act(Sending { len: vec![(0, 12 + 300)], ..Sending::new(14) });
            let stale = world.delivered.pop().unwrap();
            assert_eq!(stale.len(), 312 - config.rx_config().unwrap().features.header_len());
            assert_eq!(stale[..14], pattern(14, 0)[..]);
            let older = &pattern(400, 9)[14..stale.len()];
            assert!(stale[14..] == *older || stale[14..].iter().all(|&byte| byte == 0));
            world.step(&Operation::ReleaseAll);
        }
        world.expect_next_good();
    }
}
