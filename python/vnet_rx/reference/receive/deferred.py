"""The deferred strategy: bare pages are posted, the skb is allocated when a packet has arrived."""

from vnet_rx.reference.receive.packet import Packet
from vnet_rx.reference.receive.policy import PAGES, Buffer, Parts, frags_of
from vnet_rx.reference.virtio import PAGE_SIZE, Fields


class _Deferred:
    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.header_len = parts.config.header_len
        self.data_at = parts.config.data_offset
        self.pages = parts.config.pages_per_buffer

    def build(self) -> Buffer | None:
        """Pages, in the order in which they were taken."""
        return self.parts.get_pages(self.pages)

    def deliver(self, buffers: list[Buffer], lengths: list[int], header: Fields) -> Packet | None:
        """A new skb: up to 128 bytes of the first buffer in its head, what is left in frags."""
        parts, chain = self.parts, buffers[0]
        if not parts.skbs.alloc():
            return None  # R10
        length = lengths[0] - self.header_len
        head = parts.copy_head(chain[0], self.data_at, length)
        frags, unused = frags_of(chain, self.data_at + len(head), length - len(head))
        if unused and not ("M21" in parts.mutants and self.pages > 1):
            parts.pool.give(unused)
        for buffer, more in zip(buffers[1:], lengths[1:], strict=True):
            frags.append((buffer[0], 0, more))
        return Packet(parts.arena, parts.skbs, header, head, None, frags)

    def recycle(self, buffers: list[Buffer]) -> None:
        """All pages to the pool as one chain, in buffer order, then chain order."""
        self.parts.pool.give([page for buffer in buffers for page in buffer])


class DeferredBig(_Deferred):
    """A chain of F + 1 pages, the header in front of the first."""

    def segments(self, buffer: Buffer) -> list[tuple[int, int]]:
        """Legacy: header 10, data 4080, F whole pages. Modern: F + 1 whole pages."""
        whole = [(PAGES + PAGE_SIZE * page, PAGE_SIZE) for page in buffer]
        if self.header_len == 10:
            at = whole[0][0]
            whole[:1] = (at, 10), (at + self.data_at, PAGE_SIZE - self.data_at)
        return whole


class DeferredMergeable(_Deferred):
    """One page; a packet may take several."""

    def segments(self, buffer: Buffer) -> list[tuple[int, int]]:
        """The page, whole."""
        return [(PAGES + PAGE_SIZE * buffer[0], PAGE_SIZE)]
