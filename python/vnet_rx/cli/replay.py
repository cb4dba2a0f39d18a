"""``vnet-rx replay``: a kept scenario, run again."""

import argparse
import json
from dataclasses import replace

from vnet_rx.cli import drivers
from vnet_rx.errors import ConfigError
from vnet_rx.testing import Scenario, replay
from vnet_rx.testing.limit import TimeUp, time_limit
from vnet_rx.testing.run import digests
from vnet_rx.testing.words import listing


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "replay",
        help="run a kept scenario through two implementations",
        description="Runs scenario files (docs/scenario.md) through two implementations, "
        "compares them after every operation, and with what the file expects, if it does.",
        epilog="Exit status: 0 when all agree, 1 when they do not, 2 when a file is no scenario "
        "or a driver cannot be had.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="scenarios")
    drivers.add_to(parser)
    drivers.add_limit_to(parser)
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON")
    parser.add_argument(
        "--record",
        action="store_true",
        help="where both agree, write what was observed into the file as what it expects",
    )
    parser.add_argument("--verbose", action="store_true", help="print the operations in words")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the sub-command."""
    left, right = drivers.loaded(options)
    results = []
    for path in options.files:
        scenario = Scenario.load(path)
        try:
            with time_limit(options.case_seconds):
                replayed = replay(left, right, scenario)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        except TimeUp:
            results.append((path, False))
            if not options.json:
                print(f"{path}: no answer within {options.case_seconds:g} s")
            continue
        if options.record and replayed.divergence is None:
            replace(scenario, expect=digests(right, scenario)).save(path)
            replayed = replace(replayed, unexpected=None)
        results.append((path, replayed.passed))
        if options.json:
            continue
        if options.verbose:
            print(f"{path}: {scenario.note}\nQueue: {scenario.config}")
            print(listing(scenario.operations))
        if replayed.divergence is not None:
            print(f"{path}:\n{replayed.divergence}")
        if replayed.unexpected is not None:
            number = replayed.unexpected + 1
            print(f"{path}: after operation {number} {options.against} is not as the file expects")
        if replayed.passed:
            print(f"{path}: {len(scenario.operations)} operations, no divergence")
    if options.json:
        print(json.dumps([{"file": path, "passed": passed} for path, passed in results]))
    return 0 if all(passed for _, passed in results) else 1
