"""Results with what they were measured on, as they are kept and passed on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vnet_rx.bench.comparison import compare_strategies
from vnet_rx.bench.criterion import Cell, load, read_json
from vnet_rx.errors import BenchError


@dataclass(frozen=True)
class Results:
    """Times by cell, counts by cell, and what they were measured on."""

    times: Mapping[str, Cell]
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """What ``make counts`` found, in all counted packets; see :meth:`per_packet`."""
    machine: Mapping[str, str] = field(default_factory=dict)
    configuration: Mapping[str, str] = field(default_factory=dict)

    def per_packet(self, cell: str, counter: str) -> float | None:
        """A counter by packet: instructions, reads, writes, heap_allocations, skb_allocs,
        bytes_copied, or any counter of ``Stats``. ``None`` where it was not counted.
        """
        counted = self.counts.get(cell, {})
        return counted[counter] / counted["packets"] if counter in counted else None

    def as_json(self) -> dict[str, Any]:
        """The times, each pair of strategies compared, and the counts, in plain types."""
        return {
            "what": "times",
            "machine": dict(self.machine),
            "configuration": dict(self.configuration),
            "cells": [cell.as_json() for cell in self.times.values()],
            "comparisons": [
                {
                    "name": comparison.name,
                    "ratio": round(comparison.ratio.point, 4),
                    "low": round(comparison.ratio.low, 4),
                    "high": round(comparison.ratio.high, 4),
                    "stands_out": comparison.stands_out,
                }
                for comparison in compare_strategies(self.times)
            ],
            "counts": [{"cell": name, **counted} for name, counted in self.counts.items()],
        }


def read(source: str | Path, counts: str | Path | None = None) -> Results:
    """Read results: ``source`` is a Criterion tree or a file that ``vnet-rx bench --json`` wrote.

    ``counts`` is a file of ``make counts``; by default the one beside the tree, if there is one.
    Raises :class:`BenchError` naming what cannot be read.
    """
    path = Path(source)
    counted: Mapping[str, Mapping[str, int]]
    machine: Mapping[str, str] = {}
    configuration: Mapping[str, str] = {}
    if path.is_file():
        document = read_json(path)
        cells = [Cell.from_json(cell, str(path)) for cell in _list(document, "cells", path)]
        times = {cell.name: cell for cell in cells}
        machine, configuration = document.get("machine", {}), document.get("configuration", {})
        counted = _counts(document.get("counts", []), path)
    else:
        times = load(path)
        beside = path.parent / "counts.json"
        counted = {}
        if counts is None and beside.is_file():
            counts = beside
    if counts is not None:
        counted = read_counts(counts)
    return Results(times, counted, machine, configuration)


def read_counts(path: str | Path) -> dict[str, Mapping[str, int]]:
    """Read a file of ``make counts``: counters by cell; raises :class:`BenchError`."""
    return _counts(_list(read_json(Path(path)), "cells", path), path)


def dumps(document: Mapping[str, Any]) -> str:
    """A file of results as text: JSON with an element of a list, a cell that is, on each line."""
    parts = []
    for key, value in document.items():
        if isinstance(value, list):
            shown = "[\n  " + ",\n  ".join(json.dumps(element) for element in value) + "\n ]"
        else:
            shown = json.dumps(value, indent=1)
        parts.append(f" {json.dumps(key)}: {shown}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _counts(cells: Any, where: str | Path) -> dict[str, Mapping[str, int]]:
    counted: dict[str, Mapping[str, int]] = {}
    for cell in cells:
        numbers = dict(cell) if isinstance(cell, dict) else {}
        name = numbers.pop("cell", None)
        whole = all(isinstance(n, int) and n >= 0 for n in numbers.values())
        if not isinstance(name, str) or not whole or not numbers.get("packets"):
            raise BenchError(f"{where} is not a file of counts: {cell!r:.60}")
        counted[name] = numbers
    return counted


def _list(document: Any, key: str, where: str | Path) -> list[Any]:
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise BenchError(f"{where} is not a file of results: it has no list {key!r}")
    return found
