"""What a receive queue shall be (RECEIVE.md, section 1)."""

import math
from typing import Final, Literal, final

from vnet_rx.errors import ConfigError
from vnet_rx.reference import virtio
from vnet_rx.reference.virtio import PAGE_SIZE

GOOD_COPY_LEN: Final = 128
MAX_PACKET_LEN: Final = 1518
ETH_HLEN: Final = 14

_Mode = Literal["small", "big", "mergeable"]
_Strategy = Literal["eager", "deferred"]
_Dialect = Literal["legacy", "modern"]

_BIG: Final = (
    virtio.GUEST_TSO4
    | virtio.GUEST_TSO6
    | virtio.GUEST_ECN
    | virtio.GUEST_UFO
    | virtio.GUEST_USO4
    | virtio.GUEST_USO6
)
_DEFAULT: Final = {
    "small": virtio.GUEST_CSUM,
    "big": virtio.GUEST_CSUM | _BIG,
    "mergeable": virtio.GUEST_CSUM | _BIG | virtio.MRG_RXBUF,
}


def _choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    if value not in choices:
        raise ConfigError(f'unknown {what} "{value}": choose one of {", ".join(choices)}')


def within(what: str, value: int, low: int, high: int) -> int:
    """The value, if it is from ``low`` to ``high``. Raises ``ConfigError``."""
    if not low <= value <= high:
        raise ConfigError(f"{what} {value} is not possible: choose {low} to {high}")
    return value


def ring_size_of(size: int) -> int:
    """The size, if a split ring can have it. Raises ``ConfigError``."""
    within("ring_size", size, 0, 2**32 - 1)
    if not 2 <= size <= 32768 or size & (size - 1):
        raise ConfigError(
            f"ring size {size} is not possible: choose a power of two from 2 to 32768"
        )
    return size


def mode_of(features: int) -> str:
    """Mergeable wins over big, big over small."""
    if features & virtio.MRG_RXBUF:
        return "mergeable"
    return "big" if features & _BIG else "small"


@final
class RxConfig:
    """What a receive queue shall be: mode, strategy, dialect, ring size, features, limits.

    ``features`` must agree with mode and dialect; by default it is what the mode has room for. A
    packet that stays incomplete breaks the queue after ``max_incomplete_polls`` polls without
    progress or, with ``incomplete_timeout``, after so many seconds. Raises ``ConfigError``.
    """

    __slots__ = (
        "descriptors_per_buffer",
        "dialect",
        "features",
        "first_index",
        "header_len",
        "incomplete_timeout",
        "max_frags",
        "max_incomplete_polls",
        "mode",
        "pages_per_buffer",
        "ring_size",
        "strategy",
    )

    mode: _Mode
    strategy: _Strategy
    dialect: _Dialect
    max_incomplete_polls: int | None
    incomplete_timeout: float | None

    def __init__(
        self,
        mode: str = "mergeable",
        strategy: str = "deferred",
        dialect: str = "modern",
        ring_size: int = 256,
        features: int | None = None,
        event_idx: bool = True,
        max_frags: int = 18,
        max_incomplete_polls: int = 16,
        incomplete_timeout: float | None = None,
        first_index: int = 0,
    ) -> None:
        _choice("mode", mode, ("small", "big", "mergeable"))
        _choice("strategy", strategy, ("eager", "deferred"))
        _choice("dialect", dialect, ("legacy", "modern"))
        self.mode = mode  # type: ignore[assignment]
        self.strategy = strategy  # type: ignore[assignment]
        self.dialect = dialect  # type: ignore[assignment]
        self.ring_size = ring_size_of(ring_size)
        self.max_frags = within("max_frags", max_frags, 1, 45)
        self.first_index = within("first_index", first_index, 0, 65535)
        self.features = self._features(features, event_idx)
        if incomplete_timeout is not None:
            if not 0 < incomplete_timeout < math.inf:
                raise ConfigError(
                    f"incomplete_timeout {incomplete_timeout} is not possible: give seconds above 0"
                )
            self.max_incomplete_polls = None
        else:
            self.max_incomplete_polls = within(
                "max_incomplete_polls", max_incomplete_polls, 1, 2**32 - 1
            )
        self.incomplete_timeout = incomplete_timeout

        legacy = dialect == "legacy"
        self.header_len = 10 if legacy and mode != "mergeable" else 12
        # Section 3: what one buffer takes. The legacy header has a descriptor of its own.
        apart = 1 if self.header_len == 10 else 0
        self.pages_per_buffer = max_frags + 1 if mode == "big" else 1
        self.descriptors_per_buffer = self.pages_per_buffer + apart
        if self.descriptors_per_buffer > ring_size:
            least = 1 << (self.descriptors_per_buffer - 1).bit_length()
            raise ConfigError(
                f"a ring of {ring_size} is too small for {mode} mode: one buffer takes "
                f"{self.descriptors_per_buffer} descriptors, so choose at least {least}"
            )

    def _features(self, features: int | None, event_idx: bool) -> int:
        if features is None:
            features = _DEFAULT[self.mode]
            features |= virtio.EVENT_IDX if event_idx else 0
            return features | (virtio.VERSION_1 if self.dialect == "modern" else 0)
        if not 0 <= features < 2**64:
            raise OverflowError(f"features {features:#x} do not fit into 64 bits")
        if features & virtio.RING_PACKED:
            raise ConfigError("RING_PACKED is not supported: negotiate without feature bit 34")
        mode = mode_of(features)
        dialect = "modern" if features & virtio.VERSION_1 else "legacy"
        if (mode, dialect) != (self.mode, self.dialect):
            raise ConfigError(
                f"features {features:#x} select {mode} mode in the {dialect} dialect, "
                f"not {self.mode} and {self.dialect}"
            )
        return features

    @property
    def event_idx(self) -> bool:
        """Whether EVENT_IDX was negotiated."""
        return bool(self.features & virtio.EVENT_IDX)

    @property
    def feature_names(self) -> list[str]:
        """The names of the negotiated features that matter here."""
        return [name for name, bit in virtio.FEATURES.items() if self.features & bit]

    @property
    def pages_per_ring(self) -> int:
        """The pages that a full ring of buffers takes."""
        return self.ring_size // self.descriptors_per_buffer * self.pages_per_buffer

    @property
    def refill_below(self) -> int:
        """Section 8, ``need``: with fewer buffers than this a ring is refilled whatever its max."""
        return self.max_frags + 1 if self.mode == "mergeable" else 1

    @property
    def data_offset(self) -> int:
        """Where packet data begins in a buffer's first page: 16 behind a legacy header of 10."""
        return 16 if self.header_len == 10 else 12

    @property
    def longest(self) -> int:
        """The most that a used length may say of one buffer: rules R2 and R3."""
        if self.mode == "mergeable":
            return PAGE_SIZE
        if self.mode == "small":
            return self.header_len + MAX_PACKET_LEN
        return self.max_frags * PAGE_SIZE - (self.data_offset - self.header_len)

    def _key(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object, /) -> bool:
        return self._key() == other._key() if isinstance(other, RxConfig) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f'RxConfig(mode="{self.mode}", strategy="{self.strategy}", dialect="{self.dialect}", '
            f"ring_size={self.ring_size}, features={self.features:#x}, "
            f"max_frags={self.max_frags}, first_index={self.first_index})"
        )
