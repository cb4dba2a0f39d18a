"""What a faulty or hostile device does, by name: F01 to F38.

``CATALOGUE["F02"].cases(config)`` gives the ways to provoke one fault, each a list of operations
that follow a refill, and the answer that a receive path owes (RECEIVE.md, sections 5 to 8). They
can be put together, and run at any index position (F37) by the configuration's ``first_index``.
F39 and F40 are matters of vhost-user, not of a ring.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from vnet_rx.testing.scenario import GUEST_CSUM, Config

Operations = list[dict[str, Any]]

Answer = Literal["deliver", "drop", "break", "any"]


@dataclass(frozen=True, slots=True)
class Case:
    """One way to provoke a fault, and what must come of it."""

    operations: Operations
    """To be run on a refilled queue."""
    answer: Answer
    """What is owed: ``any`` where the fault cannot be noticed and only the laws hold."""
    fault: str | None = None
    """The DeviceFault that is counted."""
    packets: int = 0
    """Packets delivered in all of it."""
    config: Config | None = None
    """The configuration it takes, where that is not the one given."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of the catalogue."""

    id: str
    title: str
    make: Callable[[Config], Iterator[Case]]

    def cases(self, config: Config) -> list[Case]:
        """The ways to provoke it in a queue of this kind; none where it does not apply."""
        return list(self.make(config))


CATALOGUE: Final[dict[str, Fault]] = {}
"""Every fault by its number."""


def _fault(title: str) -> Callable[[Callable[[Config], Iterator[Case]]], None]:
    def add(make: Callable[[Config], Iterator[Case]]) -> None:
        number = make.__name__[1:4].upper()
        CATALOGUE[number] = Fault(number, title, make)

    return add


POLL: Final[dict[str, Any]] = {"op": "poll", "budget": 64}
CSUM: Final = [1, 0, 0, 0, 34, 16]
TCPV4: Final = [1, 1, 54, 1448, 34, 16]


def send(size: int = 100, **fields: Any) -> dict[str, Any]:
    """The device sends one packet."""
    return {"op": "device", "do": [{"act": "send", "size": size, **fields}]}


def device(*actions: dict[str, Any]) -> dict[str, Any]:
    """The device acts."""
    return {"op": "device", "do": list(actions)}


def buffers(config: Config) -> int:
    """Buffers on a full ring."""
    return config.ring_size // config.descriptors_per_buffer


def longest(config: Config) -> int:
    """The greatest used length of one buffer: R2, R3."""
    if config.mode == "small":
        return config.header_len + 1518
    if config.mode == "mergeable":
        return 4096
    return config.max_frags * 4096 - (6 if config.dialect == "legacy" else 0)


def _sent(answer: Answer, fault: str | None, **fields: Any) -> Case:
    return Case([send(**fields), POLL], answer, fault, packets=int(answer == "deliver"))


@_fault("used id not below the ring size")
def _f01_id_out_of_range(config: Config) -> Iterator[Case]:
    for value in (config.ring_size, config.ring_size + 1, 0xFFFF_FFFF):
        yield _sent("break", "BadUsedId", id=[[0, value]])


@_fault("used id with high bits set over a valid low half")
def _f02_id_high_bits(config: Config) -> Iterator[Case]:
    for value in (0x1_0000, 0x8000_0000):
        yield _sent("break", "BadUsedId", id_add=[[0, value]])


@_fault("used id not outstanding: a duplicate completion")
def _f03_duplicate(config: Config) -> Iterator[Case]:
    once, again = send(), device({"act": "again", "back": 0})
    yield Case([once, {"op": "poll", "budget": 1}, again, POLL], "break", "BadUsedId", 1)
    yield Case([once, again, POLL], "break", "BadUsedId", 1)


@_fault("duplicate after the driver has posted that id again")
def _f04_late_duplicate(config: Config) -> Iterator[Case]:
    used_up = [
        step for _ in range(buffers(config)) for step in (send(), POLL, {"op": "release_all"})
    ]
    late = device({"act": "again", "back": buffers(config) - 1})
    yield Case([*used_up, {"op": "refill"}, late, POLL], "any")


