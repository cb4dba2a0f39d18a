//! The split ring (2.7): one half for the driver, one for the device.

mod device;
mod driver;
mod shadow;

pub use device::{Chain, DriverFault, SplitDevice};
pub use driver::SplitDriver;

use std::sync::Arc;

use zerocopy::FromZeros;

use crate::memory::{OutOfRange, SharedMemory, Slots, Window};
use crate::sync::Ordering;
use crate::virtio::{Descriptor, MAX_RING_SIZE, MIN_RING_SIZE, SplitLayout, UsedElement};

/// Why a ring half cannot work on the memory it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The size is not one that a split ring can have.
    #[error(
        "ring size {0} is not possible: choose a power of two from {MIN_RING_SIZE} to {MAX_RING_SIZE}"
    )]
    Size(u32),
    /// A part of the ring is outside the memory or misaligned.
    #[error("the ring does not lie in its memory: {0}")]
    OutOfRange(#[from] OutOfRange),
}

/// Checks a ring size.
pub(crate) fn check_size(size: u32) -> Result<u16, LayoutError> {
    match u16::try_from(size) {
        Ok(n) if n.is_power_of_two() && (MIN_RING_SIZE..=MAX_RING_SIZE).contains(&size) => Ok(n),
        _ => Err(LayoutError::Size(size)),
    }
}

/// The three areas of a ring in shared memory, addressed by entry. Either half uses it; which half
/// may use which accessor is the standard's business and theirs.
#[derive(Debug)]
struct Areas {
    desc: Slots<Descriptor>,
    avail: Window,
    avail_ring: Slots<u16>,
    used: Window,
    used_ring: Slots<UsedElement>,
    size: u16,
}

const FLAGS: usize = 0;
const IDX: usize = 2;
const ENTRIES: usize = 4;

impl Areas {
    fn new(memory: &Arc<SharedMemory>, layout: SplitLayout) -> Result<Self, LayoutError> {
        let size = check_size(layout.size)?;
        let len = |bytes: u64| bytes as usize;
        let desc = memory.window(layout.desc, len(SplitLayout::desc_len(layout.size)), 16)?;
        let avail = memory.window(layout.avail, len(SplitLayout::avail_len(layout.size)), 2)?;
        let used = memory.window(layout.used, len(SplitLayout::used_len(layout.size)), 4)?;
        Ok(Self {
            desc: desc.slots(0, size),
            avail_ring: avail.slots(ENTRIES, size),
            avail,
            used_ring: used.slots(ENTRIES, size),
            used,
            size,
        })
    }

    #[inline]
    fn write_desc(&self, id: u16, desc: Descriptor) {
        self.desc.write(id, desc);
    }

    #[inline]
    fn read_desc(&self, id: u16) -> Descriptor {
        self.desc.read(id)
    }

    #[inline]
    fn set_avail_flags(&self, flags: u16) {
        self.avail.store_u16(FLAGS, flags, Ordering::Relaxed);
    }

    #[inline]
    fn avail_flags(&self) -> u16 {
        self.avail.load_u16(FLAGS, Ordering::Relaxed)
    }

    #[inline]
    fn set_avail_idx(&self, index: u16, order: Ordering) {
        self.avail.store_u16(IDX, index, order);
    }

    #[inline]
    fn avail_idx(&self, order: Ordering) -> u16 {
        self.avail.load_u16(IDX, order)
    }

    #[inline]
    fn set_avail_entry(&self, index: u16, id: u16) {
        self.avail_ring.store(index, id);
    }

    #[inline]
    fn avail_entry(&self, index: u16) -> u16 {
        self.avail_ring.load(index)
    }

    #[inline]
    fn set_used_event(&self, index: u16) {
        self.avail.store_u16(ENTRIES + 2 * usize::from(self.size), index, Ordering::Relaxed);
    }

    #[inline]
    fn used_event(&self) -> u16 {
        self.avail.load_u16(ENTRIES + 2 * usize::from(self.size), Ordering::Relaxed)
    }

    #[inline]
    fn set_used_flags(&self, flags: u16) {
        self.used.store_u16(FLAGS, flags, Ordering::Relaxed);
    }

    #[inline]
    fn used_flags(&self) -> u16 {
        self.used.load_u16(FLAGS, Ordering::Relaxed)
    }

    #[inline]
    fn set_used_idx(&self, index: u16, order: Ordering) {
        self.used.store_u16(IDX, index, order);
    }

    #[inline]
    fn used_idx(&self, order: Ordering) -> u16 {
        self.used.load_u16(IDX, order)
    }

    #[inline]
    fn set_used_entry(&self, index: u16, entry: UsedElement) {
        self.used_ring.write(index, entry);
    }

    #[inline]
    fn used_entry(&self, index: u16) -> UsedElement {
        self.used_ring.read(index)
    }

    #[inline]
    fn set_avail_event(&self, index: u16) {
        self.used.store_u16(ENTRIES + 8 * usize::from(self.size), index, Ordering::Relaxed);
    }

    #[inline]
    fn avail_event(&self) -> u16 {
        self.used.load_u16(ENTRIES + 8 * usize::from(self.size), Ordering::Relaxed)
    }

    /// Zeroes the ring and sets all its indices to `first_index`, the event indices where they mean
    /// something.
    fn initialise(&self, first_index: u16, event_idx: bool) {
        (0..self.size).for_each(|id| self.write_desc(id, Descriptor::new_zeroed()));
        self.avail.zero();
        self.used.zero();
        self.set_avail_idx(first_index, Ordering::Relaxed);
        self.set_used_idx(first_index, Ordering::Relaxed);
        if event_idx {
            self.set_used_event(first_index);
            self.set_avail_event(first_index);
        }
    }
}
