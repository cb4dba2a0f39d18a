"""The counters of a receive queue (RECEIVE.md, section 10)."""

from typing import Any, Final, final

FAULTS: Final = (
    "ShortPacket",
    "LengthOverrun",
    "TooManyFrags",
    "ZeroBuffers",
    "EmptyBuffer",
    "IncompletePacket",
    "BufferCount",
    "BadUsedId",
    "IndexJump",
    "Disconnected",
    "BadChecksum",
    "BadGso",
    "NotNegotiated",
    "PartialBuffer",
)


class Counters:
    """The counters as they run. Pages are counted by the arena."""

    __slots__ = (
        "buffers_posted",
        "bytes_copied",
        "faults",
        "kicks",
        "polls",
        "pool_gets",
        "pool_gives",
        "rx_bytes",
        "rx_dropped",
        "rx_frame_errors",
        "rx_length_errors",
        "rx_packets",
        "skb_allocs",
        "skb_frees",
    )

    def __init__(self) -> None:
        self.rx_packets = self.rx_bytes = 0
        self.rx_length_errors = self.rx_frame_errors = self.rx_dropped = 0
        self.skb_allocs = self.skb_frees = 0
        self.pool_gets = self.pool_gives = 0
        self.bytes_copied = self.buffers_posted = self.kicks = self.polls = 0
        self.faults = dict.fromkeys(FAULTS, 0)


@final
class Stats:
    """The counters of a receive queue at one moment (RECEIVE.md, section 10)."""

    __slots__ = (
        "_faults",
        "buffers_posted",
        "bytes_copied",
        "kicks",
        "page_allocs",
        "page_frees",
        "polls",
        "pool_gets",
        "pool_gives",
        "rx_bytes",
        "rx_dropped",
        "rx_frame_errors",
        "rx_length_errors",
        "rx_packets",
        "skb_allocs",
        "skb_frees",
    )

    def __init__(self, counters: Counters, page_allocs: int, page_frees: int) -> None:
        self.rx_packets = counters.rx_packets
        self.rx_bytes = counters.rx_bytes
        self.rx_length_errors = counters.rx_length_errors
        self.rx_frame_errors = counters.rx_frame_errors
        self.rx_dropped = counters.rx_dropped
        self.skb_allocs = counters.skb_allocs
        self.skb_frees = counters.skb_frees
        self.page_allocs = page_allocs
        self.page_frees = page_frees
        self.pool_gets = counters.pool_gets
        self.pool_gives = counters.pool_gives
        self.bytes_copied = counters.bytes_copied
        self.buffers_posted = counters.buffers_posted
        self.kicks = counters.kicks
        self.polls = counters.polls
        self._faults = counters.faults.copy()

    @property
    def faults(self) -> dict[str, int]:
        """How often each fault was met, by its name in RECEIVE.md, section 5."""
        return self._faults.copy()

    def as_dict(self) -> dict[str, Any]:
        """All counters by name, the faults as a dict of their own."""
        return {
            "rx_packets": self.rx_packets,
            "rx_bytes": self.rx_bytes,
            "rx_length_errors": self.rx_length_errors,
            "rx_frame_errors": self.rx_frame_errors,
            "rx_dropped": self.rx_dropped,
            "skb_allocs": self.skb_allocs,
            "skb_frees": self.skb_frees,
            "page_allocs": self.page_allocs,
            "page_frees": self.page_frees,
            "pool_gets": self.pool_gets,
            "pool_gives": self.pool_gives,
            "bytes_copied": self.bytes_copied,
            "buffers_posted": self.buffers_posted,
            "kicks": self.kicks,
            "polls": self.polls,
            "faults": self._faults.copy(),
        }

    def __eq__(self, other: object, /) -> bool:
        return self.as_dict() == other.as_dict() if isinstance(other, Stats) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        counters = self.as_dict()
        counters |= counters.pop("faults")
        return f"Stats({', '.join(f'{name}={n}' for name, n in counters.items() if n)})"
