"""Open vSwitch as the device: it connects to us, learns who is where, and is killed."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import vnet_rx
from ovs import TOOLS, Switch

from .real import need_tools

pytestmark = pytest.mark.real

MACS = (b"\2\0\0\0\0\1", b"\2\0\0\0\0\2", b"\2\0\0\0\0\3")
EVERYBODY = b"\xff" * 6
KINDS = [("mergeable", "deferred"), ("big", "eager"), ("small", "deferred")]


@contextmanager
def plugged_in(folder: Path) -> Iterator[tuple[Switch, list[vnet_rx.VhostUser]]]:
    """A switch with three stations, one of each mode."""
    need_tools(*TOOLS)
    paths = [folder / f"s{k}" for k in range(len(KINDS))]
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor())

        def listen(k: int) -> vnet_rx.VhostUser:
            mode, strategy = KINDS[k]
            return vnet_rx.VhostUser(
                paths[k], listen=True, mode=mode, strategy=strategy, ring_size=1024, patience=30
            )

        coming = [pool.submit(listen, k) for k in range(len(KINDS))]
        switch = stack.enter_context(Switch(*paths))
        yield switch, [stack.enter_context(one.result(60)) for one in coming]


def frame(to: bytes, sender: bytes, length: int) -> bytes:
    return to + sender + b"\x88\xb5" + bytes(k % 251 for k in range(length - 14))


def arrives(device: vnet_rx.VhostUser, frames: list[bytes]) -> None:
    """Exactly these frames, in this order."""
    got: list[bytes] = []
    while len(got) < len(frames):
        assert device.queue.wait(30), f"{len(got)} of {len(frames)}"
        got += [bytes(packet) for packet in device.queue.poll()]
    assert got == frames


def meet(devices: list[vnet_rx.VhostUser]) -> None:
    """Each says who it is, until the switch has told all others: its ports come up one by one."""
    for k, device in enumerate(devices):
        hello = frame(EVERYBODY, MACS[k], 60)
        others = [other for other in devices if other is not device]
        for _ in range(300):
            device.send(hello)
            if all([other.queue.wait(0.1) for other in others]):
                break
        while any([other.queue.poll() or other.queue.wait(0.2) for other in others]):
            continue


def counts_agree(switch: Switch, port: int, device: vnet_rx.VhostUser) -> None:
    """The switch counts what we count, once it gets around to saying so."""
    ours = (device.queue.stats().rx_packets, device.sent)
    until = time.monotonic() + 20
    while True:
        counted = switch.statistics(port)
        theirs = (counted.get("tx_packets"), counted.get("rx_packets"))
        if theirs == ours:
            return
        assert time.monotonic() < until, f"port {port}: {theirs}, and {ours} here"
        time.sleep(0.2)


def test_frames_through_the_switch_and_a_switch_that_is_killed(tmp_path: Path) -> None:
    with plugged_in(tmp_path) as (switch, devices):
        meet(devices)
        for turn in range(2):
            received = [device.queue.stats().rx_packets for device in devices]
            for a, b in ((0, 1), (1, 0), (1, 2), (2, 0)):
                for burst in range(20):
                    # So few that any ring has room for them, and the switch drops none.
                    lengths = range(60 + burst, 1515, 77)
                    frames = [frame(MACS[b], MACS[a], length) for length in lengths]
                    for one in frames:
                        devices[a].send(one)
                    arrives(devices[b], frames)
            for device, before in zip(devices, received, strict=True):
                stats = device.queue.stats()
                assert stats.rx_packets > before and not any(stats.faults.values())
            for k, device in enumerate(devices):
                counts_agree(switch, k, device)
            if turn == 1:
                break
            switch.kill()
            for device in devices:
                with pytest.raises(vnet_rx.QueueBroken, match="Disconnected"):
                    device.queue.wait(30)
                arena = device.queue.arena
                device.queue.close()
                assert arena.free > arena.pages - 257, "all but what was sent and never read"
            switch.start()
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda device: device.reconnect(60), devices))
            meet(devices)
        arenas = [device.queue.arena for device in devices]
    for arena in arenas:
        assert arena.free == arena.pages
