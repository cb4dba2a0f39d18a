"""Results of ``cargo bench``, read from the tree that Criterion leaves in ``target/criterion``.

A cell's directory holds ``<baseline>/benchmark.json`` (its name, and the elements of an
iteration), ``sample.json`` (iterations and nanoseconds of each sample) and ``estimates.json``. It
is the tree that ``critcmp`` reads too.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vnet_rx.errors import BenchError


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % confidence interval, in nanoseconds per element."""

    point: float
    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    """One benchmark: what it measured, per element (a packet, a buffer, a page)."""

    name: str
    """As Criterion shows it: ``receive/deferred/mergeable/60``."""
    median: Estimate
    """Criterion's, a percentile bootstrap of the samples."""
    samples: tuple[float, ...]
    """Nanoseconds per element in each sample, in the order in which they were taken."""

    @classmethod
    def from_json(cls, document: Any, where: str) -> "Cell":
        """The cell that :meth:`as_json` gave; raises :class:`BenchError` for anything else."""
        median = [_number(document, key, where) for key in ("median", "low", "high")]
        samples = _numbers(document, "samples", where)
        return cls(_text(document, "name", where), Estimate(*median), tuple(samples))

    def as_json(self) -> dict[str, Any]:
        """The cell in plain types, times rounded to a thousandth of a nanosecond."""
        return {
            "name": self.name,
            "median": round(self.median.point, 3),
            "low": round(self.median.low, 3),
            "high": round(self.median.high, 3),
            "samples": [round(sample, 3) for sample in self.samples],
        }


def load(directory: str | Path = "target/criterion", baseline: str = "new") -> dict[str, Cell]:
    """All cells under ``directory``, by name, in the order of their names.

    ``baseline`` is ``new`` for the last run, or the name given to ``--save-baseline``. Raises
    :class:`BenchError` when there is no result, or a file is truncated or not Criterion's.
    """
    root = Path(directory)
    if not root.is_dir():
        raise BenchError(
            f"there is no {root}: run `cargo bench` (or `vnet-rx bench --run`) in the source tree, "
            "or name the directory with --criterion"
        )
    cells = [_cell(found.parent) for found in root.glob(f"**/{baseline}/benchmark.json")]
    if not cells:
        raise BenchError(f"{root} holds no results of baseline {baseline!r}: run `cargo bench`")
    return {cell.name: cell for cell in sorted(cells, key=lambda cell: order(cell.name))}


def order(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sorting key for names, in which numbers count as numbers."""
    parts = name.split("/")
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def _cell(directory: Path) -> Cell:
    benchmark, sample, estimates = (
        read_json(directory / f"{name}.json") for name in ("benchmark", "sample", "estimates")
    )
    name = _text(benchmark, "full_id", f"{directory / 'benchmark.json'}")
    elements = _elements(benchmark, f"{directory / 'benchmark.json'}")
    where = f"{directory / 'sample.json'}"
    iterations, times = (_numbers(sample, key, where) for key in ("iters", "times"))
    if len(iterations) != len(times):
        raise BenchError(f"{where}: {len(iterations)} iteration counts and {len(times)} times")
    where = f"{directory / 'estimates.json'}"
    median = _mapping(estimates, "median", where)
    interval = _mapping(median, "confidence_interval", where)
    bounds = [_number(interval, key, where) for key in ("lower_bound", "upper_bound")]
    figures = [_number(median, "point_estimate", where), *bounds]
    return Cell(
        name=name,
        median=Estimate(*(figure / elements for figure in figures)),
        samples=tuple(t / n / elements for t, n in zip(times, iterations, strict=True)),
    )


def _elements(benchmark: Any, where: str) -> int:
    """Elements of an iteration; 1 where the benchmark did not say."""
    throughput = benchmark.get("throughput")
    if not isinstance(throughput, Mapping) or "Elements" not in throughput:
        return 1
    elements = _number(throughput, "Elements", where)
    return int(elements)


def read_json(path: Path) -> Any:
    """A JSON file; raises :class:`BenchError` naming the file when there is none."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BenchError(f"{path} is truncated or not JSON: {error}") from error


def _value(document: Any, key: str, where: str) -> Any:
    if not isinstance(document, Mapping) or key not in document:
        raise BenchError(f"{where} is not a benchmark result: it has no {key!r}")
    return document[key]


def _mapping(document: Any, key: str, where: str) -> Mapping[str, Any]:
    value = _value(document, key, where)
    if not isinstance(value, Mapping):
        raise BenchError(f"{where} is not a benchmark result: {key!r} is {value!r:.40}")
    return value


def _text(document: Any, key: str, where: str) -> str:
    value = _value(document, key, where)
    if not isinstance(value, str):
        raise BenchError(f"{where} is not a benchmark result: {key!r} is {value!r:.40}")
    return value


def _number(document: Any, key: str, where: str) -> float:
    return _positive(_value(document, key, where), key, where)


def _numbers(document: Any, key: str, where: str) -> list[float]:
    values = _value(document, key, where)
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise BenchError(f"{where} is not a benchmark result: {key!r} is {values!r:.40}")
    return [_positive(value, key, where) for value in values]


def _positive(value: Any, key: str, where: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise BenchError(f"{where}: {key!r} is {value!r:.40}, not a positive number")
    return float(value)
