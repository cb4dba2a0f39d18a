"""Known bugs, hunted: a kit is only as good as the bugs it catches.

The reference has the 22 known bugs of receive paths of this kind as switches. ``hunt`` looks for
one with nothing but random scenarios, against the engine (or the reference without it).
"""

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, as_completed
from dataclasses import asdict, dataclass
from typing import Any

from vnet_rx.testing.campaign import shrink
from vnet_rx.testing.compare import Divergence, compare
from vnet_rx.testing.driver import Factory, NativeEngine, Reference
from vnet_rx.testing.generate import case_seed, generate, possible_seed


@dataclass(frozen=True, slots=True)
class Hunt:
    """What became of the hunt for one mutant."""

    id: str
    found: bool
    seconds: float
    """Until it was found, or given up."""
    cases: int
    operations: int
    """Operations compared until then."""
    case: int | None = None
    """The case that found it: ``generate(case_seed(seed, case))``."""
    minimised_operations: int | None = None
    scenario: str | None = None
    """The smallest scenario that shows it, as JSON."""
    report: str | None = None


def honest() -> Factory:
    """What a mutant is held against: the engine, or the reference where the engine cannot load."""
    try:
        return NativeEngine()
    except ImportError:
        return Reference()


def hunt(mutant: str, seconds: float = 60.0, seed: int = 0) -> Hunt:
    """Look for one mutant until it is found or time is up, then minimise what found it.

    Raises ``ConfigError`` for a mutant that does not exist.
    """
    right, left = Reference(mutant), honest()
    began = time.monotonic()
    case = operations = 0
    while True:
        scenario = generate(case_seed(seed, case))
        divergence, _ = compare(left, right, scenario)
        operations += len(
            scenario.operations if divergence is None else divergence.scenario.operations
        )
        spent = time.monotonic() - began
        if divergence is not None:
            return _found(mutant, left, right, divergence, spent, case, operations)
        case += 1
        if spent >= seconds:
            return Hunt(mutant, False, spent, case, operations)


def _found(
    mutant: str, left: Factory, right: Factory, divergence: Divergence, spent: float, case: int,
    operations: int,
) -> Hunt:  # fmt: skip
    smallest = shrink(left, right, divergence, tries=2000)
    return Hunt(
        mutant, True, spent, case + 1, operations, case, len(smallest.scenario.operations),
        smallest.scenario.to_json(), smallest.report(),
    )  # fmt: skip


def hunt_task(text: str) -> str:
    """One hunt: what a worker runs. JSON in, JSON out."""
    return json.dumps(asdict(hunt(**json.loads(text))))


def hunt_all(
    mutants: Iterable[str], seconds: float, seed: int, executor: Executor,
    on_end: Callable[[Hunt], object] | None = None,
) -> list[Hunt]:  # fmt: skip
    """Hunt several, as many at a time as the executor has workers; in the order given.

    Raises ``ConfigError`` for a seed or a mutant that cannot be.
    """
    possible_seed(seed)
    names = list(mutants)
    tasks: dict[Any, str] = {}
    for name in names:
        task = json.dumps({"mutant": name, "seconds": seconds, "seed": seed})
        tasks[executor.submit(hunt_task, task)] = name
    ended = {}
    try:
        for future in as_completed(tasks):
            ended[tasks[future]] = result = Hunt(**json.loads(future.result()))
            if on_end:
                on_end(result)
    finally:
        for future in tasks:
            future.cancel()
    return [ended[name] for name in names]
