"""Packets from a device, by name: ``open("pcap:FILE")``, ``open("sim:...")``.

A receiver puts the parts together: an arena, a receive queue, and a device at the other end of its
ring, all in the caller's thread.
"""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from vnet_rx._core import (
    Capture,
    Frames,
    Generator,
    Host,
    Packet,
    PageArena,
    RxConfig,
    RxQueue,
    Stats,
)
from vnet_rx.errors import ConfigError, OutOfPages


def _from_capture(path: str, features: int) -> Iterator[Frames]:
    return iter([Capture(path).frames])


def _simulated(spec: str, features: int) -> Iterator[Frames]:
    """``sim:size=1514,count=1000,seed=0``; ``size=64-1514`` draws from a range."""
    given = {"size": "1514", "count": "1000", "seed": "0"}
    for item in filter(None, spec.split(",")):
        key, _, value = item.partition("=")
        if key not in given:
            raise ConfigError(f"unknown setting {item!r} in sim:{spec}: choose {', '.join(given)}")
        given[key] = value
    try:
        low, _, high = given["size"].partition("-")
        sizes = (int(low), int(high or low))
        count, seed = int(given["count"]), int(given["seed"])
    except ValueError:
        raise ConfigError(
            f"sim:{spec} is not understood: give whole numbers, as in sim:size=64-1514,count=1000"
        ) from None
    generator = Generator(sizes, features, seed)
    return (generator.take(min(_CHUNK, count - at)) for at in range(0, count, _CHUNK))


_CHUNK = 1024
_SOURCES: dict[str, Callable[[str, int], Iterator[Frames]]] = {
    "pcap": _from_capture,
    "sim": _simulated,
}


def open(
    device: str,
    *,
    mode: str = "mergeable",
    strategy: str = "deferred",
    dialect: str = "modern",
    ring_size: int = 256,
    budget: int = 64,
    pages: int | None = None,
) -> "Receiver":
    """Open a device and give its packets.

    ``device`` is ``pcap:FILE`` (a pcap or pcapng capture) or ``sim:size=N,count=N,seed=N``
    (generated frames). ``pages`` is the size of the arena, by default four full rings.

    Raises ``ConfigError`` for a device or setting that does not exist, and ``CaptureError`` for a
    file that cannot be read.
    """
    config = RxConfig(mode=mode, strategy=strategy, dialect=dialect, ring_size=ring_size)
    kind, colon, rest = device.partition(":")
    if not colon or kind not in _SOURCES:
        known = ", ".join(f"{name}:..." for name in _SOURCES)
        raise ConfigError(f"unknown device {device!r}: choose one of {known}")
    frames = _SOURCES[kind](rest, config.features)
    return Receiver(config, frames, budget=budget, pages=pages)


class Receiver:
    """A receive queue and the device that feeds it. Iterate over it for packets.

    A packet's pages are its own until it is dropped. When fewer than a full ring's pages are free,
    iteration hands out packets with private bytes instead (``Packet.is_private``), so that
    ``list(receiver)`` works for a capture of any length.
    """

    def __init__(
        self,
        config: RxConfig,
        frames: Iterator[Frames],
        *,
        budget: int = 64,
        pages: int | None = None,
    ) -> None:
        self.arena = PageArena(4 * config.pages_per_ring if pages is None else pages)
        self.queue = RxQueue(config, self.arena)
        self.host = Host.of(self.queue)
        self.budget = budget
        self._source = frames
        self._frames = Frames([])
        self._next = 0
        self.queue.refill()

    def poll(self, budget: int | None = None) -> list[Packet]:
        """Let the device deliver what it can, then receive at most ``budget`` packets.

        An empty list means that nothing more comes, or that all pages are held by packets
        (``self.queue.refill_needed``); it never waits.
        """
        self._pump()
        return self.queue.poll(self.budget if budget is None else budget)

    def _pump(self) -> int:
        """Offer frames to the queue; how many are done with."""
        if self._next == len(self._frames):
            self._frames, self._next = next(self._source, Frames([])), 0
        done = self.host.offer_all(self._frames, self._next, self.budget)
        self._next += done
        return done

    def __iter__(self) -> Iterator[Packet]:
        low = self.queue.config.pages_per_ring
        while True:
            done = self._pump()
            outstanding = self.queue.num
            packets = self.queue.poll(self.budget)
            if not packets and not done and self.queue.num == outstanding:
                if self._next == len(self._frames):
                    return
                raise OutOfPages(
                    f"no page is free for the next packet ({self.arena.free} of "
                    f"{self.arena.pages} are): release packets, or give more pages"
                )
            packets.reverse()
            while packets:
                packet = packets.pop()
                if self.arena.free < low:
                    packet.make_private()
                yield packet

    @property
    def stats(self) -> Stats:
        """The queue's counters."""
        return self.queue.stats()

    def close(self) -> None:
        """Close the queue; packets live on."""
        self.queue.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
