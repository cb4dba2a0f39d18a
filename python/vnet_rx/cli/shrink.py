"""``vnet-rx shrink``: a scenario made as short as it gets."""

import argparse
import sys
from pathlib import Path

from vnet_rx.cli import drivers
from vnet_rx.cli.output import at_least
from vnet_rx.testing import Scenario, diff
from vnet_rx.testing.campaign import shrink
from vnet_rx.testing.limit import TimeUp, time_limit


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "shrink",
        help="make a scenario that shows a divergence as short as it gets",
        description="Takes operations, device actions and values away from a scenario for as "
        "long as the two implementations still differ in the same way, and writes what is left.",
        epilog="Exit status: 0 when it was written, 1 when the two do not differ under this "
        "scenario or one does not answer (nothing is written then), 2 when the file is no "
        "scenario or a driver cannot be had.",
    )
    parser.add_argument("file", metavar="FILE", help="a scenario")
    drivers.add_to(parser)
    drivers.add_limit_to(parser)
    parser.add_argument(
        "--tries", type=at_least(1), default=10_000, metavar="N",
        help="how many smaller scenarios to try at the most (default: 10000)",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to (default: standard output)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the sub-command."""
    left, right = drivers.loaded(options)
    scenario = Scenario.load(options.file)
    try:
        with time_limit(options.case_seconds):
            divergence = diff(left, right, scenario)
    except TimeUp:
        print(
            f"vnet-rx: no answer within {options.case_seconds:g} s on {options.file}: what hangs "
            "is not made shorter",
            file=sys.stderr,
        )
        return 1
    if divergence is None:
        print(
            f"vnet-rx: {options.driver} and {options.against} agree on {options.file}",
            file=sys.stderr,
        )
        return 1
    smallest = shrink(left, right, divergence, options.case_seconds, options.tries)
    print(smallest.report(), file=sys.stderr)
    if options.output is None:
        print(smallest.scenario.to_json(indent=1), end="")
    else:
        smallest.scenario.save(options.output)
    return 0
