"""``vnet-rx fuzz``: random scenarios through two implementations."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from vnet_rx.cli import drivers
from vnet_rx.cli.output import LiveLine, at_least
from vnet_rx.cli.workers import pool
from vnet_rx.testing import Budget, Finding, Limits, Report, Scenario, fuzz
from vnet_rx.testing.schema import DIALECTS, MODES, STRATEGIES


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "fuzz",
        help="random operations through two implementations, compared after each one",
        description="Makes scenarios from a seed (good traffic, hostile device, failing memory, "
        "tampering at interleave points), runs each through two implementations of the receive "
        "path and compares all there is to see after every operation. What differs is made as "
        "short as it gets, printed, and saved as a file for vnet-rx replay.",
        epilog="Drivers: engine (the Rust engine), reference (plain Python), reference+M01 (with a "
        "known bug), engine-steps (the engine driven by the device in Python), or "
        "package.module:factory for your own (docs/testing.md). Exit status: 0 when they agreed, 1 "
        "when they did not, 2 for a mistake in the call or a driver that cannot be had, 130 when "
        "interrupted. The same seed and number of cases give the same report.",
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--seconds", type=float, metavar="N", help="go on for N seconds (default: 30)"
    )
    budget.add_argument("--cases", type=at_least(1), metavar="N", help="run N scenarios")
    parser.add_argument(
        "--seed", type=at_least(0), metavar="S",
        help="where the scenarios come from (default: one that is printed)",
    )  # fmt: skip
    for name, words in (("mode", MODES), ("strategy", STRATEGIES), ("dialect", DIALECTS)):
        parser.add_argument(
            f"--{name}", action="append", choices=words,
            help=f"only this {name}; may be given more than once",
        )  # fmt: skip
    drivers.add_to(parser)
    parser.add_argument(
        "--workers", type=at_least(1), default=os.cpu_count() or 1, metavar="N",
        help="processes (default: one a processor)",
    )  # fmt: skip
    drivers.add_limit_to(parser)
    parser.add_argument(
        "--save", type=Path, default=Path("findings"), metavar="FOLDER",
        help="where findings are saved, one file each (default: findings)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the sub-command."""
    drivers.loaded(options)
    seed = int.from_bytes(os.urandom(4), "little") if options.seed is None else options.seed
    seconds = 30.0 if options.seconds is None and options.cases is None else options.seconds
    budget = Budget(options.cases, seconds)
    limits = Limits(
        _chosen(options.mode, MODES),
        _chosen(options.strategy, STRATEGIES),
        _chosen(options.dialect, DIALECTS),
    )
    line = LiveLine(0.1)

    def tell(report: Report) -> None:
        if not line.due(time.monotonic()):
            return
        provoked = sum(report.faults.values())
        line.show(
            f"{report.cases:,} cases ({report.cases / report.seconds:,.0f}/s), "
            f"{report.operations:,} operations ({report.operations_per_second:,.0f}/s), "
            f"{provoked:,} faults provoked, {len(report.findings)} findings"
        )

    with pool(options.workers) as executor, line:
        report = fuzz(
            options.driver, options.against, budget=budget, seed=seed, executor=executor,
            on_progress=tell, limits=limits, case_seconds=options.case_seconds,
            window=2 * options.workers,
        )  # fmt: skip
    saved = _save(report.findings, options.save)
    if options.json:
        print(json.dumps(report.as_dict()))
    else:
        print(_summary(report, saved, drivers.given(options)))
    if report.interrupted:
        print("vnet-rx: interrupted", file=sys.stderr)
        return 130
    return 1 if report.findings else 0


def _chosen(given: Sequence[str] | None, all_of_them: Sequence[str]) -> Sequence[str]:
    return tuple(dict.fromkeys(given)) if given else all_of_them


def _save(findings: Sequence[Finding], folder: Path) -> list[Path]:
    paths = []
    for one in findings:
        folder.mkdir(parents=True, exist_ok=True)
        name = "".join(c if c.isalnum() else "-" for c in f"{one.kind}-{one.what}".lower())
        path = folder / f"{name}-{one.seed:016x}.json"
        Scenario.from_json(one.scenario).save(path)
        paths.append(path)
    return paths


def _summary(report: Report, saved: Sequence[Path], both: str) -> str:
    lines = []
    for one, path in zip(report.findings, saved, strict=True):
        lines += [f"== {one.kind}: {one.what} ({one.cases} cases, the first is {one.case})", "",
                  one.report, "", f"Saved as {path}: vnet-rx replay {both}{path}", ""]  # fmt: skip
    faults = ", ".join(f"{name} {count:,}" for name, count in report.faults.items() if count)
    lines += [
        f"seed {report.seed}: {report.cases:,} cases, {report.operations:,} operations in "
        f"{report.seconds:.1f} s, {report.operations_per_second:,.0f} operations/s",
        f"faults provoked: {faults or 'none'}",
        f"findings: {len(report.findings)}" if report.findings else "no divergence",
    ]
    return "\n".join(lines)
