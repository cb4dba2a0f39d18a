"""F01 to F38: every fault in every mode, strategy and dialect, on both implementations.

Each case starts on a refilled queue and ends with the answer that is owed, the laws of
conservation, which every step checks, and proof that the next good packet arrives.
"""

from dataclasses import replace
from typing import Any
from zlib import crc32

import pytest

from vnet_rx.testing import (
    Config,
    Engine,
    Factory,
    Observation,
    Reference,
    Run,
    Scenario,
    pattern,
    run,
)
from vnet_rx.testing.driver import COUNTERS, FAULTS
from vnet_rx.testing.faults import CATALOGUE, POLL, Case, buffers, device, send
from vnet_rx.testing.schema import DIALECTS, MODES, STRATEGIES

KINDS = [(m, s, d, e) for m in MODES for s in STRATEGIES for d in DIALECTS for e in (True, False)]
DRIVERS: list[Factory] = [Engine(), Reference()]


def config_of(kind: tuple[str, str, str, bool], first_index: int) -> Config:
    """A small queue of that kind, with room for two full rings in the arena."""
    mode, strategy, dialect, event_idx = kind
    config = Config(mode, strategy, dialect, 1000, event_idx=event_idx, first_index=first_index)
    full = config.ring_size // config.descriptors_per_buffer * config.pages_per_buffer
    return replace(config, pages=2 * full)


class Judge:
    """Runs a case and says whether the answer was the one that is owed."""

    def __init__(self, factory: Factory, config: Config, case: Case) -> None:
        self.run = Run(factory, Scenario(case.config or config, ()))
        self.case = case
        self.delivered = 0

    def step(self, *operations: dict[str, object]) -> None:
        for operation in Scenario.of(self.run.scenario.config, operations).operations:
            self.seen = self.run.step(operation)
            self.delivered += len(self.seen.packets)
            assert self.run.broken_law is None

    def faults(self) -> dict[str, int]:
        assert self.seen.counters is not None
        counts = self.seen.counters[-len(FAULTS) :]
        return {name: n for name, n in zip(FAULTS, counts, strict=True) if n}

    def judge(self) -> None:
        case = self.case
        self.step({"op": "refill"}, *case.operations)
        if case.answer == "any":
            self.step({"op": "reset"})
        elif case.answer == "break":
            assert (self.seen.broken, self.faults()) == (case.fault, {case.fault: 1})
            before = self.seen
            self.step({"op": "poll", "budget": 64})
            assert self.seen.result == ("error", "queue_broken", case.fault)
            self.step({"op": "refill"})
            assert self.seen.result == ("error", "queue_broken", case.fault)
            assert self.seen[3:] == (*before[3:-1], ()), "a broken queue changes nothing"
            self.step({"op": "reset"})
        else:
            assert self.seen.broken is None
            assert set(self.faults()) == ({case.fault} if case.fault else set())
        if case.answer != "any":
            assert self.delivered == case.packets
        self.step({"op": "release_all"}, {"op": "refill"}, send(77), {"op": "poll", "budget": 64})
        (packet,) = self.seen.packets
        assert packet[:2] == (77, crc32(pattern(77)))
        self.step({"op": "release_all"}, {"op": "close"})
        assert self.seen.arena_free == self.run.scenario.config.pages


@pytest.mark.parametrize("driver", DRIVERS, ids=["engine", "reference"])
@pytest.mark.parametrize("number", CATALOGUE)
def test_fault(number: str, driver: Factory) -> None:
    fault = CATALOGUE[number]
    applied = 0
    for kind in KINDS:
        # F37: all of it again around the wrap of the index.
        for first_index in (0, 65_534, 65_535):
            config = config_of(kind, first_index)
            for case in fault.cases(config):
                applied += 1
                try:
                    Judge(driver, config, case).judge()
                except AssertionError as error:
                    raise AssertionError(f"{number} {fault.title}: {config}\n{case}") from error
    assert applied


