"""The virtio-net receive path as a library.

``vnet_rx.open`` gives packets from a device; ``RxQueue``, ``Host``, ``Vring``, ``PageArena`` and
``PagePool`` are the parts it is made of, to be put together by hand. The rules they follow are in
``docs/RECEIVE.md`` of the source tree.

Importing the package never needs the native module; using one of its names does.
"""

from typing import TYPE_CHECKING

from vnet_rx.errors import (
    BusyError,
    CaptureError,
    ClosedError,
    ConfigError,
    DeviceError,
    DeviceTimeout,
    DriverFault,
    OutOfPages,
    OutOfRange,
    ProtocolError,
    QueueBroken,
    RingFull,
    RingRunning,
    Undeliverable,
    VnetRxError,
)

if TYPE_CHECKING:
    from vnet_rx._core import (
        Capture,
        CaptureWriter,
        Frames,
        Generator,
        Host,
        HostThread,
        Packet,
        Page,
        PageArena,
        PagePool,
        Replay,
        RingLayout,
        RxConfig,
        RxQueue,
        SharedMemory,
        Stats,
        Tap,
        TapHost,
        VhostUser,
        VnetHeader,
        Vring,
    )
    from vnet_rx.receiver import Receiver, open

__all__ = [
    "BusyError",
    "Capture",
    "CaptureError",
    "CaptureWriter",
    "ClosedError",
    "ConfigError",
    "DeviceError",
    "DeviceTimeout",
    "DriverFault",
    "Frames",
    "Generator",
    "Host",
    "HostThread",
    "OutOfPages",
    "OutOfRange",
    "Packet",
    "Page",
    "PageArena",
    "PagePool",
    "ProtocolError",
    "QueueBroken",
    "Receiver",
    "Replay",
    "RingFull",
    "RingLayout",
    "RingRunning",
    "RxConfig",
    "RxQueue",
    "SharedMemory",
    "Stats",
    "Tap",
    "TapHost",
    "Undeliverable",
    "VhostUser",
    "VnetHeader",
    "VnetRxError",
    "Vring",
    "open",
]


def __getattr__(name: str) -> object:
    """Load the native module when the first of its names is used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    where = "vnet_rx.receiver" if name in ("Receiver", "open") else "vnet_rx._core"
    try:
        value: object = getattr(import_module(where), name)
    except ImportError as error:
        raise ImportError(
            f"vnet_rx.{name} needs the native module vnet_rx._core, which cannot be loaded here "
            f"({error}); vnet_rx.reference works without it"
        ) from error
    globals()[name] = value
    return value
