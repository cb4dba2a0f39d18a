#!/usr/bin/env python3
"""The tables of docs/performance.md, written from the raw results in docs/results.

`--record` first takes the raw results over from target: Criterion's tree, counts.json of `make
counts` and pairs.json of `make peer-dpdk`, as far as they are there. `--check` writes nothing and
fails unless the tables are what the results say.
"""

import argparse
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "python"))

from vnet_rx.bench.comparison import compare_strategies  # noqa: E402
from vnet_rx.bench.criterion import load, order, read_json  # noqa: E402
from vnet_rx.bench.machine import describe  # noqa: E402
from vnet_rx.bench.results import Results, dumps, read  # noqa: E402
from vnet_rx.bench.tables import (  # noqa: E402
    STRATEGIES,
    Table,
    by_value,
    counted,
    deferring,
    digits,
    interval,
    pairs_table,
    peers,
    threads,
)

PAGE = ROOT / "docs" / "performance.md"
KEPT = ROOT / "docs" / "results"
CONFIGURATION = {
    "build": "release profile of Cargo.toml: fat LTO, one codegen unit",
    "queue": "modern dialect, EVENT_IDX, ring of 256 unless said otherwise, arena of two rings",
    "round": "64 packets: poll, let go, refill",
}
PARTS = ("refill", "poll-budget", "oom", "ring", "pool")


def record(settings: str) -> None:
    """Take the raw results over from target."""
    KEPT.mkdir(exist_ok=True)
    target = ROOT / "target"
    if (target / "criterion").is_dir():
        times = load(target / "criterion")
        samples = {len(cell.samples) for cell in times.values()}
        taken = f"{', '.join(map(str, sorted(samples)))} samples a cell; {settings}"
        results = Results(times, {}, describe("rustc"), {**CONFIGURATION, "samples": taken})
        (KEPT / "times.json").write_text(dumps(results.as_json()))
    for name in ("counts.json", "pairs.json"):
        if (target / name).is_file():
            (KEPT / name).write_text((target / name).read_text())


def measured_on(documents: dict[str, Any]) -> str:
    """What all results were measured on, then what each was besides."""
    machines = [document["machine"] for document in documents.values()]
    shared = {k: v for k, v in machines[0].items() if all(m.get(k) == v for m in machines)}
    described = {"Machine": shared}
    for title, document in documents.items():
        own = {k: v for k, v in document["machine"].items() if k not in shared}
        described[title] = {**own, **document["configuration"]}
    return "\n".join(
        f"- **{title}**: " + "; ".join(f"{name}: {value}" for name, value in items.items()) + "."
        for title, items in described.items()
    )


def parts(results: Results) -> str:
    """What is neither a whole packet nor a peer, old against new where both exist."""
    rows = []
    for comparison in compare_strategies(results.times):
        if comparison.name.split("/")[0] in PARTS:
            figures = interval(comparison.old.median), interval(comparison.new.median)
            rows.append([comparison.name, *figures, comparison.change])
    return Table(("cell", "eager, ns", "deferred, ns", "time"), rows).markdown()


def ring_sizes(results: Results) -> str:
    names = {strategy: strategy for strategy in STRATEGIES}
    found = by_value(results, "ring-size", names, "ring")
    rows = []
    for row in found.rows:
        cells = [f"ring-size/{strategy}/{row[0]}" for strategy in STRATEGIES]
        rows.append([*row, *(counted(results, cell, "instructions") for cell in cells)])
    columns = [*found.columns, "eager, instructions", "deferred, instructions"]
    return Table(columns, rows).markdown()


def pool(results: Results) -> str:
    structures = {name: name for name in ("intrusive-chain", "vec", "index-stack")}
    # A row for each pattern: the last part of the name.
    return by_value(results, "pool", structures, "pattern").markdown()


def two_threads(results: Results) -> str:
    line = results.times.get("threads/line/round-trip")
    trip = f"{interval(line.median)} ns" if line else "not measured"
    shown = threads(results).markdown()
    return f"{shown}\n\nA cache line to the other core and back, in the same run: {trip}."


def ring_alone(results: Results) -> str:
    names = {"flags": "flags", "event-idx": "EVENT_IDX"}
    return by_value(results, "ring", names, "descriptors a buffer").markdown()


def verdict(reached: bool) -> str:
    return "reached" if reached else "not reached"