def test_the_catalogue_is_complete() -> None:
    assert list(CATALOGUE) == [f"F{n:02}" for n in range(1, 39)]


def trace(driver: Factory, config: Config, *operations: dict[str, Any]) -> list[Observation]:
    """What is seen after each operation on a refilled queue."""
    scenario = Scenario.of(config, [{"op": "refill"}, *operations])
    ran = run(driver, scenario)
    assert ran.broken_law is None
    return ran.observations[1:]


@pytest.fixture(params=DRIVERS, ids=["engine", "reference"])
def driver(request: pytest.FixtureRequest) -> Factory:
    factory: Factory = request.param
    return factory


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(str(part) for part in kind))
def config(request: pytest.FixtureRequest) -> Config:
    return config_of(request.param, 65_535)


def test_f22_watchdog_kicks_when_nothing_moves(driver: Factory, config: Config) -> None:
    watch = {"op": "watchdog"}
    looks, kicks, _, again = trace(driver, config, watch, watch, send(), watch)
    assert [one.result[1] for one in (looks, kicks)] == [False, True]
    assert counter(kicks, "kicks") == counter(looks, "kicks") + 1
    # Sending alone moves nothing on the driver's side; receiving does.
    assert again.result[1] is True
    *_, polled, after = trace(driver, config, watch, send(), POLL, watch)
    assert (polled.result[1], after.result[1]) == (1, False)


def test_f29_copied_bytes_never_change(driver: Factory, config: Config) -> None:
    act = {"act": "rewrite", "back": 0, "at": config.header_len, "bytes": "ff" * 100}
    release = {"op": "release", "packet": 0}
    *_, polled, _, released = trace(driver, config, send(100), POLL, device(act), release)
    copies = config.mode == "mergeable" or (config.mode, config.strategy) == ("big", "deferred")
    assert (released.result[1] == polled.packets[0][1]) == copies


def test_f31_delivered_bytes_are_bounded_by_len(driver: Factory, config: Config) -> None:
    longer = send(20, len=[[0, config.header_len + 500]])
    _, polled = trace(driver, config, longer, POLL)
    assert polled.packets[0][0] == 500


def test_f32_a_poll_that_finds_nothing_is_counted(driver: Factory, config: Config) -> None:
    polls = trace(driver, config, *[POLL] * 3)
    assert [(one.result[1], counter(one, "polls")) for one in polls] == [(0, 1), (0, 2), (0, 3)]


def test_f35_each_poll_is_bounded_by_its_budget(driver: Factory, config: Config) -> None:
    bad = [send(len=[[0, 0]])] * buffers(config)
    one = {"op": "poll", "budget": 1}
    *_, first, second = trace(driver, config, *bad, one, one)
    assert [counter(seen, "rx_length_errors") for seen in (first, second)] == [1, 2]


def test_f38_each_single_allocation_can_fail(driver: Factory, config: Config) -> None:
    what = [("fail_pages", k) for k in range(2 * config.pages_per_buffer)]
    what += [("fail_skbs", k) for k in range(2)]
    struck = 0
    for op, skip in what:
        fail = {"op": op, "skip": skip, "count": 1}
        retry = {**fail, "skip": 0, "count": 0}
        # An empty pool, so that every page comes from the arena.
        scenario = Scenario.of(config, [fail, {"op": "refill"}, retry, {"op": "refill"}])
        ran = run(driver, scenario)
        assert ran.broken_law is None
        _, first, _, second = ran.observations
        if first.refill_needed:
            struck += 1
            assert first.num is not None and first.num < buffers(config)
        assert (second.num, second.refill_needed) == (buffers(config), False)
    assert struck >= 2 * config.pages_per_buffer


def counter(seen: Observation, name: str) -> int:
    assert seen.counters is not None
    return seen.counters[COUNTERS.index(name)]
