"""RECEIVE.md rule by rule at the edge values, on both implementations: a rule that both got wrong
in the same way would escape the differential test."""

import itertools
import time
from typing import Any

import pytest

import vnet_rx
import vnet_rx.reference as reference

from .conftest import DIALECTS, MODES, STRATEGIES
from .world import PATTERN, World, header, made

EVERY = list(itertools.product(MODES, STRATEGIES, DIALECTS))
BOTH = pytest.mark.parametrize("engine", (vnet_rx, reference), ids=("engine", "reference"))


def dropped(world: World, fault: str | None) -> None:
    """One packet was dropped for that reason, nothing is lost, and the next one is intact."""
    before = world.rx.stats().as_dict()
    held = len(world.packets)
    world.act("poll", 64)
    after = world.rx.stats().as_dict()
    assert len(world.packets) == held and world.rx.broken is None
    assert world.conserved()
    grown = {name for name in before if before[name] != after[name]}
    errors = ("rx_length_errors", "rx_frame_errors", "rx_dropped")
    assert sum(after[name] - before[name] for name in errors) == 1
    if fault is None:
        assert "rx_dropped" in grown and before["faults"] == after["faults"]
    else:
        frame = fault in ("BadChecksum", "BadGso", "NotNegotiated")
        assert ("rx_frame_errors" if frame else "rx_length_errors") in grown
        assert after["faults"] == before["faults"] | {fault: before["faults"][fault] + 1}
    delivered(world, 100)


def delivered(world: World, length: int, head: bytes | None = None) -> Any:
    """A packet of that length comes out as it went in."""
    before = world.rx.stats()
    world.device.send(header(world) if head is None else head, length)
    world.act("poll", 64)
    packet = world.packets[-1]
    assert bytes(packet) == PATTERN[:length] and len(packet) == length
    assert world.rx.stats().rx_packets == before.rx_packets + 1
    assert world.rx.stats().rx_bytes == before.rx_bytes + length
    assert world.conserved()
    return packet


