//! The public face of a receive queue: one type for every mode and strategy.

use std::sync::Arc;

use super::config::{ConfigError, RxConfig, Strategy};
use super::fault::DeviceFault;
use super::interleave::Point;
use super::outcome::{Polled, Readiness, RxError};
use super::queue::Queue;
use super::skb::Packet;
use super::small::Small;
use super::stats::Stats;
use super::{deferred, eager};
use crate::memory::{PageArena, RingArea};
use crate::ring::EventFd;
use crate::virtio::{Mode, SplitLayout};

/// The receive queue of a virtio-net driver.
///
/// It owns its ring and page pool and takes pages from an arena that others may share. All calls
/// come from one thread at a time; packets may go anywhere. The other end of the ring, given by
/// [`layout`](Self::layout), belongs to a device, which is not trusted: whatever it writes leads to
/// a packet, a counted drop, or [`RxError::Broken`].
#[derive(Debug)]
pub struct RxQueue {
    config: RxConfig,
    queue: AnyQueue,
}

/// The drain loop is compiled once for each of these, so that no packet pays for the choice.
#[derive(Debug)]
enum AnyQueue {
    Small(Queue<Small>),
    BigDeferred(Queue<deferred::Big>),
    BigEager(Queue<eager::Big>),
    MergeableDeferred(Queue<deferred::Mergeable>),
    MergeableEager(Queue<eager::Mergeable>),
}

macro_rules! each {
    ($any:expr, $queue:ident => $what:expr) => {
        match $any {
            AnyQueue::Small($queue) => $what,
            AnyQueue::BigDeferred($queue) => $what,
            AnyQueue::BigEager($queue) => $what,
            AnyQueue::MergeableDeferred($queue) => $what,
            AnyQueue::MergeableEager($queue) => $what,
        }
    };
}

impl RxQueue {
    /// A queue over `arena`, with a ring of its own in the arena's memory. It has nothing posted.
    ///
    /// # Errors
    /// [`ConfigError`] when such a queue cannot exist.
    pub fn new(config: RxConfig, arena: &Arc<PageArena>) -> Result<Self, ConfigError> {
        config.validate(arena.len())?;
        let area = RingArea::new(arena, config.ring_size);
        let area = area.ok_or(ConfigError::NoRingRoom(config.ring_size))?;
        let queue = match (config.mode(), config.strategy) {
            (Mode::Small, _) => AnyQueue::Small(Queue::new(&config, area)?),
            (Mode::Big, Strategy::Deferred) => AnyQueue::BigDeferred(Queue::new(&config, area)?),
            (Mode::Big, Strategy::Eager) => AnyQueue::BigEager(Queue::new(&config, area)?),
            (Mode::Mergeable, Strategy::Deferred) => {
                AnyQueue::MergeableDeferred(Queue::new(&config, area)?)
            }
            (Mode::Mergeable, Strategy::Eager) => {
                AnyQueue::MergeableEager(Queue::new(&config, area)?)
            }
        };
        Ok(Self { config, queue })
    }

    /// Receives at most `budget` packets, good or bad, appends the good ones to `packets`, refills
    /// when the ring runs low, and asks for a notification if there was less to do than the budget
    /// allowed (RECEIVE.md, section 8). Never waits.
    ///
    /// Whoever sleeps until the device notifies must look at [`refill_needed`](Self::refill_needed)
    /// first: packets that are held can leave the arena without a page and the ring without a
    /// buffer, and an empty ring never notifies. Poll again once pages are back.
    ///
    /// # Errors
    /// [`RxError`]; nothing has happened then. The poll in which the device is found to be
    /// untrustworthy is not an error: it returns the packets it had and says so in
    /// [`Polled::broken`].
    pub fn poll(&mut self, budget: usize, packets: &mut Vec<Packet>) -> Result<Polled, RxError> {
        self.poll_with(budget, packets, |_| {})
    }

