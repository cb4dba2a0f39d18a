"""``vnet-rx receive``: packets from any device, counted, and written to a capture file."""

import argparse
import json
import sys
import time
from contextlib import nullcontext
from typing import Any

from vnet_rx import CaptureWriter, Receiver, RxQueue, open
from vnet_rx.cli.output import LiveLine, units
from vnet_rx.errors import ConfigError, VnetRxError

MODES = ("small", "big", "mergeable")
STRATEGIES = ("eager", "deferred")
DIALECTS = ("legacy", "modern")
# Packets received between two looks at the clock.
BATCH = 4096
# Faults for which no packet is dropped.
NO_DROP = ("PartialBuffer",)
# Seconds that a sleep lasts at most, so that the live line moves and Ctrl-C is seen.
NAP = 0.5

EPILOG = """\
devices:
  tap:NAME                  a TAP interface of this network namespace; made if it does not exist
  tap:fd=N                  a TAP that is open already
  vhost-user:PATH           a device (DPDK, Open vSwitch) that listens on this socket
  vhost-user-listen:PATH    a device that will connect to this socket
  pcap:FILE                 a pcap or pcapng capture
  sim:size=64-1514,count=1000,seed=0    generated frames

Ends after --count packets, after --seconds, when the device has no more, or with Ctrl-C; each time
with the summary. Exit status: 0 when it ended by itself, 130 with Ctrl-C, 1 when the device went
away or broke the rules of the ring, 2 when it cannot be opened or the call makes no sense.

example, without root:
  unshare -rn sh -c 'ip tuntap add t0 mode tap; ip link set t0 up;
                     vnet-rx receive tap:t0 --seconds 3 --write t0.pcapng'
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "receive",
        help="receive packets from a device",
        description="Receives packets from a device through a virtio-net receive queue, counts "
        "them, and writes them to a capture file if asked to.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("device", metavar="DEVICE", help="KIND:WHERE, see below")
    parser.add_argument("--mode", choices=MODES, help="buffer mode (default: mergeable)")
    parser.add_argument(
        "--strategy", choices=STRATEGIES, default="deferred", help="default: deferred"
    )
    parser.add_argument("--dialect", choices=DIALECTS, default="modern", help="default: modern")
    parser.add_argument(
        "--ring-size", type=int, default=256, metavar="N", help="descriptors (default: 256)"
    )
    parser.add_argument("--count", type=int, metavar="N", help="end after N packets")
    parser.add_argument("--seconds", type=float, metavar="S", help="end after S seconds")
    parser.add_argument(
        "--write",
        metavar="FILE",
        help="write the packets to a pcapng file, each with its virtio-net header in its comment",
    )
    parser.add_argument(
        "--complete-checksums",
        action="store_true",
        help="complete the checksums of the written packets that a device left incomplete",
    )
    parser.add_argument(
        "--stats-interval",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds between updates of the live line, shown on a terminal (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(run=run)


Counts = dict[str, int]


class Totals:
    """What was received so far, whichever queues a device that reconnects has had."""

    def __init__(self, receiver: Receiver) -> None:
        self.began = time.monotonic()
        self.queue = receiver.queue
        self.queues = 1
        self._before: tuple[Counts, Counts] = ({}, {})

    def follow(self, queue: RxQueue) -> None:
        """Go on with this queue, if it is a new one."""
        if queue is not self.queue:
            self._before = self._counted()
            self.queue = queue
            self.queues += 1

    def _counted(self) -> tuple[Counts, Counts]:
        counters = self.queue.stats().as_dict()
        faults = counters.pop("faults")
        before, faults_before = self._before
        return (
            {name: n + before.get(name, 0) for name, n in counters.items()},
            {name: n + faults_before.get(name, 0) for name, n in faults.items()},
        )

    def look(self) -> tuple[Counts, Counts]:
        """The counters by name, and the packets dropped by fault."""
        counters, faults = self._counted()
        drops = {name: n for name, n in faults.items() if n and name not in NO_DROP}
        if counters["rx_dropped"]:
            drops["NoMemory"] = counters["rx_dropped"]
        return counters, drops


def run(options: argparse.Namespace) -> int:
    """Run the sub-command; returns the exit status."""
    check(options)
    status, trouble = 0, None
    with open(
        options.device,
        mode=options.mode,
        strategy=options.strategy,
        dialect=options.dialect,
        ring_size=options.ring_size,
    ) as receiver:
        # The device first: a file is not overwritten for one that does not exist.
        writer = CaptureWriter(options.write, options.complete_checksums) if options.write else None
        totals = Totals(receiver)
        try:
            with writer or nullcontext():
                receive(receiver, writer, totals, options)
        except KeyboardInterrupt:
            status = 130
        except VnetRxError as error:
            status, trouble = 1, error
        print(summary(receiver, totals, options.json))
    if trouble is not None:
        print(f"vnet-rx: {trouble}", file=sys.stderr)
    return status


def check(options: argparse.Namespace) -> None:
    """Refuse what makes no sense."""
    for name in ("count", "seconds", "stats_interval"):
        value = getattr(options, name)
        # Not ``value <= 0``: that lets a NaN through.
        if value is not None and not 0 < value < float("inf"):
            shown = name.replace("_", "-")
            raise ConfigError(f"--{shown} {value} is not possible: give more than 0")
    if options.complete_checksums and options.write is None:
        raise ConfigError("--complete-checksums is about the written file: give --write FILE too")


def receive(
    receiver: Receiver,
    writer: CaptureWriter | None,
    totals: Totals,
    options: argparse.Namespace,
) -> None:
    """Receive until there is a reason to end."""
    device = receiver.device
    until = float("inf") if options.seconds is None else totals.began + options.seconds
    left = options.count
    with LiveLine(options.stats_interval) as line:
        while left != 0:
            done = device.pump()
            totals.follow(device.queue)
            got = device.queue.consume(BATCH if left is None else min(BATCH, left), writer)
            if left is not None:
                left -= got
            now = time.monotonic()
            if now >= until:
                return
            if line.due(now):
                line.show(live(receiver, totals, line))
            if not done and not got:
                if device.finished:
                    return
                device.wait(min(NAP, until - now))


def live(receiver: Receiver, totals: Totals, line: LiveLine) -> str:
    """What happened since the line was last shown."""
    counters, lost = totals.look()
    change, seconds = line.change(counters | receiver.device.counters())
    packets = change["rx_packets"]
    parts = [
        f"{units(packets / seconds)}packets/s",
        f"{units(8 * change['rx_bytes'] / seconds)}bit/s",
        f"{change['notifications'] / packets if packets else 0:.2f} notifications/packet",
    ]
    if lost:
        parts.append("dropped: " + ", ".join(f"{name} {n}" for name, n in lost.items()))
    return "  ".join(parts)


def summary(receiver: Receiver, totals: Totals, as_json: bool) -> str:
    """What it all came to."""
    seconds = time.monotonic() - totals.began
    counters, lost = totals.look()
    of_device = receiver.device.counters()
    packets, size = counters["rx_packets"], counters["rx_bytes"]
    config = receiver.queue.config
    shown: dict[str, Any] = {
        **receiver.device.describe(),
        "mode": config.mode,
        "strategy": config.strategy,
        "dialect": config.dialect,
        "ring_size": config.ring_size,
        "packets": packets,
        "bytes": size,
        "seconds": seconds,
        "packets_per_second": packets / seconds,
        "bits_per_second": 8 * size / seconds,
        "drops": lost,
        **of_device,
        "notifications_per_packet": of_device["notifications"] / packets if packets else 0.0,
        "queues": totals.queues,
        "counters": counters,
    }
    if as_json:
        return json.dumps(shown, indent=2)
    others = {name: n for name, n in of_device.items() if name != "notifications" and n}
    lines = [
        f"{shown['device']}: {packets} packets, {size} bytes in {seconds:.2f} s: "
        f"{units(packets / seconds)}packets/s, {units(8 * size / seconds)}bit/s",
        "dropped: " + (", ".join(f"{name} {n}" for name, n in lost.items()) or "none"),
        f"notifications: {of_device['notifications']} "
        f"({shown['notifications_per_packet']:.3f} per packet)",
        *(f"{name}: {n}" for name, n in others.items()),
        f"{config.mode}, {config.strategy}, {config.dialect}, ring of {config.ring_size}: "
        + " ".join(shown["features"]),
    ]
    return "\n".join(lines)