@pytest.fixture(params=EVERY, ids=str)
def kind(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    value: tuple[str, str, str] = request.param
    return value


@BOTH
def test_r1_short_packet(engine: Any, kind: tuple[str, str, str]) -> None:
    world = made(engine, *kind)
    h = world.config.header_len
    for length in (0, 1, h - 1, h, h + 13):
        world.device.send(header(world), 100, lies={0: length})
        dropped(world, "ShortPacket")
    delivered(world, 14)


@BOTH
def test_r2_r3_length_overrun(engine: Any, kind: tuple[str, str, str]) -> None:
    world = made(engine, *kind)
    h, legacy = world.config.header_len, world.config.header_len == 10
    longest = {"small": h + 1518, "big": 73_722 if legacy else 73_728, "mergeable": 4096}[kind[0]]
    for length in (longest + 1, 100_000, 2**31, 2**32 - 1):
        world.device.send(header(world), 100, lies={0: length})
        dropped(world, "LengthOverrun")
    packet = delivered(world, longest - h)
    eager_big = kind[:2] == ("big", "eager")
    assert len(packet.frags) == {"small": 0, "big": 18, "mergeable": 1}[kind[0]]
    assert packet.head_len == (longest - h if kind[0] == "small" else 1518 if eager_big else 128)


@BOTH
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_r4_zero_buffers(engine: Any, strategy: str) -> None:
    world = made(engine, "mergeable", strategy, "modern")
    world.device.send(header(world, buffers=0), 100)
    dropped(world, "ZeroBuffers")
    world.device.send(header(world, buffers=0), 100)
    world.device.send(header(world), 200)
    world.act("poll", 64)
    assert len(world.packets[-1]) == 200


@BOTH
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_r5_too_many_frags(engine: Any, strategy: str) -> None:
    world = made(engine, "mergeable", strategy, "legacy")
    for first, most in ((128, 19), (129, 18)):
        for buffers in (most - 1, most):
            world.device.send(header(world, buffers=buffers), first, buffers)
            world.act("poll", 64)
            packet = world.packets.pop()
            assert len(packet.frags) == buffers - (first == 128)
            assert packet.header.num_buffers == buffers
            assert len(packet) == first + 4096 * (buffers - 1)
            packet.release()
        world.device.send(header(world, buffers=most + 1), first, most + 1)
        dropped(world, "TooManyFrags")


@BOTH
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_r6_empty_buffer_and_r2_of_a_later_one(engine: Any, strategy: str) -> None:
    world = made(engine, "mergeable", strategy, "modern")
    for at in (1, 2):
        world.device.send(header(world, buffers=3), 4084, 3, lies={at: 0})
        dropped(world, "EmptyBuffer")
        for length in (4097, 2**32 - 1):
            world.device.send(header(world, buffers=3), 4084, 3, lies={at: length})
            dropped(world, "LengthOverrun")
    assert world.rx.stats().faults["PartialBuffer"] == 0
    world.device.send(header(world, buffers=3), 60, 3, lies={1: 100})
    world.act("poll", 64)
    assert len(world.packets[-1]) == 60 + 100 + 4096
    assert world.rx.stats().faults["PartialBuffer"] == 2


@BOTH
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_r7_incomplete_packet_waits(engine: Any, strategy: str) -> None:
    world = made(engine, "mergeable", strategy, "modern", max_incomplete_polls=3)
    world.device.send(header(world, buffers=3), 4084, 3, hold=2)
    for step in (1, 1, 2, 2):
        assert world.rx.poll(64) == []
        if step == 1 and world.rx.stats().polls == 2:
            world.device.used([world.device.held.pop(0)])
    world.device.used(world.device.held)
    world.act("poll", 64)
    assert len(world.packets[-1]) == 4084 + 2 * 4096 and world.rx.broken is None
    world.device.held.clear()
    world.device.send(header(world, buffers=2), 4084, 2, hold=1)
    before = world.state()
    for polls in range(1, 4):
        assert world.rx.broken is None, polls
        assert world.rx.poll(64) == []
    assert world.rx.broken == "IncompletePacket"
    assert world.state()["posted"] == before["posted"] and world.conserved()
    mended(world)


@BOTH
def test_r7_time_limit(engine: Any) -> None:
    world = made(engine, "mergeable", "deferred", "modern", incomplete_timeout=0.3)
    world.device.send(header(world, buffers=2), 4084, 2, hold=1)
    began = time.monotonic()
    for _ in range(20):  # more than max_incomplete_polls, whose place the limit takes
        world.act("poll", 64)
        if world.rx.broken:
            assert time.monotonic() - began >= 0.3
            return
    assert world.rx.wait(10), "ready to be told"
    assert world.rx.poll(64) == [] and world.rx.broken == "IncompletePacket"
    mended(world)


def mended(world: World) -> None:
    """A broken queue refuses everything and changes nothing, until it is reset."""
    before = world.state()
    for refused in (world.rx.poll, world.rx.refill, world.rx.wait):
        with pytest.raises(vnet_rx.QueueBroken):
            refused()
    assert world.state() == before and world.conserved()
    world.act("reset")
    assert world.rx.num == 0 and world.conserved()
    world.rx.refill()
    delivered(world, 1000)


@BOTH
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("buffers", (65, 65_535))
def test_r8_buffer_count(engine: Any, strategy: str, buffers: int) -> None:
    world = made(engine, "mergeable", strategy, "modern")
    world.device.send(header(world, buffers=buffers), 4084)
    assert world.rx.poll(64) == [] and world.rx.broken == "BufferCount"
    assert world.rx.num == 64
    mended(world)


@BOTH
@pytest.mark.parametrize("mode", ("small", "big"))
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("buffers", (0, 2, 65_535))
def test_r9_num_buffers_is_ignored(engine: Any, mode: str, strategy: str, buffers: int) -> None:
    world = made(engine, mode, strategy, "modern")
    packet = delivered(world, 100, header(world, buffers=buffers))
    assert packet.header.num_buffers == 1


@BOTH
@pytest.mark.parametrize("mode", ("big", "mergeable"))
def test_r10_no_skb(engine: Any, mode: str) -> None:
    world = made(engine, mode, "deferred", "modern")
    world.rx.fail_skb_allocs(0, 1)
    world.device.send(header(world), 1000)
    dropped(world, None)
    # Judged last: a bad packet does not ask for an skb.
    world.rx.fail_skb_allocs(0, 1)
    world.device.send(header(world), 1000, lies={0: 1})
    before = world.rx.stats().rx_dropped
    world.act("poll", 64)
    world.device.send(header(world), 1000)
    world.act("poll", 64)
    assert world.rx.stats().rx_dropped == before + 1


@BOTH
def test_s7_metadata(engine: Any, kind: tuple[str, str, str]) -> None:
    world = made(engine, *kind)
    negotiated = kind[0] != "small"
    for fields, fault in (
        ((1, 0, 0, 0, 60, 38), None),
        ((1, 0, 0, 0, 60, 39), "BadChecksum"),
        ((1, 0, 0, 0, 65_535, 65_535), "BadChecksum"),
        ((1, 0, 0, 0, 65_534, 0), "BadChecksum"),
        ((0, 0, 0, 0, 65_535, 65_535), None),
        ((0xFC, 0, 9, 9, 9, 9), None),
        ((1, 2, 0, 100, 0, 0), "BadGso"),
        ((1, 0x80, 0, 100, 0, 0), "BadGso"),
        ((1, 0x7F, 0, 100, 0, 0), "BadGso"),
        ((1, 1, 0, 0, 0, 0), "BadGso" if negotiated else "NotNegotiated"),
        ((0, 1, 0, 100, 0, 0), "BadGso" if negotiated else "NotNegotiated"),
        *(((1, gso, 9, 100, 0, 0), None if negotiated else "NotNegotiated")
          for gso in (1, 3, 4, 5, 0x81, 0x83)),
    ):  # fmt: skip
        head = header(world, *fields)
        if fault is None:
            got = delivered(world, 100, head).header
            expected = (fields[0] & 3, fields[1], 0, *fields[3:], 1)
            assert got == engine.VnetHeader(*expected), fields
        else:
            world.device.send(head, 100)
            dropped(world, fault)


@BOTH
def test_s7_what_was_not_negotiated(engine: Any) -> None:
    world = made(engine, "mergeable", "deferred", "legacy", features=1 << 15 | 1 << 1 | 1 << 7)
    delivered(world, 100, header(world, 1, 1, 0, 100))
    for fields in ((1, 0x81, 0, 100), (1, 3, 0, 100), (1, 4, 0, 100), (1, 5, 0, 100)):
        world.device.send(header(world, *fields), 100)
        dropped(world, "NotNegotiated")
    world = made(engine, "mergeable", "deferred", "legacy", features=1 << 15)
    world.device.send(header(world, 1), 100)
    dropped(world, "NotNegotiated")


@BOTH
@pytest.mark.parametrize("first_index", (0, 65_535))
def test_s6_ids_and_indices(engine: Any, kind: tuple[str, str, str], first_index: int) -> None:
    world = made(engine, *kind, first_index=first_index)
    inside_a_chain = [1] if world.config.descriptors_per_buffer > 1 else []
    for bad in (64, 0x10000, 2**32 - 1, *inside_a_chain):
        world.device.used([(bad, 100)])
        assert world.rx.poll() == [] and world.rx.broken == "BadUsedId", bad
        mended(world)
    world.device.again(0)
    assert world.rx.poll() == [] and world.rx.broken == "BadUsedId"
    mended(world)
    for by in (world.rx.num + 1, 65_535):
        world.device.jump(by)
        assert world.rx.poll() == [] and world.rx.broken == "IndexJump", by
        mended(world)


@BOTH
def test_s8_full_ring_is_success(engine: Any, kind: tuple[str, str, str]) -> None:
    world = made(engine, *kind)
    before = world.rx.stats()
    assert world.rx.refill() == 0 and not world.rx.refill_needed  # S3
    assert world.rx.stats() == before  # S6: no buffer is built that cannot fit
    world.arena.fail_allocs(0, 2**60)
    world.rx.refill()
    assert not world.rx.refill_needed


@BOTH
def test_s4_the_largest_packet_fits_a_small_ring(engine: Any) -> None:
    """L16: in a ring that starts full, no packet leaves too few buffers for the next."""
    world = made(engine, "mergeable", "deferred", "modern", ring_size=32)
    for _ in range(20):
        world.device.send(header(world, buffers=19), 128, 19)
        world.act("poll", 1)
        assert world.rx.num == 32
        world.packets.pop().release()
