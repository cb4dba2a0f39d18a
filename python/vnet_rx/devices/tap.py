"""``tap:NAME``: what the kernel sends out of a TAP interface."""

import time
from typing import Any

from vnet_rx._core import Tap, TapHost
from vnet_rx.devices import Asked
from vnet_rx.errors import ConfigError


class TapDevice:
    """A TAP that feeds a queue in the caller's thread. ``tap`` must not be closed meanwhile; it is
    closed with the device, and frames can be sent through it."""

    def __init__(self, tap: Tap, asked: Asked) -> None:
        self.tap = tap
        self.queue = asked.make_queue(asked.config(features=tap.features))
        self._name = f"tap:{tap.name}"
        self._budget = asked.budget
        self._host = TapHost.of(tap, self.queue)

    @property
    def finished(self) -> bool:
        """Never: an interface that is deleted is an error."""
        return False

    def pump(self) -> int:
        """Read at most a poll's worth of frames into the ring. Raises ``DeviceError``."""
        return self._host.pump(self._budget)

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until there is a frame and a buffer for it, or something to poll for."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            # Looks only, but refills a queue that ran out of memory.
            if self.queue.wait(0) or self._host.wait(_left(until)):
                return True
            if until is not None and time.monotonic() >= until:
                return False

    def describe(self) -> dict[str, Any]:
        """Name and features."""
        return {"device": self._name, "features": self.queue.config.feature_names}

    def counters(self) -> dict[str, int]:
        """``notifications``, and frames that were ``undeliverable``: too long for the mode."""
        return {
            "notifications": self._host.notifications,
            "undeliverable": self._host.undeliverable,
        }

    def close(self) -> None:
        """Close host, queue and TAP."""
        self._host.close()
        self.queue.close()
        self.tap.close()


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - time.monotonic())


def open_tap(name: str, asked: Asked) -> TapDevice:
    """``tap:NAME`` opens the TAP of that name, or makes it; ``tap:`` makes one with a name of the
    kernel's choice. ``tap:fd=N`` uses an open one, whose descriptor stays the caller's."""
    # An impossible queue is refused before an interface is made for it.
    wanted = asked.config().features
    if name.startswith("fd="):
        if not name[3:].isascii() or not name[3:].isdigit():
            raise ConfigError(f"tap:{name} is not understood: give a descriptor, as in tap:fd=5")
        tap = Tap.adopt(int(name[3:]), wanted)
    else:
        tap = Tap(name, wanted)
    try:
        return TapDevice(tap, asked)
    except BaseException:
        tap.close()
        raise
