"""The engine against the reference, operation by operation (RECEIVE.md, section 11).

Two worlds, one with each implementation, are driven by the same operations on the same ring memory
and must agree after every one: results, errors, packets, counters, pool order, descriptors, and all
that the device can see.
"""

import random
import struct
from typing import Any

import pytest

import vnet_rx
import vnet_rx.reference as reference

from .conftest import EVERY
from .world import POINTS, Action, Device, World, pages_of

LENGTHS = (0, 1, 9, 12, 13, 14, 60, 127, 128, 129, 1518, 1519, 4079, 4080, 4081, 4084, 4096, 9000)
USED = (0, 1, 9, 10, 11, 12, 25, 26, 100, 1528, 1529, 1530, 1531, 4096, 4097, 65_535, 73_722,
        73_723, 73_728, 73_729, 2**32 - 1)  # fmt: skip
# Without checksums; with every offload but ECN; with everything (None).
FEATURES = (0, 1 << 1 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 54)

Case = tuple[dict[str, Any], int]


def case(rng: random.Random, kind: tuple[str, str, str, bool]) -> Case:
    """A configuration of that kind, and the pages of its arena."""
    mode, strategy, dialect, event_idx = kind
    settings = {
        "mode": mode,
        "strategy": strategy,
        "dialect": dialect,
        "event_idx": event_idx,
        "ring_size": rng.choice((32, 64)) if mode == "big" else rng.choice((2, 4, 32, 64)),
        "max_frags": rng.choice((18, 18, 17, 3, 1)),
        "first_index": rng.choice((0, 65_500, 65_535)),
        "max_incomplete_polls": rng.choice((1, 3, 16)),
    }
    if rng.random() < 0.3:
        needed = {"small": 0, "big": 1 << 7, "mergeable": 1 << 15}[mode]
        taken = 0 if mode == "small" else rng.choice(FEATURES)
        settings["features"] = (
            needed | taken | (1 << 32 if dialect == "modern" else 0) | (event_idx << 29)
        )
    return settings, rng.choice((20, 25, 60, 140))


class Operations:
    """Random operations, biased towards packets that are right."""

    def __init__(self, rng: random.Random, settings: dict[str, Any]) -> None:
        self.rng = rng
        self.settings = settings
        self.mergeable = settings["mode"] == "mergeable"
        self.header_len = 12 if self.mergeable or settings["dialect"] == "modern" else 10
        self.makers = (
            [self.poll] * 8
            + [self.send] * 9
            + [lambda: ("refill",)] * 3
            + [lambda: ("drop", rng.randrange(9))] * 4
            + [lambda: ("private", rng.randrange(9))]
            + [lambda: ("fail_pages", rng.randrange(30), rng.randrange(1, 4))]
            + [lambda: ("fail_skbs", rng.randrange(6), rng.randrange(1, 3))]
            + [lambda: ("watchdog",)]
            + [lambda: ("consume", rng.randrange(9))]
            + [lambda: ("reset",)] * 3
            + [self.lie]
            + [self.rare]
        )

    def some(self, count: int) -> list[Action]:
        return [self.rng.choice(self.makers)() for _ in range(count)]

    def rare(self) -> Action:
        if self.rng.random() < 0.6:
            return self.poll()
        return self.rng.choice(
            (("stop",), ("detach_unused_buf",), ("disconnect",), ("close",), ("poll", 0))
        )

    def lie(self) -> Action:
        rng = self.rng
        return rng.choice(
            (
                ("used", [(rng.choice((0, 1, 2, 3, 63, 64, 65_536, 2**32 - 1)), 100)]),
                ("jump", rng.choice((1, 2, 200, 65_535))),
                ("again", rng.randrange(3)),
                ("flags", rng.randrange(2), rng.randrange(65_536)),
                ("scribble", rng.choice(("desc", "avail")), rng.randrange(200), rng.randbytes(8)),
            )
        )

    def header(self, buffers: int) -> bytes:
        rng = self.rng
        n = buffers if rng.random() < 0.9 else rng.choice((0, 1, 2, 3, 17, 18, 19, 20, 60_000))
        fields = (0, 0, 0, 0, 0, 0)
        if rng.random() < 0.25:
            gso = rng.choice((0, 1, 2, 3, 4, 5, 0x80, 0x81, 0x83, 0x7F))
            spot = rng.choice((0, 12, 34, 100, 65_535))
            fields = (rng.randrange(8), gso, rng.randrange(99), rng.choice((0, 1448)), spot,
                      rng.choice((0, 16, 65_500)))  # fmt: skip
        return struct.pack("<BBHHHHH", *fields, n)[: self.header_len]

    def send(self) -> Action:
        rng, buffers = self.rng, 1
        if self.mergeable:
            large = (18, 19, 20) if self.settings["ring_size"] > 4 else (2, 4, 5)
            buffers = rng.choice((1, 1, 1, 2, 2, 3, *large))
        lies = {}
        if rng.random() < 0.2:
            lies = {0: rng.choice(USED)} if rng.random() < 0.7 else {1: rng.choice((0, 1, 4097))}
        length = rng.choice(LENGTHS) if buffers == 1 else rng.choice((0, 60, 128, 129, 4084))
        if self.settings["mode"] == "big" and rng.random() < 0.2:
            length = rng.choice((60_000, 80_000, 73_706, 73_707, 73_716, 73_717))
        return ("send", self.header(buffers), length, buffers, rng.choice((0, 0, 1, 2)), lies)

    def poll(self) -> Action:
        rng = self.rng
        actions = {}
        while rng.random() < 0.3:
            at = (rng.choice(POINTS), rng.choice((1, 1, 2)))
            actions[at] = rng.choice(
                (
                    self.send,
                    self.send,
                    self.lie,
                    lambda: ("rewrite", rng.randrange(2), 0, self.header(3)),
                    lambda: ("fail",),
                )
            )()
        return ("poll", rng.choice((1, 2, 3, 8, 64)), actions)


