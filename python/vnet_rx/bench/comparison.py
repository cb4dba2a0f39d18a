"""Old against new: two cells compared, with a confidence interval."""

import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from vnet_rx.bench.criterion import Cell, Estimate
from vnet_rx.errors import ConfigError

RESAMPLES = 2000


@dataclass(frozen=True)
class Comparison:
    """What the new strategy takes of the old one's time."""

    name: str
    """The cell's name without the strategy: ``receive/mergeable/60``."""
    old: Cell
    new: Cell
    ratio: Estimate
    """New median by old median, and its 95 % interval; below 1 is faster."""

    @property
    def stands_out(self) -> bool:
        """Whether the difference exceeds the noise: the two 95 % intervals are disjoint, and that
        of the ratio leaves 1 out.
        """
        old, new = self.old.median, self.new.median
        disjoint = new.high < old.low or old.high < new.low
        return disjoint and not self.ratio.low <= 1 <= self.ratio.high

    @property
    def change(self) -> str:
        """The change of time as text, with its interval; ``none`` where it does not stand out."""
        if not self.stands_out:
            return "none"
        figures = self.ratio.point, self.ratio.low, self.ratio.high
        point, low, high = (f"{(figure - 1) * 100:+.0f}" for figure in figures)
        return f"{point} % ({low} to {high})"


def compare(old: Cell, new: Cell, *, resamples: int = RESAMPLES, seed: int = 1) -> Comparison:
    """Compare two cells.

    The interval of the ratio is a percentile bootstrap: ``resamples`` times, both cells' samples
    are drawn anew with replacement, and the ratio of the two medians is taken; 95 % of those ratios
    lie inside the interval. The same ``seed`` gives the same interval.
    """
    if resamples < 100:
        raise ConfigError(f"{resamples} resamples give no interval: choose at least 100")
    draw = random.Random(seed)
    ratios = sorted(
        _median_of_resample(new.samples, draw) / _median_of_resample(old.samples, draw)
        for _ in range(resamples)
    )
    low, high = ratios[int(resamples * 0.025)], ratios[int(resamples * 0.975) - 1]
    point = statistics.median(new.samples) / statistics.median(old.samples)
    name = "/".join(part for part in old.name.split("/") if part != "eager")
    return Comparison(name, old, new, Estimate(point, min(low, point), max(high, point)))


def compare_strategies(
    cells: Mapping[str, Cell], *, resamples: int = RESAMPLES
) -> list[Comparison]:
    """Every cell that has ``eager`` in its name against the one with ``deferred`` in its place."""
    pairs = ((cell, cells.get(_counterpart(name))) for name, cell in cells.items())
    return [compare(old, new, resamples=resamples) for old, new in pairs if new is not None]


def _counterpart(name: str) -> str:
    parts = name.split("/")
    if "eager" not in parts:
        return ""
    return "/".join("deferred" if part == "eager" else part for part in parts)


def _median_of_resample(samples: tuple[float, ...], draw: random.Random) -> float:
    return statistics.median(draw.choices(samples, k=len(samples)))
