"""Packets from a device, by name: ``open("tap:NAME")``, ``open("pcap:FILE")``, and others.

A receiver drives a device and the receive queue that it feeds.
"""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from vnet_rx._core import Host, Packet, PageArena, RxQueue, Stats
from vnet_rx.devices import Asked, Device, open_device
from vnet_rx.errors import ConfigError, OutOfPages


def open(
    device: str,
    *,
    mode: str | None = None,
    strategy: str = "deferred",
    dialect: str = "modern",
    ring_size: int = 256,
    budget: int = 64,
    pages: int | None = None,
) -> "Receiver":
    """Open a device and give its packets.

    ``device`` is one of

    - ``tap:NAME``, a TAP of the Linux kernel, made if there is none; ``tap:fd=N``, an open one;
    - ``vhost-user:PATH``, a device behind a socket; ``vhost-user-listen:PATH``, one that connects;
    - ``pcap:FILE``, a pcap or pcapng capture;
    - ``sim:size=N,count=N,seed=N``, generated frames (``size=64-1514`` draws from a range).

    ``mode`` is mergeable, or what the device has, unless asked for otherwise. ``budget`` is the
    number of packets that a poll receives at most, ``pages`` the size of the arena, by default four
    full rings.

    Raises ``ConfigError`` for a device or setting that does not exist, ``DeviceError`` for a device
    that cannot be had, and ``CaptureError`` for a file that cannot be read.
    """
    asked = Asked(mode, strategy, dialect, ring_size, budget, pages)
    return Receiver(open_device(device, asked), budget=budget)


class Receiver:
    """A device and the receive queue that it feeds. Iterate over it for packets.

    A packet's pages are its own until it is dropped. When fewer than a full ring's pages are free,
    iteration hands out packets with private bytes instead (``Packet.is_private``), so that
    ``list(receiver)`` works for a capture of any length.
    """

    def __init__(self, device: Device, *, budget: int = 64) -> None:
        self.device = device
        self.budget = budget

    @property
    def queue(self) -> RxQueue:
        """The device's queue of now; a device that reconnects makes a new one."""
        return self.device.queue

    @property
    def arena(self) -> PageArena:
        """The arena of that queue."""
        return self.device.queue.arena

    @property
    def host(self) -> Host:
        """The host of a device that replays frames. Raises ``ConfigError`` for any other."""
        host: object = getattr(self.device, "host", None)
        if not isinstance(host, Host):
            raise ConfigError(f"{self.device.describe()['device']} is not a host of frames")
        return host

    @property
    def finished(self) -> bool:
        """Whether no more packets will come once ``poll`` returns none."""
        return self.device.finished

    def poll(self, budget: int | None = None) -> list[Packet]:
        """Let the device deliver what it can, then receive at most ``budget`` packets.

        An empty list means that there is nothing for now, that nothing more comes (``finished``),
        or that all pages are held by packets (``self.queue.refill_needed``); it never waits.
        """
        self.device.pump()
        return self.device.queue.poll(self.budget if budget is None else budget)

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until there may be something to poll for: True, or False when ``timeout`` seconds
        are over first (None waits for ever) or when nothing comes by waiting."""
        return self.device.wait(timeout)

    def __iter__(self) -> Iterator[Packet]:
        """Packets until the device is finished, sleeping in between."""
        while True:
            done = self.device.pump()
            queue = self.device.queue
            low, outstanding = queue.config.pages_per_ring, queue.num
            packets = queue.poll(self.budget)
            if not packets and not done and queue.num == outstanding:
                if self.device.finished:
                    return
                if not self.device.wait():
                    raise OutOfPages(
                        f"no page is free for the next packet ({self.arena.free} of "
                        f"{self.arena.pages} are): release packets, or give more pages"
                    )
            packets.reverse()
            while packets:
                packet = packets.pop()
                if queue.arena.free < low:
                    packet.make_private()
                yield packet

    @property
    def stats(self) -> Stats:
        """The queue's counters."""
        return self.device.queue.stats()

    def close(self) -> None:
        """Close queue and device; packets live on."""
        self.device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
