"""A DPDK process as the device: every mode it allows, counted at both ends; killed; reconnected."""

import itertools
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import vnet_rx
from testpmd import PROGRAM, Testpmd, vhost_port

from .conftest import STRATEGIES
from .real import need_tools

pytestmark = pytest.mark.real

FRAMES = {"64": 64, "1514": 1514, "1500,1500,1500": 4500}
"""testpmd's word for the segments of a frame, and the frame's length."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dpdk") / "s"


@pytest.fixture(scope="module")
def dpdk(path: Path) -> Iterator[Testpmd]:
    need_tools(PROGRAM, "stdbuf")
    with Testpmd(vhost_port(path)) as dpdk:
        yield dpdk


def check(packet: vnet_rx.Packet, length: int) -> None:
    """A frame as testpmd makes them: IPv4 and UDP from one benchmark network to another."""
    data = bytes(packet)
    assert len(data) == length
    assert data[12:14] == b"\x08\x00" and data[14] == 0x45 and data[23] == 17
    ip_length, udp_length = (
        struct.unpack_from(">H", data, 16)[0],
        struct.unpack_from(">H", data, 38)[0],
    )
    assert ip_length == length - 14 and udp_length == length - 34
    words = sum(struct.unpack_from(">10H", data, 14))
    assert (words & 0xFFFF) + (words >> 16) in (0xFFFF, 0x1FFFE), "the IPv4 checksum holds"
    assert data[26:28] == data[30:32] == bytes([198, 18])


def receive(rx: vnet_rx.RxQueue, count: int, length: int) -> int:
    """At least so many packets, the first of each batch looked at."""
    received, until = 0, time.monotonic() + 30
    while received < count:
        assert time.monotonic() < until, f"{received} packets of {count}"
        assert rx.wait(30)
        packets = rx.poll(256)
        for packet in packets[:1]:
            check(packet, length)
        received += len(packets)
    return received


def drain(rx: vnet_rx.RxQueue, length: int) -> int:
    """What is still in the ring of a device that sends no more."""
    received = 0
    while packets := rx.poll(256):
        check(packets[-1], length)
        received += len(packets)
    return received


def home(device: vnet_rx.VhostUser) -> None:
    """After it is closed, all pages are back in the arena."""
    arena = device.queue.arena
    device.close()
    assert arena.free == arena.pages


def settled(rx: vnet_rx.RxQueue, packets: int, length: int) -> None:
    """The counters tell of so many good packets, and of nothing else."""
    stats = rx.stats()
    assert (stats.rx_packets, stats.rx_bytes) == (packets, packets * length)
    assert not any(stats.faults.values())
    assert stats.rx_length_errors == stats.rx_frame_errors == stats.rx_dropped == 0


CASES = [
    (mode, strategy, txpkts)
    for mode, strategy, txpkts in itertools.product(
        ("small", "big", "mergeable"), STRATEGIES, FRAMES
    )
    if mode != "small" or FRAMES[txpkts] <= 1514
]


@pytest.mark.parametrize(("mode", "strategy", "txpkts"), CASES)
def test_packets_counted_at_both_ends_agree(
    dpdk: Testpmd, path: Path, mode: str, strategy: str, txpkts: str
) -> None:
    length = FRAMES[txpkts]
    with vnet_rx.VhostUser(path, mode=mode, strategy=strategy) as device:
        rx = device.queue
        assert rx.config.mode == mode
        dpdk.start(txpkts)
        received = receive(rx, 5000, length)
        sent = dpdk.stop()
        received += drain(rx, length)
        assert received == sent["tx_packets"]
        settled(rx, received, length)
        home(device)


def test_a_frame_that_small_buffers_cannot_hold_is_the_device_s_loss(
    dpdk: Testpmd, path: Path
) -> None:
    with vnet_rx.VhostUser(path, mode="small") as device:
        dpdk.start("1500,1500,1500")
        assert not device.queue.wait(0.5)
        sent = dpdk.stop()
        assert sent["tx_packets"] == 0 < sent["tx_dropped"]
        home(device)


@pytest.mark.parametrize("ring_size", [64, 128, 256, 512, 1024])
def test_ring_sizes(dpdk: Testpmd, path: Path, ring_size: int) -> None:
    for txpkts in ("64", "1500,1500,1500"):
        length = FRAMES[txpkts]
        with vnet_rx.VhostUser(path, ring_size=ring_size) as device:
            dpdk.start(txpkts)
            received = receive(device.queue, 4 * ring_size, length)
            sent = dpdk.stop()
            assert received + drain(device.queue, length) == sent["tx_packets"]
            home(device)


def test_without_event_idx(dpdk: Testpmd, path: Path) -> None:
    features = ~(1 << 29) & (2**64 - 1)
    with vnet_rx.VhostUser(path, features=features) as device:
        assert "EVENT_IDX" not in device.queue.config.feature_names
        dpdk.start("64")
        received = receive(device.queue, 5000, 64)
        sent = dpdk.stop()
        assert received + drain(device.queue, 64) == sent["tx_packets"]
        assert device.notifications > 0


def test_seven_reconnects_under_load(dpdk: Testpmd, path: Path) -> None:
    dpdk.start("64")
    held = []
    with vnet_rx.VhostUser(path, ring_size=128) as device:
        for turn in range(8):
            rx = device.queue
            receive(rx, 2000, 64)
            assert rx.wait(30)
            held.append((rx.arena, rx.poll(1)[0]))
            if turn == 7:
                break
            device.reconnect()
            assert rx.closed and device.queue is not rx
    dpdk.stop()
    # The first 128 bytes are private: what is held has outlived its queue and its memory.
    for arena, packet in held:
        check(packet, 64)
        assert arena.free == arena.pages


def test_a_device_that_connects_to_us(tmp_path: Path) -> None:
    need_tools(PROGRAM, "stdbuf")
    path = tmp_path / "s"
    listening = ThreadPoolExecutor(1).submit(vnet_rx.VhostUser, path, listen=True, patience=30)
    with Testpmd(vhost_port(path, client=True)) as dpdk, listening.result(60) as device:
        dpdk.start("1514")
        receive(device.queue, 2000, 1514)
        device.reconnect(30)  # the device comes again by itself
        receive(device.queue, 2000, 1514)
        dpdk.stop()
    assert not path.exists()


def test_arp_and_ping_are_answered(tmp_path: Path) -> None:
    """testpmd answers for any address: so what is sent arrives, and the answers come back."""
    need_tools(PROGRAM, "stdbuf")
    us, ours, theirs = b"\2\0\0\0\0\1", bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
    arp = b"\xff" * 6 + us + struct.pack(">HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
    arp += us + ours + bytes(6) + theirs
    path = tmp_path / "s"
    with Testpmd(vhost_port(path), forward="icmpecho") as dpdk, vnet_rx.VhostUser(path) as device:
        dpdk.start()

        def ask(frame: bytes) -> bytes:
            device.send(frame)
            assert device.queue.wait(30)
            (answer,) = device.queue.poll()
            return bytes(answer)

        answer = ask(arp.ljust(60, b"\0"))
        assert answer[:6] == us and answer[20:22] == b"\0\2" and answer[28:32] == theirs
        them = answer[6:12]
        for length in (0, 56, 1472, 4000):
            body = bytes(k % 251 for k in range(length))
            echo = with_checksum(struct.pack(">BBHHH", 8, 0, 0, 7, 1) + body, 2)
            ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(echo), 0, 0, 64, 1, 0) + ours + theirs
            frame = them + us + b"\x08\x00" + with_checksum(ip, 10) + echo
            for _ in range(100):
                answer = ask(frame)
                assert answer[:12] == us + them and answer[34] == 0 and answer[42:] == body
        assert device.sent == 401 and device.tx_outstanding == 0
        dpdk.stop()
        home(device)


def with_checksum(data: bytes, at: int) -> bytes:
    """With the Internet checksum of all of it at this position, where zeroes were."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:at] + struct.pack(">H", ~total & 0xFFFF) + data[at + 2 :]


