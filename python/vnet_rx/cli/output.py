"""Tables for stdout and progress for stderr."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


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


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Count steps of long work on stderr: after one second, ten times a second, on a terminal."""
    shown = 0.0
    began = time.monotonic()
    done = 0

    def step() -> None:
        nonlocal done, shown
        done += 1
        now = time.monotonic()
        if not sys.stderr.isatty() or now - began < 1 or now - shown < 0.1:
            return
        shown = now
        left = (now - began) / done * (total - done)
        print(
            f"\r{what}: {done * 100 // total:3} %, {left:.0f} s left \x1b[K",
            end="", file=sys.stderr, flush=True,
        )  # fmt: skip

    try:
        yield step
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
