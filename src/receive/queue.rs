//! The receive queue: one drain loop for every mode and strategy (RECEIVE.md, sections 4, 5, 8).
//!
//! ```text
//!   poll ─► disarm ─► refresh ─► packet, packet, ... ─► refill? ─► arm ─► recheck ─┐
//!                        ▲                                                         │ more
//!                        └─────────────────────── disarm ◄─────────────────────────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use super::config::{IncompleteLimit, RxConfig};
use super::fault::DeviceFault;
use super::interleave::Point;
use super::outcome::{Polled, Readiness, RxError};
use super::policy::{Policy, Stock, Supply};
use super::skb::Packet;
use super::stats::Stats;
use super::verdict::{Accepted, Count, Lengths, Rules};
use super::waiting::Waiting;
use crate::memory::{PageArena, PageChain, RingArea};
use crate::ring::split::{LayoutError, SplitDriver};
use crate::ring::{Completion, EventFd, Head};
use crate::virtio::{DESC_F_WRITE, HeaderBytes, Mode};

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

/// What became of one look at the ring.
enum Step {
    /// Nothing (more) to do for now.
    Idle,
    /// One packet was received, good or bad.
    Packet,
    /// The ring cannot be trusted.
    Break(DeviceFault),
}

/// Why a run of ordinary packets ended.
enum End {
    /// It has received all that it was to.
    Done,
    /// The next packet is not an ordinary one, of which nothing but the used entry was looked at.
    Look,
    /// Nor is this one, whose header was copied.
    Judge(Completion, HeaderBytes),
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

    /// The loop. Every pass but the first has seen a completion that the one before had not, and at
    /// most `budget` packets and one ring of buffers for an unfinished one are read, so a poll's
    /// work is bounded whatever the device does.
    #[inline]
    fn drain(
        &mut self,
        budget: usize,
        packets: &mut Vec<Packet>,
        rearm: bool,
        hook: &mut impl FnMut(Point),
    ) -> Result<usize, (usize, DeviceFault)> {
        let mut received = 0;
        loop {
            self.ring.refresh().map_err(|fault| (received, fault.into()))?;
            hook(Point::UsedIdxRead);
            while received < budget {
                let (ordinary, end) = self.run(budget - received, packets, hook);
                received += ordinary;
                let step = match end {
                    End::Done => break,
                    End::Look => self.step(packets, hook),
                    End::Judge(first, header) => self.judge(first, header, packets),
                };
                match step {
                    Step::Packet => received += 1,
                    Step::Idle => break,
                    Step::Break(fault) => return Err((received, fault)),
                }
            }
            if self.refill_needed || self.ring.outstanding() < (self.max / 2).max(self.need) {
                self.fill();
            }
            if received >= budget || !rearm {
                return Ok(received);
            }
            hook(Point::BeforeRearm);
            self.ring.arm();
            hook(Point::AfterRearm);
            if !self.ring.recheck() {
                return Ok(received);
            }
            self.ring.disarm();
        }
    }

    /// Receives ordinary packets, `most` at most: those of one buffer that no rule objects to. What
    /// moves with each is at hand meanwhile, and goes back to the queue at the end.
    #[inline(always)]
    fn run(
        &mut self,
        most: usize,
        packets: &mut Vec<Packet>,
        hook: &mut impl FnMut(Point),
    ) -> (usize, End) {
        if self.waiting.is_some() {
            return (0, End::Look);
        }
        let Self { ring, policy, supply, rules, stats, area, .. } = self;
        let arena = area.arena();
        let most = most.min(ring.pending().into()) as u16;
        let mut taking = ring.taking();
        let start = taking.position();
        let stop = start.wrapping_add(most);
        let end = loop {
            if taking.position() == stop {
                break End::Done;
            }
            let Ok(oldest) = taking.oldest() else { break End::Look };
            let Some(buffer) = oldest.token() else { break End::Look };
            let first = oldest.completion();
            if !rules.fits_one(first.len) {
                break End::Look;
            }
            let page = arena.bytes(policy.header_page(buffer));
            // The one private copy of the packet's header.
            let header: HeaderBytes = page.read_start();
            hook(Point::HeaderCopied);
            if P::MERGEABLE && header.num_buffers() != 1 {
                break End::Judge(first, header);
            }
            let Some(buffer) = oldest.take(P::MERGEABLE) else { break End::Look };
            let (len, buffer) = (first.len - rules.header_len, (first.head, buffer));
            if let Err(fault) = rules.metadata(header, len) {
                policy.drop_one(supply, buffer);
                stats.discarded(fault);
                continue;
            }
            match policy.first(supply, header, buffer, page, len as usize) {
                Ok(skb) => {
                    packets.push(Packet::new(skb));
                    stats.rx_bytes += u64::from(len);
                }
                Err(buffer) => {
                    policy.drop_one(supply, (first.head, buffer));
                    stats.rx_dropped += 1;
                }
            }
        };
        (taking.position().wrapping_sub(start).into(), end)
    }

    /// Looks at the next packet: judges first, acts second.
    fn step(&mut self, packets: &mut Vec<Packet>, hook: &mut impl FnMut(Point)) -> Step {
        let pending = self.ring.pending();
        if pending == 0 {
            return Step::Idle;
        }
        if self.waiting.is_some() {
            return self.resume(pending, packets);
        }
        let (first, buffer) = match self.ring.oldest() {
            Ok(oldest) => oldest,
            Err(fault) => return Step::Break(fault.into()),
        };
        if first.len < self.rules.header_len {
            // The header was not written, so it names no number of buffers.
            self.later.clear();
            return self.discard(first, DeviceFault::ShortPacket);
        }
        // The one private copy of the packet's header.
        let page = self.policy.header_page(buffer);
        let header: HeaderBytes = self.supply.arena.bytes(page).read_start();
        hook(Point::HeaderCopied);
        self.judge(first, header, packets)
    }