    /// [`poll`](Self::poll) that calls `hook` at each [`Point`] it passes.
    ///
    /// # Errors
    /// As for [`poll`](Self::poll).
    pub fn poll_with(
        &mut self,
        budget: usize,
        packets: &mut Vec<Packet>,
        hook: impl FnMut(Point),
    ) -> Result<Polled, RxError> {
        each!(&mut self.queue, queue => queue.poll(budget, packets, true, hook))
    }

    /// [`poll`](Self::poll) that leaves the queue disarmed, for a driver that polls without a pause:
    /// being asked for a notification costs a device that works by itself a system call. Before
    /// sleeping, [`prepare_to_sleep`](Self::prepare_to_sleep) arms the queue.
    ///
    /// # Errors
    /// As for [`poll`](Self::poll).
    #[inline]
    pub fn poll_busy(
        &mut self,
        budget: usize,
        packets: &mut Vec<Packet>,
    ) -> Result<Polled, RxError> {
        each!(&mut self.queue, queue => queue.poll(budget, packets, false, |_| {}))
    }

    /// Takes packets back that are done with, all of them: what dropping them one after the other
    /// comes to, but without an atomic operation for each, because the queue is at hand. Packets of
    /// other queues among them are dropped.
    pub fn release(&mut self, packets: &mut Vec<Packet>) {
        each!(&mut self.queue, queue => queue.release(packets));
    }

    /// Posts buffers until the ring is full or memory runs out, tells the device, kicks it if it
    /// asked for that, and returns how many were posted. Out of memory sets
    /// [`refill_needed`](Self::refill_needed), and the next poll tries again.
    ///
    /// # Errors
    /// [`RxError`]; nothing has happened then.
    pub fn refill(&mut self) -> Result<usize, RxError> {
        each!(&mut self.queue, queue => queue.refill())
    }

    /// Readies the queue for a sleeper: retries a refill that ran out of memory, asks for a
    /// notification, and looks once more. Whoever is told to sleep may do so until the device
    /// notifies, or until the time given is over, and then prepares again.
    ///
    /// This is the re-arm protocol of RECEIVE.md, section 6, the delayed refill of section 8 (an
    /// empty ring never notifies), and the time limit of section 5, WAIT.
    ///
    /// # Errors
    /// [`RxError`]; nothing has happened then.
    pub fn prepare_to_sleep(&mut self) -> Result<Readiness, RxError> {
        each!(&mut self.queue, queue => queue.prepare_to_sleep())
    }

    /// Kicks the device regardless of what it asked for if buffers are outstanding and nothing has
    /// been posted or consumed since the last call; says whether it did (faults F22, F33).
    pub fn watchdog(&mut self) -> bool {
        each!(&mut self.queue, queue => queue.watchdog())
    }

    /// Declares that the device went away: BREAK `Disconnected` (fault F36).
    ///
    /// # Errors
    /// [`RxError`] when the queue is not running.
    pub fn disconnect(&mut self) -> Result<(), RxError> {
        each!(&mut self.queue, queue => queue.disconnect())
    }

    /// Declares that the device no longer uses the ring. What makes sense afterwards is
    /// [`detach_unused_buf`](Self::detach_unused_buf), [`reset`](Self::reset) and
    /// [`close`](Self::close).
    ///
    /// # Errors
    /// [`RxError::Closed`].
    pub fn stop(&mut self) -> Result<(), RxError> {
        each!(&mut self.queue, queue => queue.stop())
    }

    /// Takes back one buffer that was never completed, lowest id first, and recycles it; returns
    /// its id, or `None` when there is none left.
    ///
    /// # Errors
    /// [`RxError::Running`] unless the queue was stopped, [`RxError::Closed`].
    pub fn detach_unused_buf(&mut self) -> Result<Option<u16>, RxError> {
        each!(&mut self.queue, queue => queue.detach_unused_buf())
    }

