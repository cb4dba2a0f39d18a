"""vhost-user against a scripted peer: the handshake, and everything a peer can get wrong."""

import gc
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import vnet_rx

from . import vhost_peer
from .vhost_peer import Fault, Peer

TIMEOUT = 0.8
"""Seconds, where a test waits for the end of them."""
ENOUGH = 10.0
"""Seconds, where a loaded machine gets the time that it takes."""
SLACK = 3.0
"""Seconds that a loaded machine may take on top of the timeout."""

FRAME = bytes(range(100))
HANDSHAKE = [
    *("GET_FEATURES", "GET_PROTOCOL_FEATURES", "SET_PROTOCOL_FEATURES", "GET_QUEUE_NUM"),
    *("GET_FEATURES", "GET_PROTOCOL_FEATURES", "SET_PROTOCOL_FEATURES", "SET_OWNER"),
    *("SET_VRING_CALL", "SET_VRING_CALL", "SET_FEATURES", "SET_MEM_TABLE"),
    *2 * ("SET_VRING_NUM", "SET_VRING_BASE", "SET_VRING_ADDR", "SET_VRING_KICK"),
    *("SET_VRING_ENABLE", "SET_VRING_ENABLE"),
]
STOP = 2 * ["SET_VRING_ENABLE", "GET_VRING_BASE"]
ANSWERED = [at for at, name in enumerate(HANDSHAKE) if name != "SET_PROTOCOL_FEATURES"]
ACKED = [at for at in ANSWERED if not HANDSHAKE[at].startswith("GET_")]


def descriptors() -> list[str]:
    gc.collect()
    return sorted(os.listdir("/proc/self/fd"))


@contextmanager
def nothing_leaks(timeout: float = TIMEOUT) -> Iterator[None]:
    """No descriptor more than before, no thread left over, and no waiting beyond the timeout."""
    before, threads, began = descriptors(), threading.active_count(), time.monotonic()
    yield
    assert time.monotonic() - began < timeout + SLACK
    assert descriptors() == before and threading.active_count() == threads


def connect(path: Path, timeout: float = ENOUGH, **settings: object) -> vnet_rx.VhostUser:
    return vnet_rx.VhostUser(path, timeout=timeout, **settings)  # type: ignore[arg-type]


def a_packet_each_way(path: Path) -> None:
    with Peer(path) as peer:
        with vnet_rx.VhostUser(path, ring_size=64) as device:
            assert peer.log == HANDSHAKE
            rx = device.queue
            assert device.connected and rx.config.mode == "mergeable"
            assert peer.features == rx.features | vhost_peer.PROTOCOL_FEATURES
            assert peer.rings[0]["num"] == 64 and peer.rings[0]["base"] == 0
            assert peer.word(peer.rings[0]["avail"] + 2) == 64, "the ring was full from the start"
            assert not rx.wait(0)
            peer.deliver(FRAME)
            assert rx.wait(20)
            (packet,) = rx.poll()
            assert bytes(packet) == FRAME and device.notifications == 1
            device.send(FRAME)
            device.send(bytes(4084))
            assert device.tx_outstanding == 2
            assert peer.sent() == [FRAME, bytes(4084)]
            assert device.tx_outstanding == 0 and device.sent == 2
            arena = rx.arena
        assert peer.ended.wait(20) and peer.log == HANDSHAKE + STOP
        assert arena.free == arena.pages and bytes(packet) == FRAME


def test_the_handshake_and_a_packet_each_way(tmp_path: Path) -> None:
    with nothing_leaks(ENOUGH):
        a_packet_each_way(tmp_path / "s")


@pytest.mark.parametrize(
    ("offered", "mode", "expected"),
    [
        (vhost_peer.OFFERED, None, "mergeable"),
        (vhost_peer.OFFERED, "big", "big"),
        (vhost_peer.OFFERED, "small", "small"),
        (vhost_peer.OFFERED & ~(1 << 15), None, "big"),
        (1 << 32 | 1 << 30, None, "small"),
    ],
)
def test_the_mode_is_the_one_asked_for_or_the_best(
    tmp_path: Path, offered: int, mode: str | None, expected: str
) -> None:
    path = tmp_path / "s"
    with Peer(path, offered=offered) as peer, connect(path, mode=mode) as device:
        assert device.queue.config.mode == expected
        assert not peer.features & ~offered
        peer.deliver(FRAME, buffers=0xBEEF if expected != "mergeable" else 1)
        assert device.queue.wait(20) and bytes(device.queue.poll()[0]) == FRAME


