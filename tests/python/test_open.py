"""``vnet_rx.open``, hosts in threads, and captures of any length."""

import time
from pathlib import Path

import pytest

import vnet_rx

from .conftest import MODES, STRATEGIES

SHIPPED = Path(vnet_rx.__file__).parent / "data" / "mixed.pcapng"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_packet_of_a_capture_can_be_kept(mode: str, strategy: str) -> None:
    frames = [bytes(frame) for frame, _ in vnet_rx.Capture(SHIPPED).frames]
    with vnet_rx.open(f"pcap:{SHIPPED}", mode=mode, strategy=strategy, ring_size=64) as rx:
        packets = list(rx)
        if mode == "small":
            assert rx.host.undeliverable == len(frames) - len(packets) > 0
        else:
            assert [bytes(packet) for packet in packets] == frames
        assert any(packet.is_private for packet in packets)
        assert not all(packet.is_private for packet in packets)
        assert sum(rx.stats.faults.values()) == 0


def test_an_arena_of_one_buffer_will_do() -> None:
    with vnet_rx.open("sim:size=60-9000,count=500", mode="big", ring_size=32, pages=19) as rx:
        packets = list(rx)
        assert len(packets) == 500 and all(60 <= len(packet) <= 9000 for packet in packets)


def test_by_hand_polling_reports_and_never_hangs() -> None:
    with vnet_rx.open("sim:size=2000,count=500", ring_size=32, pages=32) as rx:
        held: list[vnet_rx.Packet] = []
        while packets := rx.poll():
            held += packets
        assert rx.queue.refill_needed and len(held) == 32
        with pytest.raises(vnet_rx.OutOfPages, match="0 of 32"):
            list(rx)
        held.clear()
        assert len(rx.poll()) == 0, "this poll refills"
        assert not rx.queue.refill_needed
        assert len(list(rx)) == 500 - 32


def test_generated_frames_are_the_same_for_the_same_seed() -> None:
    def run(seed: int) -> list[bytes]:
        with vnet_rx.open(f"sim:size=60-1500,count=50,seed={seed}") as rx:
            return [bytes(packet) for packet in rx]

    assert run(1) == run(1) != run(2)


def test_a_host_in_its_own_thread() -> None:
    rx = vnet_rx.RxQueue(vnet_rx.RxConfig(ring_size=64, incomplete_timeout=1.0))
    rx.refill()
    host = vnet_rx.Host.of(rx)
    frames = vnet_rx.Generator((60, 9000), rx.features, seed=5).take(50)
    sent = [frame for frame, _ in frames]
    received = 0
    deadline = time.monotonic() + 60
    with host.start(rx, frames, repeat=100) as thread:
        with pytest.raises(vnet_rx.BusyError, match="its thread"):
            host.offer(bytes(60))
        while received < 5000:
            assert time.monotonic() < deadline
            for packet in rx.poll(64):
                assert bytes(packet) == sent[received % 50]
                received += 1
        summary = thread.stop()
    assert summary == {"delivered": 5000, "undeliverable": 0}
    assert host.delivered == 5000 and host.notifications > 0
    rx.close()


def test_a_host_thread_can_be_stopped_early() -> None:
    rx = vnet_rx.RxQueue(vnet_rx.RxConfig(ring_size=64))
    host = vnet_rx.Host.of(rx)
    frames = vnet_rx.Generator(60).take(1000)
    with host.start(rx, frames):
        pass
    assert host.delivered < 1000
    rx.refill()
    assert host.offer(bytes(60)) == 1
