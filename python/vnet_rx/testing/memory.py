"""What a device asks of the memory that it shares with a driver."""

from typing import Protocol


class RingMemory(Protocol):
    """The region, addressed by guest address; ``GUEST_BASE`` is the first, ``len()`` its size.

    The word accessors make one access of that width each: Acquire to load, Release to store.
    ``read`` and ``write`` copy bytes and promise nothing of their order. ``vnet_rx.SharedMemory``
    and ``vnet_rx.reference.SharedMemory`` are such; for a driver of your own write one over its
    memory.
    """

    @property
    def GUEST_BASE(self) -> int:
        """The lowest guest address."""

    def __len__(self) -> int: ...

    def load16(self, addr: int, /) -> int:
        """The 16-bit word at ``addr``, little endian."""

    def store16(self, addr: int, value: int, /) -> None:
        """Store a 16-bit word."""

    def load32(self, addr: int, /) -> int:
        """The 32-bit word at ``addr``."""

    def store32(self, addr: int, value: int, /) -> None:
        """Store a 32-bit word."""

    def read(self, addr: int, len: int, /) -> bytes:
        """A copy of ``len`` bytes."""

    def write(self, addr: int, data: bytes, /) -> None:
        """Copy ``data`` in."""


class Layout(Protocol):
    """Where a split ring lies: its size, and the guest addresses of its three areas."""

    @property
    def size(self) -> int:
        """Number of descriptors."""

    @property
    def desc(self) -> int:
        """The descriptor table: 16 bytes a descriptor."""

    @property
    def avail(self) -> int:
        """The avail ring: flags, idx, entries of 2 bytes, used_event."""

    @property
    def used(self) -> int:
        """The used ring: flags, idx, entries of 8 bytes, avail_event."""
