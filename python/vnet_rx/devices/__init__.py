"""What feeds a receive queue: one interface for every kind of device, and the kinds by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from vnet_rx._core import PageArena, RxConfig, RxQueue
from vnet_rx.errors import ConfigError


class Device(Protocol):
    """The other end of a receive queue, and the queue.

    Whoever receives goes round in a circle: ``pump``, ``queue.poll``, and ``wait`` when neither did
    anything. A device in the caller's thread works in ``pump``; one in another thread or process
    works by itself, and its ``pump`` only looks after it.
    """

    @property
    def queue(self) -> RxQueue:
        """The queue to poll. Ask anew after each ``pump``: a device that went away and came back
        has a new queue, over a new arena. The old one is closed; its counters can still be read."""

    @property
    def finished(self) -> bool:
        """Whether no frame will come any more, but for those that are in the queue."""

    def pump(self) -> int:
        """Let the device do what it can without waiting; how many frames it is done with.

        Where a device went away and can be had again, this is what reconnects it, and the one case
        in which it waits: a vhost-user device is given half a minute to come back."""

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until there is something to pump or to poll for, at most ``timeout`` seconds.

        False if there is nothing when the time is over, or when waiting is of no use."""

    def describe(self) -> dict[str, Any]:
        """What it is, for people and for JSON: ``device`` (its name), ``features`` (the names of
        the negotiated ones), and what else is worth knowing."""

    def counters(self) -> dict[str, int]:
        """What it did so far: ``notifications`` that it sent, and counters of its own kind."""

    def close(self) -> None:
        """Close queue and device and leave nothing open. Packets live on; twice is fine."""


@dataclass(frozen=True)
class Asked:
    """What the caller of ``open`` asked for."""

    mode: str | None = None
    strategy: str = "deferred"
    dialect: str = "modern"
    ring_size: int = 256
    budget: int = 64
    pages: int | None = None

    def config(self, features: int | None = None, **more: Any) -> RxConfig:
        """The queue's configuration; mergeable unless a mode was asked for. Keyword arguments are
        those of ``RxConfig``."""
        return RxConfig(
            mode=self.mode or "mergeable",
            strategy=self.strategy,
            dialect=self.dialect,
            ring_size=self.ring_size,
            features=features,
            **more,
        )

    def make_queue(self, config: RxConfig) -> RxQueue:
        """A queue over an arena of ``pages`` pages (by default, of four full rings), refilled."""
        arena = PageArena(4 * config.pages_per_ring if self.pages is None else self.pages)
        queue = RxQueue(config, arena)
        queue.refill()
        return queue


def open_device(name: str, asked: Asked) -> Device:
    """Open the device called ``name``: ``KIND:WHERE``. Raises ``ConfigError``, and what the kind
    raises."""
    kind, colon, where = name.partition(":")
    openers = _openers()
    if not colon or kind not in openers:
        known = ", ".join(f"{kind}:..." for kind in openers)
        raise ConfigError(f"unknown device {name!r}: choose one of {known}")
    return openers[kind](where, asked)


def _openers() -> dict[str, Callable[[str, Asked], Device]]:
    """The kinds of devices there are."""
    from vnet_rx.devices.replayed import open_capture, open_generator
    from vnet_rx.devices.tap import open_tap
    from vnet_rx.devices.vhost_user import open_listening, open_vhost_user

    return {
        "pcap": open_capture,
        "sim": open_generator,
        "tap": open_tap,
        "vhost-user": open_vhost_user,
        "vhost-user-listen": open_listening,
    }