@pytest.mark.parametrize(
    ("offered", "mode", "what"),
    [
        (vhost_peer.OFFERED & ~(1 << 15), "mergeable", "mergeable mode.*MRG_RXBUF.*another mode"),
        (1 << 32 | 1 << 30 | 1 << 7, "big", "big mode.*GUEST_CSUM"),
        (1 << 30, None, "VERSION_1"),
        (1 << 32, None, "PROTOCOL_FEATURES"),
    ],
)
def test_a_device_that_lacks_what_is_needed(
    tmp_path: Path, offered: int, mode: str | None, what: str
) -> None:
    expected = vnet_rx.ConfigError if mode else vnet_rx.ProtocolError
    path = tmp_path / "s"
    with nothing_leaks(), Peer(path, offered=offered), pytest.raises(expected, match=what):
        connect(path, mode=mode)


def test_a_device_that_does_not_acknowledge(tmp_path: Path) -> None:
    path = tmp_path / "s"
    refused = pytest.raises(vnet_rx.ProtocolError, match="REPLY_ACK")
    with nothing_leaks(), Peer(path, protocol=vhost_peer.MQ), refused:
        connect(path)


def test_a_device_without_multiqueue_is_not_asked_for_a_number(tmp_path: Path) -> None:
    with Peer(tmp_path / "s", protocol=vhost_peer.REPLY_ACK) as peer, connect(tmp_path / "s"):
        assert "GET_QUEUE_NUM" not in peer.log


# What stands at the path.


def test_nothing_or_the_wrong_thing_at_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    datagrams.bind(str(tmp_path / "datagrams"))
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "left"))
    left.close()
    cases = {
        "none": "no socket at .*none: start the device first",
        "file": "file is not a Unix stream socket",
        "file/below": "no socket at",
        ".": "is not a Unix stream socket",
        "datagrams": "is not a Unix stream socket",
        "left": "nobody listens at .*left",
    }
    for name, what in cases.items():
        with nothing_leaks(), pytest.raises(vnet_rx.DeviceError, match=what):
            connect(tmp_path / name)
    with nothing_leaks(), pytest.raises(vnet_rx.ConfigError, match="107 bytes"):
        connect(tmp_path / ("x" * 120))
    datagrams.close()


def test_settings_that_are_not_possible(tmp_path: Path) -> None:
    for settings in (
        {"mode": "huge"},
        {"strategy": "lazy"},
        {"ring_size": 100},
        {"pages": 0},
        {"max_frags": 0},
        {"timeout": 0.0},
        {"incomplete_timeout": -1.0},
        {"mode": "big", "ring_size": 16},
    ):
        with pytest.raises(vnet_rx.ConfigError):
            vnet_rx.VhostUser(tmp_path / "none", **settings)


def test_permission_denied() -> None:
    program = """
import os, sys, vnet_rx
vnet_rx.VhostUser
if os.geteuid() == 0:
    os.seteuid(65534)
for path, listen in ((sys.argv[1], False), (sys.argv[2], True)):
    try:
        vnet_rx.VhostUser(path, listen=listen)
    except vnet_rx.DeviceError as error:
        print(error)
"""
    # Not below pytest's own folder, which others may not even enter.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "s"
        with Peer(path):
            path.chmod(0o400)
            os.chmod(folder, 0o555)
            done = subprocess.run(
                [sys.executable, "-c", program, str(path), f"{folder}/new"],
                capture_output=True,
                text=True,
                timeout=60,
            )
            os.chmod(folder, 0o755)
    assert done.stdout.count("permission denied") == 2, done.stdout + done.stderr


def test_a_peer_that_does_not_accept(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, nothing_leaks():
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(tmp_path / "s"))  # the backlog is full now
            with pytest.raises(vnet_rx.DeviceTimeout, match=r"no connection at .* within 800ms"):
                connect(tmp_path / "s", TIMEOUT)


# What a peer says. `at` is the position of the message that it gets wrong.


def closes(peer: Peer, request: int, body: bytes) -> None:
    peer.socket.shutdown(socket.SHUT_RDWR)


def refuses(peer: Peer, request: int, body: bytes) -> None:
    peer.answer(request, b"\1" + bytes(7))


def answers_another_message(peer: Peer, request: int, body: bytes) -> None:
    peer.answer(request + 1, bytes(8))


def answers_an_unknown_message(peer: Peer, request: int, body: bytes) -> None:
    peer.answer(0xFFFF_FFFF, bytes(8))


def answers_with_a_request(peer: Peer, request: int, body: bytes) -> None:
    peer.answer(request, bytes(8), flags=1)


def answers_in_another_version(peer: Peer, request: int, body: bytes) -> None:
    peer.answer(request, bytes(8), flags=6)


