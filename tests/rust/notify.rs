//! When a notification is due (2.7.10), against a definition that can be read off the standard; and
//! that both halves of the ring notify exactly then.

use std::sync::Arc;

use proptest::prelude::*;
use vnet_rx::memory::{GUEST_BASE, SharedMemory};
use vnet_rx::ring::split::{SplitDevice, SplitDriver};
use vnet_rx::ring::{Segment, need_event};
use vnet_rx::virtio::SplitLayout;

/// The standard's words, index by index: a notification is due if, on the way from `old` to `new`,
/// the index became `event` + 1.
fn by_definition(event: u16, new: u16, old: u16) -> bool {
    let steps = new.wrapping_sub(old);
    (1..=steps).any(|step| old.wrapping_add(step) == event.wrapping_add(1))
}

/// All indices within `size` of the wrap, on both sides.
fn around_the_wrap(size: u16) -> impl Iterator<Item = u16> {
    (0..=2 * size).map(move |i| i.wrapping_sub(size))
}

/// All event values that lie within a ring's reach of `old`, and some far away.
fn events(size: u16, old: u16) -> impl Iterator<Item = u16> {
    let far = [0x7fff, 0x8000, old ^ 0x8000, old.wrapping_add(size).wrapping_add(1)];
    (0..=2 * size).map(move |i| old.wrapping_add(i).wrapping_sub(size)).chain(far)
}

#[test]
fn exhaustive_for_all_rings_up_to_256() {
    for size in (1..=8).map(|log| 1u16 << log) {
        for old in around_the_wrap(size) {
            for event in events(size, old) {
                // The definition, one step at a time: once the index has become event + 1, it has.
                let mut due = false;
                for steps in 0..=size {
                    let new = old.wrapping_add(steps);
                    due |= steps > 0 && new == event.wrapping_add(1);
                    if need_event(event, new, old) != due {
                        panic!("event {event}, new {new}, old {old}: {due} is right");
                    }
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

/// A ring at index `old`, and where the device and the driver say when they want to be told.
struct Ring {
    memory: Arc<SharedMemory>,
    layout: SplitLayout,
}

impl Ring {
    fn new(size: u16) -> Self {
        let memory = SharedMemory::new(0x8000).unwrap();
        Self { memory, layout: SplitLayout::at(GUEST_BASE, size.into()) }
    }

    fn driver(&self, event_idx: bool, old: u16) -> SplitDriver<()> {
        SplitDriver::new(&self.memory, self.layout, event_idx, old).unwrap()
    }

    /// Whether the driver kicks for a batch of `steps`.
    fn kicks(&self, event_idx: bool, old: u16, steps: u16, asked: u16) -> bool {
        let mut driver = self.driver(event_idx, old);
        for _ in 0..steps {
            driver.add(&[Segment { addr: GUEST_BASE, len: 1 }], ()).unwrap();
        }
        let (used, size) = (self.layout.used, u64::from(self.layout.size));
        let at = if event_idx { used + 4 + 8 * size } else { used };
        self.memory.store16(at, asked).unwrap();
        driver.publish()
    }

    /// Whether the device notifies for a batch of `steps`.
    fn calls(&self, event_idx: bool, old: u16, steps: u16, asked: u16) -> bool {
        drop(self.driver(event_idx, old));
        let mut device = SplitDevice::new(&self.memory, self.layout, event_idx).unwrap();
        for _ in 0..steps {
            device.push_used(0, 0);
        }
        let (avail, size) = (self.layout.avail, u64::from(self.layout.size));
        let at = if event_idx { avail + 4 + 2 * size } else { avail };
        self.memory.store16(at, asked).unwrap();
        device.publish()
    }
}

#[test]
fn both_halves_notify_when_it_is_due_by_event_idx() {
    for size in [2, 4, 8, 16] {
        let ring = Ring::new(size);
        for old in around_the_wrap(size) {
            for steps in 0..=size {
                for event in events(size, old) {
                    let due = by_definition(event, old.wrapping_add(steps), old);
                    let story = (size, old, steps, event);
                    assert_eq!(ring.kicks(true, old, steps, event), due, "{story:?}");
                    assert_eq!(ring.calls(true, old, steps, event), due, "{story:?}");
                }
            }
        }
    }
}

#[test]
fn both_halves_notify_when_it_is_due_by_flags() {
    for size in (1..=8).map(|log| 1u16 << log) {
        let ring = Ring::new(size);
        for old in [0, 1, 65_535, 0u16.wrapping_sub(size)] {
            for steps in 0..=size {
                for (flags, wanted) in [(0, true), (1, false), (0xfffe, true), (0xffff, false)] {
                    let due = wanted && steps > 0;
                    assert_eq!(ring.kicks(false, old, steps, flags), due, "{old} {steps} {flags}");
                    assert_eq!(ring.calls(false, old, steps, flags), due, "{old} {steps} {flags}");
                }
            }
        }
    }
}
