"""A chart as inline SVG: no script, no font, nothing from elsewhere. Colours come from the page."""

import math
from collections.abc import Sequence
from html import escape

from vnet_rx.bench.charts import Chart
from vnet_rx.bench.criterion import Estimate
from vnet_rx.bench.tables import digits

WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 72, 14, 52, 62


def svg(chart: Chart) -> str:
    """The chart as an ``<svg>`` element. Its classes are ``line-0``, ``line-1``, ... by line."""
    figures = [figure for line in chart.lines.values() for figure in line if figure is not None]
    scale = Scale([f.low for f in figures] + [f.high for f in figures])
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}">',
        f'<text class="title" x="{LEFT}" y="18">{escape(chart.title)}</text>',
    ]
    for tick in scale.ticks:
        y = scale.y(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{y + 4:.1f}">{_tick(tick)}</text>')
    for at, label in enumerate(chart.labels):
        x = _x(at, len(chart.labels))
        place = f'x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}"'
        turned = f'transform="rotate(-40 {x:.1f} {HEIGHT - BOTTOM + 14})"'
        shown = f"{int(label):,}" if label.isdecimal() else escape(label)
        parts.append(f'<text class="end" {place} {turned}>{shown}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts += [
        f'<text class="middle" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}">'
        f"{escape(chart.x_label)}</text>",
        f'<text class="middle" transform="rotate(-90 10 {middle})" x="10" y="{middle}">'
        f"{escape(chart.y_label)}</text>",
    ]
    for number, (name, line) in enumerate(chart.lines.items()):
        parts.append(_line(number, name, chart.labels, line, scale))
    return "\n".join([*parts, "</svg>"])


class Scale:
    """A logarithmic scale between round figures, as finely divided as gives eight ticks."""

    STEPS = ((1, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 2, 5), (1,))

    def __init__(self, figures: Sequence[float]) -> None:
        low, high = min(figures), max(figures)
        for steps in self.STEPS:
            self.ticks = self._ticks(steps, low, high)
            if len(self.ticks) <= 8:
                break

    @staticmethod
    def _ticks(steps: Sequence[float], low: float, high: float) -> list[float]:
        decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        rounded = [step * 10.0**decade for decade in decades for step in steps]
        bottom = max(figure for figure in rounded if figure <= low)
        top = min(figure for figure in rounded if figure >= high and figure > bottom)
        return [figure for figure in rounded if bottom <= figure <= top]

    def y(self, figure: float) -> float:
        """Where on the drawing a figure lies."""
        bottom, top = self.ticks[0], self.ticks[-1]
        share = math.log(figure / bottom) / math.log(top / bottom)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def _x(at: int, labels: int) -> float:
    width = WIDTH - LEFT - RIGHT
    return LEFT + width * (at + 0.5) / labels


def _tick(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 10 else f"{figure:g}"


def _line(
    number: int, name: str, labels: Sequence[str], line: Sequence[Estimate | None], scale: Scale
) -> str:
    """A line, its marks with their intervals, and its entry in the legend. What has no size, such
    as a mix of sizes, gets a mark but no line to it.
    """
    points = [
        (_x(at, len(line)), scale.y(figure.point), figure, label)
        for at, (label, figure) in enumerate(zip(labels, line, strict=True))
        if figure is not None
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, label in points if label.isdecimal())
    legend = LEFT + 110 * number
    parts = [
        f'<g class="line-{number}">',
        f'<polyline points="{path}"/>',
        _mark(number, legend + 5, 32),
        f'<text class="legend" x="{legend + 15}" y="36">{escape(name)}</text>',
    ]
    for x, y, figure, _ in points:
        parts.append(f'<path d="M{x:.1f} {scale.y(figure.low):.1f}V{scale.y(figure.high):.1f}"/>')
        hint = digits(figure.point)
        if figure.low < figure.high:
            hint += f" ({digits(figure.low)} to {digits(figure.high)})"
        parts.append(_mark(number, x, y, f"{name}: {hint}"))
    return "\n".join([*parts, "</g>"])


def _mark(number: int, x: float, y: float, hint: str = "") -> str:
    """A disc, a square, a diamond, ...: lines are told apart without their colours."""
    shapes = ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z", "M-4 -4H4V4H-4Z", "M0 -5L5 0L0 5L-5 0Z")
    title = f"<title>{escape(hint)}</title>" if hint else ""
    shape = shapes[number % len(shapes)]
    return f'<path class="mark" transform="translate({x:.1f} {y:.1f})" d="{shape}">{title}</path>'
