//! The receive queue: one drain loop for every mode and strategy (RECEIVE.md, sections 4, 5, 8).
//!
//! ```text
//!   poll ─► disarm ─► refresh ─► packet, packet, ... ─► refill? ─► arm ─► recheck ─┐
//!                        ▲                                                         │ more
//!                        └─────────────────────── disarm ◄─────────────────────────┘
//! ```

mod drain;

use std::sync::Arc;
use std::time::Duration;

use super::config::{IncompleteLimit, RxConfig};
use super::fault::DeviceFault;
use super::interleave::Point;
use super::outcome::{Polled, Readiness, RxError};
use super::policy::{Policy, Stock, Supply};
use super::skb::Packet;
use super::stats::Stats;
use super::verdict::Rules;
use super::waiting::Waiting;
use crate::memory::{PageArena, PageChain, RingArea};
use crate::ring::split::{LayoutError, SplitDriver};
use crate::ring::{Completion, EventFd};
use crate::virtio::{DESC_F_WRITE, Mode};

/// How long a sleeper may sleep before it tries again to refill a queue that ran out of memory: the
/// patch's delayed refill worker.
pub(crate) const REFILL_RETRY: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Stopped,
    Broken(DeviceFault),
    Closed,
}

/// A receive queue of one mode and strategy.
#[derive(Debug)]
pub(crate) struct Queue<P: Policy> {
    ring: SplitDriver<P::Buffer>,
    policy: P,
    supply: Supply,
    rules: Rules,
    /// Descriptors that one buffer takes.
    descriptors: u16,
    /// Buffers without which the largest packet could not come (L16).
    need: u16,
    incomplete: IncompleteLimit,
    state: State,
    waiting: Option<Waiting>,
    refill_needed: bool,
    max: u16,
    stats: Stats,
    kick: Option<Arc<EventFd>>,
    /// What `watchdog` last saw.
    last_position: Option<(u16, u16)>,
    /// The completions of the packet being judged that come behind its first, kept to save
    /// allocations.
    later: Vec<Completion>,
    /// Keeps the ring's memory.
    area: RingArea,
}

impl<P: Policy> Queue<P> {
    /// The configuration has been validated.
    pub(super) fn new(config: &RxConfig, area: RingArea) -> Result<Self, LayoutError> {
        let arena = Arc::clone(area.arena());
        let event_idx = config.features.contains(crate::virtio::Features::EVENT_IDX);
        let ring = SplitDriver::new(arena.memory(), area.layout(), event_idx, config.first_index)?;
        let need = if config.mode() == Mode::Mergeable { config.max_frags + 1 } else { 1 };
        Ok(Self {
            ring,
            policy: P::new(config),
            supply: Supply::new(arena, config.max_frags),
            rules: Rules::new(config),
            descriptors: config.descriptors_per_buffer() as u16,
            need,
            incomplete: config.incomplete,
            state: State::Running,
            waiting: None,
            refill_needed: false,
            max: 0,
            stats: Stats::default(),
            kick: None,
            last_position: None,
            later: Vec::with_capacity(usize::from(config.max_frags)),
            area,
        })
    }

    fn ready(&self) -> Result<(), RxError> {
        match self.state {
            State::Running => Ok(()),
            State::Stopped => Err(RxError::Stopped),
            State::Broken(fault) => Err(RxError::Broken(fault)),
            State::Closed => Err(RxError::Closed),
        }
    }

    /// See [`RxQueue::poll_with`](super::RxQueue::poll_with) and, without `rearm`,
    /// [`RxQueue::poll_busy`](super::RxQueue::poll_busy).
    #[inline]
    pub(super) fn poll(
        &mut self,
        budget: usize,
        packets: &mut Vec<Packet>,
        rearm: bool,
        mut hook: impl FnMut(Point),
    ) -> Result<Polled, RxError> {
        self.ready()?;
        if budget == 0 {
            return Err(RxError::ZeroBudget);
        }
        self.stats.polls += 1;
        self.ring.disarm();
        let before = packets.len();
        let (received, broken) = match self.drain(budget, packets, rearm, &mut hook) {
            Ok(received) => (received, None),
            Err((received, fault)) => {
                self.break_with(fault);
                (received, Some(fault))
            }
        };
        let delivered = packets.len() - before;
        self.stats.rx_packets += delivered as u64;
        Ok(Polled { received, delivered, broken })
    }

    /// See [`RxQueue::prepare_to_sleep`](super::RxQueue::prepare_to_sleep).
    pub(super) fn prepare_to_sleep(&mut self) -> Result<Readiness, RxError> {
        self.ready()?;
        if self.refill_needed {
            self.fill();
        }
        let pending = self.ring.pending();
        let (news, left) = match &self.waiting {
            None => (pending > 0, None),
            Some(waiting) => (waiting.has_news(pending), waiting.time_left(self.incomplete)),
        };
        if news || left.is_some_and(|left| left.is_zero()) {
            return Ok(Readiness::Ready);
        }
        let retry = self.refill_needed.then_some(REFILL_RETRY);
        self.ring.arm();
        Ok(if self.ring.recheck() {
            Readiness::Ready
        } else {
            Readiness::Sleep(left.into_iter().chain(retry).min())
        })
    }

    /// BREAK: all outstanding buffers stay where they are until `reset`.
    #[cold]
    fn break_with(&mut self, fault: DeviceFault) {
        self.stats.faults.add(fault, 1);
        self.state = State::Broken(fault);
        self.waiting = None;
    }

    /// See [`RxQueue::disconnect`](super::RxQueue::disconnect).
    pub(super) fn disconnect(&mut self) -> Result<(), RxError> {
        self.ready()?;
        self.break_with(DeviceFault::Disconnected);
        Ok(())
    }

