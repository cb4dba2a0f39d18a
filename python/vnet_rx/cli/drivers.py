"""Which two implementations a sub-command is about."""

import argparse
import os
import sys

from vnet_rx.testing import Factory, load
from vnet_rx.testing.limit import MOST_SECONDS


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--driver", default="engine", metavar="NAME", help="the driver under test (default: engine)"
    )
    parser.add_argument(
        "--against", default="reference", metavar="NAME",
        help="what it is compared with (default: reference)",
    )  # fmt: skip


def add_limit_to(parser: argparse.ArgumentParser) -> None:
    """Declare the time limit on a scenario."""
    parser.add_argument(
        "--case-seconds", type=_seconds, default=10.0, metavar="S",
        help="a driver that takes longer for a scenario hangs (default: 10)",
    )  # fmt: skip


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not possible: choose above 0, {MOST_SECONDS} at most"
        )
    return value


def given(options: argparse.Namespace) -> str:
    """The options that name the two, as far as they are not the default."""
    text = "" if options.driver == "engine" else f"--driver {options.driver} "
    return text if options.against == "reference" else f"{text}--against {options.against} "


def loaded(options: argparse.Namespace) -> tuple[Factory, Factory]:
    """Both factories. Modules are looked for in the current folder too."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    return load(options.driver), load(options.against)
