//! When a notification is due (2.7.10), against a definition that can be read off the standard.

use proptest::prelude::*;
use vnet_rx::ring::need_event;

/// The standard's words, index by index: a notification is due if, on the way from `old` to `new`,
/// the index became `event` + 1.
fn by_definition(event: u16, new: u16, old: u16) -> bool {
    let steps = new.wrapping_sub(old);
    (1..=steps).any(|step| old.wrapping_add(step) == event.wrapping_add(1))
}

/// Around both ends of the index, and somewhere in the middle.
fn starts(size: u16) -> impl Iterator<Item = u16> {
    let around = |at: u16| (0..=2 * size).map(move |i| at.wrapping_sub(size).wrapping_add(i));
    around(0).chain(around(30_000))
}

#[test]
fn exact_for_all_rings_up_to_256() {
    for size in [2u16, 4, 8, 16, 32, 64, 128, 256] {
        let stride = usize::from(size / 16).max(1);
        for old in starts(size).step_by(stride) {
            for steps in (0..=size).step_by(stride) {
                let new = old.wrapping_add(steps);
                // All event values that the window can tell apart, and some outside.
                let near = (0..=2 * size).map(|i| old.wrapping_sub(size).wrapping_add(i));
                let far = [0, 1, 0x7fff, 0x8000, 0xfffe, 0xffff, old ^ 0x8000];
                for event in near.step_by(stride).chain(far).chain([old, new, new.wrapping_sub(1)])
                {
                    let expected = by_definition(event, new, old);
                    assert_eq!(need_event(event, new, old), expected, "{event} {new} {old}");
                }
            }
        }
    }
}

#[test]
fn every_event_value_for_a_ring_of_four_across_the_wrap() {
    for old in [65_533u16, 65_534, 65_535, 0, 1] {
        for steps in 0..=4 {
            let new = old.wrapping_add(steps);
            for event in 0..=u16::MAX {
                assert_eq!(need_event(event, new, old), by_definition(event, new, old));
            }
        }
    }
}

proptest! {
    #[test]
    fn exact_for_any_batch(event: u16, old: u16, steps in 0..=32_768u16) {
        let new = old.wrapping_add(steps);
        prop_assert_eq!(need_event(event, new, old), by_definition(event, new, old));
    }
}
