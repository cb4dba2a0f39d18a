"""The eager strategy, which the deferred one replaced: an skb is allocated per posted buffer."""

from vnet_rx.reference.config import MAX_PACKET_LEN
from vnet_rx.reference.receive.packet import Packet, Piece
from vnet_rx.reference.receive.policy import PAGES, Buffer, Parts, frags_of
from vnet_rx.reference.virtio import PAGE_SIZE, Fields


class EagerBig:
    """An skb with 1518 linear bytes in a page of the arena, and F pages of the pool behind it."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.header_len = parts.config.header_len
        self.data_at = parts.config.data_offset
        self.frags = parts.config.max_frags

    def build(self) -> Buffer | None:
        """The skb first, then its pages."""
        linear = self.parts.skbs.alloc_linear()
        if linear is None:
            return None
        pages = self.parts.get_pages(self.frags)
        if pages is None:
            self.parts.arena.put([linear])
            self.parts.skbs.free(1)
            return None
        return [linear, *pages]

    def segments(self, buffer: Buffer) -> list[tuple[int, int]]:
        """Legacy: header 10, linear 1518, F pages. Modern: 12 + 1518 in one, F pages."""
        whole = [(PAGES + PAGE_SIZE * page, PAGE_SIZE) for page in buffer]
        at = whole[0][0]
        if self.header_len == 10:
            whole[:1] = (at, 10), (at + self.data_at, MAX_PACKET_LEN)
        else:
            whole[0] = at, self.header_len + MAX_PACKET_LEN
        return whole

    def deliver(self, buffers: list[Buffer], lengths: list[int], header: Fields) -> Packet:
        """The posted skb, trimmed. Unused pages: all to the pool one by one, or some to the arena
        as one chain."""
        parts, (linear, *pages) = self.parts, buffers[0]
        length = lengths[0] - self.header_len
        in_linear = min(length, MAX_PACKET_LEN)
        frags, unused = frags_of(pages, 0, length - in_linear)
        if "M21" in parts.mutants:
            pass
        elif not frags:
            for page in unused:
                parts.pool.give([page])
        elif unused:
            parts.arena.put(unused)
        piece: Piece = (linear, self.data_at, in_linear)
        return Packet(parts.arena, parts.skbs, header, b"", piece, frags)

    def recycle(self, buffers: list[Buffer]) -> None:
        """The F pages to the pool as one chain; the skb freed, its linear page to the arena."""
        for linear, *pages in buffers:
            self.parts.pool.give(pages)
            self.parts.arena.put([linear])
        self.parts.skbs.free(len(buffers))


class EagerMergeable:
    """An skb with a private head of 128 bytes, and one page as its frag 0."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.header_len = parts.config.header_len

    def build(self) -> Buffer | None:
        """The skb first, then its page."""
        if not self.parts.skbs.alloc():
            return None
        pages = self.parts.get_pages(1)
        if pages is None:
            self.parts.skbs.free(1)
        return pages

    def segments(self, buffer: Buffer) -> list[tuple[int, int]]:
        """The page, whole."""
        return [(PAGES + PAGE_SIZE * buffer[0], PAGE_SIZE)]

    def deliver(self, buffers: list[Buffer], lengths: list[int], header: Fields) -> Packet:
        """The first skb, with the same head as in the deferred strategy; further buffers' pages
        are stolen into it, and their own skbs freed."""
        parts, chain = self.parts, buffers[0]
        length = lengths[0] - self.header_len
        head = parts.copy_head(chain[0], self.header_len, length)
        frags, unused = frags_of(chain, self.header_len + len(head), length - len(head))
        if unused:
            parts.pool.give(unused)
        for buffer, more in zip(buffers[1:], lengths[1:], strict=True):
            frags.append((buffer[0], 0, more))
            parts.skbs.free(1)
        return Packet(parts.arena, parts.skbs, header, head, None, frags)

    def recycle(self, buffers: list[Buffer]) -> None:
        """All pages to the pool as one chain; every skb freed."""
        self.parts.pool.give([page for buffer in buffers for page in buffer])
        self.parts.skbs.free(len(buffers))
