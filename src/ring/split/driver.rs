//! The driver half of a split ring.
//!
//! Device-visible memory is write-only here, except `used.idx`, `used.flags`, the used entries and
//! `avail_event`. Everything else that the driver needs it keeps privately in the shadow, so a
//! device that scribbles over descriptors or the avail ring confuses only itself (faults F20, F21;
//! defect L9).

use std::sync::Arc;

use super::shadow::{Outstanding, Shadow};
use super::{Areas, LayoutError};
use crate::memory::SharedMemory;
use crate::ring::{AddError, Completion, Head, RingFault, RingRunning, Segment, need_event};
use crate::sync::{Ordering, Site, at, full_fence};
use crate::virtio::{
    AVAIL_F_NO_INTERRUPT, DESC_F_NEXT, DESC_F_WRITE, Descriptor, SplitLayout, USED_F_NO_NOTIFY,
    UsedElement,
};

/// The driver half of a split ring whose buffers carry tokens of type `T` (RECEIVE.md, section 6).
///
/// A token goes in with [`add`](Self::add) and comes back from exactly one of
/// [`take`](Self::take) and [`detach_unused_buf`](Self::detach_unused_buf).
#[derive(Debug)]
pub struct SplitDriver<T> {
    areas: Areas,
    layout: SplitLayout,
    shadow: Shadow<T>,
    event_idx: bool,
    /// Index of the next avail entry to write.
    next_avail: u16,
    /// `avail.idx` as the device was last told.
    published: u16,
    /// `used.idx` as last accepted.
    last_seen: u16,
    /// Index of the next used entry to take.
    last_used: u16,
    /// What `recheck` saw, to be used by the next `refresh`.
    rechecked: Option<u16>,
    /// Without EVENT_IDX: whether `avail.flags` asks for interrupts.
    armed: bool,
    stopped: bool,
    /// Buffers detached since the ring was stopped.
    detached: u16,
    /// No chain with a lower head is outstanding; used once the ring is stopped.
    detached_below: u16,
}

/// A batch of buffers being posted: what moves with each is at hand, and goes back to the ring at
/// the end.
pub(crate) struct Posting<'a, T> {
    ring: &'a mut SplitDriver<T>,
    next_avail: u16,
    first_free: u16,
    free: u16,
}

impl<T> Posting<'_, T> {
    /// Posts a buffer of at least one segment, for which there is room; `flags` say who may write it.
    #[inline(always)]
    pub(crate) fn post(
        &mut self,
        segments: impl Iterator<Item = Segment>,
        flags: u16,
        token: T,
    ) -> Head {
        let SplitDriver { areas, shadow, .. } = &mut *self.ring;
        let (head, mut id, mut count) = (self.first_free, self.first_free, 0);
        // A descriptor can be written once it is known whether another follows.
        let last = segments.fold(None, |before, segment| {
            count += 1;
            if let Some(before) = before {
                let next = shadow.next(id);
                areas.write_desc(id, describe(before, flags | DESC_F_NEXT, next));
                id = next;
            }
            Some(segment)
        });
        debug_assert!(last.is_some(), "a buffer of no segment");
        if let Some(last) = last {
            areas.write_desc(id, describe(last, flags, 0));
        }
        self.posted(head, id, count, token)
    }

    /// [`post`](Self::post) of a buffer of one segment.
    #[inline(always)]
    pub(crate) fn post_one(&mut self, segment: Segment, flags: u16, token: T) -> Head {
        let id = self.first_free;
        self.ring.areas.write_desc(id, describe(segment, flags, 0));
        self.posted(id, id, 1, token)
    }

    /// The next `count` free descriptors, up to `last`, have been written.
    #[inline(always)]
    fn posted(&mut self, head: u16, last: u16, count: u16, token: T) -> Head {
        debug_assert!(count <= self.free, "{count} segments");
        let SplitDriver { areas, shadow, .. } = &mut *self.ring;
        self.first_free = shadow.next(last);
        self.free -= count;
        shadow.chain(head, last, count, token);
        areas.set_avail_entry(self.next_avail, head);
        self.next_avail = self.next_avail.wrapping_add(1);
        Head::new(head)
    }
}

impl<T> Drop for Posting<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.ring.next_avail = self.next_avail;
        self.ring.shadow.cut(self.first_free, self.free);
    }
}

/// A batch of completions being taken: the counterpart of [`Posting`].
pub(crate) struct Taking<'a, T> {
    ring: &'a mut SplitDriver<T>,
    /// Index of the next used entry to take.
    last_used: u16,
    /// What a finished chain is sewn on to.
    tail: u16,
    free: u16,
}

