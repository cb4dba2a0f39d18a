"""The receive queue in a user's hands: who may do what when (RECEIVE.md, sections 5 and 8)."""

import io
import operator
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol, Self, final

from vnet_rx.errors import BusyError, ClosedError, ConfigError, QueueBroken, RingRunning
from vnet_rx.reference import mutants as known
from vnet_rx.reference.config import RxConfig
from vnet_rx.reference.memory.arena import PageArena
from vnet_rx.reference.memory.shared import SharedMemory
from vnet_rx.reference.receive.packet import Packet
from vnet_rx.reference.receive.rx import Rx
from vnet_rx.reference.receive.stats import Stats
from vnet_rx.reference.virtio import RingLayout, VnetHeader

Hook = Callable[[str], object]


class Writer(Protocol):
    """Something that packets can be written to."""

    def write(self, frame: bytes, header: VnetHeader) -> object:
        """Takes one packet."""


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
        self._rx = Rx(config, arena, self.mutants)
        self._layout = self._rx.ring.layout
        self._stopped = self._closed = self._busy = False
        self._hook: Hook | None = None
        self._hook_failed: BaseException | None = None
        self._pending: list[Packet] = []  # for the next poll, from one whose hook failed

    def poll(self, budget: int = 64, hook: Hook | None = None) -> list[Packet]:
        """At most ``budget`` packets, good or bad; never waits.

        The poll that finds the device out returns what it had and sets ``broken``; later ones raise
        ``QueueBroken``. ``hook`` is called with the name of each interleave point (section 11). If
        it raises, so does this call, and what was received is returned by the next one.
        """
        budget = operator.index(budget)
        if budget < 1:
            raise ConfigError(f"budget {budget} is not possible: choose at least 1")
        self._ready()
        done, self._pending = self._pending, []
        self._busy, self._hook, self._hook_failed = True, hook, None
        try:
            self._rx.poll(budget, done, self._point)
        finally:
            self._busy, self._hook = False, None
        if self._hook_failed is not None:
            self._pending = done
            raise self._hook_failed
        return done

    def consume(self, budget: int = 1024, writer: Writer | None = None) -> int:
        """Polls, writes the packets to ``writer`` if one is given, and releases them, one after the
        other; how many there were."""
        packets = self.poll(budget)
        for packet in packets:
            if writer is not None:
                writer.write(bytes(packet), packet.header)
            packet.release()
        return len(packets)

    def _point(self, name: str) -> None:
        """Passes an interleave point. A hook that fails is not called again in this poll."""
        if self._hook is not None:
            try:
                self._hook(name)
            except BaseException as error:
                self._hook, self._hook_failed = None, error

    def refill(self) -> int:
        """Posts buffers until the ring is full or memory runs out (``refill_needed``); how many."""
        self._ready()
        return self._rx.refill()

    def watchdog(self) -> bool:
        """Kicks the device regardless if buffers are outstanding and nothing moved since the last
        call; whether it did."""
        self._idle()
        if self._rx.broken or self._stopped:
            return False
        return self._rx.watchdog()

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
        self._rx.ring.arm()
        while True:
            self._ready()
            if self._rx.refill_needed:
                self._rx.refill()
            if self._rx.something_to_poll_for():
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
        self._rx.break_off("Disconnected")

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
        return self._rx.detach()

    def reset(self) -> None:
        """Takes all buffers back and starts the ring anew, with nothing posted."""
        self._idle()
        self._rx.reset()
        self._stopped = False

    def close(self) -> None:
        """Stops the queue, takes all buffers back, and gives the pool's pages to the arena. Packets
        live on. Closing twice is fine."""
        if self._busy:
            raise BusyError("the queue is being polled: close it afterwards")
        if self._closed:
            return
        self._rx.close()
        self._pending = []
        self._closed = True

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
        if self._rx.broken is not None:
            raise QueueBroken(self._rx.broken)
        if self._stopped:
            raise ClosedError("the queue is stopped: reset() it to go on")

    def fail_skb_allocs(self, skip: int, count: int) -> None:
        """Lets ``skip`` more skb allocations succeed and ``count`` after them fail."""
        self._idle()
        self._rx.skbs.failing.set(skip, count)

    def stats(self) -> Stats:
        """The counters at this moment."""
        if self._busy:
            self._idle()
        return Stats(self._rx.counters, self.arena.page_allocs, self.arena.page_frees)

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
        return self._rx.ring.outstanding

    @property
    def max(self) -> int:
        """The most that ``num`` has been since the last reset."""
        self._idle()
        return self._rx.max

    @property
    def refill_needed(self) -> bool:
        """Whether the last refill ran out of memory."""
        self._idle()
        return self._rx.refill_needed

    @property
    def broken(self) -> str | None:
        """The fault that broke the queue, or None."""
        self._idle()
        return self._rx.broken

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
        return self._rx.pool.pages

    @property
    def posted(self) -> list[tuple[int, list[int]]]:
        """The outstanding buffers: (head, pages in descriptor order), lowest head first."""
        self._idle()
        return [(head, list(pages)) for head, pages in self._rx.ring.posted]

    @property
    def free_descriptors(self) -> list[int]:
        """The free descriptors in the order in which they will be used."""
        self._idle()
        return self._rx.ring.free_descriptors

    def __repr__(self) -> str:
        return f"<RxQueue, {self.config.mode} {self.config.strategy}>"
