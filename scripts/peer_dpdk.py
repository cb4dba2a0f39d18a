#!/usr/bin/env python3
"""Two cores, packets per second: DPDK's virtio-net driver and device, and this library's.

Pairs, measured in turns in one sitting, frames of 60 and 1514 bytes:

- DPDK's virtio-user driver (testpmd rxonly) on one core, its net_vhost device (txonly) on another;
- this library's RxQueue on one core, its Host on another, both strategies (from `cargo bench`);
- a bare ring that moves the bytes between two cores and does nothing else: the floor.

Needs DPDK (Debian: dpdk-dev), cargo, two cores, and root: DPDK's driver wants huge pages, which are
set aside for the measurement and given back afterwards.

On a virtual machine the distance between two processors changes under way. Each round measures
every pair for a few seconds, so that this hits all of them, and how far a cache line had to go.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "scripts")]

from testpmd import Testpmd, TestpmdError, huge_pages, vhost_port  # noqa: E402
from vnet_rx.bench.criterion import load  # noqa: E402
from vnet_rx.bench.machine import describe  # noqa: E402
from vnet_rx.bench.results import dumps  # noqa: E402
from vnet_rx.bench.tables import pairs_table  # noqa: E402
from vnet_rx.cli.output import table  # noqa: E402

SIZES = (60, 1514)
CONFIGURATION = {
    "DPDK": "one core each, split ring of 256, mrg_rxbuf=1, in_order=0, huge pages on both sides",
    "vnet-rx": "one core each, split ring of 256, mergeable, modern, EVENT_IDX, ordinary pages",
    "figures": "millions of packets received per second: median, lowest, highest of the samples",
}


@dataclass(frozen=True)
class Rate:
    """What one pair reached with frames of one size."""

    pair: str
    size: int
    mpps: list[float]


def on_core(core: int) -> str:
    """testpmd's ``--lcores``: its main thread and its forwarding thread, both on one core."""
    return f"0@{core},1@{core}"


def dpdk_pair(size: int, seconds: int, cores: tuple[int, int], huge: str) -> Rate:
    """DPDK's driver against DPDK's device."""
    with tempfile.TemporaryDirectory(prefix="peer-") as folder:
        socket = Path(folder) / "s"
        driver = f"net_virtio_user0,path={socket},mrg_rxbuf=1,in_order=0"
        with (
            Testpmd(vhost_port(socket), hugepages=huge, cores=on_core(cores[1])) as device,
            Testpmd(
                driver,
                forward="rxonly",
                hugepages=huge,
                eal=("--single-file-segments",),
                cores=on_core(cores[0]),
            ) as receiver,
        ):
            receiver.start()
            device.start(str(size))
            rates = [received_per_second(receiver) for _ in range(seconds + 1)]
            device.stop()
            receiver.stop()
    return Rate("DPDK virtio-user, DPDK net_vhost", size, rates[1:])


def received_per_second(receiver: Testpmd) -> float:
    """Millions of packets in the second that follows."""
    time.sleep(1)
    since = receiver.say("show port stats 0")
    return int(receiver.expect(r"Rx-pps:\s+(\d+)", since)[1]) / 1e6


def our_pairs(sizes: tuple[int, ...], seconds: int) -> tuple[list[Rate], float]:
    """RxQueue and Host in two threads, and the bare ring, as `cargo bench` measures them; and the
    nanoseconds of a cache line's round trip."""
    cells = f"(eager|deferred|floor)/untouched/({'|'.join(map(str, sizes))})$"
    wanted = f"threads/(line/round-trip|{cells})"
    times = ["--warm-up-time", "0.5", "--measurement-time", str(seconds), "--sample-size", "10"]
    with tempfile.TemporaryDirectory(prefix="peer-") as folder:
        command = ["cargo", "bench", "--locked", "--bench", "suite", "--", wanted, *times]
        environment = os.environ | {"CRITERION_HOME": folder}
        subprocess.run(command, cwd=ROOT, env=environment, stdout=2, check=True)
        found = load(folder)
    names = {
        "deferred": "vnet-rx deferred, vnet-rx Host",
        "eager": "vnet-rx eager, vnet-rx Host",
        "floor": "bare ring",
    }
    rates = [
        Rate(pair, size, [1000 / ns for ns in found[f"threads/{name}/untouched/{size}"].samples])
        for size in sizes
        for name, pair in names.items()
    ]
    return rates, found["threads/line/round-trip"].median.point


def together(rates: list[Rate]) -> list[Rate]:
    """The rates of all rounds, those of one pair and size together."""
    kinds = dict.fromkeys((rate.pair, rate.size) for rate in rates)
    return [
        Rate(*kind, [n for rate in rates if (rate.pair, rate.size) == kind for n in rate.mpps])
        for kind in kinds
    ]


def in_turns(rounds: int, seconds: int, cores: tuple[int, int]) -> tuple[list[Rate], list[int]]:
    """The rates of all pairs, and a cache line's round trip in each round, in nanoseconds."""
    rates: list[Rate] = []
    round_trips = []
    with huge_pages() as huge:
        for turn in range(rounds):
            print(f"round {turn + 1} of {rounds}", file=sys.stderr)
            rates += [dpdk_pair(size, seconds, cores, huge) for size in SIZES]
            ours, round_trip = our_pairs(SIZES, seconds)
            rates += ours
            round_trips.append(round(round_trip))
    return together(rates), round_trips


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=6, help="turns of each pair (default: 6)")
    parser.add_argument(
        "--seconds", type=int, default=3, help="per pair, size and round (default: 3)"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where the raw results go (target/pairs.json)"
    )
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("peer_dpdk: it takes two cores, and this process may use one")
    if os.geteuid() != 0:
        sys.exit("peer_dpdk: DPDK's virtio-user driver wants huge pages, and they want root")
    # Built first, so that nothing is compiled while anything is measured.
    subprocess.run(["cargo", "bench", "--locked", "--no-run"], cwd=ROOT, stdout=2, check=True)
    try:
        rates, round_trips = in_turns(options.rounds, options.seconds, (cores[0], cores[1]))
    except TestpmdError as error:
        sys.exit(f"peer_dpdk: {error}")
    configuration = {
        "rounds": f"{options.rounds}, {options.seconds} s for each pair and size in each",
        "a cache line's round trip, round by round": f"{', '.join(map(str, round_trips))} ns",
    }
    results = {
        "what": "pairs",
        "machine": describe("rustc", "dpdk"),
        "configuration": CONFIGURATION | configuration,
        "rates": [asdict(rate) | {"mpps": [round(n, 3) for n in rate.mpps]} for rate in rates],
    }
    (options.json or ROOT / "target" / "pairs.json").write_text(dumps(results))
    shown = pairs_table(results["rates"])
    print(table(shown.columns, shown.rows, shown.left))
    return 0


if __name__ == "__main__":
    sys.exit(main())
