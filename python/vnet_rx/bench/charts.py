"""What is drawn: charts of results, however they are drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vnet_rx.bench.criterion import Estimate, order
from vnet_rx.bench.results import Results
from vnet_rx.bench.tables import MODES, STRATEGIES


@dataclass(frozen=True)
class Chart:
    """Lines over labels that are evenly spaced; the figures' scale is logarithmic."""

    title: str
    x_label: str
    y_label: str
    labels: Sequence[str]
    lines: dict[str, list[Estimate | None]]
    """By strategy, a figure for each label; ``None`` where there is none."""


def charts(results: Results) -> list[Chart]:
    """Time, instructions and skb allocations by size, for each mode; time by ring size and, for two
    threads, by size. A chart without figures is left out.
    """
    drawn = []
    for mode in MODES:
        sizes = f"receive/{{strategy}}/{mode}/"
        drawn += [
            _chart(results, f"{mode}: time", "frame, bytes", "ns per packet", sizes, _time),
            _chart(results, f"{mode}: instructions", "frame, bytes", "per packet", sizes,
                   _counter("instructions")),
            _chart(results, f"{mode}: skb allocations", "frame, bytes", "per packet", sizes,
                   _counter("skb_allocs")),
        ]  # fmt: skip
    rings = "ring-size/{strategy}/"
    pairs = "threads/{strategy}/untouched/"
    drawn += [
        _chart(
            results, "mergeable, 60 bytes, by ring", "descriptors", "ns per packet", rings, _time
        ),
        _chart(results, "two threads", "frame, bytes", "ns per packet", pairs, _time, "floor"),
    ]
    return [chart for chart in drawn if chart.lines]


Figure = Callable[[Results, str], Estimate | None]


def _time(results: Results, cell: str) -> Estimate | None:
    found = results.times.get(cell)
    return None if found is None else found.median


def _counter(name: str) -> Figure:
    def figure(results: Results, cell: str) -> Estimate | None:
        found = results.per_packet(cell, name)
        return Estimate(found, found, found) if found else None

    return figure


def _chart(
    results: Results, title: str, x: str, y: str, cells: str, figure: Figure, *others: str
) -> Chart:
    names = [*STRATEGIES, *others]
    prefixes = {name: cells.format(strategy=name) for name in names}
    labels = {
        cell.removeprefix(prefix)
        for cell in [*results.times, *results.counts]
        for prefix in prefixes.values()
        if cell.startswith(prefix)
    }
    ordered = sorted(labels, key=order)
    lines = {
        name: [figure(results, prefix + label) for label in ordered]
        for name, prefix in prefixes.items()
    }
    return Chart(title, x, y, ordered, {name: line for name, line in lines.items() if any(line)})
