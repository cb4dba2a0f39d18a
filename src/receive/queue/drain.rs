//! From a used index to packets: ordinary ones in a run, the others one by one (RECEIVE.md, sections
//! 4, 5 and 8).
//!
//! ```text
//!   run ─► ordinary, ordinary, ... ─► something else ─► step ─► judge ─► gather ─► conclude
//!    ▲                                                                                │
//!    └────────────────────────────────────────────────────────────────────────────────┘
//! ```

use super::Queue;
use crate::memory::PageChain;
use crate::receive::fault::DeviceFault;
use crate::receive::interleave::Point;
use crate::receive::policy::Policy;
use crate::receive::skb::Packet;
use crate::receive::verdict::{Accepted, Count, Lengths};
use crate::receive::waiting::Waiting;
use crate::ring::{Completion, Head};
use crate::virtio::HeaderBytes;

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

impl<P: Policy> Queue<P> {
    /// The loop. Every pass but the first has seen a completion that the one before had not, and at
    /// most `budget` packets and one ring of buffers for an unfinished one are read, so a poll's
    /// work is bounded whatever the device does.
    #[inline]
    pub(super) fn drain(
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
}
