#!/usr/bin/env python3
"""Real TCP between two network namespaces, through two receive queues.

    station 1                                                     station 2
    kernel ─► tap0 ─► readv ─► RxQueue ─► packets ─► writev ─► tap0 ─► kernel
    kernel ◄─ tap0 ◄─ writev ◄─ packets ◄─ RxQueue ◄─ readv ◄─ tap0 ◄─ kernel

Each frame is received as a driver would, and written to the other TAP with the header it came with:
the kernel refuses a header that makes no sense. Files go both ways over IPv4 and IPv6 and must
arrive as they were sent; in the end every page must be home and both ends must have counted the
same. Prints what happened as JSON.

    .venv/bin/python scripts/tap_tcp.py --mode big --mebibytes 64
"""

import argparse
import contextlib
import hashlib
import json
import random
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import station
from station import Station

MODES = ("small", "big", "mergeable")
PORT = 7700
MEBI = 1 << 20
# Seconds after which something is stuck.
PATIENCE = 60


class Mismatch(Exception):
    """What arrived is not what was sent."""


# ---- inside a namespace ------------------------------------------------------------------------


def blocks(seed: int, mebibytes: int) -> Any:
    """A file, in pieces: the same for the same seed, no two pieces alike."""
    piece = random.Random(seed).randbytes(MEBI - 8)
    for i in range(mebibytes):
        yield i.to_bytes(8, "big") + piece


def send_file(connection: socket.socket, seed: int, mebibytes: int) -> str:
    digest = hashlib.sha256()
    for block in blocks(seed, mebibytes):
        digest.update(block)
        connection.sendall(block)
    return digest.hexdigest()


def receive_file(connection: socket.socket, mebibytes: int) -> str:
    digest, left = hashlib.sha256(), mebibytes * MEBI
    buffer = bytearray(MEBI)
    while left:
        n = connection.recv_into(buffer, min(left, MEBI))
        if not n:
            raise Mismatch(f"the connection ended {left} bytes too early")
        digest.update(memoryview(buffer)[:n])
        left -= n
    return digest.hexdigest()


def listen(address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, PORT), family=family)


def both_ways(connection: socket.socket, seed: int, mebibytes: int) -> dict[str, str]:
    """Send a file and receive one at the same time; the digest of each."""
    connection.settimeout(PATIENCE)
    digests: dict[str, str] = {}

    def send() -> None:
        digests["sent"] = send_file(connection, seed, mebibytes)

    with connection:
        sender = threading.Thread(target=send)
        sender.start()
        digests["received"] = receive_file(connection, mebibytes)
        sender.join()
    return digests


def accept(server: socket.socket, seed: int, mebibytes: int) -> dict[str, str]:
    server.settimeout(PATIENCE)
    return both_ways(server.accept()[0], seed, mebibytes)


def connect(address: str, seed: int, mebibytes: int) -> dict[str, str]:
    return both_ways(socket.create_connection((address, PORT), PATIENCE), seed, mebibytes)


# ---- outside -----------------------------------------------------------------------------------


@dataclass
class Carrier:
    """Carries what one station sends to the other, in a thread of its own."""

    receiver: Any
    to: Any
    packets: int = 0
    size: int = 0
    longest: int = 0
    postponed: int = 0
    gso_types: Counter[int] = field(default_factory=Counter)
    buffers: Counter[int] = field(default_factory=Counter)
    error: Exception | None = None

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._stop = False
        self._thread.start()

    def _work(self) -> None:
        try:
            while not self._stop:
                packets = self.receiver.poll()
                for packet in packets:
                    self._carry(packet)
                    packet.release()
                if not packets:
                    self.receiver.wait(0.05)
        except Exception as error:
            self.error = error

    def _carry(self, packet: Any) -> None:
        header = packet.header
        self.packets += 1
        self.size += len(packet)
        self.longest = max(self.longest, len(packet))
        self.gso_types[header.gso_type] += 1
        self.buffers[header.num_buffers] += 1
        while not self.to.send(packet):
            self.postponed += 1
            time.sleep(0.001)

    def stop(self) -> None:
        """End the thread; raises what went wrong in it."""
        self._stop = True
        self._thread.join()
        if self.error is not None:
            raise self.error


