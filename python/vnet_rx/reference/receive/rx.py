"""The drain loop: what a poll and a refill do (RECEIVE.md, sections 4 to 8)."""

import time
from collections.abc import Callable
from typing import Final

from vnet_rx.reference.config import RxConfig
from vnet_rx.reference.memory.arena import RING_AREA, PageArena
from vnet_rx.reference.receive.deferred import DeferredBig, DeferredMergeable
from vnet_rx.reference.receive.eager import EagerBig, EagerMergeable
from vnet_rx.reference.receive.packet import Packet
from vnet_rx.reference.receive.policy import Buffer, Parts, Policy
from vnet_rx.reference.receive.small import Small
from vnet_rx.reference.receive.verdict import COUNTED_AS, Rules, judge_lengths, judge_metadata
from vnet_rx.reference.ring.split import SplitRing, Untrusted
from vnet_rx.reference.virtio import (
    DATA_VALID,
    HEADER_10,
    HEADER_12,
    NEEDS_CSUM,
    PAGE_SIZE,
    Fields,
)

_POLICIES: Final[dict[tuple[str, str], Callable[[Parts], Policy]]] = {
    ("small", "deferred"): Small,
    ("small", "eager"): Small,
    ("big", "deferred"): DeferredBig,
    ("big", "eager"): EagerBig,
    ("mergeable", "deferred"): DeferredMergeable,
    ("mergeable", "eager"): EagerMergeable,
}

Point = Callable[[str], None]


class Waiting:
    """A packet whose buffers are not all completed: WAIT keeps its first entry and header copy."""

    __slots__ = ("deadline", "first", "header", "here", "poll", "polls")

    def __init__(self, first: tuple[int, int], header: Fields) -> None:
        self.first = first
        self.header = header
        self.here = 0  # how many of its buffers are completed
        self.polls = 0  # in a row without progress
        self.poll = 0  # the poll that looked last
        self.deadline = 0.0


