"""The reference: without the native module, and as the engine in values, errors and manners."""

import gc
import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import vnet_rx
import vnet_rx.reference as reference

from .conftest import DIALECTS, MODES, STRATEGIES
from .world import PATTERN, header, made

WITHOUT_CORE = """
import sys
sys.modules["vnet_rx._core"] = None
import vnet_rx.reference as reference

assert sorted(reference.__all__) == [name for name in sorted(dir(reference)) if name[0].isupper()]
rx = reference.RxQueue(reference.RxConfig(ring_size=2))
assert rx.refill() == 2
memory, layout = rx.memory, rx.layout
memory.write(memory.load64(layout.desc), bytes(12) + b"it is alive, all of 28 bytes")
memory.store16(memory.load64(layout.desc) + 10, 1)
memory.store32(layout.used + 8, 40)
memory.store16(layout.used + 2, 1)
(packet,) = rx.poll()
assert bytes(packet) == packet.data == b"it is alive, all of 28 bytes"
"""


def test_it_needs_no_native_module() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_CORE], check=True)


def test_its_classes_have_what_the_native_ones_have() -> None:
    for name in reference.__all__:
        if name != "MUTANTS":
            native = {key for key in vars(getattr(vnet_rx, name)) if key[0] != "_"}
            ours = getattr(reference, name)
            assert native <= {*dir(ours), *getattr(ours, "__annotations__", ())}, name


BAD_CONFIGURATIONS: list[dict[str, Any]] = [
    {"ring_size": 0}, {"ring_size": 3}, {"ring_size": 65_536}, {"ring_size": -1},
    {"ring_size": "64"}, {"mode": "big", "ring_size": 16}, {"mode": "huge"}, {"mode": 3},
    {"strategy": "lazy"}, {"dialect": "klingon"}, {"max_frags": 0}, {"max_frags": 46},
    {"max_incomplete_polls": 0}, {"max_incomplete_polls": 2**32}, {"first_index": 65_536},
    {"first_index": -1}, {"incomplete_timeout": 0.0}, {"incomplete_timeout": -1.0},
    {"incomplete_timeout": float("nan")}, {"incomplete_timeout": float("inf")},
    {"features": 1 << 15}, {"features": -1}, {"features": 1 << 64},
    {"features": 1 << 32 | 1 << 15 | 1 << 34}, {"mode": "small", "features": 1 << 32 | 1 << 9},
]  # fmt: skip


@pytest.mark.parametrize("settings", BAD_CONFIGURATIONS, ids=str)
def test_it_refuses_what_the_engine_refuses(settings: dict[str, Any]) -> None:
    raised = []
    for engine in (vnet_rx, reference):
        with pytest.raises((ValueError, TypeError, OverflowError)) as caught:
            engine.RxConfig(**settings)
        raised.append((caught.type, getattr(caught.value, "code", None)))
    assert raised[0] == raised[1]


@pytest.mark.parametrize(
    "kind", list(itertools.product(MODES, STRATEGIES, DIALECTS, (8, 18))), ids=str
)
def test_values_look_the_same(kind: tuple[str, str, str, int]) -> None:
    shown = []
    for engine in (vnet_rx, reference):
        config = engine.RxConfig(*kind[:3], ring_size=64, max_frags=kind[3])
        rx = engine.RxQueue(config)
        names = (key for key in dir(vnet_rx.RxConfig) if key[0] != "_")
        values = [getattr(config, name) for name in names]
        sizes = (rx.arena.pages, len(rx.memory), rx.memory.GUEST_BASE, rx.arena.address_of(1))
        header = engine.VnetHeader(1, 0x81, 54, 1448, 34, 16, 3)
        assert config == engine.RxConfig(*kind[:3], ring_size=64, max_frags=kind[3])
        assert engine.VnetHeader.from_bytes(header.to_bytes()) == header
        rx.refill()
        shown += [(values, sizes, header.to_bytes(), *map(repr, (config, header, rx.layout,
                   rx.arena, rx.stats(), rx)))]  # fmt: skip
    assert shown[0] == shown[1]


BASE = reference.SharedMemory.GUEST_BASE
END = BASE + (4 << 20) + 4096


def memory(engine: Any) -> Any:
    return engine.PageArena(1).memory


def released(engine: Any) -> Any:
    world = made(engine, "mergeable", "deferred", "modern")
    world.device.send(header(world), 4000)
    (packet,) = world.rx.poll()
    packet.release()
    packet.release()
    assert repr(packet) == "<Packet, released>"
    return packet


def give_back_twice(engine: Any) -> None:
    arena = engine.PageArena(2)
    page = arena.alloc_page()
    arena.put_page(page)
    arena.put_page(page)


def rings_without_end(engine: Any) -> None:
    arena = engine.PageArena(1)
    rings = [engine.Vring(arena, 32_768) for _ in range(9)]
    raise AssertionError(rings)