    /// A packet's first buffer and header are known: finds out how many buffers it takes.
    #[inline]
    fn judge(&mut self, first: Completion, header: HeaderBytes, packets: &mut Vec<Packet>) -> Step {
        self.later.clear();
        let (completed, outstanding) = (self.ring.pending(), self.ring.outstanding());
        match self.rules.count(P::MERGEABLE, header, completed, outstanding) {
            Count::Complete(1) => {
                let lens = Lengths::first(first.len, &self.rules);
                self.conclude(first, header, &lens, packets)
            }
            Count::Complete(n) => self.gather(first, header, n, packets),
            Count::Drop(fault) => self.discard(first, fault),
            Count::Break(fault) => Step::Break(fault),
            Count::Wait(buffers) => self.start_waiting(first, header, buffers),
        }
    }

    /// All buffers of the packet have completed: checks the ids of the later ones, and concludes.
    fn gather(
        &mut self,
        first: Completion,
        header: HeaderBytes,
        buffers: u16,
        packets: &mut Vec<Packet>,
    ) -> Step {
        self.later.clear();
        self.ring.claim_head(first.head);
        let mut lens = Lengths::first(first.len, &self.rules);
        let mut taking = self.ring.taking();
        for k in 1..buffers {
            match taking.claim(k) {
                Ok(completion) => {
                    lens.later(completion.len, &self.rules);
                    self.later.push(completion);
                }
                Err(fault) => return Step::Break(fault.into()),
            }
        }
        drop(taking);
        self.conclude(first, header, &lens, packets)
    }

    /// All completions of the packet are at hand: judges the whole, and acts.
    #[inline]
    fn conclude(
        &mut self,
        first: Completion,
        header: HeaderBytes,
        lens: &Lengths,
        packets: &mut Vec<Packet>,
    ) -> Step {
        match self.rules.judge(header, 1 + self.later.len(), lens) {
            Ok(accepted) => self.deliver(first, header, accepted, packets),
            Err(fault) => self.discard(first, fault),
        }
    }

    #[inline]
    fn deliver(
        &mut self,
        first: Completion,
        header: HeaderBytes,
        accepted: Accepted,
        packets: &mut Vec<Packet>,
    ) -> Step {
        let Self { ring, policy, supply, rules, later, stats, area, .. } = self;
        let mut taking = ring.taking();
        let Completion { head, len } = first;
        let Some(buffer) = taking.take(head, P::MERGEABLE) else { return Step::Idle };
        let page = area.arena().bytes(policy.header_page(&buffer));
        let len = (len - rules.header_len) as usize;
        let mut skb = match policy.first(supply, header, (head, buffer), page, len) {
            Ok(skb) => skb,
            Err(buffer) => {
                drop(taking);
                // R10: no skb could be had, which is not the device's fault.
                self.recycle_from(head, Some(buffer));
                self.stats.rx_dropped += 1;
                return Step::Packet;
            }
        };
        for &Completion { head, len } in &*later {
            let Some(buffer) = taking.take(head, P::MERGEABLE) else { break };
            policy.later(supply, &mut skb, (head, buffer), len as usize);
        }
        drop(taking);
        skb.grow(accepted.len - len);
        packets.push(Packet::new(skb));
        stats.rx_bytes += accepted.len as u64;
        if accepted.partial > 0 {
            stats.faults.add(DeviceFault::PartialBuffer, accepted.partial);
        }
        Step::Packet
    }

    /// DROP: the ring is in step, the packet is bad.
    #[cold]
    fn discard(&mut self, first: Completion, fault: DeviceFault) -> Step {
        self.recycle(first.head);
        self.stats.discarded(fault);
        Step::Packet
    }

    /// Consumes all of a packet's buffers: their pages go to the pool as one chain (L1).
    fn recycle(&mut self, first: Head) {
        let buffer = self.ring.take(first);
        self.recycle_from(first, buffer);
    }

    /// The same for a packet whose first buffer has been consumed.
    fn recycle_from(&mut self, first: Head, buffer: Option<P::Buffer>) {
        let Self { ring, policy, supply, later, .. } = self;
        let mut chain = PageChain::new();
        if let Some(buffer) = buffer {
            policy.discard(supply, first, buffer, &mut chain);
        }
        for &Completion { head, .. } in &*later {
            if let Some(buffer) = ring.take(head) {
                policy.discard(supply, head, buffer, &mut chain);
            }
        }
        supply.give(chain);
    }

    /// WAIT (R7): consumes nothing, and remembers what was read.
    #[cold]
    fn start_waiting(&mut self, first: Completion, header: HeaderBytes, buffers: u16) -> Step {
        let (completed, poll) = (self.ring.pending(), self.stats.polls);
        self.unfinished(Waiting::new(first, header, buffers, completed, poll))
    }

    /// Looks at a waiting packet again.
    #[cold]
    fn resume(&mut self, pending: u16, packets: &mut Vec<Packet>) -> Step {
        let Some(mut waiting) = self.waiting.take() else { return Step::Idle };
        if pending >= waiting.buffers {
            return self.gather(waiting.first, waiting.header, waiting.buffers, packets);
        }
        waiting.look(pending, self.stats.polls);
        self.unfinished(waiting)
    }

    /// Goes on waiting, unless it has taken too long.
    fn unfinished(&mut self, waiting: Waiting) -> Step {
        if waiting.is_overdue(self.incomplete) {
            return Step::Break(DeviceFault::IncompletePacket);
        }
        self.waiting = Some(waiting);
        Step::Idle
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