impl<T> Taking<'_, T> {
    /// Index of the next used entry to take.
    #[inline(always)]
    pub(crate) fn position(&self) -> u16 {
        self.last_used
    }

    /// Reads the oldest completion that was not taken yet, once, and checks its id. It is pending, or
    /// what is read is stale.
    #[inline(always)]
    pub(crate) fn oldest(&mut self) -> Result<Oldest<'_, T>, RingFault> {
        let Self { ring: SplitDriver { areas, shadow, .. }, last_used, tail, free } = self;
        let entry = areas.used_entry(*last_used);
        let chain = shadow.outstanding_mut(entry.id.get()).ok_or(RingFault::BadUsedId)?;
        Ok(Oldest { chain, len: entry.len.get(), last_used, tail, free })
    }

    /// See [`SplitDriver::claim`]. The `k`-th completion must be pending.
    #[inline(always)]
    pub(crate) fn claim(&mut self, k: u16) -> Result<Completion, RingFault> {
        let entry = self.ring.areas.used_entry(self.last_used.wrapping_add(k));
        self.ring.claimed(entry)
    }

    /// See [`SplitDriver::take`].
    #[inline(always)]
    pub(crate) fn take(&mut self, head: Head, single: bool) -> Option<T> {
        let Self { ring, last_used, tail, free } = self;
        let chain = ring.shadow.outstanding_mut(head.id().into())?;
        Oldest { chain, len: 0, last_used, tail, free }.take(single)
    }
}

/// The oldest completion: what it completes, and what the device says of it.
pub(crate) struct Oldest<'a, T> {
    chain: Outstanding<'a, T>,
    len: u32,
    last_used: &'a mut u16,
    tail: &'a mut u16,
    free: &'a mut u16,
}

impl<T> Oldest<'_, T> {
    #[inline(always)]
    pub(crate) fn completion(&self) -> Completion {
        Completion { head: self.chain.head, len: self.len }
    }

    #[inline(always)]
    pub(crate) fn token(&self) -> Option<&T> {
        self.chain.token()
    }

    /// See [`SplitDriver::take`]. `single` says that the chain is known to be of one descriptor.
    #[inline(always)]
    pub(crate) fn take(self, single: bool) -> Option<T> {
        let head = self.chain.head.id();
        let (token, last, len) = self.chain.finish(*self.tail)?;
        debug_assert!(!single || (last, len) == (head, 1));
        let (last, len) = if single { (head, 1) } else { (last, len) };
        *self.tail = last;
        *self.free += len;
        *self.last_used = self.last_used.wrapping_add(1);
        Some(token)
    }
}

impl<T> Drop for Taking<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.ring.last_used = self.last_used;
        self.ring.shadow.sewn(self.tail, self.free);
    }
}

#[inline(always)]
fn describe(segment: Segment, flags: u16, next: u16) -> Descriptor {
    Descriptor {
        addr: segment.addr.into(),
        len: segment.len.into(),
        flags: flags.into(),
        next: next.into(),
    }
}

impl<T> SplitDriver<T> {
    /// Takes over the ring at `layout`, zeroes it and sets its indices to `first_index`. A fresh
    /// ring is armed.
    ///
    /// # Errors
    /// [`LayoutError`] when the ring cannot lie there.
    pub fn new(
        memory: &Arc<SharedMemory>,
        layout: SplitLayout,
        event_idx: bool,
        first_index: u16,
    ) -> Result<Self, LayoutError> {
        let areas = Areas::new(memory, layout)?;
        areas.initialise(first_index, event_idx);
        Ok(Self {
            shadow: Shadow::new(areas.size),
            areas,
            layout,
            event_idx,
            next_avail: first_index,
            published: first_index,
            last_seen: first_index,
            last_used: first_index,
            rechecked: None,
            armed: true,
            stopped: false,
            detached: 0,
            detached_below: 0,
        })
    }

    /// Where the ring lies.
    pub fn layout(&self) -> SplitLayout {
        self.layout
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.areas.size
    }

    /// Free descriptors.
    #[inline]
    pub fn free(&self) -> u16 {
        self.shadow.free()
    }

    /// Buffers that the device has (`num`).
    #[inline]
    pub fn outstanding(&self) -> u16 {
        // A buffer takes an avail entry when it is posted and a used entry when it is taken.
        self.next_avail.wrapping_sub(self.last_used).wrapping_sub(self.detached)
    }

    /// Completions that [`refresh`](Self::refresh) has shown and that were not taken yet.
    #[inline]
    pub fn pending(&self) -> u16 {
        self.last_seen.wrapping_sub(self.last_used)
    }

    /// The avail index and the index of the next used entry: they move when anything does.
    pub fn position(&self) -> (u16, u16) {
        (self.next_avail, self.last_used)
    }