def sends_descriptors(peer: Peer, request: int, body: bytes) -> None:
    peer.answer(request, bytes(8), fds=3)


def sends_garbage(peer: Peer, request: int, body: bytes) -> None:
    peer.socket.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def claims_a_huge_size(peer: Peer, request: int, body: bytes) -> None:
    peer.answer(request, bytes(8), size=0xFFFF_FFFF)


WRONG: list[Fault] = [
    answers_another_message,
    answers_an_unknown_message,
    answers_with_a_request,
    answers_in_another_version,
    sends_descriptors,
    sends_garbage,
    claims_a_huge_size,
]


def is_silent(peer: Peer, request: int, body: bytes) -> None:
    peer.released.wait(20)


def answers_half(peer: Peer, request: int, body: bytes) -> None:
    peer.socket.sendall(b"\1\0\0\0\5")
    peer.released.wait(20)


def answers_too_little(peer: Peer, request: int, body: bytes) -> None:
    peer.answer(request, bytes(4))
    peer.released.wait(20)


def sends_more_descriptors_than_anybody_takes(peer: Peer, request: int, body: bytes) -> None:
    peer.answer(request, bytes(8), fds=200)
    peer.released.wait(20)


def trickles(peer: Peer, request: int, body: bytes) -> None:
    while not peer.released.wait(0.05):
        peer.socket.sendall(b"\0")


SLOW: list[Fault] = [
    is_silent,
    answers_half,
    answers_too_little,
    sends_more_descriptors_than_anybody_takes,
]


def meets(path: Path, at: int, fault: Fault, timeout: float = ENOUGH) -> vnet_rx.DeviceError:
    """The error that a peer's fault leads to."""
    caught = pytest.raises(vnet_rx.DeviceError)
    with nothing_leaks(timeout), Peer(path, faults={at: fault}), caught as raised:
        connect(path, timeout)
    return raised.value


@pytest.mark.parametrize("at", range(len(HANDSHAKE)))
def test_f40_a_peer_closes_in_the_middle(tmp_path: Path, at: int) -> None:
    error = meets(tmp_path / "s", at, closes)
    assert isinstance(error, vnet_rx.ProtocolError) and error.code == "device_protocol"
    # Where nothing is to be answered, it is the next message that notices.
    names = HANDSHAKE[at : at + 1 if at in ANSWERED else at + 2]
    assert any(f"closed the connection at {name}" in str(error) for name in names)


@pytest.mark.parametrize("at", ACKED)
def test_f40_a_peer_refuses(tmp_path: Path, at: int) -> None:
    error = meets(tmp_path / "s", at, refuses)
    assert isinstance(error, vnet_rx.ProtocolError)
    assert f"the device refused {HANDSHAKE[at]}" in str(error)


