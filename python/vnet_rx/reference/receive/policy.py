"""What a mode and strategy must say: how to build a buffer, and what to make of it."""

from typing import Protocol

from vnet_rx.reference.config import GOOD_COPY_LEN, RxConfig
from vnet_rx.reference.memory.arena import RING_AREA, PageArena
from vnet_rx.reference.memory.pool import Pool
from vnet_rx.reference.memory.shared import SharedMemory
from vnet_rx.reference.receive.packet import Packet, Piece
from vnet_rx.reference.receive.skb import Skbs
from vnet_rx.reference.receive.stats import Counters
from vnet_rx.reference.virtio import PAGE_SIZE, Fields

Buffer = list[int]
"""A posted buffer: its pages in the order of its descriptors. The header is in the first."""

PAGES = SharedMemory.GUEST_BASE + RING_AREA
"""The guest address of page 0."""


class Parts:
    """What policies work with: the configuration, and where pages and skbs come from."""

    __slots__ = ("arena", "config", "counters", "mutants", "pool", "skbs")

    def __init__(self, config: RxConfig, arena: PageArena, mutants: frozenset[str]) -> None:
        self.config = config
        self.arena = arena
        self.mutants = mutants
        self.counters = Counters()
        self.pool = Pool(arena, self.counters, mutants)
        self.skbs = Skbs(arena, self.counters)

    def copy_head(self, page: int, offset: int, length: int) -> bytes:
        """Copies at most 128 bytes of packet data into an skb's private head."""
        at = RING_AREA + PAGE_SIZE * page + offset
        copied = min(length, GOOD_COPY_LEN)
        self.counters.bytes_copied += copied
        return bytes(self.arena.memory.view[at : at + copied])

    def get_pages(self, count: int) -> list[int] | None:
        """A chain of pages; where one is missing none, and those taken go back as one chain."""
        chain: list[int] = []
        while len(chain) < count:
            page = self.pool.get()
            if page is None:
                if chain:
                    self.pool.give(chain)
                return None
            chain.append(page)
        return chain


class Policy(Protocol):
    """One of small, big and mergeable, deferred or eager (sections 3 and 4)."""

    def build(self) -> Buffer | None:
        """A buffer to be posted; None when memory runs out, and then nothing is kept."""

    def segments(self, buffer: Buffer) -> list[tuple[int, int]]:
        """Its descriptors: (guest address, length)."""

    def deliver(self, buffers: list[Buffer], lengths: list[int], header: Fields) -> Packet | None:
        """The packet in buffers that were judged good; None, touching nothing, without an skb."""

    def recycle(self, buffers: list[Buffer]) -> None:
        """Takes buffers back: their pages to the pool as one chain, their skbs freed."""


def frags_of(chain: list[int], offset: int, length: int) -> tuple[list[Piece], list[int]]:
    """``length`` bytes from ``offset`` of a chain's first page on: its frags, and the pages that
    hold none of them."""
    frags: list[Piece] = []
    while length > 0:
        part = min(PAGE_SIZE - offset, length)
        frags.append((chain[len(frags)], offset, part))
        length -= part
        offset = 0
    return frags, chain[len(frags) :]
