#!/usr/bin/env python3
"""The receiver's rate from a DPDK device, beside that of DPDK's own driver from the same device.

One testpmd process is the device (net_vhost, txonly). In turns, vnet-rx
(examples/vhost_receive.rs) and a second testpmd (net_virtio_user, rxonly: DPDK's own virtio
driver) receive from it, over a split ring of the same size with mergeable buffers; the device's
forwarding thread has one processor, whoever receives another. The rates are medians over the
rounds. Then the same from Python: packets as objects (RxQueue.poll), and counted without
(RxQueue.consume).

DPDK's driver needs huge pages: this takes 512 of 2 MiB and gives them back, so it needs root.

    make peer-vhost-user
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from testpmd import PROGRAM, Testpmd, TestpmdError, huge_pages, vhost_port

ROOT = Path(__file__).parents[1]
RECEIVER = ROOT / "target" / "release" / "examples" / "vhost_receive"
RING = 256
# What it takes to get going, in seconds: it is not measured.
WARM_UP = 0.5

INTO_PYTHON = """
import json, sys, time, vnet_rx
path, seconds, how = sys.argv[1], float(sys.argv[2]), sys.argv[3]
with vnet_rx.VhostUser(path, mode="mergeable") as device:
    rx = device.queue
    rx.wait(10)
    began, packets = time.perf_counter(), 0
    if how == "poll":
        while time.perf_counter() - began < seconds:
            packets += len(rx.poll(256))
    else:
        while time.perf_counter() - began < seconds:
            packets += rx.consume(4096)
    print(json.dumps(packets / (time.perf_counter() - began)))
"""


def pinned(cpu: int, *command: str) -> Any:
    """What a command says, run on one processor."""
    done = subprocess.run(
        ["taskset", "-c", str(cpu), *command], capture_output=True, text=True, timeout=120
    )
    if done.returncode:
        raise TestpmdError(f"{' '.join(command[:2])}: {done.stderr}")
    return json.loads(done.stdout)


def ours(path: Path, seconds: float, cpu: int, strategy: str) -> float:
    """Packets per second into the Rust receiver."""
    command = (str(RECEIVER), str(path), str(seconds), "mergeable", strategy, str(RING))
    rate: float = pinned(cpu, *command)["pps"]
    return rate


def theirs(path: Path, seconds: float, folder: str, cpus: tuple[int, int]) -> float:
    """Packets per second into DPDK's own driver."""
    vdev = f"net_virtio_user0,path={path},mrg_rxbuf=1,in_order=0,queue_size={RING}"
    device, receiver = cpus
    with Testpmd(
        vdev,
        forward="rxonly",
        hugepages=folder,
        eal=("--single-file-segments",),
        cores=f"0@{device},1@{receiver}",
    ) as driver:
        driver.start()
        time.sleep(WARM_UP)
        began, before = time.perf_counter(), received(driver)
        time.sleep(seconds)
        ended, after = time.perf_counter(), received(driver)
    return (after - before) / (ended - began)


def received(driver: Testpmd) -> int:
    """What its port has received so far."""
    since = driver.say("show port stats 0")
    return int(driver.expect(r"RX-packets: (\d+)\s+RX-missed", since)[1])


def measure(options: argparse.Namespace) -> dict[str, Any]:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise TestpmdError("this takes two processors, one for the device and one for the driver")
    device_cpu, cpu = cpus[0], cpus[1]
    rates: dict[str, list[float]] = {"deferred": [], "eager": [], "dpdk": []}
    into_python: dict[str, list[float]] = {"poll": [], "consume": []}
    with tempfile.TemporaryDirectory(prefix="peer-") as place, huge_pages() as folder:
        path = Path(place) / "s"
        # Its main thread only waits for commands.
        with Testpmd(vhost_port(path), cores=f"0@{cpu},1@{device_cpu}") as dpdk:
            dpdk.start("64")
            for turn in range(options.rounds):
                rates["deferred"].append(ours(path, options.seconds, cpu, "deferred"))
                rates["dpdk"].append(theirs(path, options.seconds, folder, (device_cpu, cpu)))
                rates["eager"].append(ours(path, options.seconds, cpu, "eager"))
                for how, found in into_python.items():
                    program = (sys.executable, "-c", INTO_PYTHON)
                    found.append(pinned(cpu, *program, str(path), str(options.seconds), how))
                last = {name: round(found[-1] / 1e6, 2) for name, found in rates.items()}
                print(f"peer_vhost_user: round {turn + 1}: {last} Mpps", file=sys.stderr)
            dpdk.stop()
    median = {name: statistics.median(found) for name, found in (rates | into_python).items()}
    return {
        "frame_bytes": 64,
        "ring": f"split, {RING} descriptors, mergeable",
        "rounds": options.rounds,
        "seconds_each": options.seconds,
        "packets_per_second": {
            "vnet-rx, Rust, deferred": round(median["deferred"]),
            "vnet-rx, Rust, eager": round(median["eager"]),
            "DPDK virtio-user": round(median["dpdk"]),
            "vnet-rx, Python, poll": round(median["poll"]),
            "vnet-rx, Python, consume": round(median["consume"]),
        },
        "ratio": round(median["deferred"] / median["dpdk"], 3),
        "all_rounds": {name: list(map(round, found)) for name, found in rates.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement; default 3")
    options = parser.parse_args()
    if not RECEIVER.exists():
        parser.error(f"{RECEIVER} is not built: cargo build --release --example vhost_receive")
    if os.geteuid() != 0:
        parser.error("taking huge pages and mounting hugetlbfs needs root")
    try:
        print(json.dumps(measure(options), indent=2))
    except FileNotFoundError as error:
        parser.error(f"{error.filename} is missing: install {PROGRAM} (Debian: dpdk-dev), taskset")
    except (TestpmdError, OSError, subprocess.SubprocessError) as error:
        print(f"peer_vhost_user: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