@_fault("id of a descriptor inside a chain")
def _f05_inside_a_chain(config: Config) -> Iterator[Case]:
    for value in range(1, config.descriptors_per_buffer):
        yield _sent("break", "BadUsedId", id_add=[[0, value]])


@_fault("used.len too long")
def _f06_too_long(config: Config) -> Iterator[Case]:
    lengths = {longest(config) + 1, 0xFFFF_FFFF}
    if config.mode != "big":
        lengths |= {4097, 0x1_0000}
    for value in sorted(lengths):
        yield _sent("drop", "LengthOverrun", len=[[0, value]])


@_fault("used.len shorter than header and Ethernet header")
def _f07_too_short(config: Config) -> Iterator[Case]:
    h = config.header_len
    for value in (0, 1, h - 1, h, h + 13):
        yield _sent("drop", "ShortPacket", len=[[0, value]])


@_fault("the shortest packet there can be")
def _f08_shortest(config: Config) -> Iterator[Case]:
    yield _sent("deliver", None, size=14)


@_fault("num_buffers 0")
def _f09_zero_buffers(config: Config) -> Iterator[Case]:
    if config.mode == "mergeable":
        yield _sent("drop", "ZeroBuffers", num_buffers=0)


@_fault("num_buffers garbage when buffers are not mergeable")
def _f10_count_not_negotiated(config: Config) -> Iterator[Case]:
    if config.mode != "mergeable":
        for value in (0, 2, 0xFFFF):
            yield _sent("deliver", None, num_buffers=value)


@_fault("num_buffers above the ring size or what is outstanding")
def _f11_count_too_high(config: Config) -> Iterator[Case]:
    if config.mode == "mergeable":
        for value in (config.ring_size + 1, 0xFFFF):
            yield _sent("break", "BufferCount", num_buffers=value)
        taken = [send(), {"op": "poll", "budget": 1}]
        late = send(num_buffers=config.ring_size)
        yield Case([*taken, late, POLL], "break", "BufferCount", 1)


@_fault("num_buffers at the frag limit")
def _f12_frag_limit(config: Config) -> Iterator[Case]:
    if config.mode != "mergeable" or config.ring_size < config.max_frags + 2:
        return
    h = config.header_len
    for held_by_first, most in ((129, config.max_frags), (128, config.max_frags + 1)):
        for count in (most - 1, most, most + 1):
            if count < 1:
                continue
            size = held_by_first + (count - 1) * 4096 if count > 1 else held_by_first
            fields = {"size": min(size, 70_000), "buffers": count, "fill": [h + held_by_first]}
            if size > 70_000:
                # What cannot be sent as one is made up by the last used length.
                fields["len"] = [[count - 1, 4096]]
            if count > most:
                yield _sent("drop", "TooManyFrags", **fields)
            else:
                yield replace(
                    _sent("deliver", None, **fields), fault=_partial(count, held_by_first)
                )


def _partial(count: int, held_by_first: int) -> str | None:
    return "PartialBuffer" if count > 1 else None


@_fault("a packet whose buffers complete in steps, one a poll")
def _f13_in_steps(config: Config) -> Iterator[Case]:
    if config.mode == "mergeable" and config.ring_size >= 4:
        one = [device({"act": "publish", "count": 1}), POLL]
        for count in (2, 3, 4):
            start = send(4096 * (count - 1) + 60, buffers=count, hold=count - 1)
            yield Case([start, POLL, *one * (count - 1)], "deliver", None, 1)


@_fault("a packet whose rest never comes")
def _f14_never_the_rest(config: Config) -> Iterator[Case]:
    if config.mode == "mergeable" and config.ring_size >= 4:
        start = send(9000, buffers=3, hold=2)
        polls = [POLL] * config.max_incomplete_polls
        yield Case([start, *polls], "break", "IncompletePacket")
        more = [device({"act": "publish", "count": 1}), *polls]
        yield Case([start, *polls[1:], *more], "break", "IncompletePacket")


@_fault("a later buffer of length 0")
def _f15_empty_buffer(config: Config) -> Iterator[Case]:
    if config.mode == "mergeable":
        yield _sent("drop", "EmptyBuffer", buffers=2)