@pytest.mark.parametrize("kind", EVERY, ids=str)
@pytest.mark.parametrize("seed", range(12))
def test_engine_and_reference_agree(kind: tuple[str, str, str, bool], seed: int) -> None:
    rng = random.Random(f"{kind} {seed}")
    settings, pages = case(rng, kind)
    try:
        left, right = (World(engine, settings, pages) for engine in (vnet_rx, reference))
    except vnet_rx.ConfigError:
        with pytest.raises(vnet_rx.ConfigError):
            World(reference, settings, pages)
        return
    done: list[Action] = []
    for operation in Operations(rng, settings).some(60):
        done.append(operation)
        ours, theirs = left.act(*operation), right.act(*operation)
        assert ours == theirs, f"{settings} {pages} pages\n{done}"
        ours, theirs = left.state(), right.state()
        for name, value in ours.items():
            assert value == theirs[name], f"{name}\n{settings} {pages} pages\n{done}"
        assert left.conserved() and right.conserved(), f"{settings} {pages} pages\n{done}"


@pytest.mark.parametrize("seed", range(60))
def test_queues_that_share_an_arena_agree(seed: int) -> None:
    """Exactly, down to the numbers of the pages: both arenas are last in, first out."""
    rng = random.Random(seed)
    settings = [case(rng, rng.choice(EVERY))[0] for _ in range(2)]
    pages, sides = rng.choice((80, 200)), []
    for engine in (vnet_rx, reference):
        arena = engine.PageArena(pages)
        sides.append([World(engine, each, arena) for each in settings])
    makers = [Operations(rng, each) for each in settings]
    done = []
    for _ in range(80):
        turn = rng.randrange(2)
        (operation,) = makers[turn].some(1)
        done.append((turn, operation))
        results = [side[turn].act(*operation) for side in sides]
        assert results[0] == results[1], f"{settings} {pages} pages\n{done}"
        states = [
            [(world.state(), world.arena.free_pages, *map(pages_of, world.packets),
              world.rx.closed or (world.rx.pool, world.rx.posted)) for world in side]
            for side in sides
        ]  # fmt: skip
        assert states[0] == states[1], f"{settings} {pages} pages\n{done}"


