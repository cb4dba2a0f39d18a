"""Results as a picture, drawn by matplotlib (extra ``plot``)."""

import math
from pathlib import Path

from vnet_rx.bench.charts import charts
from vnet_rx.bench.results import Results
from vnet_rx.errors import BenchError

COLUMNS = 3
MARKS = ("o", "s", "D")


def plot(results: Results, path: str | Path) -> None:
    """Draw all charts into a file; its suffix decides the format (png, svg, pdf, ...).

    Raises :class:`BenchError` when matplotlib is missing or cannot write the file.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BenchError(
            f"--plot needs matplotlib ({error}): pip install 'vnet-rx[plot]', or use --html"
        ) from error
    drawn = charts(results)
    if not drawn:
        raise BenchError("there is nothing to plot: no cell of the strategies among the results")
    rows = math.ceil(len(drawn) / COLUMNS)
    figure = Figure(figsize=(5 * COLUMNS, 3.4 * rows), layout="constrained")
    for at, chart in enumerate(drawn):
        axes = figure.add_subplot(rows, COLUMNS, at + 1)
        for (name, line), mark in zip(chart.lines.items(), MARKS, strict=False):
            points = [(x, figure) for x, figure in enumerate(line) if figure is not None]
            below = [figure.point - figure.low for _, figure in points]
            above = [figure.high - figure.point for _, figure in points]
            axes.errorbar(
                [x for x, _ in points],
                [figure.point for _, figure in points],
                yerr=[below, above],
                marker=mark,
                label=name,
            )
        axes.set_yscale("log")
        axes.set_xticks(range(len(chart.labels)), chart.labels, rotation=40, ha="right")
        axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
        axes.legend()
        axes.grid(alpha=0.3)
    measured = [f"{name} {value}" for name, value in results.machine.items()]
    figure.supxlabel(", ".join(measured), fontsize=8)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} cannot be written: {error}") from error