    /// Posts a buffer made of `segments`, in this order, for the device to write; the device sees
    /// it after the next [`publish`](Self::publish). Returns the chain's head.
    ///
    /// # Errors
    /// [`AddError`] with the token in it; nothing has changed then.
    #[inline]
    pub fn add(&mut self, segments: &[Segment], token: T) -> Result<Head, AddError<T>> {
        self.add_chain(segments, DESC_F_WRITE, token)
    }

    /// As [`add`](Self::add), for the device to read: a buffer of a transmit queue.
    ///
    /// # Errors
    /// [`AddError`].
    #[inline]
    pub fn add_readable(&mut self, segments: &[Segment], token: T) -> Result<Head, AddError<T>> {
        self.add_chain(segments, 0, token)
    }

    #[inline]
    fn add_chain(
        &mut self,
        segments: &[Segment],
        flags: u16,
        token: T,
    ) -> Result<Head, AddError<T>> {
        if self.stopped {
            return Err(AddError::Stopped(token));
        }
        if segments.is_empty() {
            return Err(AddError::NoSegments(token));
        }
        if segments.len() > usize::from(self.shadow.free()) {
            return Err(AddError::RingFull(token));
        }
        Ok(self.posting().post(segments.iter().copied(), flags, token))
    }

    /// Starts posting a batch of buffers. The ring must be running.
    #[inline]
    pub(crate) fn posting(&mut self) -> Posting<'_, T> {
        debug_assert!(!self.stopped);
        let (first_free, free) = (self.shadow.first_free(), self.shadow.free());
        Posting { next_avail: self.next_avail, first_free, free, ring: self }
    }

    /// Starts taking a batch of completions.
    #[inline]
    pub(crate) fn taking(&mut self) -> Taking<'_, T> {
        let (tail, free) = self.shadow.back();
        Taking { last_used: self.last_used, tail, free, ring: self }
    }

    /// Makes everything added so far visible to the device and says whether it wants to be kicked.
    /// With nothing new, does nothing and says no.
    #[inline]
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.next_avail);
        if old == new {
            return false;
        }
        self.published = new;
        // Release: "the driver performs a suitable memory barrier to ensure the device sees the
        // updated descriptor table and available ring before the next step" (2.7.13). Without it
        // the device may follow a stale descriptor.
        self.areas.set_avail_idx(new, at(Site::PublishAvail, Ordering::Release));
        // "... before reading flags or avail_event, to avoid missing a notification" (2.7.13.4.1).
        // A store and a later load of another word: only a full fence keeps them in order, and
        // without it both sides may believe that the other is awake.
        full_fence(Site::KickFence);
        if self.event_idx {
            need_event(self.areas.avail_event(), new, old)
        } else {
            self.areas.used_flags() & USED_F_NO_NOTIFY == 0
        }
    }

    /// Finds out how many completions there are: one Acquire load of `used.idx`, unless
    /// [`recheck`](Self::recheck) has just made it.
    ///
    /// # Errors
    /// `IndexJump` when the index moved by more than is outstanding, or went back; nothing has
    /// changed then.
    #[inline]
    pub fn refresh(&mut self) -> Result<(), RingFault> {
        // Acquire: the used entries and the packet bytes behind `used.idx` were written before it.
        // Without it the driver may read an entry that is not there yet.
        let idx = match self.rechecked.take() {
            Some(idx) => idx,
            None => self.areas.used_idx(at(Site::SeeUsed, Ordering::Acquire)),
        };
        let unseen = self.outstanding() - self.pending();
        if idx.wrapping_sub(self.last_seen) > unseen {
            return Err(RingFault::IndexJump);
        }
        self.last_seen = idx;
        Ok(())
    }

    /// Reads the oldest pending completion, once, and checks its id: in range, outstanding, the head
    /// of a chain. Nothing is consumed: the token is only shown, and the length passed on unchecked.
    ///
    /// # Errors
    /// `BadUsedId`; also when there is no pending completion.
    #[inline]
    pub fn oldest(&self) -> Result<(Completion, &T), RingFault> {
        if self.pending() == 0 {
            return Err(RingFault::BadUsedId);
        }
        let entry = self.areas.used_entry(self.last_used);
        let found = self.shadow.outstanding(entry.id.get());
        let (head, token) = found.ok_or(RingFault::BadUsedId)?;
        Ok((Completion { head, len: entry.len.get() }, token))
    }

    /// Reads the `k`-th pending completion (0 is the oldest) as [`oldest`](Self::oldest) does, and
    /// claims it: while a packet of several buffers is judged, no chain may be named twice.
    ///
    /// # Errors
    /// `BadUsedId`; also when there is no `k`-th pending completion, or its chain is claimed.
    #[inline]
    pub fn claim(&mut self, k: u16) -> Result<Completion, RingFault> {
        if k >= self.pending() {
            return Err(RingFault::BadUsedId);
        }
        self.claimed(self.areas.used_entry(self.last_used.wrapping_add(k)))
    }

    /// What a used entry completes, claimed.
    #[inline(always)]
    fn claimed(&mut self, entry: UsedElement) -> Result<Completion, RingFault> {
        let chain = self.shadow.outstanding_mut(entry.id.get()).ok_or(RingFault::BadUsedId)?;
        let completion = Completion { head: chain.head, len: entry.len.get() };
        chain.claim().then_some(completion).ok_or(RingFault::BadUsedId)
    }

    /// Claims a chain whose completion has been read; `false` if it is claimed.
    #[inline]
    pub(crate) fn claim_head(&mut self, head: Head) -> bool {
        let chain = self.shadow.outstanding_mut(head.id().into());
        chain.is_some_and(Outstanding::claim)
    }

    /// Consumes the oldest pending completion, which must be that of `head`: its descriptors
    /// are free again, its token is the caller's. `None` if `head` is not outstanding.
    #[inline]
    pub fn take(&mut self, head: Head) -> Option<T> {
        self.taking().take(head, false)
    }

    /// Asks the device for silence. With EVENT_IDX nothing is written: an event index that has been
    /// passed does not ask again.
    #[inline]
    pub fn disarm(&mut self) {
        if !self.event_idx && self.armed {
            self.armed = false;
            self.areas.set_avail_flags(AVAIL_F_NO_INTERRUPT);
        }
    }

    /// Asks the device for a notification at the next completion. [`recheck`](Self::recheck) must
    /// follow before the driver may sleep.
    #[inline]
    pub fn arm(&mut self) {
        if self.event_idx {
            self.areas.set_used_event(self.last_seen);
        } else if !self.armed {
            self.armed = true;
            self.areas.set_avail_flags(0);
        }
        // "the driver must ... re-check for new used buffers after re-enabling" (2.7.7): our store
        // and the load in `recheck` are of different words, so only a full fence keeps them in
        // order; without it the device's last completion may be missed by both sides.
        full_fence(Site::RearmFence);
    }

    /// Whether anything was completed since the last [`refresh`](Self::refresh). What it saw is what
    /// the next `refresh` judges, so that a device which flips the index cannot keep the driver
    /// running between the two.
    #[inline]
    pub fn recheck(&mut self) -> bool {
        let idx = self.areas.used_idx(at(Site::SeeUsedAgain, Ordering::Acquire));
        let more = idx != self.last_seen;
        self.rechecked = more.then_some(idx);
        more
    }

    /// Declares that the device no longer uses the ring.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Takes back one buffer that was never completed, lowest id first; `None` when there is none
    /// left.
    ///
    /// # Errors
    /// [`RingRunning`] unless the ring was stopped.
    pub fn detach_unused_buf(&mut self) -> Result<Option<(Head, T)>, RingRunning> {
        if !self.stopped {
            return Err(RingRunning);
        }
        let Some(head) = self.shadow.heads(self.detached_below).map(|(head, _)| head).next() else {
            return Ok(None);
        };
        self.detached += 1;
        self.detached_below = head.id();
        let (tail, free) = self.shadow.back();
        let chain = self.shadow.outstanding_mut(head.id().into());
        let Some((token, last, len)) = chain.and_then(|chain| chain.finish(tail)) else {
            return Ok(None);
        };
        self.shadow.sewn(last, free + len);
        Ok(Some((head, token)))
    }

    /// Starts the ring anew, as if just made, with all indices 0.
    ///
    /// # Errors
    /// [`RingRunning`] unless the ring was stopped and all its buffers were detached.
    pub fn restart(&mut self) -> Result<(), RingRunning> {
        if !self.stopped || self.outstanding() > 0 {
            return Err(RingRunning);
        }
        self.areas.initialise(0, self.event_idx);
        self.shadow = Shadow::new(self.areas.size);
        (self.next_avail, self.published, self.last_seen, self.last_used) = (0, 0, 0, 0);
        (self.rechecked, self.armed, self.stopped) = (None, true, false);
        (self.detached, self.detached_below) = (0, 0);
        Ok(())
    }

    /// The outstanding chains and their tokens, lowest id first.
    pub fn posted(&self) -> impl Iterator<Item = (Head, &T)> {
        self.shadow.heads(0)
    }

    /// The free descriptors, in the order in which they would be used.
    pub fn free_ids(&self) -> impl Iterator<Item = u16> {
        self.shadow.free_ids()
    }
}