    /// Stops the device, takes all buffers back, and starts the ring anew with nothing posted.
    /// Counters and pool are kept; broken, `refill_needed` and any waiting packet are not.
    ///
    /// The device half must be made anew too.
    ///
    /// # Errors
    /// [`RxError::Closed`].
    pub fn reset(&mut self) -> Result<(), RxError> {
        each!(&mut self.queue, queue => queue.reset())
    }

    /// Stops the device, takes all buffers back and gives the pool's pages to the arena. Packets
    /// live on. Closing twice is fine; dropping a queue closes it.
    pub fn close(&mut self) {
        each!(&mut self.queue, queue => queue.close());
    }

    /// What the queue was asked to be.
    pub fn config(&self) -> &RxConfig {
        &self.config
    }

    /// Where the ring lies, for the device.
    pub fn layout(&self) -> SplitLayout {
        each!(&self.queue, queue => queue.ring().layout())
    }

    /// The arena that the pages come from.
    pub fn arena(&self) -> &Arc<PageArena> {
        each!(&self.queue, queue => queue.arena())
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        each!(&self.queue, queue => queue.stats())
    }

    /// Buffers outstanding.
    pub fn num(&self) -> u16 {
        each!(&self.queue, queue => queue.ring().outstanding())
    }

    /// The most buffers that were ever outstanding since the last reset.
    pub fn max(&self) -> u16 {
        each!(&self.queue, queue => queue.max())
    }

    /// Whether the last refill ran out of memory before the ring was full.
    pub fn refill_needed(&self) -> bool {
        each!(&self.queue, queue => queue.refill_needed())
    }

    /// The fault that broke the queue.
    pub fn broken(&self) -> Option<DeviceFault> {
        each!(&self.queue, queue => queue.broken())
    }

    /// Whether the queue was closed.
    pub fn is_closed(&self) -> bool {
        each!(&self.queue, queue => queue.is_closed())
    }

    /// The line that kicks are sent on; `None` (the default) only counts them.
    pub fn set_kick(&mut self, line: Option<Arc<EventFd>>) {
        each!(&mut self.queue, queue => queue.set_kick(line));
    }

    /// Makes chosen skb allocations fail: lets `skip` further ones through, then fails `count`.
    pub fn fail_skb_allocs(&self, skip: u64, count: u64) {
        each!(&self.queue, queue => queue.supply().skbs.fail_allocs(skip, count));
    }

    /// The numbers of the pages in the pool, in the order in which they would be taken.
    pub fn pool(&self) -> Vec<u32> {
        let mut pages = Vec::new();
        self.each_in_pool(|page| pages.push(page));
        pages
    }

    /// The outstanding buffers.
    pub fn posted(&self) -> Vec<Posted> {
        let mut posted = Vec::new();
        self.each_posted(|id, pages| posted.push(Posted { id, pages: pages.collect() }));
        posted
    }

    /// [`posted`](Self::posted) without an allocation.
    pub(crate) fn each_posted(&self, each: impl FnMut(u16, &mut dyn Iterator<Item = u32>)) {
        each!(&self.queue, queue => queue.each_posted(each));
    }

    /// [`pool`](Self::pool) without an allocation.
    pub(crate) fn each_in_pool(&self, each: impl FnMut(u32)) {
        each!(&self.queue, queue => queue.supply().pool.indices().for_each(each));
    }

    /// [`free_descriptors`](Self::free_descriptors) without an allocation.
    pub(crate) fn each_free_descriptor(&self, each: impl FnMut(u16)) {
        each!(&self.queue, queue => queue.ring().free_ids().for_each(each));
    }

    /// The free descriptors, in the order in which they would be used.
    pub fn free_descriptors(&self) -> Vec<u16> {
        let mut ids = Vec::new();
        self.each_free_descriptor(|id| ids.push(id));
        ids
    }
}

/// A buffer that the device has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The head of its chain.
    pub id: u16,
    /// The numbers of its pages, in the order of its descriptors.
    pub pages: Vec<u32>,
}
