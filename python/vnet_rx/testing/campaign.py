"""Many scenarios from one seed, here or on many machines.

A campaign is cut into tasks, each a range of cases. A case's scenario depends on the campaign's
seed and the case's number alone, and a task is JSON in and JSON out, so it does not matter where a
task runs, in what order they end, or that one has to run again because its worker died: the report
is the same.
"""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from vnet_rx.errors import ConfigError
from vnet_rx.testing.compare import Divergence, compare
from vnet_rx.testing.driver import FAULTS, DriverError, Factory, load
from vnet_rx.testing.generate import Limits, case_seed, generate, possible_seed
from vnet_rx.testing.limit import MOST_SECONDS, TimeUp, time_limit
from vnet_rx.testing.minimize import minimize
from vnet_rx.testing.observe import Observation
from vnet_rx.testing.scenario import Scenario

CASES_A_TASK: Final = 50
_ATTEMPTS: Final = 3
_MOST_KINDS: Final = 8
"""Findings of so many kinds are minimised in one task; more of them say nothing new."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a campaign goes on: until so many cases or seconds, whichever is first."""

    cases: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("cases", self.cases), ("seconds", self.seconds)):
            if value is not None and not value > 0:
                raise ConfigError(f"{name} {value} is not possible: choose more than 0")
        if self.cases is None and self.seconds is None:
            raise ConfigError("a campaign needs a budget: give cases or seconds")


@dataclass(frozen=True, slots=True)
class Finding:
    """A case that showed something, made as small as it gets."""

    case: int
    """The case's number in the campaign."""
    seed: int
    """What ``generate`` made its scenario from."""
    kind: str
    """``divergence``, ``law`` (one side lost or doubled a page), ``raised`` or ``hang``."""
    what: str
    """What differs, in a few words; findings of one campaign with the same are counted as one."""
    cases: int
    """Cases that showed the same."""
    report: str
    """The whole story, for people."""
    scenario: str
    """The smallest scenario that shows it, as JSON."""


@dataclass(slots=True)
class Report:
    """What a campaign came to."""

    seed: int
    cases: int = 0
    operations: int = 0
    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FAULTS, 0))
    """Device faults that were provoked and counted, by name."""
    findings: list[Finding] = field(default_factory=list)
    interrupted: bool = False

    @property
    def operations_per_second(self) -> float:
        """Operations compared a second."""
        return self.operations / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "seed": self.seed,
            "cases": self.cases,
            "operations": self.operations,
            "seconds": round(self.seconds, 3),
            "operations_per_second": round(self.operations_per_second, 1),
            "faults": self.faults,
            "findings": [
                {**asdict(one), "scenario": json.loads(one.scenario)} for one in self.findings
            ],
        }

    def _add(self, part: dict[str, Any]) -> list[Finding]:
        """Add what a task came to; returns findings of a kind that is new."""
        self.cases += part["cases"]
        self.operations += part["operations"]
        for name, count in part["faults"].items():
            self.faults[name] += count
        new = []
        known = {(one.kind, one.what): i for i, one in enumerate(self.findings)}
        for raw in part["findings"]:
            one = Finding(**raw)
            at = known.get((one.kind, one.what))
            if at is None:
                self.findings.append(one)
                new.append(one)
                continue
            # Whichever task came first, the case with the lowest number tells the story.
            other = self.findings[at]
            first = min(one, other, key=lambda finding: finding.case)
            self.findings[at] = replace(first, cases=one.cases + other.cases)
        self.findings.sort(key=lambda finding: finding.case)
        return new


