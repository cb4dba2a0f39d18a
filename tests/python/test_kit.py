"""The kit itself: it compares, shrinks, spreads its work, tells a bad driver from a bug."""

import json
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import pytest

import vnet_rx.testing as kit
from vnet_rx.errors import ConfigError
from vnet_rx.testing import (
    Budget,
    Config,
    DriverError,
    Engine,
    Limits,
    NativeEngine,
    Reference,
    Report,
    Scenario,
    case_seed,
    diff,
    fuzz,
    generate,
    load,
    minimize,
)
from vnet_rx.testing.faults import POLL, send

MERGEABLE = Config("mergeable", "deferred", "modern", 64)


@pytest.mark.parametrize("case", range(150))
def test_engine_and_reference_agree(case: int) -> None:
    divergence = diff(Engine(), Reference(), generate(case_seed(2010, case)))
    assert divergence is None, divergence.report()


@pytest.mark.parametrize("case", range(150))
def test_the_device_in_rust_does_as_the_device_in_python(case: int) -> None:
    divergence = diff(NativeEngine(), Engine(), generate(case_seed(2026, case)))
    assert divergence is None, divergence.report()


def test_a_divergence_tells_the_whole_story() -> None:
    scenario = Scenario.of(
        MERGEABLE,
        [{"op": "refill"}, {"op": "watchdog"}, send(200, len=[[0, 5000]]), POLL, {"op": "reset"}],
    )
    divergence = diff(Engine(), Reference("M01"), scenario)
    assert divergence is not None
    assert (divergence.index, divergence.field) == (3, "result")
    story = divergence.report()
    assert "engine-steps and reference+M01 differ after operation 4" in story
    assert "the device sends a packet of 200 bytes (buffer 0's used length is 5000)" in story
    assert "mergeable, deferred, modern, ring of 64, 64 pages" in story
    smallest = kit.campaign.shrink(Engine(), Reference("M01"), divergence)
    assert [one["op"] for one in smallest.scenario.operations] == ["refill", "device", "poll"]


def test_a_broken_law_is_found_on_either_side() -> None:
    scenario = Scenario.of(MERGEABLE, [{"op": "refill"}, send(len=[[0, 3]]), POLL])
    honest = Reference()
    for left, right in ((Reference("M13"), honest), (honest, Reference("M13"))):
        found = diff(left, right, scenario)
        assert found is not None


def test_minimize_is_bounded_and_keeps_what_it_must() -> None:
    scenario = generate(case_seed(1, 1))
    asked = 0

    def holds(one: Scenario) -> bool:
        nonlocal asked
        asked += 1
        return any(op["op"] == "poll" for op in one.operations)

    smallest = minimize(scenario, holds, tries=300)
    assert [one["op"] for one in smallest.operations] == ["poll"]
    assert smallest.operations[0]["budget"] == 1
    assert asked <= 300


def comparable(report: Report) -> dict[str, Any]:
    """All but how long it took."""
    return {**report.as_dict(), "seconds": 0, "operations_per_second": 0}


def test_the_report_does_not_depend_on_where_it_ran() -> None:
    settings: dict[str, Any] = {"budget": Budget(cases=240), "seed": 5}
    settings["limits"] = Limits(operations=(4, 12))
    alone = fuzz("reference+M06", "reference", **settings)
    assert alone.findings and alone.cases == 240
    with ThreadPoolExecutor(3) as threads:
        assert comparable(fuzz(Reference("M06"), "reference", executor=threads, **settings)) == (
            comparable(alone)
        )
    with ProcessPoolExecutor(2, get_context("spawn")) as processes:
        spread = fuzz("reference+M06", "reference", executor=processes, **settings)
    assert comparable(spread) == comparable(alone)
    for finding in alone.findings:
        scenario = Scenario.from_json(finding.scenario)
        assert diff(Reference("M06"), Reference(), scenario) is not None
        assert generate(finding.seed, settings["limits"]) == generate(
            case_seed(5, finding.case), settings["limits"]
        )


class Flaky(ThreadPoolExecutor):
    """An executor that loses a task now and then, as a cluster does whose workers die."""

    submitted = 0

    def submit(self, fn: Any, /, *arguments: Any, **more: Any) -> Any:
        self.submitted += 1
        if self.submitted % 3 == 0:
            return super().submit(self.lose)
        return super().submit(fn, *arguments, **more)

    @staticmethod
    def lose() -> str:
        raise ConnectionError("worker lost")


def test_lost_tasks_run_again_and_the_report_is_the_same() -> None:
    settings: dict[str, Any] = {"budget": Budget(cases=240), "limits": Limits(operations=(4, 8))}
    alone = fuzz("reference", "reference", **settings)
    with Flaky(2) as flaky:
        assert comparable(fuzz("reference", "reference", executor=flaky, **settings)) == (
            comparable(alone)
        )