@pytest.mark.parametrize("fault", WRONG, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("at", [0, 1, 3, 7, 11, len(HANDSHAKE) - 1])
def test_f40_a_peer_answers_nonsense(tmp_path: Path, at: int, fault: Fault) -> None:
    error = meets(tmp_path / "s", at, fault)
    assert isinstance(error, vnet_rx.ProtocolError)
    assert f"the answer to {HANDSHAKE[at]} is not one" in str(error)


@pytest.mark.parametrize("at", ANSWERED)
def test_f40_a_peer_says_more_than_it_should(tmp_path: Path, at: int) -> None:
    def answers_too_much(peer: Peer, request: int, body: bytes) -> None:
        value = peer.obey(request, body, []) if HANDSHAKE[at].startswith("GET") else bytes(8)
        assert value is not None
        peer.answer(request, value + bytes(8))

    error = meets(tmp_path / "s", at, answers_too_much, TIMEOUT)
    assert isinstance(error, vnet_rx.DeviceError)


@pytest.mark.parametrize("fault", [*SLOW, trickles], ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("at", [0, len(HANDSHAKE) - 1])
def test_f40_a_peer_does_not_answer(tmp_path: Path, at: int, fault: Fault) -> None:
    error = meets(tmp_path / "s", at, fault, TIMEOUT)
    if fault is not trickles:
        assert isinstance(error, vnet_rx.DeviceTimeout) and isinstance(error, TimeoutError)
        assert f"did not answer {HANDSHAKE[at]} within 800ms" in str(error)


@pytest.mark.parametrize("queues", [0, 0x8001, 2**64 - 1])
def test_f40_an_absurd_queue_count(tmp_path: Path, queues: int) -> None:
    path = tmp_path / "s"
    refused = pytest.raises(vnet_rx.ProtocolError, match=r"queues|GET_QUEUE_NUM")
    with nothing_leaks(), Peer(path, queues=queues), refused:
        connect(path)


@pytest.mark.parametrize(
    ("fault", "at"),
    [
        *((fault, at) for fault in (closes, sends_descriptors, is_silent) for at in range(4)),
        *((refuses, at) for at in (0, 2)),
    ],
)
def test_f40_a_peer_that_does_not_stop(tmp_path: Path, fault: Fault, at: int) -> None:
    with nothing_leaks(ENOUGH):
        does_not_stop(tmp_path / "s", at, fault)


def does_not_stop(path: Path, at: int, fault: Fault) -> None:
    with Peer(path, faults={len(HANDSHAKE) + at: fault}):
        with connect(path, TIMEOUT if fault is is_silent else ENOUGH) as device:
            expected = vnet_rx.DeviceTimeout if fault is is_silent else vnet_rx.ProtocolError
            with pytest.raises(expected, match=STOP[at]):
                device.stop()
            assert not device.connected
            with pytest.raises(vnet_rx.ClosedError):
                device.stop()
            arena = device.queue.arena
        assert arena.free == arena.pages


# A device that was fine, and then is not.


@pytest.mark.parametrize("mode", ["small", "big", "mergeable"])
@pytest.mark.parametrize("strategy", ["eager", "deferred"])
def test_f36_a_device_goes_away_with_buffers_outstanding(
    tmp_path: Path, mode: str, strategy: str
) -> None:
    with nothing_leaks(ENOUGH):
        goes_away(tmp_path / "s", mode, strategy)


def goes_away(path: Path, mode: str, strategy: str) -> None:
    with Peer(path) as peer, connect(path, mode=mode, strategy=strategy) as device:
        old = device.queue
        peer.deliver(FRAME)
        assert old.wait(20)
        peer.hang_up()
        assert peer.ended.wait(20)
        assert [bytes(packet) for packet in old.poll()] == [FRAME], "what came is delivered"
        with pytest.raises(vnet_rx.QueueBroken, match="Disconnected"):
            old.wait(20)
        assert old.broken == "Disconnected" and not device.connected and old.num > 0
        assert old.stats().faults["Disconnected"] == 1
        old.reset()
        assert old.num == 0
        device.reconnect()
        assert old.closed and old.arena.free == old.arena.pages, "all pages are home"
        rx = device.queue
        assert rx is not old and rx.arena is not old.arena
        peer.deliver(FRAME)
        assert rx.wait(20) and bytes(rx.poll()[0]) == FRAME, "packets flow again"


def test_f36_who_only_polls_notices_too(tmp_path: Path) -> None:
    with Peer(tmp_path / "s") as peer, connect(tmp_path / "s") as device:
        peer.hang_up()
        until = time.monotonic() + 20
        while device.queue.broken is None and time.monotonic() < until:
            assert device.queue.poll() == []
        assert device.queue.broken == "Disconnected"


def test_f36_a_device_that_speaks_out_of_turn_is_gone(tmp_path: Path) -> None:
    with Peer(tmp_path / "s") as peer, connect(tmp_path / "s") as device:
        peer.socket.sendall(b"hello")
        with pytest.raises(vnet_rx.QueueBroken, match="Disconnected"):
            device.queue.wait(20)


def test_f39_the_memory_cannot_be_shrunk_by_the_peer(tmp_path: Path) -> None:
    with Peer(tmp_path / "s") as peer, connect(tmp_path / "s") as device:
        for size in (0, 4096, 1 << 40):
            with pytest.raises(PermissionError):
                os.ftruncate(peer.memory_fd, size)
        peer.deliver(FRAME)
        assert device.queue.wait(20) and bytes(device.queue.poll()[0]) == FRAME


def test_f14_a_packet_that_is_never_finished_breaks_in_time(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Peer(path) as peer, connect(path, incomplete_timeout=0.2) as device:
        peer.deliver(bytes(4084), buffers=2)
        rx = device.queue
        until = time.monotonic() + 20
        while rx.broken is None and time.monotonic() < until:
            rx.wait(1)
            assert rx.poll() == []
        assert rx.broken == "IncompletePacket" and device.connected
        device.reconnect()
        peer.deliver(FRAME)
        assert device.queue.wait(20) and len(device.queue.poll()) == 1


def test_a_stopped_device_is_drained(tmp_path: Path) -> None:
    with Peer(tmp_path / "s") as peer, connect(tmp_path / "s") as device:
        for _ in range(3):
            peer.deliver(FRAME)
        device.stop()
        assert peer.ended.wait(20) and not device.connected
        assert device.queue.wait(0) and len(device.queue.poll()) == 3
        assert device.queue.broken is None
        with pytest.raises(vnet_rx.ClosedError, match="stopped"):
            device.queue.wait(1)


def test_a_transmit_ring_that_makes_no_sense(tmp_path: Path) -> None:
    with Peer(tmp_path / "s") as peer, connect(tmp_path / "s") as device:
        for frame in (bytes(13), bytes(4085), b""):
            with pytest.raises(vnet_rx.ConfigError, match="14 to 4084"):
                device.send(frame)
        assert peer.memory is not None
        used = peer.rings[1]["used"]
        peer.memory[used + 2 : used + 4] = b"\7\0"
        for _ in range(2):
            with pytest.raises(vnet_rx.QueueBroken, match="IndexJump"):
                device.send(FRAME)
        arena = device.queue.arena
        device.close()
        assert arena.free == arena.pages


def test_a_full_transmit_ring(tmp_path: Path) -> None:
    with Peer(tmp_path / "s") as peer, connect(tmp_path / "s") as device:
        for _ in range(256):
            device.send(FRAME)
        with pytest.raises(vnet_rx.RingFull):
            device.send(FRAME)
        assert len(peer.sent()) == 256
        device.send(FRAME)
        device.close()
        with pytest.raises(vnet_rx.ClosedError):
            device.send(FRAME)


# Listening.


def test_listening_for_a_device(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with nothing_leaks(ENOUGH):
        timer = threading.Timer(0.2, lambda: peer.start())
        peer = Peer(path, connect=True)
        timer.start()
        with vnet_rx.VhostUser(path, listen=True, patience=20) as device:
            peer.deliver(FRAME)
            assert device.queue.wait(20) and len(device.queue.poll()) == 1
            peer.hang_up()
            with pytest.raises(vnet_rx.QueueBroken):
                device.queue.wait(20)
            peer.join()
            again = Peer(path, connect=True)
            again.start()
            device.reconnect(20)
            again.deliver(FRAME)
            assert device.queue.wait(20) and len(device.queue.poll()) == 1
        again.join()
        timer.join()
    assert not path.exists()


def test_listening_where_one_cannot(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with nothing_leaks(), pytest.raises(vnet_rx.DeviceTimeout, match=r"no connection at .*800ms"):
        vnet_rx.VhostUser(path, listen=True, timeout=TIMEOUT)
    assert not path.exists()
    path.write_text("precious")
    with nothing_leaks(), pytest.raises(vnet_rx.DeviceError, match="in use"):
        vnet_rx.VhostUser(path, listen=True, timeout=TIMEOUT)
    assert path.read_text() == "precious"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "t"))
        other.listen()
        with nothing_leaks(), pytest.raises(vnet_rx.DeviceError, match="in use"):
            vnet_rx.VhostUser(tmp_path / "t", listen=True, timeout=TIMEOUT)
        assert (tmp_path / "t").is_socket()
    assert (tmp_path / "t").is_socket(), "left behind, and replaced"
    with nothing_leaks(), pytest.raises(vnet_rx.DeviceTimeout):
        vnet_rx.VhostUser(tmp_path / "t", listen=True, timeout=TIMEOUT)
    with nothing_leaks(), pytest.raises(vnet_rx.DeviceError, match="no socket at"):
        vnet_rx.VhostUser(tmp_path / "none" / "s", listen=True, timeout=TIMEOUT)


# By name.


def test_open_by_name(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Peer(path) as peer, vnet_rx.open(f"vhost-user:{path}", mode="big") as rx:
        about = rx.device.describe()
        assert about["device"] == f"vhost-user:{path}" and about["mode"] == "big"
        peer.deliver(FRAME)
        packets = iter(rx)
        assert bytes(next(packets)) == FRAME
        peer.hang_up()
        assert peer.ended.wait(20)
        peer.ready.clear()

        def delivers() -> None:
            assert peer.ready.wait(20)
            peer.deliver(FRAME[::-1])

        thread = threading.Thread(target=delivers)
        thread.start()
        assert bytes(next(packets)) == FRAME[::-1], "it came back by itself"
        thread.join()
        assert rx.device.counters() == {"notifications": 2, "reconnects": 1}
    for name, what in (("vhost-user:", "path"), ("vhost-user-listen:", "path")):
        with pytest.raises(vnet_rx.ConfigError, match=what):
            vnet_rx.open(name)
    with pytest.raises(vnet_rx.ConfigError, match="legacy"):
        vnet_rx.open(f"vhost-user:{path}", dialect="legacy")
