#!/usr/bin/env python3
"""Instructions of the driver's work per packet, counted by callgrind: the same on every run.

Needs cargo and valgrind. Each cell runs twice with different numbers of packets; the difference is
what a packet costs in the steady state, start-up and first touch left out.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FEW, MANY = 1024, 3072
SIZES = (60, 129, 1514, 9000, 65536)
RINGS = (64, 1024, 32768)


def build() -> Path:
    command = ["cargo", "build", "--locked", "--release", "--example", "counts"]
    subprocess.run([*command, "--message-format=short"], cwd=ROOT, check=True)
    return ROOT / "target" / "release" / "examples" / "counts"


def instructions(program: Path, cell: tuple[str, str, int, int], packets: int) -> int:
    command = [
        "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
        "--toggle-collect=*driver_work*", str(program), *map(str, cell), str(packets),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        sys.exit(f"counts: {' '.join(command)} failed:\n{done.stderr}")
    return int(found[1])


def count(program: Path, cell: tuple[str, str, int, int]) -> float:
    """Instructions per packet."""
    return (instructions(program, cell, MANY) - instructions(program, cell, FEW)) / (MANY - FEW)


def cells() -> list[tuple[str, str, int, int]]:
    modes = ("small", "big", "mergeable")
    sized = [
        (mode, strategy, size, 256)
        for mode in modes
        for size in SIZES
        for strategy in ("eager", "deferred")
        if mode != "small" or size <= 1518
    ]
    rings = [
        (mode, "deferred", size, ring)
        for mode, size in (("small", 60), ("mergeable", 60), ("mergeable", 65536))
        for ring in RINGS
    ]
    return sized + rings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    program = build()
    results = []
    if not options.json:
        print(f"{'mode':10} {'strategy':9} {'size':>6} {'ring':>6} {'instructions/packet':>20}")
    for cell in cells():
        per_packet = count(program, cell)
        names = ("mode", "strategy", "size", "ring_size")
        results.append({**dict(zip(names, cell, strict=True)), "instructions": per_packet})
        if not options.json:
            mode, strategy, size, ring = cell
            print(f"{mode:10} {strategy:9} {size:6} {ring:6} {per_packet:20.1f}", flush=True)
    if options.json:
        print(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
