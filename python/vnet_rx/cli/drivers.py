"""Which two implementations a sub-command is about."""

import argparse
import os
import sys

from vnet_rx.testing import Factory, load


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--driver", default="engine", metavar="NAME", help="the driver under test (default: engine)"
    )
    parser.add_argument(
        "--against", default="reference", metavar="NAME",
        help="what it is compared with (default: reference)",
    )  # fmt: skip


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
