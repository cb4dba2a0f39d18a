"""Sleeping until a packet comes: notified, timed, interrupted, closed."""

import select
import signal
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import vnet_rx

from .conftest import EVERY, config_of


def queue(**settings: object) -> vnet_rx.RxQueue:
    rx = vnet_rx.RxQueue(vnet_rx.RxConfig(ring_size=64, **settings))  # type: ignore[arg-type]
    rx.refill()
    return rx


def test_nothing_comes() -> None:
    rx = queue()
    cpu = time.process_time()
    assert rx.wait(1.2) is False
    assert time.process_time() - cpu < 0.1, "a sleeper uses no processor"
    assert rx.wait(0) is False
    with pytest.raises(vnet_rx.ConfigError, match="timeout -1"):
        rx.wait(-1)


@pytest.mark.parametrize("kind", EVERY, ids=str)
def test_every_packet_wakes_a_sleeper(kind: tuple[str, str, str, bool]) -> None:
    rx = vnet_rx.RxQueue(config_of(*kind))
    rx.refill()
    frames = vnet_rx.Generator((60, 1518), rx.features).take(300)
    received = 0
    with vnet_rx.Host.of(rx).start(rx, frames, repeat=10) as thread:
        while received < 3000:
            assert rx.wait(20), f"asleep after {received} packets"
            received += len(rx.poll(16))
        thread.stop()
    assert rx.stats().rx_packets == 3000


def test_a_packet_that_was_there_before_needs_no_notification() -> None:
    rx = queue()
    host = vnet_rx.Host.of(rx)
    host.offer(bytes(60))
    assert rx.wait(10)
    assert len(rx.poll()) == 1
    assert not rx.wait(0)


def test_the_descriptor_can_be_selected() -> None:
    rx = queue()
    assert not rx.wait(0), "armed now"
    assert select.select([rx], [], [], 0)[0] == []
    vnet_rx.Host.of(rx).offer(bytes(60))
    assert select.select([rx], [], [], 10)[0] == [rx]


def test_a_lost_notification_is_noticed() -> None:
    rx = queue()
    # A host that knows nothing of the queue's eventfd notifies nobody.
    host = vnet_rx.Host(rx.memory, rx.layout, rx.features)
    timer = threading.Timer(0.1, host.offer, [bytes(60)])
    timer.start()
    assert rx.wait(20)
    assert len(rx.poll()) == 1


def test_out_of_memory_down_to_an_empty_ring_and_back() -> None:
    rx = queue()
    host = vnet_rx.Host.of(rx)
    rx.arena.fail_allocs(0, 2**60)
    held: list[vnet_rx.Packet] = []
    while host.offer(bytes(1000)):
        held += rx.poll()
    assert rx.num == 0 and rx.refill_needed
    assert not rx.wait(0.1), "no buffer, no notification"
    frames = vnet_rx.Frames([bytes(1000)] * 10)
    with host.start(rx, frames) as thread:
        timer = threading.Timer(0.2, rx.arena.fail_allocs, [0, 0])
        timer.start()
        received = 0
        while received < 10:
            assert rx.wait(20)
            received += len(rx.poll())
        thread.stop()
    assert not rx.refill_needed


def test_a_packet_that_is_never_finished_breaks_the_queue_in_time() -> None:
    rx = queue(incomplete_timeout=0.2)
    memory, layout = rx.memory, rx.layout
    (head,) = struct.unpack("<H", memory.read(layout.avail + 4, 2))
    addr = memory.load64(layout.desc + 16 * head)
    memory.write(addr, vnet_rx.VnetHeader(num_buffers=2).to_bytes())
    memory.store32(layout.used + 4, head)
    memory.store32(layout.used + 8, 4096)
    memory.store16(layout.used + 2, 1)
    assert rx.wait(10) and rx.poll() == []
    began = time.monotonic()
    assert rx.wait(20), "ready to be told"
    assert time.monotonic() - began >= 0.15
    assert rx.poll() == [] and rx.broken == "IncompletePacket"
    with pytest.raises(vnet_rx.QueueBroken, match="IncompletePacket"):
        rx.wait(1)


@pytest.mark.parametrize("how", ["close", "stop", "disconnect"])
def test_a_sleeper_is_told_when_the_queue_ends(how: str) -> None:
    rx = queue()
    timer = threading.Timer(0.2, getattr(rx, how))
    timer.start()
    expected = vnet_rx.QueueBroken if how == "disconnect" else vnet_rx.ClosedError
    with pytest.raises(expected):
        rx.wait()
    timer.join()
    assert rx.closed is (how == "close")


def test_ctrl_c_ends_a_wait() -> None:
    program = (
        "import vnet_rx; rx = vnet_rx.RxQueue(); rx.refill(); print('up', flush=True); rx.wait()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "up\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in stderr and process.returncode != 0


def test_packets_are_dropped_all_over_the_place() -> None:
    rx = queue(incomplete_timeout=5.0)
    frames = vnet_rx.Generator((60, 20_000), rx.features, seed=3).take(100)
    sent = [frame for frame, _ in frames]

    def check(packet: vnet_rx.Packet, at: int) -> bool:
        return bytes(packet) == sent[at % 100]

    with (
        ThreadPoolExecutor(4) as pool,
        vnet_rx.Host.of(rx).start(rx, frames, repeat=50) as thread,
    ):
        received, results = 0, []
        while received < 5000:
            assert rx.wait(20)
            for packet in rx.poll(64):
                results.append(pool.submit(check, packet, received))
                received += 1
            del packet
        assert all(result.result() for result in results)
        thread.stop()
    arena = rx.arena
    rx.close()
    assert arena.free == arena.pages