@pytest.mark.parametrize("mode", ["big", "mergeable"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_f36_killed_under_load(tmp_path: Path, mode: str, strategy: str) -> None:
    """Five times each, twenty in all."""
    need_tools(PROGRAM, "stdbuf")
    path = tmp_path / "s"
    dpdk = Testpmd(vhost_port(path))
    with vnet_rx.VhostUser(path, mode=mode, strategy=strategy) as device:
        for txpkts in itertools.islice(itertools.cycle(FRAMES), 5):
            rx, length = device.queue, FRAMES[txpkts]
            dpdk.start(txpkts)
            received = receive(rx, 2000, length)
            dpdk.kill()
            dpdk.close()
            path.unlink()  # it was not there to do so itself, and would not start again
            with pytest.raises(vnet_rx.QueueBroken, match="Disconnected"):
                while rx.wait(30):
                    received += len(rx.poll(256))
            assert rx.broken == "Disconnected" and not device.connected
            assert rx.stats().rx_packets == received
            faults = {name for name, count in rx.stats().faults.items() if count}
            assert faults == {"Disconnected"}
            arena = rx.arena
            assert arena.free < arena.pages, "the buffers stay outstanding until then"
            rx.reset()
            rx.close()
            assert arena.free == arena.pages, "all pages are home"
            dpdk = Testpmd(vhost_port(path))
            device.reconnect(30)
        dpdk.start("64")
        receive(device.queue, 2000, 64)
        dpdk.stop()
        dpdk.close()
