"""Makes a scenario as short and as plain as it can be while it still shows what it shows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from vnet_rx.errors import ConfigError
from vnet_rx.testing import schema
from vnet_rx.testing.scenario import Config, Operation, Scenario

Holds = Callable[[Scenario], bool]
"""Whether a scenario still shows it."""


def minimize(scenario: Scenario, holds: Holds, tries: int = 3000) -> Scenario:
    """The smallest scenario for which ``holds`` is true, as far as ``tries`` questions lead.

    ``scenario`` itself must be one. Whole operations go first, then what the device does in them,
    then values that need not be what they are, then the configuration; until nothing more can go.
    The limit is a count, not a time, so that the result is the same on every machine.
    """
    asked = _Asked(holds, tries)
    while True:
        before = scenario
        scenario = _fewer(scenario, asked)
        for plainer in (_plainer_operations, _plainer_config):
            scenario = _first_that_holds(scenario, plainer, asked)
        if scenario == before or asked.left <= 0:
            return scenario


class _Asked:
    """The question, asked once for each scenario and so many times at most."""

    def __init__(self, holds: Holds, tries: int) -> None:
        self._holds, self.left = holds, tries
        self._known: dict[str, bool] = {}

    def __call__(self, scenario: Scenario) -> bool:
        key = scenario.to_json()
        if key not in self._known:
            self.left -= 1
            self._known[key] = self.left >= 0 and self._holds(scenario)
        return self._known[key]


def _fewer(scenario: Scenario, holds: _Asked) -> Scenario:
    """Without runs of operations, long runs first."""
    size = max(1, len(scenario.operations) // 2)
    while size and holds.left > 0:
        at = 0
        while at < len(scenario.operations):
            operations = scenario.operations
            shorter = scenario.with_operations(operations[:at] + operations[at + size :])
            if holds(shorter):
                scenario = shorter
            else:
                at += size
        size //= 2
    return scenario


def _first_that_holds(
    scenario: Scenario, variants: Callable[[Scenario], Iterator[Scenario]], holds: _Asked
) -> Scenario:
    """Takes the first variant that holds, over and over."""
    progress = True
    while progress:
        progress = False
        for variant in variants(scenario):
            if holds.left <= 0:
                return scenario
            if holds(variant):
                scenario, progress = variant, True
                break
    return scenario


def _plainer_operations(scenario: Scenario) -> Iterator[Scenario]:
    operations = scenario.operations
    for i, operation in enumerate(operations):
        fields = schema.OPERATIONS[operation["op"]]
        for plainer in _plainer(operation, fields):
            yield scenario.with_operations((*operations[:i], plainer, *operations[i + 1 :]))


def _plainer(value: Mapping[str, Any], fields: Mapping[str, schema.Field]) -> Iterator[Operation]:
    """The same with one field plainer."""
    for key, field in fields.items():
        for one in _plainer_values(value[key], field):
            yield {**value, key: one}


def _plainer_values(value: Any, field: schema.Field) -> Iterator[Any]:
    if field.default is not schema.REQUIRED:
        if value == field.default:
            return  # As plain as can be; going on from here could go round in circles.
        yield field.default
    if isinstance(field, schema.Whole):
        if isinstance(value, int):
            yield from _smaller(value, field.low)
    elif isinstance(field, schema.Several):
        for i in range(len(value)):
            yield (*value[:i], *value[i + 1 :])
        for i, item in enumerate(value):
            for one in _plainer_values(item, field.item):
                yield (*value[:i], one, *value[i + 1 :])
    elif isinstance(field, schema.Row):
        for i, item in enumerate(field.items):
            for one in _plainer_values(value[i], item):
                yield (*value[:i], one, *value[i + 1 :])
    elif isinstance(field, schema.Record):
        yield from _plainer(value, field.fields)
    elif isinstance(field, schema.Named):
        yield from _plainer(value, field.kinds[value[field.tag]])
    elif isinstance(field, schema.Hex) and len(value) > 1:
        yield value[: len(value) // 2]


def _smaller(value: int, low: int) -> Iterator[int]:
    """Smaller numbers, the smallest first; round ones that mean something before halves."""
    steps = [low, *(n for n in (1, 60, 128, 1518, 4096) if low < n < value)]
    steps += [(low + value) // 2, value - 1]
    seen = set()
    for one in steps:
        if low <= one < value and one not in seen:
            seen.add(one)
            yield one


def _plainer_config(scenario: Scenario) -> Iterator[Scenario]:
    config = scenario.config
    for name, value in (
        ("first_index", 0),
        ("event_idx", False),
        ("max_frags", 18),
        ("max_incomplete_polls", 16),
    ):
        if getattr(config, name) != value:
            yield from _with_config(scenario, {name: value})
    for size in (2, 4, 8, 16, 32, 64):
        if size < config.ring_size:
            yield from _with_config(scenario, {"ring_size": size})
    for pages in (config.pages_per_buffer, 2 * config.pages_per_buffer, config.pages // 2):
        if pages < config.pages:
            yield from _with_config(scenario, {"pages": pages})


def _with_config(scenario: Scenario, changes: Mapping[str, Any]) -> Iterator[Scenario]:
    fields = {**scenario.config.fields(), **changes}
    if "event_idx" in changes:
        fields["features"] = None
    try:
        config = Config(**fields)
    except ConfigError:
        return
    yield replace(scenario, config=config, expect=None)
