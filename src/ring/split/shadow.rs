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

use crate::ring::Head;

/// What a descriptor id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Free, or in the middle of a chain: nothing that a device may complete.
    Idle,
    /// The head of a chain that the device has.
    Outstanding,
    /// The head of a chain whose completion is being judged.
    Claimed,
}

#[derive(Debug)]
struct Entry<T> {
    /// Heads of chains that are outstanding or claimed, and only they, have one.
    token: Option<T>,
    state: State,
    next: u16,
    /// Heads only: the chain's last descriptor.
    last: u16,
    /// Heads only: the chain's length.
    len: u16,
}

/// The private shadow of a descriptor table.
#[derive(Debug)]
pub(super) struct Shadow<T> {
    entries: Box<[Entry<T>]>,
    free_head: u16,
    free_tail: u16,
    free: u16,
    outstanding: u16,
}

impl<T> Shadow<T> {
    pub(super) fn new(size: u16) -> Self {
        let entry = |id: u16| Entry {
            token: None,
            state: State::Idle,
            next: if id + 1 < size { id + 1 } else { 0 },
            last: 0,
            len: 0,
        };
        Self {
            entries: (0..size).map(entry).collect(),
            free_head: 0,
            free_tail: size - 1,
            free: size,
            outstanding: 0,
        }
    }

    /// Free descriptors.
    #[inline]
    pub(super) fn free(&self) -> u16 {
        self.free
    }

    /// Chains that the device has.
    #[inline]
    pub(super) fn outstanding(&self) -> u16 {
        self.outstanding
    }

    /// The descriptor that would be used next, and the one after `id` in list order.
    #[inline]
    pub(super) fn first_free(&self) -> u16 {
        self.free_head
    }

    #[inline]
    pub(super) fn next(&self, id: u16) -> u16 {
        self.entries[usize::from(id)].next
    }

    /// Cuts the first `len` free descriptors, the last of which is `last`, off as a chain.
    #[inline]
    pub(super) fn cut(&mut self, last: u16, len: u16, token: T) -> Head {
        let head = self.free_head;
        self.free_head = self.next(last);
        self.free -= len;
        self.outstanding += 1;
        let entry = &mut self.entries[usize::from(head)];
        entry.token = Some(token);
        entry.state = State::Outstanding;
        entry.last = last;
        entry.len = len;
        Head::new(head)
    }

    /// Marks the chain that `id` heads as being judged; `None` unless it is outstanding. The id is
    /// the device's word and may be anything.
    #[inline]
    pub(super) fn claim(&mut self, id: u32) -> Option<Head> {
        let entry = self.entries.get_mut(id as usize)?;
        if entry.state != State::Outstanding {
            return None;
        }
        entry.state = State::Claimed;
        Some(Head::new(id as u16))
    }

    /// The token of an outstanding or claimed chain.
    #[inline]
    pub(super) fn token(&self, head: Head) -> Option<&T> {
        self.entries[usize::from(head.id())].token.as_ref()
    }

    /// Ends a chain: its descriptors are free again. `None` if there is no such chain.
    #[inline]
    pub(super) fn finish(&mut self, head: Head) -> Option<T> {
        let entry = &mut self.entries[usize::from(head.id())];
        let (last, len) = (entry.last, entry.len);
        let token = entry.token.take()?;
        entry.state = State::Idle;
        if self.free == 0 {
            self.free_head = head.id();
        } else {
            self.entries[usize::from(self.free_tail)].next = head.id();
        }
        self.free_tail = last;
        self.free += len;
        self.outstanding -= 1;
        Some(token)
    }

    /// The outstanding chains from id `from` on, lowest id first.
    pub(super) fn heads(&self, from: u16) -> impl Iterator<Item = (Head, &T)> {
        let ids = from..self.entries.len() as u16;
        ids.map(Head::new).filter_map(|head| Some((head, self.token(head)?)))
    }

    /// The free descriptors in the order in which they would be used.
    pub(super) fn free_ids(&self) -> impl Iterator<Item = u16> {
        let ids = std::iter::successors(Some(self.free_head), |&id| Some(self.next(id)));
        ids.take(usize::from(self.free))
    }
}
