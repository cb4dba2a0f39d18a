#!/usr/bin/env python3
"""Record the capture that ships with the package: real traffic of the Linux kernel's own stack.

Two network namespaces get two TAPs each, with virtio-net headers and all offloads on; this program
carries every frame from one namespace to the other and records it with the header that the kernel
gave it. Meanwhile the two namespaces talk: ARP, ICMP, DNS, HTTP both ways, UDP with fragments and
with segmentation offload, and bulk TCP whose super-packets reach 64 KiB, over IPv4 and IPv6.

The second TAPs are the access ports of a VLAN, and what is recorded is the trunk between two
switches: frames of the second TAPs are tagged on it, their header's offsets moved by the tag's four
bytes. (Kernels without VLAN devices are common in small virtual machines.)

Needs Linux, iproute2 and util-linux's unshare; root is not needed where user namespaces are
allowed. The namespaces end with the program. Run it from the source tree:

    .venv/bin/python scripts/record_capture.py
"""

import argparse
import contextlib
import http.client
import http.server
import os
import random
import select
import socket
import struct
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from station import Station, StationError, ipv4, ipv6

OUTPUT = Path(__file__).parent.parent / "python" / "vnet_rx" / "data" / "mixed.pcapng"

UDP_SEGMENT = 103
HEADER_LEN = 12
VLAN = 42
LEFT, RIGHT = 1, 2


def on_vlan(station: int) -> str:
    return f"10.77.{VLAN}.{station}"


