"""The error hierarchy: raised by the engine and by the reference alike.

Every error has a stable ``code``, the same whichever implementation raised it.
"""

from typing import ClassVar


class VnetRxError(Exception):
    """The root of all errors of this package."""

    code: ClassVar[str] = "error"


class ConfigError(VnetRxError, ValueError):
    """An argument or a configuration that is not possible; names the value and what would be."""

    code = "config"


class RingFull(VnetRxError):
    """The ring has too few free descriptors for a buffer (RECEIVE.md, section 6)."""

    code = "ring_full"


class OutOfPages(VnetRxError):
    """No page is free (RECEIVE.md, section 2)."""

    code = "out_of_pages"


class QueueBroken(VnetRxError):
    """The ring cannot be trusted since ``fault`` was met; ``reset()`` mends it (section 5)."""

    code = "queue_broken"

    def __init__(self, fault: str) -> None:
        super().__init__(f"the queue is broken ({fault}): reset() it to go on")
        self.fault = fault


class ClosedError(VnetRxError):
    """The queue was closed or stopped, or the packet or page was given back."""

    code = "closed"


class BusyError(VnetRxError):
    """Another thread, or an outer call, is using the object at this moment."""

    code = "busy"


class RingRunning(VnetRxError):
    """Buffers can be detached only from a ring that was stopped (section 6)."""

    code = "ring_running"


class OutOfRange(VnetRxError, IndexError):
    """A guest address range that is not inside the shared memory, or not aligned."""

    code = "out_of_range"


class Undeliverable(VnetRxError):
    """A frame that can never reach the driver: too long, or it needs an offload it did not take."""

    code = "undeliverable"


class DriverFault(VnetRxError):
    """The device half found the driver's ring broken."""

    code = "driver_fault"


class CaptureError(VnetRxError, ValueError):
    """A capture file that cannot be read or written; names the file and the place."""

    code = "capture"


class DeviceError(VnetRxError):
    """A device that cannot be opened or went away; says which, why, and what to do."""

    code = "device"


class BenchError(VnetRxError):
    """Benchmark results that cannot be had or read; names the file or the tool, and the way out."""

    code = "bench"


class DeviceTimeout(DeviceError, TimeoutError):
    """A device that did not come, or did not answer, within the time given."""

    code = "device_timeout"


class ProtocolError(DeviceError):
    """A device that refused a vhost-user message, answered nonsense, or hung up in the middle."""

    code = "device_protocol"