@_fault("a buffer that is not full though not the last")
def _f16_partial_buffer(config: Config) -> Iterator[Case]:
    if config.mode == "mergeable":
        yield _sent("deliver", "PartialBuffer", size=300, buffers=2, fill=[200])


@_fault("a later buffer with a bad id or length")
def _f17_bad_later_buffer(config: Config) -> Iterator[Case]:
    if config.mode == "mergeable":
        for value in (0x1_0000, config.ring_size):
            yield _sent("break", "BadUsedId", size=5000, buffers=2, id_add=[[1, value]])
        yield _sent("drop", "LengthOverrun", size=5000, buffers=2, len=[[1, 4097]])


@_fault("used.idx jumps")
def _f18_jump(config: Config) -> Iterator[Case]:
    for by in (buffers(config) + 1, 0x4000):
        yield Case([device({"act": "jump", "by": by}), POLL], "break", "IndexJump")


@_fault("used.idx goes back")
def _f19_back(config: Config) -> Iterator[Case]:
    back = device({"act": "jump", "by": 0xFFFF})
    yield Case([back, POLL], "break", "IndexJump")
    yield Case([send(), POLL, back, POLL], "break", "IndexJump", 1)


@_fault("descriptor table overwritten while posted")
def _f20_descriptors_overwritten(config: Config) -> Iterator[Case]:
    whole = 16 * config.ring_size
    for data in ("ff" * whole, "00" * whole):
        if whole <= 8192:
            scribble = {"act": "scribble", "area": "desc", "at": 0, "bytes": data}
            packet = {"act": "send", "size": 100}
            yield Case([device(scribble, packet), POLL], "deliver", None, 1)


@_fault("avail ring overwritten")
def _f21_avail_overwritten(config: Config) -> Iterator[Case]:
    for data in ("ff", "00"):
        scribble = {"act": "scribble", "area": "avail", "at": 0}
        packet = {"act": "send", "size": 100}
        scribble["bytes"] = data * (6 + 2 * config.ring_size)
        yield Case([device(scribble, packet), POLL], "deliver", None, 1)


@_fault("used.flags and avail_event garbage")
def _f22_notification_garbage(config: Config) -> Iterator[Case]:
    for value in (1, 0xFFFF):
        words = device({"act": "flags", "value": value}, {"act": "event", "ahead": 0x8000})
        watch = [{"op": "watchdog"}, {"op": "watchdog"}]
        yield Case([words, send(), POLL, *watch], "deliver", None, 1)


@_fault("gso_type unknown, or ECN alone")
def _f23_unknown_gso(config: Config) -> Iterator[Case]:
    for kind in (2, 6, 0x7F, 0x80):
        yield _sent("drop", "BadGso", header=[1, kind, 54, 1448, 34, 16])


@_fault("gso_size 0, or GSO without NEEDS_CSUM")
def _f24_inconsistent_gso(config: Config) -> Iterator[Case]:
    if config.mode != "small":
        yield _sent("drop", "BadGso", header=[1, 1, 54, 0, 34, 16])
        yield _sent("drop", "BadGso", header=[0, 1, 54, 1448, 34, 16])


@_fault("checksum position outside the packet")
def _f25_bad_checksum(config: Config) -> Iterator[Case]:
    for start, offset in ((99, 0), (34, 65), (100, 0), (0xFFFF, 0xFFFF), (0xFFFF, 1), (2, 0xFFFD)):
        yield _sent("drop", "BadChecksum", header=[1, 0, 0, 0, start, offset])
    yield _sent("deliver", None, header=[1, 0, 0, 0, 34, 64])


@_fault("offloads that were not negotiated")
def _f26_not_negotiated(config: Config) -> Iterator[Case]:
    without = replace(config, features=config.feature_bits & ~GUEST_CSUM)
    yield replace(_sent("drop", "NotNegotiated", header=CSUM), config=without)
    if config.mode == "small":
        yield _sent("drop", "NotNegotiated", header=TCPV4)
        return
    without = replace(config, features=config.feature_bits & ~(1 << 7))
    yield replace(_sent("drop", "NotNegotiated", header=TCPV4), config=without)
    without = replace(config, features=config.feature_bits & ~(1 << 9))
    yield replace(_sent("drop", "NotNegotiated", header=[1, 0x81, *TCPV4[2:]]), config=without)