    /// See [`RxQueue::refill`](super::RxQueue::refill).
    pub(super) fn refill(&mut self) -> Result<usize, RxError> {
        self.ready()?;
        Ok(self.fill())
    }

    /// Posts buffers until the ring is full, which is success (S3, S6), or memory runs out.
    #[inline]
    fn fill(&mut self) -> usize {
        let room = usize::from(self.ring.free() / self.descriptors);
        let Self { ring, policy, supply, area, .. } = self;
        let arena = area.arena();
        let mut stock = Stock::new(supply, policy.arena_pages(room, supply.pool.len()));
        let mut posting = ring.posting();
        let mut posted = 0;
        while posted < room {
            let Some(buffer) = policy.make(&mut stock) else { break };
            let head = match policy.segment(arena, &buffer) {
                Some(segment) => posting.post_one(segment, DESC_F_WRITE, buffer),
                None => {
                    let segments = policy.segments(arena, &buffer);
                    posting.post(segments, DESC_F_WRITE, buffer)
                }
            };
            policy.posted(head);
            posted += 1;
        }
        drop((posting, stock));
        self.refill_needed = posted < room;
        self.stats.buffers_posted += posted as u64;
        self.max = self.max.max(self.ring.outstanding());
        if self.ring.publish() {
            self.send_kick();
        }
        posted
    }

    fn send_kick(&mut self) {
        self.stats.kicks += 1;
        if let Some(line) = &self.kick {
            line.signal();
        }
    }

    /// See [`RxQueue::release`](super::RxQueue::release).
    #[inline]
    pub(super) fn release(&mut self, packets: &mut Vec<Packet>) {
        self.supply.release(packets.drain(..));
    }

    /// See [`RxQueue::watchdog`](super::RxQueue::watchdog).
    pub(super) fn watchdog(&mut self) -> bool {
        if self.state != State::Running {
            return false;
        }
        let position = self.ring.position();
        let stuck = self.last_position == Some(position) && self.ring.outstanding() > 0;
        self.last_position = Some(position);
        if stuck {
            self.send_kick();
        }
        stuck
    }

    /// See [`RxQueue::stop`](super::RxQueue::stop).
    pub(super) fn stop(&mut self) -> Result<(), RxError> {
        if self.state == State::Closed {
            return Err(RxError::Closed);
        }
        self.ring.stop();
        self.waiting = None;
        if self.state == State::Running {
            self.state = State::Stopped;
        }
        Ok(())
    }

    /// See [`RxQueue::detach_unused_buf`](super::RxQueue::detach_unused_buf).
    pub(super) fn detach_unused_buf(&mut self) -> Result<Option<u16>, RxError> {
        if self.state == State::Closed {
            return Err(RxError::Closed);
        }
        let Some((head, buffer)) = self.ring.detach_unused_buf().map_err(|_| RxError::Running)?
        else {
            return Ok(None);
        };
        let mut chain = PageChain::new();
        self.policy.discard(&mut self.supply, head, buffer, &mut chain);
        self.supply.give(chain);
        Ok(Some(head.id()))
    }

    fn detach_all(&mut self) -> Result<(), RxError> {
        self.stop()?;
        while self.detach_unused_buf()?.is_some() {}
        Ok(())
    }

    /// See [`RxQueue::reset`](super::RxQueue::reset).
    pub(super) fn reset(&mut self) -> Result<(), RxError> {
        self.detach_all()?;
        self.ring.restart().map_err(|_| RxError::Running)?;
        self.max = 0;
        self.refill_needed = false;
        self.last_position = None;
        self.state = State::Running;
        Ok(())
    }

    /// See [`RxQueue::close`](super::RxQueue::close).
    pub(super) fn close(&mut self) {
        if self.detach_all().is_ok() {
            self.supply.pool.drain();
            self.supply.skbs.close();
            self.state = State::Closed;
        }
    }

    /// The counters, those of the parts included.
    pub(super) fn stats(&self) -> Stats {
        let Supply { arena, pool, skbs, bytes_copied } = &self.supply;
        Stats {
            skb_allocs: skbs.allocs(),
            skb_frees: skbs.frees(),
            page_allocs: arena.page_allocs(),
            page_frees: arena.page_frees(),
            pool_gets: pool.gets(),
            pool_gives: pool.gives(),
            bytes_copied: *bytes_copied,
            ..self.stats
        }
    }

    pub(super) fn broken(&self) -> Option<DeviceFault> {
        match self.state {
            State::Broken(fault) => Some(fault),
            _ => None,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    pub(super) fn refill_needed(&self) -> bool {
        self.refill_needed
    }

    pub(super) fn max(&self) -> u16 {
        self.max
    }

    pub(super) fn ring(&self) -> &SplitDriver<P::Buffer> {
        &self.ring
    }

    pub(super) fn arena(&self) -> &Arc<PageArena> {
        self.area.arena()
    }

    pub(super) fn supply(&self) -> &Supply {
        &self.supply
    }

    pub(super) fn set_kick(&mut self, line: Option<Arc<EventFd>>) {
        self.kick = line;
    }

    /// The outstanding buffers by id, lowest first, each with its pages' numbers.
    pub(super) fn each_posted(&self, mut each: impl FnMut(u16, &mut dyn Iterator<Item = u32>)) {
        for (head, buffer) in self.ring.posted() {
            each(head.id(), &mut self.policy.pages(&self.supply.arena, buffer));
        }
    }
}

impl<P: Policy> Drop for Queue<P> {
    fn drop(&mut self) {
        self.close();
    }
}
