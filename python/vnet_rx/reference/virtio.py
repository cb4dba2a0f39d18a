"""What the virtio standard says, and nothing else: features, header, ring layout."""

import struct
from typing import Final, NamedTuple, final

from vnet_rx.errors import ConfigError

PAGE_SIZE: Final = 4096

GUEST_CSUM: Final = 1 << 1
GUEST_TSO4: Final = 1 << 7
GUEST_TSO6: Final = 1 << 8
GUEST_ECN: Final = 1 << 9
GUEST_UFO: Final = 1 << 10
MRG_RXBUF: Final = 1 << 15
EVENT_IDX: Final = 1 << 29
VERSION_1: Final = 1 << 32
RING_PACKED: Final = 1 << 34
GUEST_USO4: Final = 1 << 54
GUEST_USO6: Final = 1 << 55

FEATURES: Final = {
    "GUEST_CSUM": GUEST_CSUM,
    "GUEST_TSO4": GUEST_TSO4,
    "GUEST_TSO6": GUEST_TSO6,
    "GUEST_ECN": GUEST_ECN,
    "GUEST_UFO": GUEST_UFO,
    "MRG_RXBUF": MRG_RXBUF,
    "EVENT_IDX": EVENT_IDX,
    "VERSION_1": VERSION_1,
    "GUEST_USO4": GUEST_USO4,
    "GUEST_USO6": GUEST_USO6,
}

DESC_F_NEXT: Final = 1
DESC_F_WRITE: Final = 2

NEEDS_CSUM: Final = 1
DATA_VALID: Final = 2

GSO_NONE: Final = 0
GSO_TCPV4: Final = 1
GSO_UDP: Final = 3
GSO_TCPV6: Final = 4
GSO_UDP_L4: Final = 5
GSO_ECN: Final = 0x80

# flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers (5.1.6.1)
HEADER_12: Final = struct.Struct("<BBHHHHH")
HEADER_10: Final = struct.Struct("<BBHHHH")

_LIMITS = (0xFF, 0xFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF)

Fields = tuple[int, int, int, int, int, int, int]
"""A header as read: its fields in the order of the standard."""


class _Fields(NamedTuple):
    flags: int
    gso_type: int
    hdr_len: int
    gso_size: int
    csum_start: int
    csum_offset: int
    num_buffers: int


@final
class VnetHeader(_Fields):
    """A virtio-net header (virtio 1.3, 5.1.6.1), its fields as unsigned integers.

    On a delivered packet: what the device wrote, ``flags`` limited to NEEDS_CSUM (1) and DATA_VALID
    (2), ``hdr_len`` 0, ``num_buffers`` the number of buffers that were really used.
    """

    __slots__ = ()

    def __new__(  # noqa: D102
        cls,
        flags: int = 0,
        gso_type: int = 0,
        hdr_len: int = 0,
        gso_size: int = 0,
        csum_start: int = 0,
        csum_offset: int = 0,
        num_buffers: int = 0,
    ) -> "VnetHeader":
        fields = (flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers)
        for name, value, limit in zip(cls._fields, fields, _LIMITS, strict=True):
            if not 0 <= value <= limit:
                raise OverflowError(f"{name} {value} is out of range: give 0 to {limit}")
        return super().__new__(cls, *fields)

    @staticmethod
    def from_bytes(data: bytes) -> "VnetHeader":
        """The header in ``data``, 10 or 12 bytes of the wire layout. Raises ``ConfigError``."""
        if len(data) == HEADER_12.size:
            return VnetHeader(*HEADER_12.unpack(data))
        if len(data) == HEADER_10.size:
            return VnetHeader(*HEADER_10.unpack(data))
        raise ConfigError(
            f"a virtio-net header of {len(data)} bytes is not possible: give 10 or 12"
        )

    def to_bytes(self) -> bytes:
        """The 12 bytes of the wire layout; the first 10 are the legacy one."""
        return HEADER_12.pack(*self)

    def __repr__(self) -> str:
        fields = zip(self._fields[2:], self[2:], strict=True)
        rest = ", ".join(f"{name}={value}" for name, value in fields)
        return f"VnetHeader(flags={self.flags:#x}, gso_type={self.gso_type:#x}, {rest})"


@final
class RingLayout(NamedTuple):
    """Where a split ring lies: its size, and guest addresses of its three parts."""

    size: int
    desc: int
    avail: int
    used: int

    def __repr__(self) -> str:
        size, desc, avail, used = self
        return f"RingLayout(size={size}, desc={desc:#x}, avail={avail:#x}, used={used:#x})"


def aligned(at: int, to: int) -> int:
    """``at``, or the next multiple of ``to``."""
    return -(-at // to) * to


def avail_offset(size: int) -> int:
    """Where the avail ring begins in a ring area: behind the table, on a cache line of its own."""
    return aligned(16 * size, 64)


def used_offset(size: int) -> int:
    """Where the used ring begins in a ring area: behind the avail ring, on a page of its own."""
    return aligned(avail_offset(size) + 6 + 2 * size, PAGE_SIZE)


def ring_bytes(size: int) -> int:
    """The bytes that a ring takes in all, with both event words."""
    return used_offset(size) + 6 + 8 * size
