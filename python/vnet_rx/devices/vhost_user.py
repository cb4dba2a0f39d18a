"""``vhost-user:PATH`` and ``vhost-user-listen:PATH``: another process, behind a socket."""

from typing import Any

from vnet_rx._core import RxQueue, VhostUser
from vnet_rx.devices import Asked
from vnet_rx.errors import ConfigError, QueueBroken

PATIENCE = 30.0
"""Seconds that a device which went away may take to come back."""


class VhostUserDevice:
    """A vhost-user device that feeds a queue by itself. ``device`` is the connection; frames can be
    sent through it. One that goes away is waited for, and then has a new queue."""

    def __init__(self, device: VhostUser, name: str) -> None:
        self.device = device
        self.queue: RxQueue = device.queue
        self._name = name
        self._reconnects = 0

    @property
    def finished(self) -> bool:
        """Never: a device that goes away may come back."""
        return False

    def pump(self) -> int:
        """Nothing, unless the device went away: then wait for it. Raises ``DeviceError`` if it does
        not come back."""
        if self.queue.broken == "Disconnected":
            self.device.reconnect(PATIENCE)
            self._reconnects += 1
            self.queue = self.device.queue
        return 0

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until there is something to poll for, or the device went away."""
        try:
            return self.queue.wait(timeout)
        except QueueBroken as error:
            if error.fault != "Disconnected":
                raise
            return True

    def describe(self) -> dict[str, Any]:
        """Name, features, and the mode that they led to."""
        config = self.queue.config
        return {"device": self._name, "features": config.feature_names, "mode": config.mode}

    def counters(self) -> dict[str, int]:
        """``notifications`` that the device sent, and ``reconnects``."""
        return {
            "notifications": self.device.notifications,
            "reconnects": self._reconnects,
        }

    def close(self) -> None:
        """Stop the device and close the queue."""
        self.device.close()


def _open(path: str, asked: Asked, listen: bool) -> VhostUserDevice:
    name = f"vhost-user{'-listen' if listen else ''}:{path}"
    if not path:
        raise ConfigError(f"{name} is not understood: give the path of a socket")
    if asked.dialect != "modern":
        raise ConfigError(
            f"dialect {asked.dialect!r} is not possible with {name}: such devices speak modern"
        )
    device = VhostUser(
        path,
        listen=listen,
        mode=asked.mode,
        strategy=asked.strategy,
        ring_size=asked.ring_size,
        pages=asked.pages,
        patience=PATIENCE if listen else None,
    )
    return VhostUserDevice(device, name)


def open_vhost_user(path: str, asked: Asked) -> VhostUserDevice:
    """``vhost-user:PATH``: connects to the socket of a device. Raises ``DeviceError``."""
    return _open(path, asked, listen=False)


def open_listening(path: str, asked: Asked) -> VhostUserDevice:
    """``vhost-user-listen:PATH``: listens there, and waits until a device connects."""
    return _open(path, asked, listen=True)
