"""The receive queue: one drain loop (RECEIVE.md, sections 4 to 8)."""

import io
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Protocol, Self, final

from vnet_rx.errors import BusyError, ClosedError, ConfigError, QueueBroken, RingRunning
from vnet_rx.reference import mutants as known
from vnet_rx.reference.config import RxConfig
from vnet_rx.reference.memory.arena import RING_AREA, PageArena
from vnet_rx.reference.memory.shared import SharedMemory
from vnet_rx.reference.receive.deferred import DeferredBig, DeferredMergeable
from vnet_rx.reference.receive.eager import EagerBig, EagerMergeable
from vnet_rx.reference.receive.packet import Packet
from vnet_rx.reference.receive.policy import Buffer, Parts, Policy
from vnet_rx.reference.receive.small import Small
from vnet_rx.reference.receive.stats import Stats
from vnet_rx.reference.receive.verdict import COUNTED_AS, Rules, judge_lengths, judge_metadata
from vnet_rx.reference.ring.split import SplitRing, Untrusted
from vnet_rx.reference.virtio import (
    DATA_VALID,
    HEADER_10,
    HEADER_12,
    NEEDS_CSUM,
    PAGE_SIZE,
    Fields,
    RingLayout,
    VnetHeader,
)

_POLICIES: Final[dict[tuple[str, str], Callable[[Parts], Policy]]] = {
    ("small", "deferred"): Small,
    ("small", "eager"): Small,
    ("big", "deferred"): DeferredBig,
    ("big", "eager"): EagerBig,
    ("mergeable", "deferred"): DeferredMergeable,
    ("mergeable", "eager"): EagerMergeable,
}

Hook = Callable[[str], object]


class Writer(Protocol):
    """Something that packets can be written to."""

    def write(self, frame: bytes, header: VnetHeader) -> object:
        """Takes one packet."""


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


