"""The memory that a device shares with the driver: the only file that knows how it is stored."""

import io
import mmap
from typing import Final, final

from vnet_rx.errors import OutOfRange


@final
class SharedMemory:
    """Zeroed bytes at guest addresses from ``GUEST_BASE`` on. Raises ``OutOfRange``.

    It is an anonymous mapping, so that what nobody touches costs nothing. Words are read and
    written through a view cast to their width, which is one access of that width: ring words are
    never put together from bytes. ``view``, ``words16`` and ``words32`` take offsets from the base,
    for the driver half, whose offsets are its own; a device comes through the checked methods.
    """

    GUEST_BASE: Final = 0x1_0000_0000

    __slots__ = ("size", "view", "words16", "words32", "words64")

    def __init__(self, size: int) -> None:
        self.size = size
        self.view = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self.words16 = self.view.cast("H")
        self.words32 = self.view.cast("I")
        self.words64 = self.view.cast("Q")

    def __len__(self) -> int:
        return self.size

    def fileno(self) -> int:
        """Not here: the memory is this process's own."""
        raise io.UnsupportedOperation("the reference's memory has no file descriptor")

    def offset(self, addr: int, length: int, align: int = 1) -> int:
        """The offset of a range of guest addresses that is inside and aligned."""
        at = addr - self.GUEST_BASE
        if 0 <= at <= self.size - length <= self.size and not at & (align - 1):
            return at
        if addr < 0 or length < 0:
            raise OverflowError("can't convert negative int to unsigned")
        raise OutOfRange(
            f"guest address {addr:#x} + {length} bytes is not an aligned range inside "
            f"{self.GUEST_BASE:#x}..{self.GUEST_BASE + self.size:#x}"
        )

    def load16(self, addr: int) -> int:
        """The 16-bit word at an address; one access."""
        return self.words16[self.offset(addr, 2, 2) >> 1]

    def store16(self, addr: int, value: int) -> None:
        """Writes a 16-bit word; one access."""
        try:
            self.words16[self.offset(addr, 2, 2) >> 1] = value
        except ValueError:
            raise OverflowError(f"{value} does not fit into 16 bits") from None

    def load32(self, addr: int) -> int:
        """The 32-bit word at an address; one access."""
        return self.words32[self.offset(addr, 4, 4) >> 2]

    def store32(self, addr: int, value: int) -> None:
        """Writes a 32-bit word; one access."""
        try:
            self.words32[self.offset(addr, 4, 4) >> 2] = value
        except ValueError:
            raise OverflowError(f"{value} does not fit into 32 bits") from None

    def load64(self, addr: int) -> int:
        """The 64-bit word at an address; one access."""
        return self.words64[self.offset(addr, 8, 8) >> 3]

    def store64(self, addr: int, value: int) -> None:
        """Writes a 64-bit word; one access."""
        try:
            self.words64[self.offset(addr, 8, 8) >> 3] = value
        except ValueError:
            raise OverflowError(f"{value} does not fit into 64 bits") from None

    def read(self, addr: int, len: int) -> bytes:
        """``len`` bytes from an address on."""
        at = self.offset(addr, len)
        return bytes(self.view[at : at + len])

    def write(self, addr: int, data: bytes) -> None:
        """Writes the bytes at an address."""
        at = self.offset(addr, len(data))
        self.view[at : at + len(data)] = data