class Link:
    """Two stations, and a carrier for each direction."""

    def __init__(self, **config: Any) -> None:
        import vnet_rx

        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            self.stations = [stack.enter_context(Station(number)) for number in (1, 2)]
            self.receivers = [
                stack.enter_context(vnet_rx.open(f"tap:fd={one.taps[0]}", **config))
                for one in self.stations
            ]
            taps = [
                stack.enter_context(vnet_rx.Tap.adopt(one.taps[0], receiver.queue.features))
                for one, receiver in zip(self.stations, self.receivers, strict=True)
            ]
            pairs = zip(self.receivers, reversed(taps), strict=True)
            self.carriers = [Carrier(receiver, tap) for receiver, tap in pairs]
            for one in self.stations:
                one.run("import tap_tcp")
            self._stack = stack.pop_all()

    def transfer(self, v6: bool, seed: int, mebibytes: int) -> int:
        """A file each way; how many bytes arrived. Raises ``Mismatch``."""
        left, right = self.stations
        address = (station.ipv6 if v6 else station.ipv4)(left.number)
        left.run(f"server = tap_tcp.listen({address!r})")
        left.start(f"result = tap_tcp.accept(server, {seed}, {mebibytes}); server.close()")
        right.start(f"result = tap_tcp.connect({address!r}, {seed + 1}, {mebibytes})")
        there, here = right.finish(PATIENCE * 10), left.finish(PATIENCE)
        if (there["sent"], here["sent"]) != (here["received"], there["received"]):
            raise Mismatch(f"a file did not arrive as it was sent: {there}, {here}")
        for carrier in self.carriers:
            if carrier.error is not None:
                raise carrier.error
        return 2 * mebibytes * MEBI

    def settle(self) -> None:
        """Wait until all that was sent is on its way and carried: no packet for a while."""
        before: list[int] = []
        while (now := [carrier.packets for carrier in self.carriers]) != before:
            before = now
            time.sleep(0.3)

    def account(self) -> list[dict[str, Any]]:
        """Stop carrying; what each direction came to. Raises ``Mismatch`` unless everything that
        the kernel sent was received and given to the other kernel, and every page is home."""
        self.settle()
        shown = []
        for carrier in self.carriers:
            carrier.stop()
        # Only now: until then the kernel may have something to say (neighbours, multicast). What it
        # sends it counts when it is read.
        kernel = [one.counters() for one in self.stations]
        for (i, carrier), receiver in zip(enumerate(self.carriers), self.receivers, strict=True):
            stats, counters = receiver.stats, receiver.device.counters()
            queue, arena = receiver.queue, receiver.arena
            seen = {
                "kernel_sent": kernel[i]["tx_packets"],
                "received": stats.rx_packets + counters["undeliverable"],
                "carried": carrier.packets + counters["undeliverable"],
                "kernel_received": kernel[1 - i]["rx_packets"] + counters["undeliverable"],
            }
            if len(set(seen.values())) != 1:
                raise Mismatch(f"packets went missing: {seen}")
            if kernel[1 - i]["rx_errors"] or any(stats.faults.values()):
                raise Mismatch(f"something was refused: {kernel[1 - i]}, {stats.faults}")
            receiver.close()
            if arena.free != arena.pages:
                raise Mismatch(f"{arena.pages - arena.free} of {arena.pages} pages did not return")
            shown.append(
                {
                    "mode": queue.config.mode,
                    "strategy": queue.config.strategy,
                    "packets": carrier.packets,
                    "bytes": carrier.size,
                    "longest": carrier.longest,
                    "gso_types": dict(carrier.gso_types),
                    "most_buffers": max(carrier.buffers, default=0),
                    "undeliverable": counters["undeliverable"],
                    "kernel_queue_drops": kernel[i]["tx_dropped"],
                    "notifications": counters["notifications"],
                    "postponed": carrier.postponed,
                }
            )
        return shown

    def close(self) -> None:
        """End everything."""
        for carrier in self.carriers:
            with contextlib.suppress(Exception):
                carrier.stop()
        self._stack.close()

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def exchange(mebibytes: int, seconds: float | None = None, **config: Any) -> dict[str, Any]:
    """Transfer files of this size over IPv4 and IPv6, again and again for ``seconds``."""
    began = time.monotonic()
    transferred = rounds = 0
    with Link(**config) as link:
        while not rounds or (seconds is not None and time.monotonic() - began < seconds):
            for v6 in (False, True):
                transferred += link.transfer(v6, rounds, mebibytes)
            rounds += 1
        took = time.monotonic() - began
        return {
            "transferred_bytes": transferred,
            "seconds": took,
            "bits_per_second": 8 * transferred / took,
            "directions": link.account(),
        }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mode", choices=MODES, default="mergeable")
    parser.add_argument("--strategy", choices=("eager", "deferred"), default="deferred")
    parser.add_argument("--dialect", choices=("legacy", "modern"), default="modern")
    parser.add_argument("--ring-size", type=int, default=256)
    parser.add_argument("--mebibytes", type=int, default=16, help="each file (default: 16)")
    parser.add_argument("--seconds", type=float, help="go on for so long (default: one round)")
    options = vars(parser.parse_args())
    try:
        print(json.dumps(exchange(**options), indent=2))
    except (Mismatch, station.StationError) as error:
        print(f"tap_tcp: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