# ---- inside a namespace ------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.reply(random.Random(self.path).randbytes(int(self.path.rsplit("/", 1)[-1])))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(str(sum(body)).encode())

    def reply(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Http6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def serve_udp(address: str) -> None:
    """Answer DNS queries on port 53 with one address, and anything on port 7 with itself."""
    dns, echo = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    dns.bind((address, 53))
    echo.bind((address, 7))
    while True:
        for ready in select.select([dns, echo], [], [])[0]:
            data, peer = ready.recvfrom(65536)
            if ready is dns:
                answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(address)
                data = data[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + data[12:] + answer
            if len(data) < 10000:
                ready.sendto(data, peer)


def start_servers(station: int) -> None:
    for server in (
        http.server.ThreadingHTTPServer(("0.0.0.0", 80), Handler),
        Http6((ipv6(station), 80), Handler),
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    for vlan in (False, True):
        threading.Thread(
            target=serve_udp, args=((on_vlan if vlan else ipv4)(station),), daemon=True
        ).start()


def ping(family: int, address: str, size: int, count: int) -> None:
    v6 = family == socket.AF_INET6
    protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        raw.settimeout(0.5)
        for i in range(count):
            body = struct.pack("!HH", 77, i) + bytes(n & 0xFF for n in range(size))
            kind = 128 if v6 else 8
            message = struct.pack("!BBH", kind, 0, 0) + body
            if not v6:
                message = struct.pack("!BBH", kind, 0, checksum(message)) + body
            raw.sendto(message, (address, 0))
            with contextlib.suppress(TimeoutError):
                raw.recv(65536)


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def query(name: str, address: str) -> None:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    message = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"
    exchange(message, (address, 53))


def exchange(data: bytes, peer: tuple[str, int], segment: int = 0) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.5)
        if segment:
            udp.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
        udp.sendto(data, peer)
        with contextlib.suppress(TimeoutError):
            udp.recv(65536)


def fetch(address: str, sizes: list[int], posts: list[int]) -> None:
    connection = http.client.HTTPConnection(address, 80, timeout=10)
    for size in sizes:
        connection.request("GET", f"/file/{size}")
        if len(connection.getresponse().read()) != size:
            raise RuntimeError(f"a file of {size} bytes did not come whole")
    for size in posts:
        body = random.Random(size).randbytes(size)
        connection.request("POST", "/sum", body)
        if int(connection.getresponse().read()) != sum(body):
            raise RuntimeError(f"a post of {size} bytes did not come whole")
    connection.close()


def talk(station: int, bulk: int) -> None:
    """What one station asks of the other."""
    peer, peer6, peer_vlan = ipv4(3 - station), ipv6(3 - station), on_vlan(3 - station)
    for size, count in ((56, 8), (1400, 3), (4000, 3)):
        ping(socket.AF_INET, peer, size, count)
        ping(socket.AF_INET6, peer6, size, count)
    for i in range(12):
        query(f"host{i}.example.org", peer)
    for i in range(40):
        exchange(bytes(range(20 + i * 5)), (peer, 7))
    for size in (2000, 5000, 9000):
        exchange(random.Random(size).randbytes(size), (peer, 7))
    for size in (4200, 28000):
        exchange(random.Random(size).randbytes(size), (peer, 7), segment=1400)
    ping(socket.AF_INET, peer_vlan, 56, 4)
    query("vlan.example.org", peer_vlan)
    for address in (peer, peer6, peer_vlan):
        fetch(address, [0, 10, 100, 512, 1000, 1448, 4000, 20000], [1, 700, 6000])
    fetch(peer, [bulk], [bulk // 2])
    fetch(peer6, [bulk // 2], [bulk // 4])
    fetch(peer_vlan, [bulk // 8], [])


# ---- outside -----------------------------------------------------------------------------------


def make_station(number: int) -> Station:
    """A station with a second TAP, the access port of a VLAN, and servers."""
    station = Station(number, ["tap0", "tap1"])
    station.run(
        "import record_capture\n"
        f"shell('ip link set tap1 address 02:00:00:77:{VLAN}:0{number}')\n"
        f"shell('ip addr add {on_vlan(number)}/24 dev tap1')\n"
        f"record_capture.start_servers({number})"
    )
    return station


def on_the_trunk(header: bytes, frame: bytes) -> tuple[bytes, bytes]:
    """A frame of a second TAP, tagged, and its header with the offsets moved."""
    flags, gso_type, hdr_len, gso_size, csum_start, csum_offset = struct.unpack_from(
        "<BBHHHH", header
    )
    hdr_len += 4 if gso_type else 0
    csum_start += 4 if flags & 1 else 0
    moved = struct.pack("<BBHHHH", flags, gso_type, hdr_len, gso_size, csum_start, csum_offset)
    return moved + header[10:], frame[:12] + struct.pack("!HH", 0x8100, VLAN) + frame[12:]


def carry(
    stations: list[Station], output: Path, bulk: int, deadline: float
) -> list[tuple[bytes, bytes]]:
    """Carry frames both ways until everything has been said; what was carried."""
    from vnet_rx import CaptureWriter, VnetHeader

    def talk_to(station: Station) -> None:
        station.start(f"record_capture.talk({station.number}, {bulk})")

    left, right = stations
    ends = list(zip(left.taps, right.taps, strict=True))
    peers = dict(ends) | {there: here for here, there in ends}
    tagged = ends[1]
    carried: list[tuple[bytes, bytes]] = []
    waiting = [left, right]
    quiet_since = None
    talk_to(left)
    with CaptureWriter(output) as writer:
        while True:
            if time.monotonic() > deadline:
                raise SystemExit("record_capture: the stations did not come to an end")
            ready = select.select([*peers, *waiting[:1]], [], [], 0.3)[0]
            for tap in (fd for fd in ready if fd in peers):
                with contextlib.suppress(BlockingIOError):
                    while data := os.read(tap, HEADER_LEN + 65536 + 64):
                        header, frame = data[:HEADER_LEN], data[HEADER_LEN:]
                        if tap in tagged:
                            header, frame = on_the_trunk(header, frame)
                        writer.write(frame, VnetHeader.from_bytes(header[:10]))
                        os.write(peers[tap], data)
                        carried.append((header, frame))
            if waiting and waiting[0] in ready:
                waiting.pop(0).finish()
                if waiting:
                    talk_to(waiting[0])
            if waiting or ready:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > 0.5:
                return carried


def kind_of(frame: bytes) -> str:
    """A frame's kind, for the summary."""
    ether, at = struct.unpack_from("!H", frame, 12)[0], 14
    tag = ""
    if ether == 0x8100:
        tag, ether, at = "VLAN ", struct.unpack_from("!H", frame, 16)[0], 18
    if ether == 0x0806:
        return tag + "ARP"
    if ether == 0x0800:
        protocol, fragment = frame[at + 9], struct.unpack_from("!H", frame, at + 6)[0] & 0x3FFF
        names = {1: "ICMP", 6: "TCP", 17: "UDP"}
        name = names.get(protocol, f"IPv4 protocol {protocol}")
        return f"{tag}{name} fragment" if fragment else tag + name
    if ether == 0x86DD:
        names = {
            0: "MLD",
            6: "TCP over IPv6",
            17: "UDP over IPv6",
            44: "IPv6 fragment",
            58: "ICMPv6",
        }
        return tag + names.get(frame[at + 6], f"IPv6 next header {frame[at + 6]}")
    return f"{tag}EtherType {ether:#06x}"


def summarise(carried: list[tuple[bytes, bytes]], output: Path) -> None:
    gso_names = {0: "none", 1: "TCPV4", 3: "UDP", 4: "TCPV6", 5: "UDP_L4"}
    kinds = Counter(kind_of(frame) for _, frame in carried)
    types = Counter(gso_names.get(header[1] & 0x7F, hex(header[1])) for header, _ in carried)
    needs = sum(header[0] & 1 for header, _ in carried)
    sizes = [len(frame) for _, frame in carried]
    print(f"{output}: {len(carried)} frames, {output.stat().st_size} bytes")
    print("  kinds:    " + ", ".join(f"{name} {n}" for name, n in kinds.most_common()))
    print("  gso_type: " + ", ".join(f"{name} {n}" for name, n in types.most_common()))
    print(f"  checksum to be completed: {needs}")
    print(f"  at most 128 bytes: {sum(n <= 128 for n in sizes)}, longest {max(sizes)}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"default: {OUTPUT.name}")
    parser.add_argument(
        "--bulk-bytes", type=int, default=240_000, help="size of the largest transfer"
    )
    options = parser.parse_args()
    try:
        with contextlib.ExitStack() as stack:
            stations = [stack.enter_context(make_station(number)) for number in (LEFT, RIGHT)]
            deadline = time.monotonic() + 60
            carried = carry(stations, options.output, options.bulk_bytes, deadline)
            summarise(carried, options.output)
    except StationError as error:
        raise SystemExit(f"record_capture: {error}") from None
    return 0


if __name__ == "__main__":
    sys.exit(main())
