//! What the driver remembers of its descriptors, so that it never has to read them back.
//!
//! ```text
//!   next[]   threads the free descriptors, first in first out, and the descriptors of each chain:
//!
//!            free_head ─► 4 ─► 5 ─► 0 ─► 1 ◄─ free_tail      chain 2: 2 ─► 3 (last)
//!
//!   A chain is cut from the front; a finished one is sewn on behind, in its own order. Reuse as
//!   late as possible keeps a duplicate completion detectable for as long as possible.
//! ```

use std::mem;

use crate::memory::Table;
use crate::ring::Head;

#[derive(Debug)]
struct Entry<T> {
    /// Heads of outstanding chains, and only they, have one.
    token: Option<T>,
    /// Heads of chains whose completion, as one of several, is being judged.
    claimed: bool,
    next: u16,
    /// Heads only: the chain's last descriptor.
    last: u16,
    /// Heads only: the chain's length.
    len: u16,
}

/// The private shadow of a descriptor table.
#[derive(Debug)]
pub(super) struct Shadow<T> {
    entries: Table<Entry<T>>,
    size: u16,
    free_head: u16,
    free_tail: u16,
    free: u16,
}

impl<T> Shadow<T> {
    pub(super) fn new(size: u16) -> Self {
        let entry =
            |id: u32| Entry { token: None, claimed: false, next: id as u16 + 1, last: 0, len: 0 };
        Self {
            entries: Table::new(size.into(), entry),
            size,
            free_head: 0,
            free_tail: size - 1,
            free: size,
        }
    }

    /// Free descriptors.
    #[inline]
    pub(super) fn free(&self) -> u16 {
        self.free
    }

    /// The free descriptor that would be used next.
    #[inline]
    pub(super) fn first_free(&self) -> u16 {
        self.free_head
    }

    /// The descriptor behind `id` in list order.
    #[inline]
    pub(super) fn next(&self, id: u16) -> u16 {
        self.entries[id.into()].next
    }

    /// The `len` descriptors from `head` to `last` become a chain. They are the caller's, who says
    /// with [`cut`](Self::cut) that they are free no more.
    #[inline]
    pub(super) fn chain(&mut self, head: u16, last: u16, len: u16, token: T) {
        let entry = &mut self.entries[head.into()];
        // A free descriptor has no token; said so, there is nothing to drop.
        mem::forget(entry.token.replace(token));
        entry.last = last;
        entry.len = len;
    }

    /// The free descriptors before `first` are free no more, `free` of them are left.
    #[inline]
    pub(super) fn cut(&mut self, first: u16, free: u16) {
        (self.free_head, self.free) = (first, free);
    }

    /// The outstanding chain that `id` heads, and its token, if it does. The id is the device's word
    /// and may be anything.
    #[inline]
    pub(super) fn outstanding(&self, id: u32) -> Option<(Head, &T)> {
        if id >= self.size.into() {
            return None;
        }
        let token = self.entries[id].token.as_ref()?;
        Some((Head::new(id as u16), token))
    }

    /// Marks an outstanding chain as being judged; `false` if it is so already.
    #[inline]
    pub(super) fn claim(&mut self, head: Head) -> bool {
        !mem::replace(&mut self.entries[head.id().into()].claimed, true)
    }

    /// Ends a chain: its descriptors are free again. `None` if there is no such chain.
    #[inline]
    pub(super) fn finish(&mut self, head: Head) -> Option<T> {
        let entry = &mut self.entries[head.id().into()];
        let (last, len) = (entry.last, entry.len);
        let token = entry.token.take()?;
        entry.claimed = false;
        if self.free == 0 {
            self.free_head = head.id();
        } else {
            self.entries[self.free_tail.into()].next = head.id();
        }
        self.free_tail = last;
        self.free += len;
        Some(token)
    }

    /// The outstanding chains from id `from` on, lowest id first.
    pub(super) fn heads(&self, from: u16) -> impl Iterator<Item = (Head, &T)> {
        (from..self.size).filter_map(|id| self.outstanding(id.into()))
    }

    /// The free descriptors in the order in which they would be used.
    pub(super) fn free_ids(&self) -> impl Iterator<Item = u16> {
        let ids = std::iter::successors(Some(self.free_head), |&id| Some(self.next(id)));
        ids.take(usize::from(self.free))
    }
}
