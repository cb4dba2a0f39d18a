#!/usr/bin/env python3
"""Instructions and memory accesses of the driver's work, by callgrind, and its allocations.

Needs cargo and valgrind. Cells are named as in `cargo bench`. Each is warmed up first, so that
start-up and first touch are left out. The same code on the same toolchain counts the same on every
run: `--twice` counts everything twice and fails unless the two runs agree exactly.

The raw results are written to target/counts.json, where `vnet-rx bench` finds them, or to --json.
"""

import argparse
import fnmatch
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "python"))

from vnet_rx.bench.machine import describe  # noqa: E402
from vnet_rx.bench.results import dumps, read_counts  # noqa: E402
from vnet_rx.bench.tables import counts_table  # noqa: E402
from vnet_rx.cli.output import table  # noqa: E402

STRATEGIES = ("eager", "deferred")
SIZES = (60, 128, 129, 256, 1514, 4084, 9000, 16384, 65536)
RINGS = (64, 256, 1024, 4096, 32768)
SMALL = [size for size in SIZES if size <= 1518]
CELLS = [
    *(f"receive/{strategy}/small/{size}" for size in SMALL for strategy in STRATEGIES),
    *(
        f"receive/{strategy}/{mode}/{size}"
        for mode in ("big", "mergeable")
        for size in (*SIZES, "mix")
        for strategy in STRATEGIES
    ),
    *(f"ring-size/{strategy}/{ring}" for ring in RINGS for strategy in STRATEGIES),
    *(f"peers/virtio-drivers/{size}" for size in SMALL if size != 129),
]
CONFIGURATION = {
    "dialect": "modern",
    "features": "the defaults of the mode, EVENT_IDX among them",
    "ring": "256 descriptors, but for ring-size",
    "arena": "two full rings",
    "poll": "64 packets",
    "counted": "poll, let go, refill: 16 full rounds after 16 to warm up; for the mix one pass "
    "through the capture after another",
}


def build() -> Path:
    command = ["cargo", "build", "--locked", "--release", "--example", "counts"]
    subprocess.run([*command, "--message-format=short"], cwd=ROOT, check=True)
    return ROOT / "target" / "release" / "examples" / "counts"


def count(program: Path, cell: str) -> dict[str, int | str]:
    command = [
        "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--cache-sim=yes",
        "--toggle-collect=*timed_receive*", "--toggle-collect=*timed_release*",
        "--zero-before=*counting_starts*", str(program), cell,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # Instructions, data reads, data writes; the simulated misses behind them depend on addresses.
    found = re.search(r"Collected : (\d+) (\d+) (\d+)", done.stderr)
    if done.returncode or not found:
        sys.exit(f"counts: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    instructions, reads, writes = (int(n) for n in found.groups())
    return {
        "cell": cell,
        "instructions": instructions,
        "reads": reads,
        "writes": writes,
        **json.loads(done.stdout),
    }


def count_all(program: Path, cells: list[str]) -> list[dict[str, int | str]]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda cell: count(program, cell), cells))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="?", default="*", help="a pattern such as 'receive/*/60'")
    parser.add_argument("--twice", action="store_true", help="demand that two runs agree exactly")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the raw results go")
    options = parser.parse_args()
    cells = [cell for cell in CELLS if fnmatch.fnmatchcase(cell, options.cells)]
    if not cells:
        parser.error(f"no cell matches {options.cells!r}")
    program = build()
    counted = count_all(program, cells)
    if options.twice:
        again = count_all(program, cells)
        for first, second in zip(counted, again, strict=True):
            if first != second:
                print(f"counts: two runs differ:\n  {first}\n  {second}", file=sys.stderr)
        if counted != again:
            return 1
        print(f"two runs agree exactly in {len(cells)} cells", file=sys.stderr)
    results = {
        "what": "counts",
        "machine": describe("rustc", "valgrind"),
        "configuration": CONFIGURATION,
        "cells": counted,
    }
    path = options.json or ROOT / "target" / "counts.json"
    path.write_text(dumps(results))
    shown = counts_table(read_counts(path))
    print(table(shown.columns, shown.rows, shown.left))
    print(f"raw results: {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
