"""Results as tables: for a terminal, and in Markdown for docs/performance.md."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vnet_rx.bench.comparison import compare_strategies
from vnet_rx.bench.criterion import Cell, Estimate, order
from vnet_rx.bench.results import Results

STRATEGIES = ("eager", "deferred")


@dataclass(frozen=True)
class Table:
    """Columns and rows of text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    """How many columns hold names; the others hold figures."""

    def markdown(self) -> str:
        """The table in Markdown, figures flush right."""
        rule = ["---"] * self.left + ["---:"] * (len(self.columns) - self.left)
        return "\n".join("| " + " | ".join(row) + " |" for row in [self.columns, rule, *self.rows])


def interval(estimate: Estimate) -> str:
    """A time in nanoseconds with its interval: ``34.1 (33.9 to 34.4)``."""
    figures = (f"{digits(figure)}" for figure in (estimate.point, estimate.low, estimate.high))
    point, low, high = figures
    return f"{point} ({low} to {high})"


def digits(figure: float) -> str:
    """Three digits, or all before the point: ``0.12``, ``34.1``, ``5,012``."""
    if figure >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def packets_per_second(estimate: Estimate) -> str:
    """Nanoseconds per packet as millions of packets per second."""
    return f"{1000 / estimate.point:.2f}"


def counted(results: Results, cell: str, counter: str) -> str:
    """A counter per packet as text, ``-`` where it was not counted."""
    figure = results.per_packet(cell, counter)
    return "-" if figure is None else f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def strategies(results: Results, prefix: str = "") -> Table:
    """Every cell that both strategies have, old against new."""
    rows = []
    for comparison in compare_strategies(results.times):
        if not comparison.name.startswith(prefix):
            continue
        old, new = comparison.old, comparison.new
        counts = [
            f"{counted(results, old.name, counter)} / {counted(results, new.name, counter)}"
            for counter in ("instructions", "skb_allocs", "bytes_copied")
        ]
        figures = [interval(old.median), interval(new.median), comparison.change]
        rows.append([comparison.name, *figures, *counts])
    columns = ("cell", "eager, ns", "deferred, ns", "time", "instructions", "skbs", "copied, bytes")
    return Table(columns, rows)


def counts_table(counts: Mapping[str, Mapping[str, int]]) -> Table:
    """What ``make counts`` found, by packet."""
    results = Results({}, counts)
    shown = ("instructions", "reads", "writes", "skb_allocs", "heap_allocations", "bytes_copied")
    rows = [
        [cell, *(counted_exactly(results, cell, counter) for counter in shown)] for cell in counts
    ]
    return Table(("per packet", *(name.replace("_", " ") for name in shown)), rows)


def counted_exactly(results: Results, cell: str, counter: str) -> str:
    """A counter per packet with three decimals, as two runs are to agree on it."""
    figure = results.per_packet(cell, counter)
    return "-" if figure is None else f"{figure:,.3f}"


def deferring(results: Results) -> Table:
    """What deferring saves, by mode and size."""
    rows = []
    for comparison in compare_strategies(results.times):
        group, *rest = comparison.name.split("/")
        if group != "receive":
            continue
        old, new = comparison.old, comparison.new
        both = [
            (counted(results, old.name, counter), counted(results, new.name, counter))
            for counter in ("instructions", "reads", "writes", "skb_allocs", "bytes_copied")
        ]
        shown = [old_n if old_n == new_n else f"{old_n} → {new_n}" for old_n, new_n in both]
        times = [interval(old.median), interval(new.median), comparison.change]
        rows.append([*rest, *times, *shown])
    columns = (
        "mode", "frame, bytes", "eager, ns", "deferred, ns", "time", "instructions", "reads",
        "writes", "skb allocations", "bytes copied",
    )  # fmt: skip
    return Table(
        columns, sorted(rows, key=lambda row: (MODES.index(row[0]), order(row[1]))), left=2
    )


MODES = ("small", "big", "mergeable")


def by_value(results: Results, group: str, names: Mapping[str, str], value: str) -> Table:
    """One group as a table: a row for each value, a column for each of ``names``, which maps the
    middle of a cell's name to a heading.
    """
    cells = {name: cell for name, cell in results.times.items() if name.startswith(f"{group}/")}
    values = sorted({name.rsplit("/", 1)[1] for name in cells}, key=order)
    rows = []
    for at in values:
        found = [cells.get(f"{group}/{middle}/{at}") for middle in names]
        rows.append([at, *("-" if cell is None else interval(cell.median) for cell in found)])
    return Table((value, *(f"{heading}, ns" for heading in names.values())), rows)


def threads(results: Results) -> Table:
    """Two threads beside their floor."""
    rows = []
    cells = [name for name in results.times if name.startswith("threads/floor/")]
    for floor_name in sorted(cells, key=order):
        _, _, touched, size = floor_name.split("/")
        floor = results.times[floor_name]
        for strategy in STRATEGIES:
            cell = results.times.get(f"threads/{strategy}/{touched}/{size}")
            if cell is not None:
                ratio = f"{cell.median.point / floor.median.point:.2f}"
                figures = interval(cell.median), packets_per_second(cell.median)
                rows.append([size, touched, strategy, *figures, interval(floor.median), ratio])
    columns = ("frame, bytes", "packet", "strategy", "ns", "Mpps", "floor, ns", "by floor")
    return Table(columns, sorted(rows, key=lambda row: (order(row[0]), row[1])), left=3)


def peers(results: Results) -> Table:
    """Other drivers at the same work."""
    rows = []
    theirs = [name for name in results.times if name.startswith("peers/virtio-drivers/")]
    for name in sorted(theirs, key=order):
        size = name.rsplit("/", 1)[1]
        their = results.times[name].median
        row = [size, interval(their), counted(results, name, "instructions")]
        for strategy in STRATEGIES:
            cell = results.times.get(f"peers/{strategy}/{size}")
            if cell is None:
                row += ["-", "-", "-"]
                continue
            instructions = counted(results, f"receive/{strategy}/small/{size}", "instructions")
            row += [interval(cell.median), instructions, ratio_of(their, cell)]
        rows.append(row)
    columns = ["frame, bytes", "virtio-drivers, ns", "instructions"]
    for strategy in STRATEGIES:
        columns += [f"{strategy}, ns", "instructions", "times as fast"]
    return Table(columns, rows)


def pairs_table(rates: Sequence[Mapping[str, Any]]) -> Table:
    """What ``make peer-dpdk`` measured: two cores, packets per second."""
    best = {}
    for rate in rates:
        if "DPDK virtio-user" in rate["pair"]:
            best[rate["size"]] = statistics.median(rate["mpps"])
    rows = []
    for rate in sorted(rates, key=lambda rate: int(rate["size"])):
        median = statistics.median(rate["mpps"])
        spread = f"{min(rate['mpps']):.2f} to {max(rate['mpps']):.2f}"
        by_dpdk = f"{median / best[rate['size']]:.2f}" if rate["size"] in best else "-"
        rows.append([str(rate["size"]), rate["pair"], f"{median:.2f}", spread, by_dpdk])
    columns = ("frame, bytes", "driver, device", "Mpps", "lowest to highest", "by DPDK's pair")
    return Table(columns, rows, left=2)


def ratio_of(their: Estimate, cell: Cell) -> str:
    """How many times as fast the cell is; ``same`` where the intervals touch."""
    ours = cell.median
    if ours.low <= their.high and their.low <= ours.high:
        return "same"
    return f"{their.point / ours.point:.2f}"
