"""``vnet-rx bench``: benchmark results, old strategy against new."""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from vnet_rx.bench.machine import describe
from vnet_rx.bench.page import page
from vnet_rx.bench.plot import plot
from vnet_rx.bench.results import Results, dumps, read
from vnet_rx.bench.tables import Table, peers, strategies, threads
from vnet_rx.cli.output import table
from vnet_rx.errors import BenchError

TREE = "target/criterion"


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "bench",
        help="benchmark results, old strategy against new",
        description="Reads what `cargo bench` (and `make counts`) left in the source tree, or runs "
        "them first, and prints the two strategies side by side: the time of a packet with its "
        "95 % interval, and instructions, skb allocations and bytes copied per packet, "
        "eager / deferred. A change of time is given only where it stands out from the noise.",
        epilog="Exit status: 0 fine, 2 when there are no results or they cannot be read. `critcmp` "
        "reads the same tree: `critcmp new -g 'receive/\\w+/(.+)'` for the two strategies; for two "
        "versions `cargo bench -- --save-baseline before`, another with `after`, `critcmp before "
        "after`.",
    )
    parser.add_argument(
        "filter",
        nargs="?",
        default="",
        metavar="FILTER",
        help="only cells whose name contains this, such as receive/ or mergeable/60",
    )
    parser.add_argument(
        "--run",
        dest="run_first",
        action="store_true",
        help="run `cargo bench` first, about 25 minutes without a FILTER, and the counts if "
        "valgrind is installed; in the source tree",
    )
    parser.add_argument(
        "--criterion",
        default=TREE,
        metavar="DIR",
        help=f"Criterion's tree, or a file that --json printed (default: {TREE})",
    )
    parser.add_argument(
        "--counts",
        metavar="FILE",
        help="what `make counts` wrote (default: counts.json beside the tree)",
    )
    parser.add_argument("--html", metavar="FILE", help="write one self-contained page with charts")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw the charts with matplotlib: png, svg, pdf, ..."
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Carry the sub-command out."""
    if options.run_first:
        run_benches(options.filter)
    results = select(read(options.criterion, options.counts), options.filter)
    if not results.machine:
        results = Results(results.times, results.counts, describe("rustc"), results.configuration)
    if options.html:
        write(options.html, page(results))
    if options.plot:
        plot(results, options.plot)
        print(f"vnet-rx: wrote {options.plot}", file=sys.stderr)
    print(dumps(results.as_json()) if options.json else report(results), end="")
    return 0


def select(results: Results, wanted: str) -> Results:
    """The results whose name contains ``wanted``."""
    times = {name: cell for name, cell in results.times.items() if wanted in name}
    if not times:
        raise BenchError(
            f"no cell's name contains {wanted!r}: the first is {next(iter(results.times))}"
        )
    return Results(times, results.counts, results.machine, results.configuration)


def run_benches(wanted: str) -> None:
    """Run ``cargo bench`` here, and the counts where valgrind is installed."""
    manifest = Path("Cargo.toml")
    if not manifest.is_file() or 'name = "vnet-rx"' not in manifest.read_text():
        raise BenchError(
            "--run works in the source tree of vnet-rx: there is no Cargo.toml of it here"
        )
    if shutil.which("cargo") is None:
        raise BenchError("--run needs cargo, which is not installed: see https://rustup.rs")
    call(["cargo", "bench", "--locked", "--", *([wanted] if wanted else [])])
    if shutil.which("valgrind") is None:
        print("vnet-rx: no counts, for valgrind is not installed", file=sys.stderr)
        return
    call([sys.executable, "scripts/counts.py", *([f"*{wanted}*"] if wanted else [])])


def call(command: list[str]) -> None:
    """Run a program; what it prints goes to stderr."""
    if subprocess.run(command, stdout=2, check=False).returncode != 0:
        raise BenchError(f"`{' '.join(command)}` failed: see above")


def write(path: str, text: str) -> None:
    """Write a file, and say so."""
    try:
        Path(path).write_text(text)
    except OSError as error:
        raise BenchError(f"{path} cannot be written: {error.strerror}") from error
    print(f"vnet-rx: wrote {path}", file=sys.stderr)


def report(results: Results) -> str:
    """The tables, each under its title, and what they were measured on."""
    shown = [
        ("Old strategy against new, per packet (pairs: eager / deferred)", strategies(results)),
        ("Two threads, beside a bare ring that moves the bytes", threads(results)),
        ("Other drivers at the same work, small mode", peers(results)),
    ]
    parts = [f"{title}\n\n{text(found)}\n" for title, found in shown if found.rows]
    if not parts:
        cells = [[cell.name, f"{cell.median.point:,.1f}"] for cell in results.times.values()]
        parts = [f"{text(Table(('cell', 'ns'), cells))}\n"]
    measured = [f"{name}: {value}" for name, value in results.machine.items()]
    return "\n".join([*parts, *measured]) + "\n"


def text(found: Table) -> str:
    """A table for the terminal."""
    return table(found.columns, found.rows, found.left)