class Aims:
    """What was aimed at, and what was measured."""

    def __init__(self, results: Results, rates: list[dict[str, Any]]) -> None:
        self.results, self.rates = results, rates

    def ns(self, cell: str) -> float:
        return self.results.times[cell].median.point

    def small_frames(self) -> tuple[str, str, str]:
        said, reached = [], True
        for mode in ("mergeable", "small"):
            for strategy in STRATEGIES:
                cell = f"receive/{strategy}/{mode}/60"
                instructions = self.results.per_packet(cell, "instructions") or 0
                reached &= self.ns(cell) <= 25 and instructions <= 120
                said.append(f"{mode} {strategy} {digits(self.ns(cell))} ns, {instructions:.0f}")
        aim = "60 bytes, mergeable and small: at most 25 ns and 120 instructions, refill included"
        return aim, "; ".join(said), verdict(reached)

    def merged(self) -> tuple[str, str, str]:
        cells = [f"receive/deferred/mergeable/{size}" for size in (65536, 4084)]
        each = (self.ns(cells[0]) - self.ns(cells[1])) / 16
        aim = "64 KiB merged, deferred: at most 12 ns for each buffer after the first"
        return aim, f"{digits(each)} ns", verdict(each <= 12)

    def two_threads(self) -> tuple[str, str, str]:
        def rate(pair: str) -> float:
            found = [
                r["mpps"] for r in self.rates if r["size"] == 60 and r["pair"].startswith(pair)
            ]
            return statistics.median(found[0])

        ours, theirs, floor = rate("vnet-rx deferred, vnet"), rate("DPDK virtio"), rate("bare")
        aim = "two threads, 60 bytes: twice DPDK's pair in the same sitting"
        said = f"{ours:.1f} Mpps, DPDK {theirs:.1f} Mpps, bare ring {floor:.1f} Mpps"
        return aim, f"{said}: {ours / theirs:.2f} times", verdict(ours >= 2 * theirs)

    def floor(self) -> tuple[str, str, str]:
        said, reached = [], True
        for touched in ("untouched", "copied"):
            pair = (f"threads/{who}/{touched}/1514" for who in ("deferred", "floor"))
            ours, floor = (self.ns(cell) for cell in pair)
            reached &= ours <= 1.2 * floor
            said.append(f"{touched}: {digits(ours)} ns, floor {digits(floor)} ns")
        aim = "two threads, 1514 bytes: within 1.2 of a bare ring that moves the bytes"
        return aim, "; ".join(said), verdict(reached)

    def peer(self) -> tuple[str, str, str]:
        theirs = self.ns("peers/virtio-drivers/60")
        ratios = [theirs / self.ns(f"peers/{strategy}/60") for strategy in STRATEGIES]
        said = " and ".join(
            f"{ratio:.2f} ({strategy})" for ratio, strategy in zip(ratios, STRATEGIES, strict=True)
        )
        aim = "3 times as fast as virtio-drivers at the same work"
        return aim, f"{said} times as fast at 60 bytes", verdict(min(ratios) >= 3)

    def flat(self) -> tuple[str, str, str]:
        said, status = [], []
        for strategy in STRATEGIES:
            prefix = f"ring-size/{strategy}/"
            rings = sorted((c for c in self.results.times if c.startswith(prefix)), key=order)
            first = self.ns(rings[0])
            beyond = [ring.rsplit("/", 1)[1] for ring in rings if self.ns(ring) > 1.1 * first]
            status.append(f"{strategy}: {f'left at {int(beyond[0]):,}' if beyond else 'reached'}")
            last = self.ns(rings[-1]) / first
            said.append(f"{strategy} {last:.2f} times ring 64's time at 32,768")
        return "flat within 10 % from ring 64 to 32,768", "; ".join(said), "; ".join(status)

    def table(self) -> str:
        rows = []
        aims: list[Callable[[], tuple[str, str, str]]] = [
            self.small_frames, self.merged, self.two_threads, self.floor, self.peer, self.flat,
        ]  # fmt: skip
        for found in aims:
            aim, said, reached = found()
            rows.append([aim, said, reached])
        return Table(("aim", "measured", ""), rows, left=3).markdown()


def sections() -> dict[str, str]:
    """What stands between the markers, by name."""
    results = read(KEPT / "times.json", KEPT / "counts.json")
    pairs = read_json(KEPT / "pairs.json")
    documents = {
        "Times": read_json(KEPT / "times.json"),
        "Counts": read_json(KEPT / "counts.json"),
        "Two cores beside DPDK": pairs,
    }
    return {
        "measured-on": measured_on(documents),
        "deferring": deferring(results).markdown(),
        "parts": parts(results),
        "pool": pool(results),
        "ring": ring_alone(results),
        "ring-size": ring_sizes(results),
        "threads": two_threads(results),
        "pairs": pairs_table(pairs["rates"]).markdown(),
        "peers": peers(results).markdown(),
        "aims": Aims(results, pairs["rates"]).table(),
    }


def filled(text: str) -> str:
    """The page with every table written anew; each section must have its place, and only one."""
    for name, section in sections().items():
        places = re.findall(rf"<!-- {name}: generated -->\n.*?<!-- end -->", text, re.DOTALL)
        if len(places) != 1:
            sys.exit(f"performance_tables: {PAGE} needs one place for {name!r}")
        written = f"<!-- {name}: generated -->\n{section}\n<!-- end -->"
        text = text.replace(places[0], written)
    return text


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="take the results in target over")
    parser.add_argument("--check", action="store_true", help="only say whether the page is current")
    parser.add_argument(
        "--settings",
        default="1 s of warm-up, 10 s of measurement",
        help="what `cargo bench` was told, to be recorded (default: %(default)s)",
    )
    options = parser.parse_args()
    if options.record:
        record(options.settings)
    before = PAGE.read_text()
    after = filled(before)
    if options.check:
        if before != after:
            print(f"{PAGE} is not what docs/results says: make tables", file=sys.stderr)
        return int(before != after)
    PAGE.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
