"""Drivers under test that misbehave: each is told apart, and none takes the campaign with it."""

import itertools
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from vnet_rx.errors import ConfigError
from vnet_rx.testing import Budget, Config, DriverError, Limits, Reference, fuzz, load
from vnet_rx.testing.limit import TimeUp, of_the_driver, time_limit

LIMITS = Limits(("small",), operations=(8, 12))


class Behind:
    """The reference behind a mask; keyword arguments are what it answers otherwise."""

    def __init__(self, config: Config, **changes: Any) -> None:
        self.driver: Any = Reference()(config)
        for name in ("memory", "layout", "refill", "poll", "reset", "close"):
            setattr(self, name, changes.get(name, getattr(self.driver, name)))


class Open(Behind):
    """The same, which shows its state as well."""

    def __init__(self, config: Config, **changes: Any) -> None:
        super().__init__(config)
        for name, value in changes.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.driver, name)


def factory(kind: Any, **changes: Any) -> Callable[[Config], Any]:
    return lambda config: kind(config, **changes)


def raising(error: BaseException) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        raise error

    return call


class Gone(BaseException):
    pass


class Headless:
    header = None

    def __bytes__(self) -> bytes:
        return b"x" * 20


class Lying(Headless):
    def __bytes__(self) -> bytes:
        return "x"  # type: ignore[return-value]


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(7), GeneratorExit(), Gone("odd"), RecursionError()]
)
def test_whatever_a_poll_raises_is_a_finding(error: BaseException) -> None:
    report = fuzz(factory(Behind, poll=raising(error)), budget=Budget(cases=4), limits=LIMITS)
    assert {(one.kind, one.what) for one in report.findings} == {("raised", type(error).__name__)}


def test_ctrl_c_and_time_that_is_up_are_no_doing_of_the_driver() -> None:
    assert not of_the_driver(KeyboardInterrupt())
    assert not of_the_driver(TimeUp())
    report = fuzz(factory(Behind, poll=raising(KeyboardInterrupt())), budget=Budget(cases=4))
    assert report.interrupted and not report.findings


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (factory(Behind, poll=lambda budget: 5), "poll returned int in place of packets"),
        (factory(Behind, poll=lambda budget: None), "poll returned NoneType in place of packets"),
        (factory(Behind, poll=lambda budget: [Headless()]), "cannot be observed: AttributeError"),
        (factory(Behind, poll=lambda budget: [Lying()]), "cannot be observed: TypeError"),
        (factory(Behind, poll=lambda budget: [7]), "cannot be observed: AttributeError"),
        (factory(Behind, close=raising(ValueError("no"))), "raised ValueError('no') when all was"),
        (factory(Behind, memory=None), "memory or layout is not usable"),
        (factory(Behind, layout=None), "memory or layout is not usable"),
        (factory(Open, counters=lambda: (1, 2)), "counters has 2 numbers: give one for each of"),
        (factory(Open, state=lambda: (1, 2)), "cannot be observed"),
        (factory(Open, observes={"nonsense"}), "observes names 'nonsense'"),
        (factory(Open, observes=set()), "observes is set(): name some of the fields result,"),
        (factory(Open, observes=5), "observes is 5: name some of the fields"),
        (raising(SystemExit(5)), "the driver factory raised SystemExit(5)"),
    ],
)
def test_a_driver_that_keeps_no_contract_is_an_error(make: Any, says: str) -> None:
    with pytest.raises(DriverError) as raised:
        fuzz(make, budget=Budget(cases=2), limits=LIMITS)
    assert says in str(raised.value)


def test_packets_without_end_are_cut_off() -> None:
    asked = itertools.count()

    def poll(budget: int) -> Any:
        for _ in asked:
            yield Headless()

    with pytest.raises(DriverError):
        fuzz(factory(Behind, poll=poll), budget=Budget(cases=1), limits=LIMITS)
    assert next(asked) < 100


def test_values_that_are_lists_are_compared_all_the_same() -> None:
    def make(config: Config) -> Any:
        driver: Any = Open(config, observes={"result"})
        refill = driver.refill
        driver.refill = lambda: [refill()]
        counters = driver.driver.counters
        driver.counters = lambda: list(counters())
        return driver

    report = fuzz(make, budget=Budget(cases=2), limits=LIMITS)
    assert {one.what for one in report.findings} == {"result after refill"}


def test_a_hang_ends_its_task() -> None:
    def hang(budget: int) -> Any:
        while True:
            pass

    report = fuzz(
        factory(Behind, poll=hang), budget=Budget(cases=40), limits=LIMITS, case_seconds=0.1
    )
    assert [one.kind for one in report.findings] == ["hang"]
    assert report.cases < 40 and report.seconds < 5


def test_a_timer_that_runs_already_runs_on() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(TimeUp), time_limit(0.05):
            time.sleep(5)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 0.3
        deadline = time.monotonic() + 5
        while not rung and time.monotonic() < deadline:
            time.sleep(0.01)
        assert rung == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_engine_where_it_cannot_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vnet_rx._core", None)
    with pytest.raises(DriverError, match="needs the native module"):
        load("engine")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"case_seconds": 0.0}, "case_seconds 0.0"),
        ({"case_seconds": float("nan")}, "case_seconds nan"),
        ({"case_seconds": float("inf")}, "case_seconds inf"),
        ({"window": 0}, "window 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        fuzz("reference", budget=Budget(cases=1), **settings)
