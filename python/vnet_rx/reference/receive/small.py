"""Small mode, both strategies: the posted skb is the packet."""

from vnet_rx.reference.config import MAX_PACKET_LEN
from vnet_rx.reference.receive.packet import Packet
from vnet_rx.reference.receive.policy import PAGES, Buffer, Parts
from vnet_rx.reference.virtio import PAGE_SIZE, Fields


class Small:
    """An skb with 1518 linear bytes, in one page of the arena."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.header_len = parts.config.header_len
        self.data_at = parts.config.data_offset

    def build(self) -> Buffer | None:
        """An skb with its linear page."""
        page = self.parts.skbs.alloc_linear()
        return None if page is None else [page]

    def segments(self, buffer: Buffer) -> list[tuple[int, int]]:
        """Legacy: header 10, data 1518. Modern: 12 + 1518 in one."""
        at = PAGES + PAGE_SIZE * buffer[0]
        if self.header_len == 10:
            return [(at, 10), (at + self.data_at, MAX_PACKET_LEN)]
        return [(at, self.header_len + MAX_PACKET_LEN)]

    def deliver(self, buffers: list[Buffer], lengths: list[int], header: Fields) -> Packet:
        """The posted skb, trimmed to what was written."""
        length = lengths[0] - self.header_len
        if "M07" in self.parts.mutants:
            length = min(length, MAX_PACKET_LEN)  # trimming never makes an skb longer
        linear = buffers[0][0], self.data_at, length
        return Packet(self.parts.arena, self.parts.skbs, header, b"", linear, [])

    def recycle(self, buffers: list[Buffer]) -> None:
        """Frees the skbs, whose pages go to the arena."""
        for (page,) in buffers:
            self.parts.arena.put([page])
        self.parts.skbs.free(len(buffers))
