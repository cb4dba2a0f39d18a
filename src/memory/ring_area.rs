//! Room for rings in front of the pages.

use std::sync::{Arc, Mutex};

use super::{PAGE_SIZE, PageArena};
use crate::virtio::SplitLayout;

/// Bytes kept for rings in front of the pages: four of the largest. Memory that no ring uses is
/// never touched and costs nothing.
pub(super) const RING_ROOM: usize = 4 << 20;

/// Which parts of the room are taken, as ranges of offsets in ascending order.
#[derive(Debug, Default)]
pub(super) struct RingSpace {
    taken: Mutex<Vec<(u64, u64)>>,
}

impl RingSpace {
    /// Takes `len` bytes, rounded up to pages, at the lowest offset where they fit.
    fn take(&self, len: u64) -> Option<(u64, u64)> {
        let len = len.next_multiple_of(PAGE_SIZE as u64);
        let mut taken = self.taken.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut start = 0;
        let mut at = taken.len();
        for (i, &(from, to)) in taken.iter().enumerate() {
            if from - start >= len {
                at = i;
                break;
            }
            start = to;
        }
        if start + len > RING_ROOM as u64 {
            return None;
        }
        taken.insert(at, (start, start + len));
        Some((start, start + len))
    }

    fn give(&self, range: (u64, u64)) {
        let mut taken = self.taken.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        taken.retain(|&one| one != range);
    }
}

/// Room for one split ring in an arena's memory, given back when it is dropped.
#[derive(Debug)]
pub struct RingArea {
    layout: SplitLayout,
    range: (u64, u64),
    arena: Arc<PageArena>,
}

impl RingArea {
    /// Takes room for a split ring of `size` descriptors; `None` when the arena has no more.
    pub fn new(arena: &Arc<PageArena>, size: u32) -> Option<Self> {
        let range = arena.ring_space().take(SplitLayout::at(0, size).end())?;
        let layout = SplitLayout::at(super::GUEST_BASE + range.0, size);
        Some(Self { layout, range, arena: Arc::clone(arena) })
    }

    /// Where the ring's parts lie.
    pub fn layout(&self) -> SplitLayout {
        self.layout
    }

    /// The arena whose memory this is.
    pub fn arena(&self) -> &Arc<PageArena> {
        &self.arena
    }
}

impl Drop for RingArea {
    fn drop(&mut self) {
        self.arena.ring_space().give(self.range);
    }
}
