"""Whether a packet may be delivered: pure functions of lengths, header copy and configuration.

Each returns the name of the first fault (RECEIVE.md, section 5), or None.
"""

from typing import Final

from vnet_rx.reference import virtio
from vnet_rx.reference.config import ETH_HLEN, GOOD_COPY_LEN, RxConfig
from vnet_rx.reference.virtio import GSO_ECN, Fields

COUNTED_AS: Final = {
    "ShortPacket": "rx_length_errors",
    "LengthOverrun": "rx_length_errors",
    "TooManyFrags": "rx_length_errors",
    "ZeroBuffers": "rx_length_errors",
    "EmptyBuffer": "rx_length_errors",
    "IncompletePacket": "rx_length_errors",
    "BadChecksum": "rx_frame_errors",
    "BadGso": "rx_frame_errors",
    "NotNegotiated": "rx_frame_errors",
}

# Section 7, rule 3: any of these features allows the type.
_GSO_FEATURES: Final = {
    virtio.GSO_TCPV4: virtio.GUEST_TSO4,
    virtio.GSO_UDP: virtio.GUEST_UFO,
    virtio.GSO_TCPV6: virtio.GUEST_TSO6,
    virtio.GSO_UDP_L4: virtio.GUEST_USO4 | virtio.GUEST_USO6,
}


class Rules:
    """What a configuration allows: the numbers that the rules compare with."""

    __slots__ = ("features", "header_len", "least", "longest", "max_frags", "mode", "mutants")

    def __init__(self, config: RxConfig, mutants: frozenset[str]) -> None:
        self.mode = config.mode
        self.features = config.features
        self.header_len = config.header_len
        self.least = config.header_len + ETH_HLEN
        if "M06" in mutants:
            self.least = 10 + ETH_HLEN
        self.longest = config.longest
        self.max_frags = config.max_frags
        self.mutants = mutants


def judge_lengths(rules: Rules, lengths: list[int]) -> str | None:
    """R1, R2, R3, R5, R6, over all used lengths of a packet."""
    if sum(lengths) < rules.least:
        return "ShortPacket"  # R1
    if max(lengths) > rules.longest and not _overlooked(rules, lengths):
        return "LengthOverrun"  # R2 and R3
    if len(lengths) > 1:
        first = lengths[0] - rules.header_len > GOOD_COPY_LEN
        if first + len(lengths) - 1 > rules.max_frags:
            return "TooManyFrags"  # R5
        if 0 in lengths:
            return "EmptyBuffer"  # R6: a first length is at least the header
    return None


def _overlooked(rules: Rules, lengths: list[int]) -> bool:
    """Whether a mutant lets an over-long buffer pass: M01 the first, M02 and M07 the only one."""
    mutant = {"mergeable": "M01", "big": "M02", "small": "M07"}[rules.mode]
    return mutant in rules.mutants and max(lengths[1:], default=0) <= rules.longest


def judge_metadata(rules: Rules, header: Fields, length: int) -> str | None:
    """Section 7, on the private header copy of a packet of ``length`` bytes."""
    flags, gso_type, _, gso_size, csum_start, csum_offset, _ = header
    if flags & virtio.NEEDS_CSUM:
        if not rules.features & virtio.GUEST_CSUM:
            return "NotNegotiated"
        end = csum_start + csum_offset + 2
        if "M17" in rules.mutants:
            end &= 0xFFFF
        if end > length:
            return "BadChecksum"
    if gso_type == virtio.GSO_NONE:
        return None
    kind = gso_type & ~GSO_ECN
    feature = _GSO_FEATURES.get(kind)
    if feature is None:
        return "BadGso"  # an unknown type, or ECN alone
    if not rules.features & feature:
        return "NotNegotiated"
    if gso_type & GSO_ECN and not rules.features & virtio.GUEST_ECN:
        return "NotNegotiated"
    if not flags & virtio.NEEDS_CSUM or gso_size == 0:
        return "BadGso"
    return None