def fuzz(
    make_left: Factory | str,
    make_right: Factory | str = "reference",
    *,
    budget: Budget,
    seed: int = 0,
    executor: Executor | None = None,
    on_find: Callable[[Finding], object] | None = None,
    on_progress: Callable[[Report], object] | None = None,
    limits: Limits | None = None,
    case_seconds: float = 10.0,
    window: int = 8,
) -> Report:
    """Run random scenarios through two implementations and report where they differ.

    ``make_left`` and ``make_right`` are factories or their names (``vnet_rx.testing.load``). With
    an ``executor`` (any of ``concurrent.futures``, of which only ``submit`` is used) tasks run
    there, at most ``window`` at a time; factories must be importable there then. A task whose
    worker was lost is run again, a few times. A case that takes longer than ``case_seconds`` is a
    finding of kind ``hang``, where the worker runs tasks in its main thread; it ends its task.

    With a budget of cases the report depends on ``seed``, ``limits`` and the implementations
    alone. Ctrl-C ends the campaign with the report of what was done, ``interrupted``. Raises
    ``DriverError``.
    """
    possible_seed(seed)
    if not 0 < case_seconds <= MOST_SECONDS:
        raise ConfigError(
            f"case_seconds {case_seconds} is not possible: choose above 0, {MOST_SECONDS} at most"
        )
    if window < 1:
        raise ConfigError(f"window {window} is not possible: choose at least 1")
    limits = limits or Limits()
    report = Report(seed)
    began = time.monotonic()

    def tasks() -> Iterator[dict[str, Any]]:
        first = 0
        while budget.cases is None or first < budget.cases:
            if budget.seconds is not None and time.monotonic() - began >= budget.seconds:
                return
            count = (
                CASES_A_TASK if budget.cases is None else min(CASES_A_TASK, budget.cases - first)
            )
            yield {"seed": seed, "first": first, "count": count, "limits": asdict(limits),
                   "case_seconds": case_seconds}  # fmt: skip
            first += count

    def done(text: str) -> None:
        part = json.loads(text)
        if "driver_error" in part:
            raise DriverError(part["driver_error"])
        new = report._add(part)
        report.seconds = time.monotonic() - began
        if on_find:
            for finding in new:
                on_find(finding)
        if on_progress:
            on_progress(report)

    try:
        if executor is None:
            left, right = _factory(make_left), _factory(make_right)
            for task in tasks():
                done(_run(left, right, task))
        else:
            names = {"left": _name(make_left), "right": _name(make_right)}
            _spread(executor, ({**task, **names} for task in tasks()), window, done)
    except KeyboardInterrupt:
        report.interrupted = True
    report.seconds = time.monotonic() - began
    return report


def _spread(
    executor: Executor, tasks: Iterator[dict[str, Any]], window: int, done: Callable[[str], None]
) -> None:
    """Keep ``window`` tasks under way until there are no more."""
    under_way: dict[Future[str], tuple[str, int]] = {}

    def submit(task: str, attempt: int) -> None:
        under_way[executor.submit(run_task, task)] = (task, attempt)

    try:
        while True:
            while len(under_way) < window and (task := next(tasks, None)) is not None:
                submit(json.dumps(task), 1)
            if not under_way:
                return
            finished, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in finished:
                text, attempt = under_way.pop(future)
                try:
                    result = future.result()
                except Exception as error:
                    # A task does not raise: its worker was lost.
                    if attempt == _ATTEMPTS or isinstance(error, BrokenExecutor):
                        raise _lost(text, error) from error
                    submit(text, attempt + 1)
                else:
                    done(result)
    finally:
        for future in under_way:
            future.cancel()


def _lost(text: str, error: Exception) -> DriverError:
    task = json.loads(text)
    last = task["first"] + task["count"] - 1
    return DriverError(
        f"the worker that ran cases {task['first']} to {last} of seed {task['seed']} was lost "
        f"({error}): {task['left']} or {task['right']} crashed it or hung in native code"
    )


def run_task(text: str) -> str:
    """One task: what a worker runs. JSON in, JSON out."""
    task = json.loads(text)
    try:
        left, right = load(task["left"]), load(task["right"])
        return _run(left, right, task)
    except DriverError as error:
        return json.dumps({"driver_error": str(error)})