class Rx:
    """A receive queue as it runs; ``RxQueue`` guards it."""

    __slots__ = (
        "_consumed",
        "_need",
        "_policy",
        "_rules",
        "_watched",
        "arena",
        "broken",
        "config",
        "counters",
        "max",
        "mutants",
        "pool",
        "refill_needed",
        "ring",
        "skbs",
        "waiting",
    )

    def __init__(self, config: RxConfig, arena: PageArena, mutants: frozenset[str]) -> None:
        parts = Parts(config, arena, mutants)
        self.config = config
        self.arena = arena
        self.mutants = mutants
        self.counters = parts.counters
        self.pool = parts.pool
        self.skbs = parts.skbs
        self.ring = SplitRing(
            arena, config.ring_size, config.event_idx, config.first_index, mutants
        )
        self._policy = _POLICIES[config.mode, config.strategy](parts)
        self._rules = Rules(config, mutants)
        self._need = config.refill_below
        self.max = 0  # the most that ring.outstanding has been
        self.refill_needed = False
        self.broken: str | None = None
        self.waiting: Waiting | None = None
        self._consumed = 0
        self._watched: tuple[int, int] | None = None

    def poll(self, budget: int, done: list[Packet], point: Point) -> None:
        """Receives at most ``budget`` packets, good or bad; the good ones into ``done``."""
        self.counters.polls += 1
        try:
            self._drain(budget, done, point)
        except Untrusted as untrusted:
            self.break_off(untrusted.fault)

    def _drain(self, budget: int, done: list[Packet], point: Point) -> None:
        ring = self.ring
        ring.disarm()
        index = None  # of used.idx, if it was loaded already
        while True:
            ring.refresh(index)
            point("used_idx_read")
            while budget and ring.completed and self._receive(done, point):
                budget -= 1
            if self.refill_needed or ring.outstanding < max(self.max // 2, self._need):
                self.refill()
            if not budget:
                return  # disarmed: there may be more
            point("before_rearm")
            ring.arm()
            point("after_rearm")
            index = None if "M09" in self.mutants else ring.look_again()
            if index is None:
                return
            ring.disarm()

    def break_off(self, fault: str) -> None:
        """BREAK: the ring cannot be trusted; nothing of the packet being judged is consumed."""
        self.broken = fault
        self.counters.faults[fault] += 1

    def _receive(self, done: list[Packet], point: Point) -> bool:
        """The next packet, delivered or dropped; False if it has to WAIT. Raises ``Untrusted``."""
        ring, config = self.ring, self.config
        waiting = self.waiting
        if waiting is None:
            head, length = ring.entry(0)
            page = ring.token(head)[0]
            if length < config.header_len:  # the header was not written: n counts as 1
                return self._drop([head], "ShortPacket")
            header = self._copy_header(page)
            point("header_copied")
        else:
            (head, length), header = waiting.first, waiting.header

        # One private copy of the header says how many buffers there are.
        n = header[6]
        if n == 0:  # R4
            if "M05" in self.mutants:
                ids = [ring.entry(k)[0] for k in range(ring.completed)]
                return self._drop([*dict.fromkeys(ids)], "ZeroBuffers")
            return self._drop([head], "ZeroBuffers")
        if n > ring.outstanding:
            raise Untrusted("BufferCount")  # R8
        if "M16" in self.mutants and waiting is None:
            header = self._copy_header(page)
            n = header[6] or 1
        if n > ring.completed:  # R7
            if "M10" in self.mutants:
                heads = [ring.entry(k)[0] for k in range(ring.completed)]
                return self._drop(heads, "IncompletePacket")
            self._wait(waiting or Waiting((head, length), header))
            return False
        self.waiting = None

        heads, lengths = [head], [length]
        for k in range(1, n):
            head, length = ring.entry(k)
            heads.append(head)
            lengths.append(length)
        buffers: list[Buffer] = [ring.token(head) for head in heads]
        if len(set(heads)) < n:
            raise Untrusted("BadUsedId")  # the same id twice in one packet

        size = sum(lengths) - config.header_len
        fault = judge_lengths(self._rules, lengths) or judge_metadata(self._rules, header, size)
        if fault is not None:
            if "M08" in self.mutants and COUNTED_AS[fault] == "rx_frame_errors":
                self.counters.rx_packets += 1
                self.counters.rx_bytes += size
            return self._drop(heads, fault)

        flags, gso_type, _, gso_size, csum_start, csum_offset, _ = header
        passed_on = (
            flags & (NEEDS_CSUM | DATA_VALID), gso_type, 0, gso_size, csum_start, csum_offset, n
        )  # fmt: skip
        packet = self._policy.deliver(buffers, lengths, passed_on)
        if packet is None:
            return self._drop(heads, None)  # R10
        self._consume(heads)
        self.counters.rx_packets += 1
        self.counters.rx_bytes += size
        if n > 1:
            partial = sum(length < PAGE_SIZE for length in lengths[:-1])
            self.counters.faults["PartialBuffer"] += partial
        done.append(packet)
        return True

    def _copy_header(self, page: int) -> Fields:
        """The private copy of a header at the start of a page; n is 1 if not mergeable (R9)."""
        view, at = self.arena.memory.view, RING_AREA + PAGE_SIZE * page
        if self.config.mode == "mergeable":
            return HEADER_12.unpack_from(view, at)
        return *HEADER_10.unpack_from(view, at), 1

    def _drop(self, heads: list[int], fault: str | None) -> bool:
        """DROP: counts the fault, and takes all its buffers back."""
        counters = self.counters
        if fault is None:
            counters.rx_dropped += 1
        else:
            counters.faults[fault] += 1
            if COUNTED_AS[fault] == "rx_length_errors":
                counters.rx_length_errors += 1
            else:
                counters.rx_frame_errors += 1
        if "M12" in self.mutants:
            return False
        if "M04" in self.mutants and (not fault or COUNTED_AS[fault] == "rx_length_errors"):
            heads = heads[:1]  # metadata was judged when the packet was whole
        buffers: list[Buffer] = [self.ring.token(head) for head in heads]
        self._consume(heads)
        if "M13" in self.mutants:
            return True
        self._policy.recycle(buffers)
        if "M14" in self.mutants:
            self._policy.recycle([buffers[0]])
        return True

    def _consume(self, heads: list[int]) -> None:
        self.ring.consume(heads)
        self._consumed += len(heads)

    def _wait(self, waiting: Waiting) -> None:
        """WAIT: consumes nothing, and breaks the queue after too long without progress (R7)."""
        self.waiting = waiting
        here, poll = self.ring.completed, self.counters.polls
        if here != waiting.here:
            waiting.here, waiting.polls = here, 1
            if self.config.incomplete_timeout is not None:
                waiting.deadline = time.monotonic() + self.config.incomplete_timeout
        elif poll != waiting.poll:
            waiting.polls += 1
        waiting.poll = poll
        if self.overdue():
            raise Untrusted("IncompletePacket")

    def overdue(self) -> bool:
        """Whether a packet was waited for too long."""
        if self.waiting is None:
            return False
        if self.config.max_incomplete_polls is None:
            return time.monotonic() >= self.waiting.deadline
        return self.waiting.polls >= self.config.max_incomplete_polls

    def refill(self) -> int:
        """Posts buffers until the ring is full or memory runs out; how many (section 8)."""
        ring, policy = self.ring, self._policy
        room = ring.num_free // self.config.descriptors_per_buffer
        out_of_memory = False
        posted = 0
        while posted < room:
            buffer = policy.build()
            if buffer is None:
                out_of_memory = True
                break
            ring.add(policy.segments(buffer), buffer)
            posted += 1
            if "M22" in self.mutants and self.refill_needed:
                break
        if "M03" in self.mutants:
            out_of_memory = True  # the full ring that ends the loop
        self.refill_needed = out_of_memory
        self.counters.buffers_posted += posted
        self.max = max(self.max, ring.outstanding)
        if ring.publish():
            self.counters.kicks += 1
        return posted

    def watchdog(self) -> bool:
        """Kicks regardless if buffers are outstanding and nothing moved since the last call."""
        moved = self.counters.buffers_posted, self._consumed
        kick = moved == self._watched and self.ring.outstanding > 0
        self._watched = moved
        self.counters.kicks += kick
        return kick

    def something_to_poll_for(self) -> bool:
        """Whether a poll would find a completion that none has seen, or has to give up waiting."""
        seen = self.waiting.here if self.waiting else 0
        return self.ring.completed > seen or self.ring.look_again() is not None or self.overdue()

    def detach(self) -> int | None:
        """Takes the outstanding buffer with the lowest id back; its id, or None."""
        detached = self.ring.detach()
        if detached is None:
            return None
        head, buffer = detached
        self._policy.recycle([buffer])
        return head

    def reset(self) -> None:
        """Detaches all, and starts anew with nothing posted; counters and pool are kept."""
        while self.detach() is not None:
            pass
        self.ring.restart()
        self.max = 0
        self.refill_needed = False
        self.broken = self.waiting = None

    def close(self) -> None:
        """Detaches all, and gives the pool's pages to the arena."""
        while self.detach() is not None:
            pass
        self.arena.put(self.pool.drain())
        self.ring.close()
