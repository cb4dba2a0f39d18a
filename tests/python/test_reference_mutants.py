"""Each known bug of the reference, shown by a scenario that was made for it."""

import random
import struct
from typing import Any

import pytest

import vnet_rx
import vnet_rx.reference as reference

from .conftest import MODES, STRATEGIES
from .test_differential import Operations
from .world import Action, World

MERGEABLE = {"mode": "mergeable", "strategy": "deferred", "dialect": "modern", "ring_size": 32}
BIG = MERGEABLE | {"mode": "big"}
SMALL = MERGEABLE | {"mode": "small"}


def h12(*fields: int, buffers: int = 1) -> bytes:
    return struct.pack("<BBHHHHH", *(*fields, 0, 0, 0, 0, 0, 0)[:6], buffers)


SEND: Action = ("send", h12(), 100)
REFILL: Action = ("refill",)
POLL: Action = ("poll", 64)


def bad_merged(length: int) -> Action:
    return ("send", h12(buffers=2), 100, 2, 0, {1: length})


DEMONSTRATIONS: dict[str, tuple[dict[str, Any], list[Action]]] = {
    "M01": (MERGEABLE, [REFILL, ("send", h12(), 100, 1, 0, {0: 4097}), POLL]),
    "M02": (BIG, [REFILL, ("send", h12(), 80_000, 1, 0, {0: 73_729}), POLL]),
    "M03": (MERGEABLE, [REFILL]),
    "M04": (MERGEABLE, [REFILL, bad_merged(0), POLL]),
    "M05": (MERGEABLE, [REFILL, ("send", h12(buffers=0), 100), SEND, POLL]),
    "M06": (MERGEABLE, [REFILL, ("send", h12(), 13), POLL]),
    "M07": (SMALL, [REFILL, ("send", h12(), 100, 1, 0, {0: 1531}), POLL]),
    "M08": (MERGEABLE, [REFILL, ("send", h12(0, 0x80), 100), POLL]),
    "M09": (MERGEABLE, [REFILL, ("poll", 64, {("after_rearm", 1): SEND})]),
    "M10": (MERGEABLE, [REFILL, ("send", h12(buffers=2), 100, 2, 1), POLL, SEND, POLL]),
    "M11": (MERGEABLE, [REFILL, ("used", [(0x10000, 100)]), POLL]),
    "M12": (MERGEABLE, [REFILL, ("send", h12(), 1), SEND, POLL, POLL]),
    "M13": (MERGEABLE, [REFILL, ("send", h12(), 1), POLL]),
    "M14": (MERGEABLE, [REFILL, ("send", h12(), 1), POLL]),
    "M15": (BIG, [REFILL, ("scribble", "desc", 14, b"\7\0"), SEND, POLL]),
    "M16": (
        MERGEABLE,
        [REFILL, SEND, ("poll", 64, {("header_copied", 1): ("rewrite", 0, 10, b"\xff\xff")})],
    ),
    "M17": (MERGEABLE, [REFILL, ("send", h12(1, 0, 0, 0, 65_535, 1), 100), POLL]),
    "M18": (
        MERGEABLE | {"event_idx": True, "first_index": 65_530},
        [("flags", 0, 65_531), REFILL],
    ),
    "M19": (MERGEABLE | {"ring_size": 64}, [REFILL, SEND, POLL, ("again", 0), POLL]),
    "M20": (BIG | {"ring_size": 64}, [REFILL, SEND, SEND, SEND, POLL]),
    "M21": (BIG, [REFILL, SEND, POLL]),
    "M22": (MERGEABLE, [("fail_pages", 3, 1), REFILL, REFILL]),
}


def trace(engine: Any, name: str, mutants: tuple[str, ...] = ()) -> list[object]:
    """All that can be observed of a demonstration, after each operation."""
    settings, operations = DEMONSTRATIONS[name]
    world = World(engine, settings, 100, mutants)
    return [(world.act(*operation), world.state()) for operation in operations]


@pytest.mark.parametrize("name", sorted(reference.MUTANTS))
def test_a_mutant_can_be_told_from_the_honest_reference(name: str) -> None:
    honest = trace(reference, name)
    assert honest == trace(vnet_rx, name)
    assert trace(reference, name, (name,)) != honest


@pytest.mark.parametrize("name", sorted(reference.MUTANTS))
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_mutant_never_hangs(name: str, mode: str, strategy: str) -> None:
    settings = {"mode": mode, "strategy": strategy, "ring_size": 32}
    rng = random.Random(name)
    world = World(reference, settings, 60, (name,))
    for operation in Operations(rng, {"dialect": "modern", **settings}).some(150):
        world.act(*operation)