@final
class RxQueue:
    """The receive queue of a virtio-net driver (RECEIVE.md). One thread may use it.

    It posts nothing until it is refilled. Give ``memory``, ``layout`` and ``features`` to a device.
    ``mutants`` names bugs to switch on (``vnet_rx.reference.MUTANTS``).
    """

    config: RxConfig
    arena: PageArena
    mutants: frozenset[str]

    def __init__(
        self,
        config: RxConfig | None = None,
        arena: PageArena | None = None,
        *,
        mutants: Iterable[str] = (),
    ) -> None:
        self.config = config = RxConfig() if config is None else config
        self.arena = arena = PageArena(4 * config.pages_per_ring) if arena is None else arena
        if arena.pages < config.pages_per_buffer:
            raise ConfigError(
                f"an arena of {arena.pages} pages is too small for {config.mode} mode: one buffer "
                f"takes {config.pages_per_buffer} pages"
            )
        self.mutants = known.chosen(mutants)
        self._parts = Parts(config, arena, self.mutants)
        self._counters = self._parts.counters
        self._policy = _POLICIES[config.mode, config.strategy](self._parts)
        self._rules = Rules(config, self.mutants)
        self._ring = SplitRing(
            arena, config.ring_size, config.event_idx, config.first_index, self.mutants
        )
        self._layout = self._ring.layout
        self._need = config.refill_below
        self._max = 0
        self._refill_needed = False
        self._broken: str | None = None
        self._stopped = self._closed = self._busy = False
        self._waiting: Waiting | None = None
        self._consumed = 0
        self._watched: tuple[int, int] | None = None
        self._hook: Hook | None = None
        self._hook_failed: BaseException | None = None
        self._pending: list[Packet] = []

    # -- poll (section 8)

    def poll(self, budget: int = 64, hook: Hook | None = None) -> list[Packet]:
        """At most ``budget`` packets, good or bad; never waits.

        The poll that finds the device out returns what it had and sets ``broken``; later ones raise
        ``QueueBroken``. ``hook`` is called with the name of each interleave point (section 11). If
        it raises, so does this call, and what was received is returned by the next one.
        """
        if budget < 1:
            raise ConfigError(f"budget {budget} is not possible: choose at least 1")
        self._ready()
        self._counters.polls += 1
        self._busy = True
        self._hook, self._hook_failed = hook, None
        done, self._pending = self._pending, []
        try:
            self._drain(budget, done)
        except Untrusted as broken:
            self._break(broken.fault)
        finally:
            self._busy = False
            self._hook = None
        if self._hook_failed is not None:
            self._pending = done
            raise self._hook_failed
        return done

    def consume(self, budget: int = 1024, writer: Writer | None = None) -> int:
        """Polls, writes the packets to ``writer`` if one is given, and lets go of them; how many
        there were."""
        packets = self.poll(budget)
        if writer is not None:
            for packet in packets:
                writer.write(bytes(packet), packet.header)
        return len(packets)

    def _drain(self, budget: int, done: list[Packet]) -> None:
        ring = self._ring
        ring.disarm()
        index = None  # of used.idx, if it was loaded already
        while True:
            ring.refresh(index)
            self._point("used_idx_read")
            while budget and ring.completed and self._receive(done):
                budget -= 1
            if self._refill_needed or ring.outstanding < max(self._max // 2, self._need):
                self._refill()
            if not budget:
                return  # disarmed: there may be more
            self._point("before_rearm")
            ring.arm()
            self._point("after_rearm")
            index = None if "M09" in self.mutants else ring.look_again()
            if index is None:
                return
            ring.disarm()

    def _point(self, name: str) -> None:
        """Passes an interleave point. A hook that fails is not called again in this poll."""
        if self._hook is not None:
            try:
                self._hook(name)
            except BaseException as error:
                self._hook, self._hook_failed = None, error

    def _break(self, fault: str) -> None:
        """BREAK: the ring cannot be trusted; nothing of the packet being judged is consumed."""
        self._broken = fault
        self._counters.faults[fault] += 1

    # -- one packet (sections 4 and 5)

    def _receive(self, done: list[Packet]) -> bool:
        """The next packet, delivered or dropped; False if it has to WAIT. Raises ``Untrusted``."""
        ring, config = self._ring, self.config
        waiting = self._waiting
        if waiting is None:
            head, length = ring.entry(0)
            page = ring.token(head)[0]
            if length < config.header_len:  # the header was not written: n counts as 1
                return self._drop([head], "ShortPacket")
            header = self._copy_header(page)
            self._point("header_copied")
        else:
            (head, length), header = waiting.first, waiting.header

        # One private copy of the header says how many buffers there are.
        n = header[6]
        if n == 0:  # R4
            if "M05" in self.mutants:
                n = ring.completed
                return self._drop([ring.entry(k)[0] for k in range(n)], "ZeroBuffers")
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
        self._waiting = None

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
                self._counters.rx_packets += 1
                self._counters.rx_bytes += size
            return self._drop(heads, fault)

        flags, gso_type, _, gso_size, csum_start, csum_offset, _ = header
        passed_on = (
            flags & (NEEDS_CSUM | DATA_VALID), gso_type, 0, gso_size, csum_start, csum_offset, n
        )  # fmt: skip
        packet = self._policy.deliver(buffers, lengths, passed_on)
        if packet is None:
            return self._drop(heads, None)  # R10
        self._consume(heads)
        self._counters.rx_packets += 1
        self._counters.rx_bytes += size
        if n > 1:
            partial = sum(length < PAGE_SIZE for length in lengths[:-1])
            self._counters.faults["PartialBuffer"] += partial
        done.append(packet)
        return True

    def _copy_header(self, page: int) -> Fields:
        """The private copy of a header at the start of a page; n is 1 if not mergeable (R9)."""
        view, at = self.memory.view, RING_AREA + PAGE_SIZE * page
        if self.config.mode == "mergeable":
            return HEADER_12.unpack_from(view, at)
        return *HEADER_10.unpack_from(view, at), 1

    def _drop(self, heads: list[int], fault: str | None) -> bool:
        """DROP: counts the fault, and takes all its buffers back."""
        counters = self._counters
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
        if "M04" in self.mutants:
            heads = heads[:1]
        buffers: list[Buffer] = [self._ring.token(head) for head in heads]
        self._consume(heads)
        if "M13" in self.mutants:
            return True
        self._policy.recycle(buffers)
        if "M14" in self.mutants:
            self._policy.recycle([buffers[0]])
        return True

    def _consume(self, heads: list[int]) -> None:
        self._ring.consume(heads)
        self._consumed += len(heads)

    def _wait(self, waiting: Waiting) -> None:
        """WAIT: consumes nothing, and breaks the queue after too long without progress (R7)."""
        self._waiting = waiting
        here, poll = self._ring.completed, self._counters.polls
        if here != waiting.here:
            waiting.here, waiting.polls = here, 1
            if self.config.incomplete_timeout is not None:
                waiting.deadline = time.monotonic() + self.config.incomplete_timeout
        elif poll != waiting.poll:
            waiting.polls += 1
        waiting.poll = poll
        if self._overdue():
            raise Untrusted("IncompletePacket")

    def _overdue(self) -> bool:
        """Whether a packet was waited for too long."""
        if self._waiting is None:
            return False
        if self.config.max_incomplete_polls is None:
            return time.monotonic() >= self._waiting.deadline
        return self._waiting.polls >= self.config.max_incomplete_polls

    # -- refill (section 8)

    def refill(self) -> int:
        """Posts buffers until the ring is full or memory runs out (``refill_needed``); how many."""
        self._ready()
        return self._refill()

    def _refill(self) -> int:
        ring, policy = self._ring, self._policy
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
            if "M22" in self.mutants and self._refill_needed:
                break
        if "M03" in self.mutants:
            out_of_memory = True  # the full ring that ends the loop
        self._refill_needed = out_of_memory
        self._counters.buffers_posted += posted
        self._max = max(self._max, ring.outstanding)
        if ring.publish():
            self._counters.kicks += 1
        return posted

    def watchdog(self) -> bool:
        """Kicks the device regardless if buffers are outstanding and nothing moved since the last
        call; whether it did."""
        self._idle()
        if self._broken or self._stopped:
            return False
        moved = self._counters.buffers_posted, self._consumed
        kick = moved == self._watched and self._ring.outstanding > 0
        self._watched = moved
        self._counters.kicks += kick
        return kick

    def wait(self, timeout: float | None = None) -> bool:
        """Sleeps until there is something to poll for: True, or False when ``timeout`` seconds are
        over first (None waits for ever).

        The reference has no eventfd: it re-arms, then looks once a millisecond. While memory is
        short it retries the refill.
        """
        if timeout is not None and not timeout >= 0:
            raise ConfigError(f"timeout {timeout} is not possible: give seconds, 0 or more")
        end = None if timeout is None else time.monotonic() + timeout
        self._ready()
        self._ring.arm()
        while True:
            self._ready()
            if self._refill_needed:
                self._refill()
            waited_for = self._waiting.here if self._waiting else 0
            if self._ring.look_again() is not None or self._ring.completed > waited_for:
                return True
            if self._overdue():
                return True
            if end is not None and time.monotonic() >= end:
                return False
            time.sleep(0.001)

    def fileno(self) -> int:
        """Not here: the reference has no eventfd."""
        raise io.UnsupportedOperation("the reference has no eventfd: poll, or use wait()")

    # -- the end, and the next beginning (section 8)

    def disconnect(self) -> None:
        """The device is gone: BREAK Disconnected."""
        self._ready()
        self._break("Disconnected")

    def stop(self) -> None:
        """The device is stopped: no poll and no refill until ``reset``."""
        self._idle()
        self._stopped = True

    def detach_unused_buf(self) -> int | None:
        """Takes one outstanding buffer back, lowest id first; its id, or None.

        Raises ``RingRunning`` unless the queue was stopped.
        """
        self._idle()
        if not self._stopped:
            raise RingRunning("the queue is running: stop() it before detaching its buffers")
        detached = self._ring.detach()
        if detached is None:
            return None
        head, buffer = detached
        self._policy.recycle([buffer])
        return head

    def reset(self) -> None:
        """Takes all buffers back and starts the ring anew, with nothing posted."""
        self._idle()
        self._stopped = True
        while self.detach_unused_buf() is not None:
            pass
        self._ring.restart()
        self._max = 0
        self._broken = self._waiting = None
        self._refill_needed = self._stopped = False

    def close(self) -> None:
        """Stops the queue, takes all buffers back, and gives the pool's pages to the arena. Packets
        live on. Closing twice is fine."""
        if self._busy:
            raise BusyError("the queue is being polled: close it afterwards")
        if self._closed:
            return
        self._stopped = True
        while self.detach_unused_buf() is not None:
            pass
        self.arena.put(self._parts.pool.drain())
        self._pending = []
        self._closed = True
        self._ring.close()

    def __del__(self) -> None:
        if hasattr(self, "_pending"):
            self._busy = False
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        self.close()

    # -- what can be asked

    def _idle(self) -> None:
        if self._busy:
            raise BusyError("the queue is in use by another call: use it from one thread at a time")
        if self._closed:
            raise ClosedError("the queue is closed")

    def _ready(self) -> None:
        self._idle()
        if self._broken is not None:
            raise QueueBroken(self._broken)
        if self._stopped:
            raise ClosedError("the queue is stopped: reset() it to go on")

    def fail_skb_allocs(self, skip: int, count: int) -> None:
        """Lets ``skip`` more skb allocations succeed and ``count`` after them fail."""
        self._idle()
        self._parts.skbs.failing.set(skip, count)

    def stats(self) -> Stats:
        """The counters at this moment."""
        if self._busy:
            self._idle()
        return Stats(self._counters, self.arena.page_allocs, self.arena.page_frees)

    @property
    def features(self) -> int:
        """The negotiated features."""
        return self.config.features

    @property
    def layout(self) -> RingLayout:
        """Where the ring lies."""
        return self._layout

    @property
    def memory(self) -> SharedMemory:
        """The memory that ring and pages lie in."""
        return self.arena.memory

    @property
    def num(self) -> int:
        """How many buffers are outstanding."""
        self._idle()
        return self._ring.outstanding

    @property
    def max(self) -> int:
        """The most that ``num`` has been since the last reset."""
        self._idle()
        return self._max

    @property
    def refill_needed(self) -> bool:
        """Whether the last refill ran out of memory."""
        self._idle()
        return self._refill_needed

    @property
    def broken(self) -> str | None:
        """The fault that broke the queue, or None."""
        self._idle()
        return self._broken

    @property
    def closed(self) -> bool:
        """Whether the queue was closed."""
        if self._busy:
            self._idle()
        return self._closed

    @property
    def pool(self) -> list[int]:
        """The pages in the pool, head first."""
        self._idle()
        return self._parts.pool.pages

    @property
    def posted(self) -> list[tuple[int, list[int]]]:
        """The outstanding buffers: (head, pages in descriptor order), lowest head first."""
        self._idle()
        return [(head, list(pages)) for head, pages in self._ring.posted]

    @property
    def free_descriptors(self) -> list[int]:
        """The free descriptors in the order in which they will be used."""
        self._idle()
        return self._ring.free_descriptors

    def __repr__(self) -> str:
        return f"<RxQueue, {self.config.mode} {self.config.strategy}>"
