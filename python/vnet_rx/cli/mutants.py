"""``vnet-rx mutants``: the known bugs, hunted one by one."""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from vnet_rx.cli.output import LiveLine, at_least, table
from vnet_rx.cli.workers import pool
from vnet_rx.errors import ConfigError
from vnet_rx.reference import MUTANTS
from vnet_rx.testing import Hunt, Scenario
from vnet_rx.testing.mutants import hunt_all


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "mutants",
        help="hunt the 22 known bugs with random scenarios alone",
        description="The reference has the known bugs of receive paths of this kind as switches "
        "(mutants). For each, random scenarios are run through the reference with that bug and "
        "through the engine, until they differ. No scenario is made by hand.",
        epilog="Exit status: 0 when all were found, 1 when one was not, 2 for a mistake in the "
        "call.",
    )
    parser.add_argument(
        "--seconds-each", type=float, default=60.0, metavar="N",
        help="give up on one after N seconds (default: 60)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=at_least(0), metavar="S", help="default: one that is printed"
    )
    parser.add_argument(
        "--only", action="append", choices=tuple(MUTANTS), metavar="ID",
        help="only this one (M01 to M22); may be given more than once",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=at_least(1), default=os.cpu_count() or 1, metavar="N",
        help="hunts at a time (default: one a processor)",
    )  # fmt: skip
    parser.add_argument(
        "--save", type=Path, metavar="FOLDER", help="save the smallest scenario for each there"
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the sub-command."""
    if not options.seconds_each > 0:
        raise ConfigError(
            f"--seconds-each {options.seconds_each} is not possible: give more than 0"
        )
    seed = int.from_bytes(os.urandom(4), "little") if options.seed is None else options.seed
    names = tuple(dict.fromkeys(options.only)) if options.only else tuple(MUTANTS)
    ended: list[Hunt] = []
    line = LiveLine(0.1)

    def tell(one: Hunt) -> None:
        ended.append(one)
        if line.due(time.monotonic()):
            found = sum(each.found for each in ended)
            line.show(f"{len(ended)} of {len(names)} hunts ended, {found} found")

    with pool(options.workers) as executor, line:
        hunts = hunt_all(names, options.seconds_each, seed, executor, tell)
    if options.save:
        _save(hunts, options.save)
    if options.json:
        print(json.dumps({"seed": seed, "mutants": [_row(one) for one in hunts]}))
    else:
        print(_table(hunts))
        print(f"seed {seed}: {sum(one.found for one in hunts)} of {len(hunts)} found")
    return 0 if all(one.found for one in hunts) else 1


def _row(one: Hunt) -> dict[str, Any]:
    return {
        "id": one.id,
        "found": one.found,
        "seconds": round(one.seconds, 3),
        "operations": one.operations,
        "minimised_operations": one.minimised_operations,
        "case": one.case,
    }


def _table(hunts: list[Hunt]) -> str:
    rows = [
        [
            one.id,
            MUTANTS[one.id],
            "found" if one.found else "NOT FOUND",
            f"{one.seconds:.2f}",
            f"{one.operations:,}",
            "" if one.minimised_operations is None else str(one.minimised_operations),
        ]
        for one in hunts
    ]
    columns = ["id", "what it does", "", "seconds", "operations", "minimised"]
    return table(columns, rows, left=3)


def _save(hunts: list[Hunt], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for one in hunts:
        if one.scenario is not None:
            note = f"The shortest that finds {one.id}, {MUTANTS[one.id]}."
            scenario = replace(Scenario.from_json(one.scenario), note=note)
            scenario.save(folder / f"{one.id.lower()}.json")