def test_a_task_that_is_always_lost_is_an_error() -> None:
    class Losing(Flaky):
        def submit(self, fn: Any, /, *arguments: Any, **more: Any) -> Any:
            return ThreadPoolExecutor.submit(self, self.lose)

    with Losing(1) as losing, pytest.raises(DriverError, match="cases 0 to 9 of seed 0 was lost"):
        fuzz("reference", "reference", budget=Budget(cases=10), executor=losing)


def test_findings_and_progress_are_told_as_they_come() -> None:
    found: list[str] = []
    cases: list[int] = []
    report = fuzz(
        "reference+M03", Reference(), budget=Budget(cases=100),
        on_find=lambda one: found.append(one.what),
        on_progress=lambda one: cases.append(one.cases),
    )  # fmt: skip
    assert sorted(found) == sorted(one.what for one in report.findings)
    assert cases == [50, 100]


def test_ctrl_c_ends_with_what_was_done() -> None:
    def interrupt(report: Report) -> None:
        raise KeyboardInterrupt

    report = fuzz("reference", "reference", budget=Budget(seconds=60), on_progress=interrupt)
    assert report.interrupted and report.cases == 50


class Queue:
    """The reference behind a mask: the least that a driver must show."""

    def __init__(self, config: Config) -> None:
        self.driver: Any = Reference()(config)
        self.memory, self.layout = self.driver.memory, self.driver.layout
        self.refill, self.poll = self.driver.refill, self.driver.poll
        self.reset, self.close = self.driver.reset, self.driver.close


def test_a_driver_that_shows_little_is_held_to_what_it_shows() -> None:
    report = fuzz(Queue, Reference(), budget=Budget(cases=300), limits=Limits(operations=(4, 30)))
    assert not report.findings


class Raising(Queue):
    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.poll = self.fail

    def fail(self, budget: int) -> list[Any]:
        raise ZeroDivisionError("oops")


def test_a_driver_that_raises_is_a_finding_of_its_kind() -> None:
    report = fuzz(Raising, Reference(), budget=Budget(cases=20))
    assert {(one.kind, one.what) for one in report.findings} == {("raised", "ZeroDivisionError")}


class Hanging(Queue):
    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.poll = self.hang

    def hang(self, budget: int) -> list[Any]:
        while True:
            time.sleep(0.01)


def test_a_driver_that_hangs_is_a_finding_of_its_kind() -> None:
    report = fuzz(Hanging, Reference(), budget=Budget(cases=2), case_seconds=0.2)
    assert [one.kind for one in report.findings] == ["hang"]


def not_a_driver(config: Config) -> Any:
    return object()


def no_answer(config: Config) -> Any:
    raise RuntimeError("no device here")


NOT_CALLABLE = 7


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nonsense", "give package.module:factory"),
        ("no.such.module:make", "cannot be imported"),
        (f"{__name__}:absent", "has no 'absent'"),
        (f"{__name__}:NOT_CALLABLE", "is a int, not a factory"),
        (f"{__name__}:not_a_driver", "returned object, which lacks memory, layout"),
        (f"{__name__}:no_answer", "raised RuntimeError"),
        ("reference+M99", "unknown mutant 'M99'"),
    ],
)
def test_a_driver_that_cannot_be_had_is_no_divergence(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"driver|mutant") as raised:
        fuzz(name, "reference", budget=Budget(cases=1))
    assert says in str(raised.value)


def test_workers_elsewhere_need_a_name() -> None:
    with ThreadPoolExecutor(1) as threads, pytest.raises(DriverError, match="give its name"):
        fuzz(lambda config: Queue(config), budget=Budget(cases=1), executor=threads)


def test_names_of_implementations() -> None:
    assert load("engine-steps").name == "engine-steps"  # type: ignore[attr-defined]
    assert load("reference+M01+M02").name == "reference+M01+M02"  # type: ignore[attr-defined]
    assert load(f"{__name__}:Queue") is Queue


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Budget(),
        lambda: Budget(cases=0),
        lambda: Budget(seconds=-1),
        lambda: Limits(modes=("huge",)),
        lambda: Limits(modes=()),
        lambda: fuzz("reference", budget=Budget(cases=1), seed=-1),
        lambda: replace(MERGEABLE, ring_size=3),
    ],
)
def test_impossible_settings_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"is not possible|is empty|needs a budget"):
        wrong()


def test_findings_are_json() -> None:
    report = fuzz("reference+M03", "reference", budget=Budget(cases=10))
    again = json.loads(json.dumps(report.as_dict()))
    assert set(again) == {
        "seed", "cases", "operations", "seconds", "operations_per_second", "faults", "findings"
    }  # fmt: skip
    assert Scenario.from_json(json.dumps(again["findings"][0]["scenario"]))
