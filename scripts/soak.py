#!/usr/bin/env python3
"""Real traffic for a long time: nothing may go missing, and memory must stay flat.

Each kind of traffic runs for --seconds, in rounds: a round goes through the configurations and
opens everything anew for each, so what leaks is seen as growth from round to round. In each, what
both ends counted must agree, contents must be what was sent, and every page must be home at last.
Prints what happened as JSON; exit status 1 when something was wrong.

    .venv/bin/python scripts/soak.py --seconds 60 tap
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Between the first round and the last, the process may grow by so many bytes: less than an arena,
# more than what allocators keep back.
ALLOWED_GROWTH = 8 << 20
# Rounds there should be at least, and seconds that a configuration should get at least.
ROUNDS = 4
SHORTEST = 2.0


class Grown(Exception):
    """Memory or descriptors were not given back."""


class Lost(Exception):
    """Packets, bytes or pages are not where they should be."""


def footprint() -> tuple[int, int]:
    """Bytes resident and descriptors open, with everything closed that can be."""
    gc.collect()
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))


def in_rounds(
    seconds: float, configs: list[dict[str, Any]], run: Callable[[float, dict[str, Any]], None]
) -> dict[str, Any]:
    """Call ``run(seconds, config)`` round after round; how the process grew meanwhile. Raises
    ``Grown``."""
    began = time.monotonic()
    share = max(SHORTEST, seconds / ROUNDS / len(configs))
    rounds: list[tuple[int, int]] = []
    while len(rounds) < 2 or time.monotonic() - began < seconds:
        for config in configs:
            run(share, config)
        rounds.append(footprint())
        resident, descriptors = rounds[-1]
        print(
            f"soak: {time.monotonic() - began:.0f} s, round {len(rounds)}: {resident >> 20} MiB "
            f"resident, {descriptors} descriptors",
            file=sys.stderr,
        )
    # The first round is the one that warms up.
    (first, fds), (last, fds_now) = rounds[0], rounds[-1]
    if last - first > ALLOWED_GROWTH or fds_now != fds:
        raise Grown(f"from round 1 to {len(rounds)}: {rounds[0]} to {rounds[-1]}")
    return {
        "seconds": time.monotonic() - began,
        "rounds": len(rounds),
        "resident_bytes": [resident for resident, _ in rounds],
        "descriptors": fds_now,
    }


def soak_tap(seconds: float) -> dict[str, Any]:
    """TCP between two namespaces, through a TAP and a queue in each direction."""
    import tap_tcp

    total = {"transferred_bytes": 0, "packets": 0, "longest": 0, "kernel_queue_drops": 0}

    def run(share: float, config: dict[str, Any]) -> None:
        done = tap_tcp.exchange(16, share, **config)
        total["transferred_bytes"] += done["transferred_bytes"]
        for direction in done["directions"]:
            for name in ("packets", "kernel_queue_drops"):
                total[name] += direction[name]
            total["longest"] = max(total["longest"], direction["longest"])

    configs = [
        {"mode": mode, "strategy": strategy}
        for mode in ("mergeable", "big", "small")
        for strategy in ("deferred", "eager")
    ]
    grown = in_rounds(seconds, configs, run)
    return {"configurations": configs, **total, **grown}


def soak_dpdk(seconds: float) -> dict[str, Any]:
    """Frames from DPDK's testpmd, as fast as both can, over a new connection each time."""
    import vnet_rx
    from testpmd import Testpmd, vhost_port

    total = {"packets": 0, "bytes": 0, "notifications": 0, "connections": 0}

    def run(share: float, config: dict[str, Any]) -> None:
        config = dict(config)
        length = sum(map(int, (txpkts := config.pop("txpkts")).split(",")))
        with vnet_rx.VhostUser(path, **config) as device:
            rx, until = device.queue, time.monotonic() + share
            dpdk.start(txpkts)
            while time.monotonic() < until:
                if rx.wait(1.0):
                    rx.consume(4096)
            sent = dpdk.stop()["tx_packets"]
            while rx.consume(4096):
                pass
            stats, arena = rx.stats(), rx.arena
            total["notifications"] += device.notifications
        faults = {name: count for name, count in stats.faults.items() if count}
        if (stats.rx_packets, stats.rx_bytes) != (sent, sent * length) or sent == 0 or faults:
            raise Lost(f"{config} {txpkts}: sent {sent}, received {stats.as_dict()}")
        if arena.free != arena.pages:
            raise Lost(f"{config} {txpkts}: {arena.pages - arena.free} pages are not home")
        total["packets"] += stats.rx_packets
        total["bytes"] += stats.rx_bytes
        total["connections"] += 1

    configs = [
        {"mode": mode, "strategy": strategy, "txpkts": txpkts}
        for mode in ("mergeable", "big", "small")
        for strategy in ("deferred", "eager")
        for txpkts in ("64", "1514", "1500,1500,1500")
        if (mode, txpkts) != ("small", "1500,1500,1500")
    ]
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        path = Path(folder) / "s"
        with Testpmd(vhost_port(path)) as dpdk:
            grown = in_rounds(seconds, configs, run)
    return {"configurations": configs, **total, **grown}


KINDS = {"tap": soak_tap, "dpdk": soak_dpdk}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; all")
    parser.add_argument("--seconds", type=float, default=1800, help="for each kind; 1800")
    options = parser.parse_args()
    unknown = set(options.kinds) - set(KINDS)
    if unknown:
        parser.error(f"unknown kind {', '.join(unknown)}: choose of {', '.join(KINDS)}")
    shown = {}
    for kind in options.kinds or KINDS:
        try:
            shown[kind] = KINDS[kind](options.seconds)
        except Exception as error:
            print(f"soak: {kind}: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
    print(json.dumps(shown, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
