"""Two readers of the same format, in Python and in Rust: they accept and refuse the same texts."""

import json
import re
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from vnet_rx import ConfigError, _core
from vnet_rx.testing import Limits, Scenario, generate

# As they stand in JSON. None is valid everywhere, few are valid nowhere.
VALUES = (
    "-0", "0.0", "1.0", "1e0", "-1", "01", "+1", "0x10", "NaN", "Infinity", "null", "true", "0",
    "1", "2", "63", "64", "65", "255", "256", "1024", "65535", "65536", "70001", "80001",
    "4294967296", "18446744073709551615", "18446744073709551616", "9" * 30, "1" * 5000, '""',
    '"ff"', '"FF"', '"f"', '"\\u0661\\u0662"', '"\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"',
    '"\t"', '"\\x"', '"small"', '"big"', '"legacy"', '"refill"', '"send"', '"desc"', "[]", "[[]]",
    "{}", "[[0, 1]]", "[[64, 1]]", "[0, 0, 0, 0, 0, 0]", "[1,]", "[" * 130 + "]" * 130,
    "[" * 9000,
)  # fmt: skip
KEYS = ("op", "act", "do", "at", "budget", "len", "hold", "note", "expect", "features", "é", "x")
PIECES = ("\ufeff", "\u00a0", "\x0b", " ", "}", "]", ",", '"', "\\", "0", "-", "//", "\x00")


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key or index in it."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def damaged(random: Random) -> str:
    """A scenario with something changed that mostly must not be."""
    tree = json.loads(generate(random.getrandbits(64), Limits(operations=(1, 6))).to_json())
    for _ in range(random.choice((1, 1, 2))):
        inside, key = random.choice([*places(tree)])
        if isinstance(inside, dict) and random.random() < 0.2:
            inside[random.choice(KEYS)] = inside.pop(key)
        elif isinstance(inside[key], list) and random.random() < 0.4:
            inside[key] *= random.choice((0, 2, 70))
        elif type(inside[key]) is int and random.random() < 0.4:
            inside[key] += random.choice((-1, 1, 1 << 16, 1 << 32))
        else:
            inside[key] = f"@{random.randrange(len(VALUES))}@"
    if random.random() < 0.1 and isinstance(tree.get("config"), dict):
        tree["config"]["features"] = sum(1 << bit for bit in random.sample(range(64), 9))
    text = re.sub('"@(\\d+)@"', lambda found: VALUES[int(found[1])], json.dumps(tree))
    if random.random() < 0.1:
        at = random.randrange(len(text))
        text = text[:at] + random.choice(PIECES) + text[at + random.choice((0, 1)) :]
    return text


@pytest.mark.parametrize("seed", range(20))
def test_both_come_to_the_same_verdict(seed: int) -> None:
    random = Random(seed)
    for _ in range(100):
        text = damaged(random)
        here: Scenario | None
        there: list[int] | None
        try:
            here = Scenario.from_json(text)
        except ConfigError:
            here = None
        try:
            there = _core.run_scenario_digests(text)
        except ConfigError:
            there = None
        assert (here is None) == (there is None), text[:2000]
        if here is not None:
            assert there == _core.run_scenario_digests(here.to_json())