MISTAKES: dict[str, Callable[[Any], object]] = {
    "no pages": lambda engine: engine.PageArena(0),
    "fewer than no pages": lambda engine: engine.PageArena(-1),
    "too many pages": lambda engine: engine.PageArena(2**50),
    "a page that is not there": lambda engine: engine.PageArena(2).address_of(2),
    "a page given back twice": give_back_twice,
    "another arena's page": lambda engine: engine.PageArena(2).put_page(
        engine.PageArena(2).alloc_page()
    ),
    "another arena's page for a pool": lambda engine: engine.PagePool(
        engine.PageArena(2)
    ).give_pages([engine.PageArena(2).alloc_page()]),
    "a negative count": lambda engine: engine.PageArena(2).fail_allocs(0, -1),
    "a count too large": lambda engine: engine.PageArena(2).fail_allocs(2**64, 0),
    "an odd address": lambda engine: memory(engine).load16(BASE + 1),
    "an address before": lambda engine: memory(engine).load32(BASE - 4),
    "an address behind": lambda engine: memory(engine).load64(END),
    "half a word inside": lambda engine: memory(engine).load64(END - 4),
    "an address below 0": lambda engine: memory(engine).load16(-2),
    "a length below 0": lambda engine: memory(engine).read(BASE, -1),
    "a length too large": lambda engine: memory(engine).read(BASE, 2**60),
    "17 bits": lambda engine: memory(engine).store16(BASE, 1 << 16),
    "33 bits": lambda engine: memory(engine).store32(BASE, 1 << 32),
    "65 bits": lambda engine: memory(engine).store64(BASE, 1 << 64),
    "less than 0": lambda engine: memory(engine).store64(BASE, -1),
    "a header's field too large": lambda engine: engine.VnetHeader(flags=256),
    "11 bytes of header": lambda engine: engine.VnetHeader.from_bytes(bytes(11)),
    "an arena too small": lambda engine: engine.RxQueue(
        engine.RxConfig(mode="big"), engine.PageArena(18)
    ),
    "a ring of 3": lambda engine: engine.Vring(engine.PageArena(1), 3),
    "a first index too large": lambda engine: engine.Vring(engine.PageArena(1), 4, False, 65_536),
    "33 bits of length": lambda engine: engine.Vring(engine.PageArena(1), 2).add(
        [(engine.PageArena(1).address_of(0), 2**32)], None
    ),
    "too many rings": rings_without_end,
    "bytes of a released packet": lambda engine: bytes(released(engine)),
    "length of a released packet": lambda engine: len(released(engine)),
    "frags of a released packet": lambda engine: released(engine).frags,
    "a released packet made private": lambda engine: released(engine).make_private(),
    "a budget of no number": lambda engine: engine.RxQueue().poll(1.5),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_answered_the_same(what: str) -> None:
    raised = []
    for engine in (vnet_rx, reference):
        with pytest.raises(Exception) as caught:
            MISTAKES[what](engine)
        raised.append((caught.type, getattr(caught.value, "code", None)))
    assert raised[0] == raised[1]


def test_words_are_little_endian_and_whole() -> None:
    for engine in (vnet_rx, reference):
        words = memory(engine)
        words.store64(BASE, 0x0807060504030201)
        assert words.read(BASE, 8) == bytes(range(1, 9))
        assert (words.load16(BASE + 2), words.load32(BASE + 4)) == (0x0403, 0x08070605)
        words.store16(BASE, 0xFFFF)
        words.store32(BASE + 4, 9)
        assert words.load64(BASE) == 0x000000090403FFFF


@pytest.mark.parametrize("how", ("poll", "refill", "num", "close", "stats", "closed", "reset"))
def test_a_queue_that_is_being_polled_is_busy(how: str) -> None:
    for engine in (vnet_rx, reference):
        world = made(engine, "mergeable", "deferred", "modern")

        def hook(point: str, rx: Any = world.rx) -> None:
            value = getattr(rx, how)
            if callable(value):
                value()

        with pytest.raises(vnet_rx.BusyError):
            world.rx.poll(1, hook)
        assert world.rx.poll() == []


def test_a_packet_outlives_its_queue_and_pages_come_home() -> None:
    world = made(reference, "mergeable", "deferred", "modern")
    world.device.send(header(world), 4000)
    (packet,) = world.rx.poll()
    arena = world.arena
    del world
    gc.collect()
    assert arena.free == arena.pages - 1
    assert bytes(packet) == PATTERN[:4000]
    del packet
    assert arena.free == arena.pages


def test_a_device_file_is_refused_clearly() -> None:
    rx = reference.RxQueue()
    for without in (rx.fileno, rx.memory.fileno):
        with pytest.raises(OSError, match="the reference"):
            without()


def test_wait_finds_what_comes_and_gives_up_in_time() -> None:
    world = made(reference, "mergeable", "deferred", "modern")
    assert not world.rx.wait(0.01)
    world.device.send(header(world), 60)
    assert world.rx.wait(10) and len(world.rx.poll()) == 1
    assert not world.rx.wait(0)
    with pytest.raises(vnet_rx.ConfigError, match="timeout -1"):
        world.rx.wait(-1)


def test_consume_writes_and_lets_go() -> None:
    class Writer:
        def __init__(self) -> None:
            self.written: list[tuple[bytes, reference.VnetHeader]] = []

        def write(self, frame: bytes, header: reference.VnetHeader) -> None:
            self.written.append((frame, header))

    world, writer = made(reference, "mergeable", "eager", "legacy"), Writer()
    for length in (60, 2000):
        world.device.send(header(world), length)
    assert world.rx.consume(writer=writer) == 2
    assert writer.written == [
        (PATTERN[:length], reference.VnetHeader(num_buffers=1)) for length in (60, 2000)
    ]
    assert world.conserved() and world.rx.stats().skb_frees == 2


def test_a_mutant_must_exist() -> None:
    with pytest.raises(vnet_rx.ConfigError, match="M99"):
        reference.RxQueue(mutants=("M01", "M99"))
