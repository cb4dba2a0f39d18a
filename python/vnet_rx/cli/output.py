"""Tables for stdout and progress for stderr."""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Columns of text: the first ``left`` flush left, the others flush right."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    lines = []
    for row in [columns, ["-" * width for width in widths], *rows]:
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def units(value: float) -> str:
    """A number with a decimal unit: ``1.23 M``."""
    for unit in ("", "k", "M"):
        if value < 1000:
            return f"{value:.0f} " if not unit else f"{value:.2f} {unit}"
        value /= 1000
    return f"{value:.2f} G"


class LiveLine:
    """One line on stderr that is rewritten every ``interval`` seconds, on a terminal only; it is
    gone in the end."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._shows = sys.stderr.isatty()
        self._last = time.monotonic()
        self._counters: Mapping[str, int] = {}
        self._shown = False

    def due(self, now: float) -> bool:
        """Whether it is time to show it again."""
        return self._shows and now - self._last >= self._interval

    def change(self, counters: Mapping[str, int]) -> tuple[dict[str, int], float]:
        """By how much each counter grew since the last call, and in how many seconds."""
        now = time.monotonic()
        grown = {name: n - self._counters.get(name, 0) for name, n in counters.items()}
        seconds, self._counters, self._last = now - self._last, counters, now
        return grown, seconds

    def show(self, text: str) -> None:
        """Write the line anew."""
        self._last, self._shown = time.monotonic(), True
        # A line that wraps could not be rewritten.
        text = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Count steps of long work on stderr: after one second, ten times a second, on a terminal."""
    done = 0
    began = time.monotonic()
    with LiveLine(0.1) as line:

        def step() -> None:
            nonlocal done
            done += 1
            now = time.monotonic()
            if now - began >= 1 and line.due(now):
                left = (now - began) / done * (total - done)
                line.show(f"{what}: {done * 100 // total:3} %, {left:.0f} s left ")

        yield step


def at_least(low: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number, ``low`` or more."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not possible: give {low} or more")
        return value

    return number
