"""Devices that offer frames they have, in the caller's thread: ``pcap:FILE`` and ``sim:...``."""

from collections.abc import Iterator
from typing import Any

from vnet_rx._core import Capture, Frames, Generator, Host
from vnet_rx.devices import Asked
from vnet_rx.errors import ConfigError

_CHUNK = 1024


class Replayed:
    """An honest host that offers frames until there are no more."""

    def __init__(self, name: str, frames: Iterator[Frames], asked: Asked) -> None:
        self.queue = asked.make_queue(asked.config())
        self.host = Host.of(self.queue)
        self._name = name
        self._budget = asked.budget
        self._source = frames
        self._frames = Frames([])
        self._next = 0

    @property
    def finished(self) -> bool:
        """Whether all frames are done with, as far as a ``pump`` has found out."""
        return self._next == len(self._frames)

    def pump(self) -> int:
        """Offer at most a poll's worth of frames."""
        if self._next == len(self._frames):
            self._frames, self._next = next(self._source, Frames([])), 0
        done = self.host.offer_all(self._frames, self._next, self._budget)
        self._next += done
        return done

    def wait(self, timeout: float | None = None) -> bool:
        """Never sleeps: what a device in this thread cannot deliver now, waiting does not bring."""
        return False

    def describe(self) -> dict[str, Any]:
        """Name and features."""
        return {"device": self._name, "features": self.queue.config.feature_names}

    def counters(self) -> dict[str, int]:
        """``notifications``, and frames that were ``undeliverable`` in this configuration."""
        return {
            "notifications": self.host.notifications,
            "undeliverable": self.host.undeliverable,
        }

    def close(self) -> None:
        """Close the queue."""
        self.queue.close()


def open_capture(path: str, asked: Asked) -> Replayed:
    """``pcap:FILE``: the frames of a capture. Raises ``CaptureError``."""
    return Replayed(f"pcap:{path}", iter([Capture(path).frames]), asked)


def open_generator(spec: str, asked: Asked) -> Replayed:
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
    generator = Generator(sizes, asked.config().features, seed)
    chunks = (generator.take(min(_CHUNK, count - at)) for at in range(0, count, _CHUNK))
    return Replayed(f"sim:{spec}", chunks, asked)