@_fault("unknown flag bits, hdr_len nonsense")
def _f27_ignored_fields(config: Config) -> Iterator[Case]:
    for flags in (0xFC, 0xFE):
        yield _sent("deliver", None, header=[flags, 0, 0xFFFF, 0, 0, 0])


@_fault("header rewritten between two reads")
def _f28_header_rewritten(config: Config) -> Iterator[Case]:
    for at, data in ((0, "0107ffff0000ffffffff"), (10, "ffff"), (10, "0000")):
        if at == 10 and config.header_len == 10:
            continue
        act = {"act": "rewrite", "back": 0, "at": at, "bytes": data}
        poll = {**POLL, "at": [{"point": "header_copied", "pass": 1, "do": [act]}]}
        yield Case([send(), poll], "deliver", None, 1)


@_fault("payload rewritten after completion")
def _f29_payload_rewritten(config: Config) -> Iterator[Case]:
    act = {"act": "rewrite", "back": 0, "at": config.header_len, "bytes": "ff" * 100}
    yield Case([send(), POLL, device(act), {"op": "release", "packet": 0}], "deliver", None, 1)


@_fault("writes past len, or into other pages")
def _f30_stray_writes(config: Config) -> Iterator[Case]:
    past = {"act": "rewrite", "back": 0, "at": config.header_len + 100, "bytes": "ff" * 64}
    stray = {"act": "stray", "chain": 0, "at": 0, "bytes": "ff" * 64}
    packet = {"act": "send", "size": 100}
    yield Case([device(packet, past, stray), POLL], "deliver", None, 1)
    yield Case([device(stray, packet), POLL], "deliver", None, 1)


@_fault("len says more than was written")
def _f31_stale_bytes(config: Config) -> Iterator[Case]:
    first = [send(500, seed=1), POLL, {"op": "release_all"}]
    more = send(20, len=[[0, config.header_len + 500]])
    yield Case([*first, more, POLL], "deliver", None, 2)


@_fault("notifications without a reason")
def _f32_spurious_notifications(config: Config) -> Iterator[Case]:
    yield Case([POLL] * 5, "deliver")


@_fault("lost notifications")
def _f33_lost_notification(config: Config) -> Iterator[Case]:
    # Nobody is told of the packet; whoever polls finds it.
    yield Case([{"op": "watchdog"}, send(), {"op": "watchdog"}, POLL], "deliver", None, 1)


@_fault("never completes anything")
def _f34_never_completes(config: Config) -> Iterator[Case]:
    yield Case([POLL, device(), POLL, POLL, {"op": "watchdog"}, {"op": "watchdog"}], "deliver")


@_fault("endless bad packets")
def _f35_endless_bad_packets(config: Config) -> Iterator[Case]:
    bad = send(len=[[0, 0]])
    one = {"op": "poll", "budget": 1}
    yield Case([bad, one, bad, one, *[bad] * buffers(config), one, POLL], "drop", "ShortPacket")


@_fault("disconnect with buffers outstanding")
def _f36_disconnect(config: Config) -> Iterator[Case]:
    yield Case([send(), {"op": "disconnect"}, POLL], "break", "Disconnected")


@_fault("index positions around 65535 -> 0")
def _f37_index_wrap(config: Config) -> Iterator[Case]:
    steps = [step for i in range(12) for step in (send(60 + i), POLL, {"op": "refill"})]
    for first in (65_524, 65_530, 65_535):
        yield Case(steps, "deliver", None, 12, replace(config, first_index=first))


@_fault("out of memory at each single allocation")
def _f38_out_of_memory(config: Config) -> Iterator[Case]:
    steps: Operations = [send(), POLL, {"op": "release_all"}]
    what = [("fail_pages", k) for k in range(config.pages_per_buffer + 1)]
    what += [("fail_skbs", k) for k in range(2)]
    for op, skip in what:
        fail: Operations = [{"op": "reset"}, {"op": op, "skip": skip, "count": 1}, {"op": "refill"}]
        mend: Operations = [{"op": op, "skip": 0, "count": 0}, {"op": "refill"}]
        yield Case([*fail, *mend, *steps], "deliver", None, 1)