class Ring:
    """A bare ring in one implementation, and a device on it."""

    def __init__(self, engine: Any, size: int, event_idx: bool, index: int) -> None:
        self.arena = engine.PageArena(8)
        self.ring = engine.Vring(self.arena, size, event_idx, index)
        self.device = Device(self.ring.memory, self.ring.layout, index)

    def act(self, name: str, *arguments: Any) -> object:
        target = self.device if hasattr(self.device, name) else self.ring
        try:
            return getattr(target, name)(*arguments)
        except Exception as error:
            return type(error).__name__, getattr(error, "code", None)

    def add(self, parts: list[tuple[int, int]], token: int) -> object:
        base = self.arena.address_of(0)
        return self.act("add", [(base + at, length) for at, length in parts], token)

    def state(self) -> object:
        layout, memory = self.ring.layout, self.ring.memory
        places = [layout.size, layout.desc, layout.avail, layout.used]
        parts = (layout.desc, 16 * layout.size), (layout.avail, 6 + 2 * layout.size)
        words = [memory.read(at, length) for at, length in parts]
        return places, words, self.ring.num_free, self.ring.outstanding


@pytest.mark.parametrize("seed", range(100))
def test_bare_rings_agree(seed: int) -> None:
    rng = random.Random(seed)
    arguments = rng.choice((2, 4, 16)), rng.random() < 0.5, rng.choice((0, 65_530, 65_535))
    left, right = (Ring(engine, *arguments) for engine in (vnet_rx, reference))
    done: list[object] = [arguments]
    for token in range(80):
        if rng.random() < 0.4:
            parts = [(rng.randrange(32_000), rng.choice((0, 1, 500, 40_000)))
                     for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 5)))]  # fmt: skip
            done.append(parts)
            assert left.add(parts, token) == right.add(parts, token), done
        else:
            lie = ("used", [(rng.choice((0, 1, 3, 16, 65_536)), rng.choice((0, 77, 2**32 - 1)))])
            honest = ("send", bytes(12), rng.choice((0, 100)))
            operation: Action = rng.choice(
                (("publish",), ("publish",), honest, honest, honest, lie, ("get_buf",),
                 ("get_buf",), ("enable_cb",), ("disable_cb",), ("detach_unused_buf",),
                 ("flags", rng.randrange(2), rng.randrange(65_536)))
            )  # fmt: skip
            if rng.random() < 0.03:
                operation = rng.choice((("stop",), ("jump", rng.choice((1, 65_535)))))
            done.append(operation)
            assert left.act(*operation) == right.act(*operation), done
        assert left.state() == right.state(), done


@pytest.mark.parametrize("seed", range(50))
def test_arenas_and_pools_agree(seed: int) -> None:
    rng = random.Random(seed)
    sides: list[tuple[Any, Any, list[Any]]] = []
    for engine in (vnet_rx, reference):
        arena = engine.PageArena(9)
        sides.append((arena, engine.PagePool(arena), []))
    for _ in range(100):
        name = rng.choice(("alloc", "alloc", "get", "get", "put", "give", "drop", "fail"))
        numbers = [rng.randrange(9) for _ in range(rng.choice((1, 1, 2, 3)))]
        skip, count = rng.randrange(4), rng.randrange(3)

        def act(arena: Any, pool: Any, mine: list[Any]) -> object:
            chosen = [mine[number % len(mine)] for number in numbers] if mine else []  # noqa: B023
            try:
                if name in ("alloc", "get"):  # noqa: B023
                    page = arena.alloc_page() if name == "alloc" else pool.get_a_page()  # noqa: B023
                    mine.append(page)
                    return page.number, page.address
                if name == "fail":  # noqa: B023
                    return arena.fail_allocs(skip, count)  # noqa: B023
                if name == "give":  # noqa: B023
                    return pool.give_pages(chosen)
                for page in chosen[:1]:
                    if name == "put":  # noqa: B023
                        arena.put_page(page)
                    else:
                        mine.remove(page)
            except Exception as error:
                return type(error).__name__, getattr(error, "code", None)
            return None

        results = [act(*side) for side in sides]
        states = [
            (pool.pages, len(pool), arena.free_pages, arena.free, arena.page_allocs,
             arena.page_frees)
            for arena, pool, _ in sides
        ]  # fmt: skip
        assert results[0] == results[1] and states[0] == states[1], (name, numbers)
