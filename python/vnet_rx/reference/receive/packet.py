"""A delivered packet (RECEIVE.md, section 4)."""

from typing import final

from vnet_rx.errors import ClosedError
from vnet_rx.reference.memory.arena import RING_AREA, PageArena
from vnet_rx.reference.receive.skb import Skbs
from vnet_rx.reference.virtio import PAGE_SIZE, Fields, VnetHeader

Piece = tuple[int, int, int]
"""A part of a packet in a page: (page, offset, length)."""


@final
class Packet:
    """A delivered packet. Its pages are its own until it is dropped or released.

    ``data``, ``segments`` and ``memoryview(packet)`` show copies, so nothing pins the packet. Bytes
    that are in pages are read when they are asked for, and a device may write them until then.
    """

    __slots__ = (
        "__weakref__",
        "_arena",
        "_frags",
        "_head",
        "_header",
        "_linear",
        "_private",
        "_released",
        "_skbs",
    )

    def __init__(
        self,
        arena: PageArena,
        skbs: Skbs,
        header: Fields,
        head: bytes,
        linear: Piece | None,
        frags: list[Piece],
    ) -> None:
        self._arena = arena
        self._skbs = skbs
        self._header = header
        self._head = head
        self._linear = linear
        self._frags = frags
        self._private = self._released = False

    def _mine(self) -> None:
        if self._released:
            raise ClosedError("the packet was released")

    def _pieces(self) -> list[bytes]:
        """The packet as it lies in memory: head or linear part, then the frags."""
        view = self._arena.memory.view
        pieces = [self._head] if self._head else []
        for page, offset, length in [self._linear, *self._frags] if self._linear else self._frags:
            at = RING_AREA + PAGE_SIZE * page + offset
            pieces.append(bytes(view[at : at + length]))
        return pieces

    def _give_back(self) -> None:
        """The linear page, then the frags as one chain (section 12), and the skb; once."""
        if self._private or self._released:
            return
        if self._linear:
            self._arena.put([self._linear[0]])
        if self._frags:
            self._arena.put([page for page, _, _ in self._frags])
        self._linear, self._frags = None, []
        self._skbs.free(1)

    def __len__(self) -> int:
        self._mine()
        return self.head_len + sum(length for _, _, length in self._frags)

    def __bytes__(self) -> bytes:
        self._mine()
        return b"".join(self._pieces())

    def __buffer__(self, flags: int, /) -> memoryview:
        """A view of a copy; Python 3.12 and later."""
        return memoryview(bytes(self))

    @property
    def header(self) -> VnetHeader:
        """What the device wrote, as far as it is passed on, and the number of buffers used."""
        self._mine()
        return VnetHeader(*self._header)

    @property
    def data(self) -> memoryview:
        """All bytes as one read-only view, of a copy."""
        return memoryview(bytes(self))

    @property
    def segments(self) -> list[memoryview]:
        """The packet as it lies in memory: read-only views of copies of the head and each frag."""
        self._mine()
        return [memoryview(piece) for piece in self._pieces()]

    @property
    def head_len(self) -> int:
        """How many bytes come before the frags: in the private head, or in the linear part."""
        self._mine()
        return self._linear[2] if self._linear else len(self._head)

    @property
    def frags(self) -> list[Piece]:
        """The frags: ``(page, offset, length)``."""
        self._mine()
        return list(self._frags)

    @property
    def linear(self) -> Piece | None:
        """The linear part in place of a private head (small, eager big), or None."""
        self._mine()
        return self._linear

    @property
    def truesize(self) -> int:
        """Bytes of memory that the packet pins: 128 or 1518, and 4096 per frag (section 9, L5)."""
        self._mine()
        if self._private:
            return len(self._head)
        return (1518 if self._linear else 128) + PAGE_SIZE * len(self._frags)

    @property
    def is_private(self) -> bool:
        """Whether the bytes were copied out of the arena."""
        self._mine()
        return self._private

    def make_private(self) -> None:
        """Copies the bytes out of the arena and gives pages and skb back (section 12)."""
        self._head = bytes(self)
        self._give_back()
        self._private = True

    def release(self) -> None:
        """Gives pages and skb back; twice is fine."""
        self._give_back()
        self._released = True

    def __del__(self) -> None:
        self.release()

    def __repr__(self) -> str:
        return "<Packet, released>" if self._released else f"<Packet of {len(self)} bytes>"
