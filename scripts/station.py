#!/usr/bin/env python3
"""A station: a process in a network namespace of its own, whose TAPs are in the hands of another.

    with Station() as left:
        tap = vnet_rx.Tap.adopt(left.taps[0])
        left.run("result = socket.gethostname()")

The station has the address 10.77.0.N and fd77::N on tap0. It runs Python that it is given, as the
kernel's other side: what it sends leaves through the TAP. Root is not needed where user namespaces
are allowed; everything ends with the process.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Self

# A network namespace of one's own, with and without being root.
WITHOUT_ROOT = ["unshare", "--map-root-user", "--net"]
OWN_NAMESPACE = ["unshare", "--net"] if os.geteuid() == 0 else WITHOUT_ROOT


class StationError(Exception):
    """A station could not be made, or what it ran failed."""


def ipv4(number: int) -> str:
    """The station's address."""
    return f"10.77.0.{number}"


def ipv6(number: int) -> str:
    """The station's address."""
    return f"fd77::{number}"


class Station:
    """A child process in a network namespace of its own. ``taps`` are descriptors of its TAPs,
    this process's to close; they are closed with the station."""

    def __init__(self, number: int = 1, names: Sequence[str] = ("tap0",), mtu: int = 1500) -> None:
        for tool in ("unshare", "ip"):
            if shutil.which(tool) is None:
                raise StationError(f"{tool} is not installed: it is in util-linux or iproute2")
        self.number = number
        self.taps: list[int] = []
        self._control, theirs = socket.socketpair()
        arguments = [str(theirs.fileno()), str(number), str(mtu), *names]
        with theirs:
            self.process = subprocess.Popen(
                [*OWN_NAMESPACE, sys.executable, __file__, *arguments],
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
                text=True,
            )
        _, self.taps, _, _ = socket.recv_fds(self._control, 16, len(names))
        if not self.taps:
            _, said = self.process.communicate()
            self._control.close()
            last = (said.strip().splitlines() or ["it said nothing"])[-1]
            raise StationError(f"a namespace with a TAP could not be made: {last}")
        self._replies = self._control.makefile("r")

    def fileno(self) -> int:
        """For ``select``: readable when what was started has ended."""
        return self._control.fileno()

    def start(self, source: str) -> None:
        """Let the station run ``source``; ``finish`` tells what came of it."""
        self._control.sendall(json.dumps(source).encode() + b"\n")

    def finish(self, timeout: float = 120) -> Any:
        """Wait for the end of what was started: what it assigned to ``result``."""
        self._control.settimeout(timeout)
        reply = json.loads(self._replies.readline() or '{"error": "the station died"}')
        if "error" in reply:
            raise StationError(f"station {self.number}: {reply['error']}")
        return reply["result"]

    def run(self, source: str, timeout: float = 120) -> Any:
        """Run ``source`` in the station; what it assigned to ``result``."""
        self.start(source)
        return self.finish(timeout)

    def counters(self, name: str = "tap0") -> dict[str, int]:
        """The kernel's counters of an interface, seen from the station: ``tx`` is what it sent."""
        shown = self.run(f"result = shell('ip -s -s -json link show dev {name}')")
        stats = json.loads(shown)[0]["stats64"]
        return {f"{way}_{name}": n for way in ("rx", "tx") for name, n in stats[way].items()}

    def close(self) -> None:
        """End the process; its namespace and its TAPs go with it."""
        for tap in self.taps:
            os.close(tap)
        self.taps = []
        self._replies.close()
        self._control.close()
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ---- inside the namespace ----------------------------------------------------------------------


def shell(commands: str) -> str:
    """Run shell commands; what they printed."""
    done = subprocess.run(
        ["sh", "-ec", commands], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise StationError(f"{commands!r}: {done.stdout.strip()}")
    return done.stdout


def set_up(number: int, mtu: int, names: Sequence[str]) -> None:
    """Addresses for tap0, and links up."""
    shell("ip link set lo up")
    for name in names:
        shell(f"ip link set {name} mtu {mtu} up")
    shell(
        f"ip link set tap0 address 02:00:00:77:00:0{number}; "
        f"ip addr add {ipv4(number)}/24 dev tap0; "
        f"test ! -d /proc/sys/net/ipv6 || ip addr add {ipv6(number)}/64 dev tap0 nodad"
    )


def serve(control: socket.socket) -> None:
    """Run what comes, until nobody is there any more."""
    scope: dict[str, Any] = {"shell": shell, "socket": socket}
    for line in control.makefile("r"):
        scope["result"] = None
        try:
            exec(json.loads(line), scope)
            reply = {"result": scope["result"]}
        except Exception:
            reply = {"error": traceback.format_exc()}
        control.sendall(json.dumps(reply).encode() + b"\n")


def main() -> None:
    from vnet_rx import Tap, VnetRxError

    descriptor, number, mtu, *names = sys.argv[1:]
    control = socket.socket(fileno=int(descriptor))
    try:
        with contextlib.ExitStack() as stack:
            taps = [stack.enter_context(Tap(name)) for name in names]
            set_up(int(number), int(mtu), names)
            socket.send_fds(control, [b"taps"], [tap.fileno() for tap in taps])
    except (VnetRxError, StationError) as error:
        raise SystemExit(str(error)) from None
    serve(control)


if __name__ == "__main__":
    main()