def _run(left: Factory, right: Factory, task: dict[str, Any]) -> str:
    limits = Limits(**task["limits"])
    part: dict[str, Any] = {"cases": 0, "operations": 0, "faults": {}, "findings": []}
    found: dict[tuple[str, str], Finding] = {}
    faults = [0] * len(FAULTS)
    for case in range(task["first"], task["first"] + task["count"]):
        seed = case_seed(task["seed"], case)
        scenario = generate(seed, limits)
        part["cases"] += 1
        part["operations"] += len(scenario.operations)
        divergence, last, hung = _case(left, right, scenario, task["case_seconds"])
        if last is not None and last.counters is not None:
            counts = last.counters[-len(FAULTS) :]
            faults = [a + b for a, b in zip(faults, counts, strict=True)]
        if divergence is None and not hung:
            continue
        key = ("hang", "no answer") if divergence is None else signature(divergence)
        if key in found:
            found[key] = replace(found[key], cases=found[key].cases + 1)
        elif len(found) < _MOST_KINDS:
            found[key] = _finding(
                left, right, case, scenario, key, divergence, task["case_seconds"]
            )
        if hung:
            break  # The rest of the task may hang as well, each as long.
    part["faults"] = dict(zip(FAULTS, faults, strict=True))
    part["findings"] = [asdict(one) for one in found.values()]
    return json.dumps(part)


def _case(
    left: Factory, right: Factory, scenario: Scenario, seconds: float
) -> tuple[Divergence | None, Observation | None, bool]:
    """Where the two differ, what was last seen, and whether there was no answer in time."""
    try:
        with time_limit(seconds):
            return *compare(left, right, scenario), False
    except TimeUp:
        return None, None, True


def signature(divergence: Divergence) -> tuple[str, str]:
    """Kind of a finding, and what differs in a few words: the same for the same bug, mostly."""
    if divergence.field == "law":
        return "law", "law of conservation"
    if any(value and value[0] == "raised" for value in (divergence.left, divergence.right)
           if divergence.field == "result"):  # fmt: skip
        side = divergence.left if divergence.left[0] == "raised" else divergence.right
        return "raised", str(side[1])
    what = divergence.details()[0][0] if divergence.details() else divergence.field
    last = divergence.scenario.operations[-1]["op"]
    return "divergence", f"{what.split('[')[0]} after {last}"


def _finding(
    left: Factory, right: Factory, case: int, scenario: Scenario, key: tuple[str, str],
    divergence: Divergence | None, seconds: float,
) -> Finding:  # fmt: skip
    if divergence is None:
        report = f"No answer within {seconds:g} s.\nQueue: {scenario.config}"
        return Finding(case, scenario.seed, *key, 1, report, scenario.to_json())
    smallest = shrink(left, right, divergence, seconds)
    report = smallest.report()
    return Finding(case, scenario.seed, *key, 1, report, smallest.scenario.to_json())


def shrink(
    left: Factory, right: Factory, divergence: Divergence, seconds: float = 10.0, tries: int = 3000
) -> Divergence:
    """The smallest divergence of the same kind that can be made of this one."""
    key = signature(divergence)

    def holds(scenario: Scenario) -> bool:
        found, _, _ = _case(left, right, scenario, seconds)
        return found is not None and signature(found) == key

    smallest = minimize(divergence.scenario, holds, tries)
    found, _, _ = _case(left, right, smallest, seconds)
    return found or divergence


def _factory(given: Factory | str) -> Factory:
    return load(given) if isinstance(given, str) else given


def _name(given: Factory | str) -> str:
    """The name under which a worker elsewhere finds a factory."""
    if isinstance(given, str):
        return given
    name = getattr(given, "name", None)
    if not isinstance(name, str):
        name = f"{getattr(given, '__module__', '?')}:{getattr(given, '__qualname__', '?')}"
    try:
        load(name)
    except DriverError as error:
        raise DriverError(
            f"workers elsewhere cannot find {given!r}: give its name, package.module:factory "
            f"({error})"
        ) from None
    return name
