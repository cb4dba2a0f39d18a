"""The command line: one module per sub-command.

Data goes to stdout, progress to stderr and only to a terminal. Exit status: 0 fine, 1 a mismatch,
2 a mistake in the call or its input, 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from vnet_rx.errors import VnetRxError

_COMMANDS = ("compare", "receive", "fuzz", "replay", "shrink", "mutants", "bench")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    from importlib import import_module

    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="vnet-rx",
        description="The virtio-net receive path: packets through a real vring, in every buffer "
        "mode, with skbs allocated the old way (eager) and the new way (deferred).",
        epilog="Start with: vnet-rx compare",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in _COMMANDS:
        # What is asked for needs its module; help and errors need all.
        if not given or given[0] not in _COMMANDS or given[0] == name:
            import_module(f"vnet_rx.cli.{name}").add_to(commands)
    options = parser.parse_args(given)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except VnetRxError as error:
        print(f"vnet-rx: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"vnet-rx: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read our output has gone; keep the interpreter from saying so at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("vnet-rx: interrupted", file=sys.stderr)
        return 130
    return status
