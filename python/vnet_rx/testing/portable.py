"""What is left of a scenario for a driver that does not show its state.

Which descriptor a driver uses again, when it refills, which buffer a packet lies in, whether
memory is short: all that is its own business. So anything whose outcome depends on it is left out,
or made independent of it; what stays must be answered alike by every driver.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from vnet_rx.testing.faults import longest
from vnet_rx.testing.scenario import Config, Operation, Scenario

OPTIONAL: Final = ("fail_pages", "fail_skbs", "watchdog", "disconnect", "stop", "detach")
"""Operations that a driver need not have."""
_PLENTY: Final = 4096
"""Pages: enough for whatever a scenario holds on to."""

Act = Mapping[str, Any]


def suited(scenario: Scenario, drivers: Iterable[Any]) -> Scenario:
    """The scenario as far as all these drivers can do it.

    Left out are operations that one of them lacks, and what happens at interleave points it does
    not pass; and, if one does not show its state, all that is not portable.
    """
    drivers = list(drivers)
    lacking = {op for op in OPTIONAL for driver in drivers if not hasattr(driver, op)}
    if not all(getattr(driver, "takes_hook", False) for driver in drivers):
        lacking.add("at")
    if lacking:
        kept = (_without(one, lacking) for one in scenario.operations if one["op"] not in lacking)
        scenario = scenario.with_operations(kept)
    if all(hasattr(driver, "state") for driver in drivers):
        return scenario
    return portable(scenario)


def _without(operation: Operation, lacking: set[str]) -> Operation:
    return {**operation, "at": ()} if "at" in lacking and operation["op"] == "poll" else operation


def portable(scenario: Scenario) -> Scenario:
    """The scenario without what depends on a driver's own choices; a refill follows every poll."""
    config = replace(scenario.config, pages=_PLENTY)
    operations = _operations(scenario.operations, config)
    return replace(scenario.with_operations(operations), config=config)


def _operations(operations: Iterable[Operation], config: Config) -> Iterator[Operation]:
    for operation in operations:
        name = operation["op"]
        if name == "device":
            yield {**operation, "do": _actions(operation["do"], config)}
        elif name == "poll":
            places = [{**one, "do": _actions(one["do"], config)} for one in operation["at"]]
            yield {**operation, "at": tuple(places)}
            yield {"op": "refill"}
        else:
            yield operation
            if name == "close":
                return
            if name == "reset":
                yield {"op": "refill"}


def _actions(actions: Iterable[Act], config: Config) -> tuple[Act, ...]:
    return tuple(act for one in actions for act in _action(one, config))


def _action(act: Act, config: Config) -> Iterator[Act]:
    size = config.ring_size
    match act["act"]:
        case "send":
            # An id that another buffer may have; a length that shows what lay there before.
            lengths = [[k, n] for k, n in act["len"] if not _stale(act, k, n, config)]
            ids = [[k, n] for k, n in act["id"] if n >= size]
            adds = [[k, n] for k, n in act["id_add"] if size <= n <= 2**32 - size]
            yield {**act, "len": tuple(lengths), "id": tuple(ids), "id_add": tuple(adds)}
        case "complete" if act["id"] >= size:
            yield act
        case "jump" if size < act["by"] < 65_536 - size:
            # Further than any driver has buffers outstanding.
            yield act
        case "scribble" if act["area"] == "avail":
            # An entry that names a descriptor makes the device fill another buffer than was posted
            # there; which one that is, and what lay in it, is the driver's business.
            if not act["bytes"].strip(b"\xff"):
                yield act
        case "publish" | "stray" | "scribble" | "flags" | "event":
            yield act


def _stale(act: Act, k: int, length: int, config: Config) -> bool:
    """Whether a used length lets bytes be seen that were not written."""
    room = longest(config)
    return 0 < length <= room if k else _first_written(act, config) < length <= room


def _first_written(act: Act, config: Config) -> int:
    whole: int = config.header_len + act["size"]
    return min(whole, act["fill"][0]) if act["fill"] else whole
