"""Two implementations under one scenario: where they first differ (RECEIVE.md, section 11)."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from vnet_rx.testing import words
from vnet_rx.testing.driver import DriverError, Factory
from vnet_rx.testing.observe import Observation
from vnet_rx.testing.portable import suited
from vnet_rx.testing.run import Run
from vnet_rx.testing.scenario import Scenario

FIELDS: Final = Observation._fields
CONTRACT: Final = frozenset({"result", "packets"})
"""What is compared of a driver that does not say what it ``observes``."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first operation after which two implementations differ, and how."""

    scenario: Scenario
    """The operations, up to the one after which they differ."""
    field: str
    """The field of the observation; ``law`` where a law did not hold on one side."""
    left: Any
    right: Any
    names: tuple[str, str] = ("left", "right")

    @property
    def index(self) -> int:
        """The operation's place, from 0."""
        return len(self.scenario.operations) - 1

    def details(self) -> list[tuple[str, Any, Any]]:
        """What differs, by name: left, right."""
        if self.field == "law":
            return [("law of conservation", self.left or "holds", self.right or "holds")]
        return list(words.difference(self.field, self.left, self.right))

    def report(self) -> str:
        """All of it, readable by somebody who has never seen a scenario."""
        width = max(map(len, self.names))
        lines = [
            f"{self.names[0]} and {self.names[1]} differ after operation {self.index + 1} "
            f"in {self.field}.",
            f"Queue: {self.scenario.config}",
            words.listing(self.scenario.operations),
            f"After operation {self.index + 1}:",
        ]
        for what, left, right in self.details():
            lines.append(f"  {what}")
            for name, value in zip(self.names, (left, right), strict=True):
                lines.append(f"    {name:<{width}}  {value}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.report()


def name_of(factory: Any) -> str:
    """What to call an implementation."""
    name = getattr(factory, "name", None) or getattr(factory, "__qualname__", None)
    return str(name or type(factory).__name__)


def diff(left: Factory, right: Factory, scenario: Scenario) -> Divergence | None:
    """Run both, operation by operation, and stop where they first differ.

    Everything that both show is compared after every operation, and the laws of conservation are
    checked on each side. Raises ``DriverError`` when one of the drivers cannot be had.
    """
    return compare(left, right, scenario)[0]


def compare(
    left: Factory, right: Factory, scenario: Scenario
) -> tuple[Divergence | None, Observation | None]:
    """Where they first differ, and what was last seen of the right one."""
    names = (name_of(left), name_of(right))
    if names[0] == names[1]:
        names = (f"{names[0]} (left)", f"{names[1]} (right)")
    quick = getattr(left, "trace", None)
    if quick is not None:
        two = Run(right, scenario)
        if hasattr(two.driver, "state"):
            return _ended([two], _against(quick(scenario), names, two, scenario))
        # A finished trace tells what was done; this driver may not do all of it.
        two.finish()
        left = left.step_by_step  # type: ignore[attr-defined]
    return _side_by_side(left, right, names, scenario)


def _side_by_side(
    left: Factory, right: Factory, names: tuple[str, str], scenario: Scenario
) -> tuple[Divergence | None, Observation | None]:
    a, b = Run(left, scenario), Run(right, scenario)
    given, scenario = scenario, suited(scenario, [a.driver, b.driver])
    if scenario.config != given.config:
        a.finish()
        b.finish()
        a, b = Run(left, scenario), Run(right, scenario)
    shown_by_both = shown(a.driver) & shown(b.driver)
    fields = [i for i, name in enumerate(FIELDS) if name in shown_by_both]
    content_only = "posted" not in shown_by_both
    two = None
    for number, operation in enumerate(scenario.operations, 1):
        one, two = _step(a, operation), _step(b, operation)
        found = difference(one, two, fields, content_only)
        if found is None and (a.broken_law or b.broken_law):
            found = ("law", a.broken_law, b.broken_law)
        if found is not None:
            part = scenario.with_operations(islice(scenario.operations, number))
            return _ended([a, b], (Divergence(part, *found, names), two))
    return _ended([a, b], (None, two))


_Compared = tuple[Divergence | None, Observation | None]


def _ended(runs: Iterable[Run], compared: _Compared) -> _Compared:
    """Ends runs. What goes wrong then is told unless a divergence says more."""
    for run in runs:
        try:
            run.finish()
        except DriverError:
            if compared[0] is None:
                raise
    return compared


def shown(driver: Any) -> frozenset[str]:
    """The fields of an observation that count for a driver."""
    observes = getattr(driver, "observes", None)
    if observes is not None:
        known = ", ".join(FIELDS)
        if not isinstance(observes, Set | Sequence) or not observes:
            raise DriverError(f"observes is {observes!r}: name some of the fields {known}")
        unknown = ", ".join(sorted(repr(name) for name in observes if name not in FIELDS))
        if unknown:
            raise DriverError(f"observes names {unknown}: the fields are {known}")
        return frozenset(observes)
    return frozenset(FIELDS) if hasattr(driver, "state") else CONTRACT


def _step(run: Run, operation: Any) -> Observation:
    try:
        return run.step(operation)
    except DriverError:
        raise
    except Exception as error:
        raise DriverError(f"the driver cannot be observed: {error!r}") from error


def _against(
    trace: Iterable[Any], names: tuple[str, str], right: Run, scenario: Scenario
) -> tuple[Divergence | None, Observation | None]:
    """A finished trace against a driver that shows everything."""
    two = None
    for number, (one, operation) in enumerate(zip(trace, scenario.operations, strict=True), 1):
        two = _step(right, operation)
        # One comparison where all is well.
        found = None if one == two else difference(one, two, range(len(FIELDS)), False)
        if found is None and right.broken_law:
            found = ("law", None, right.broken_law)
        if found is not None:
            part = scenario.with_operations(islice(scenario.operations, number))
            return Divergence(part, *found, names), two
    return None, two


def _content(row: Any) -> tuple[Any, ...]:
    """A packet without how it lies in memory, and without hdr_len, which is ignored."""
    size, crc, header = row[:3]
    return size, crc, (*header[:2], None, *header[3:])


def difference(
    left: Any, right: Any, fields: Iterable[int], content_only: bool
) -> tuple[str, Any, Any] | None:
    """The first of ``fields`` in which two observations differ, with both values.

    With ``content_only`` packets are compared by their bytes and header alone.
    """
    for i in fields:
        a, b = left[i], right[i]
        if a == b:
            continue
        name = FIELDS[i]
        if content_only and name == "packets":
            a, b = tuple(map(_content, a)), tuple(map(_content, b))
            if a == b:
                continue
        # A call that tells nothing is not compared with one that does.
        if content_only and name == "result" and ("ok", None) in (a, b) and a[0] == b[0]:
            continue
        return name, a, b
    return None
