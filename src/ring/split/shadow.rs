//! What the driver remembers of its descriptors, so that it never has to read them back.
//!
//! ```text
//!   next[]   threads the free descriptors, first in first out, and the descriptors of each chain:
//!
//!            FRONT ─► 4 ─► 5 ─► 0 ─► 1 ◄─ tail      chain 2: 2 ─► 3 (last)
//!
//!   A chain is cut from the front; a finished one is sewn on behind, in its own order. Reuse as
//!   late as possible keeps a duplicate completion detectable for as long as possible.
//! ```
//!
//! The list begins with an entry that is no descriptor, and is the tail of a list without any: so
//! sewing on has no case of its own.

use std::mem;

use crate::memory::Table;
use crate::ring::Head;

#[derive(Debug)]
struct Entry<T> {
    /// Heads of outstanding chains, and only they, have one.
    token: Option<T>,
    /// Heads only.
    chain: Extent,
}

/// A chain's last descriptor and its length, and whether its completion has been read as one of
/// several that are being judged: one word, to be written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent(u64);

impl Extent {
    const CLAIMED: u64 = 1 << 32;

    #[inline]
    fn new(last: u16, len: u16) -> Self {
        Self(u64::from(last) | u64::from(len) << 16)
    }

    #[inline]
    fn last(self) -> u16 {
        self.0 as u16
    }

    #[inline]
    fn len(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// The private shadow of a descriptor table.
#[derive(Debug)]
pub(super) struct Shadow<T> {
    /// The entry behind the last is the front of the list.
    next: Table<u16>,
    entries: Table<Entry<T>>,
    size: u16,
    tail: u16,
    free: u16,
}

impl<T> Shadow<T> {
    pub(super) fn new(size: u16) -> Self {
        let next =
            Table::new(u32::from(size) + 1, |id| if id < size.into() { id as u16 + 1 } else { 0 });
        let entry = |_| Entry { token: None, chain: Extent(0) };
        let entries = Table::new(size.into(), entry);
        Self { next, entries, size, tail: size - 1, free: size }
    }

    /// Free descriptors.
    #[inline]
    pub(super) fn free(&self) -> u16 {
        self.free
    }

    /// The first free descriptor, if there is one.
    #[inline]
    pub(super) fn first_free(&self) -> u16 {
        self.next[self.size.into()]
    }

    /// The free descriptors begin with `first` now, and there are `free`.
    #[inline]
    pub(super) fn cut(&mut self, first: u16, free: u16) {
        self.next[self.size.into()] = first;
        self.free = free;
        if free == 0 {
            self.tail = self.size;
        }
    }

    /// What a finished chain is sewn on to, and how many descriptors are free.
    #[inline]
    pub(super) fn back(&self) -> (u16, u16) {
        (self.tail, self.free)
    }

    /// The free descriptors end with `tail` now, and there are `free`.
    #[inline]
    pub(super) fn sewn(&mut self, tail: u16, free: u16) {
        (self.tail, self.free) = (tail, free);
    }

    /// The descriptor behind `id` in list order.
    #[inline]
    pub(super) fn next(&self, id: u16) -> u16 {
        self.next[id.into()]
    }

    /// The `len` descriptors from `head` to `last` become a chain. They are the caller's, who says
    /// with [`cut`](Self::cut) that they are free no more.
    #[inline]
    pub(super) fn chain(&mut self, head: u16, last: u16, len: u16, token: T) {
        let entry = &mut self.entries[head.into()];
        // A free descriptor has no token; said so, there is nothing to drop.
        mem::forget(entry.token.replace(token));
        // Mostly what it says already, and a store more here is a store less on its way to the device.
        let chain = Extent::new(last, len);
        if entry.chain != chain {
            entry.chain = chain;
        }
    }

    /// The outstanding chain that `id` heads, and its token, if it does. The id is the device's word
    /// and may be anything.
    #[inline]
    pub(super) fn outstanding(&self, id: u32) -> Option<(Head, &T)> {
        let token = self.entries.get(id)?.token.as_ref()?;
        Some((Head::new(id as u16), token))
    }

    /// The same, to be finished perhaps.
    #[inline(always)]
    pub(super) fn outstanding_mut(&mut self, id: u32) -> Option<Outstanding<'_, T>> {
        let Self { next, entries, .. } = self;
        let entry = entries.get_mut(id)?;
        entry.token.is_some().then_some(Outstanding { head: Head::new(id as u16), entry, next })
    }

    /// The outstanding chains from id `from` on, lowest id first.
    pub(super) fn heads(&self, from: u16) -> impl Iterator<Item = (Head, &T)> {
        (from..self.size).filter_map(|id| self.outstanding(id.into()))
    }

    /// The free descriptors in the order in which they would be used.
    pub(super) fn free_ids(&self) -> impl Iterator<Item = u16> {
        let ids = std::iter::successors(Some(self.first_free()), |&id| Some(self.next(id)));
        ids.take(usize::from(self.free))
    }
}

/// An outstanding chain, looked up by its head.
pub(super) struct Outstanding<'a, T> {
    pub(super) head: Head,
    entry: &'a mut Entry<T>,
    next: &'a mut Table<u16>,
}

impl<T> Outstanding<'_, T> {
    #[inline(always)]
    pub(super) fn token(&self) -> Option<&T> {
        self.entry.token.as_ref()
    }

    /// Marks the chain as being judged; `false` if it is so already.
    #[inline(always)]
    pub(super) fn claim(self) -> bool {
        let Extent(chain) = &mut self.entry.chain;
        mem::replace(chain, *chain | Extent::CLAIMED) & Extent::CLAIMED == 0
    }

    /// Ends the chain: its token, its last descriptor, its length. Its descriptors are sewn on behind
    /// `tail`; [`sewn`](Shadow::sewn) says that they are free.
    #[inline(always)]
    pub(super) fn finish(self, tail: u16) -> Option<(T, u16, u16)> {
        let token = self.entry.token.take()?;
        self.next[tail.into()] = self.head.id();
        Some((token, self.entry.chain.last(), self.entry.chain.len()))
    }
}
