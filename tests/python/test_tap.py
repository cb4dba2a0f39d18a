"""TAPs of the real kernel: frames and headers, both ways, and everything that can be wrong."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vnet_rx
from station import OWN_NAMESPACE, WITHOUT_ROOT, Station, ipv4

from .conftest import DIALECTS, MODES, STRATEGIES, conserved
from .real import need_tap, need_tools

pytestmark = pytest.mark.real

PEER = "02:00:00:77:00:02"


@pytest.fixture
def station() -> Iterator[Station]:
    """A namespace with a TAP of MTU 9000 and a neighbour that does not exist."""
    need_tap()
    with Station(mtu=9000) as one:
        one.run(f"shell('ip neigh add {ipv4(2)} lladdr {PEER} dev tap0 nud permanent')")
        one.run("udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)")
        yield one


def send(station: Station, sizes: list[int], segment: int = 0) -> None:
    """Let the station send UDP datagrams of these sizes, their bytes naming their place."""
    station.run(
        f"udp.setsockopt(socket.IPPROTO_UDP, 103, {segment})\n"
        f"for i, n in enumerate({sizes}): udp.sendto(bytes([i % 251]) * n, ('{ipv4(2)}', 9))"
    )


def datagrams(packets: list[vnet_rx.Packet]) -> list[bytes]:
    """The payloads of the UDP packets among these."""
    frames = [bytes(packet) for packet in packets]
    return [frame[42:] for frame in frames if frame[12:14] == b"\x08\0" and frame[23] == 17]


def receive(rx: vnet_rx.Receiver, quiet: float = 0.3) -> list[vnet_rx.Packet]:
    """Everything that comes, until it is quiet; by then private, as many as they may be."""
    packets = []
    while rx.wait(quiet):
        for packet in rx.poll():
            packet.make_private()
            packets.append(packet)
    return packets


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_frames_arrive_as_the_kernel_sent_them(
    station: Station, mode: str, strategy: str, dialect: str
) -> None:
    device = f"tap:fd={station.taps[0]}"
    sizes = [1, 18, 100, 128, 1000, 1476, 1477, 4000, 8900, 60]
    with vnet_rx.open(device, mode=mode, strategy=strategy, dialect=dialect, ring_size=64) as rx:
        receive(rx, 0.1)
        send(station, sizes)
        got = datagrams(receive(rx))
        fits = 1518 - 42 if mode == "small" else 65_536
        assert got == [bytes([i]) * n for i, n in enumerate(sizes) if n <= fits]
        assert rx.device.counters()["undeliverable"] == sum(n > fits for n in sizes)
        assert not any(rx.stats.faults.values())
        assert rx.device.describe()["device"] == "tap:tap0"
        # A train of datagrams comes as one packet where the mode has room for it.
        send(station, [28_000], segment=1400)
        train = receive(rx)
        if mode == "small":
            assert datagrams(train) == [b"\0" * 1400] * 20
        else:
            (packet,) = (one for one in train if len(one) > 28_000)
            assert (packet.header.gso_type, packet.header.gso_size) == (5, 1400)
            assert packet.header.num_buffers == (7 if mode == "mergeable" else 1)
        arena = rx.arena
    assert arena.free == arena.pages


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_frame_is_lost_while_buffers_are_few(station: Station, strategy: str) -> None:
    device = f"tap:fd={station.taps[0]}"
    with vnet_rx.open(device, strategy=strategy, ring_size=32, pages=19) as rx:
        receive(rx, 0.1)
        # Fewer pages than the largest frame may take, and packets that hold most of them: some
        # frames end in private memory and wait for buffers there.
        sizes = [8000, 20, 3000, 8900, 100, 8900, 2000, 40, 8900, 4000] * 6
        send(station, sizes)
        held: list[vnet_rx.Packet] = []
        got: list[bytes] = []
        most_held = quiet = 0
        while quiet < 3:
            before = len(held)
            held += rx.poll()
            got += datagrams(held[before:])
            conserved(rx.queue, held)
            most_held = max(most_held, len(held))
            if len(held) == before:
                # Nothing comes while these are held.
                held.clear()
                quiet = 0 if rx.wait(0.1) else quiet + 1
        assert most_held > 2
        assert got == [bytes([i]) * n for i, n in enumerate(sizes)]
        assert rx.device.counters()["undeliverable"] == 0


def test_a_frame_that_no_ring_has_room_for_is_passed_over(station: Station) -> None:
    with vnet_rx.open(f"tap:fd={station.taps[0]}", ring_size=4) as rx:
        receive(rx, 0.1)
        send(station, [28_000], segment=1400)
        send(station, [77])
        assert datagrams(receive(rx)) == [b"\0" * 77]
        assert rx.device.counters()["undeliverable"] == 1


def test_a_waiting_thread_wakes_for_a_frame_and_for_close(station: Station) -> None:
    rx = vnet_rx.open(f"tap:fd={station.taps[0]}")
    receive(rx, 0.1)
    woken: list[bool] = []
    thread = threading.Thread(target=lambda: woken.append(rx.wait(30)))
    thread.start()
    send(station, [50])
    thread.join(20)
    assert woken == [True] and len(datagrams(rx.poll())) == 1
    ended: list[Exception] = []

    def wait() -> None:
        try:
            while True:
                rx.wait()
        except vnet_rx.ClosedError as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    rx.close()
    thread.join(20)
    assert not thread.is_alive() and len(ended) == 1


def test_a_host_for_a_queue_that_another_thread_polls(station: Station) -> None:
    tap = vnet_rx.Tap.adopt(station.taps[0])
    rx = vnet_rx.RxQueue(vnet_rx.RxConfig(features=tap.features, incomplete_timeout=1.0))
    rx.refill()
    host = vnet_rx.TapHost.of(tap, rx)
    stop = threading.Event()

    def feed() -> None:
        while not stop.is_set():
            if not host.pump():
                host.wait(0.2)

    thread = threading.Thread(target=feed)
    thread.start()
    sizes = [20 + i for i in range(200)] * 5
    send(station, sizes)
    got: list[bytes] = []
    while len(got) < len(sizes):
        assert rx.wait(20), f"{len(got)} datagrams came"
        got += datagrams(rx.poll())
    stop.set()
    thread.join()
    assert got == [bytes([i % 251]) * n for i, n in enumerate(sizes)]
    assert host.notifications > 0
    for one in (host, rx, tap):
        one.close()
    assert rx.arena.free == rx.arena.pages
    for call in (host.pump, host.wait, lambda: tap.name):
        with pytest.raises(vnet_rx.ClosedError, match="closed"):
            call()


@pytest.mark.parametrize("parts", [1, 3, 64, 65, 200])
def test_frames_go_into_the_buffers_of_any_driver(station: Station, parts: int) -> None:
    """One buffer of many parts: more than one read can have goes through private memory."""
    features = vnet_rx.RxConfig(mode="big").features
    tap = vnet_rx.Tap.adopt(station.taps[0], features)
    arena = vnet_rx.PageArena(16)
    ring = vnet_rx.Vring(arena, 256)
    host = vnet_rx.TapHost(tap, ring.memory, ring.layout)
    ring.add([(arena.address_of(0), 4096)], "noise")
    ring.publish()
    while host.wait(0.1):
        host.pump()
        ring.get_buf()
        ring.add([(arena.address_of(0), 4096)], "noise")
        ring.publish()
    # The first takes the buffer that is still there.
    send(station, [10, 3000])
    sizes = [3100 // parts + 1] * parts
    places = [arena.address_of(1) + i * sizes[0] for i in range(parts)]
    ring.add(list(zip(places, sizes, strict=True)), "frame")
    ring.publish()
    assert host.pump() == 2
    assert ring.get_buf() == ("noise", 12 + 42 + 10)
    token, written = ring.get_buf() or ("", 0)
    assert (token, written) == ("frame", 12 + 42 + 3000)
    frame = ring.memory.read(places[0], written)
    assert vnet_rx.VnetHeader.from_bytes(frame[:12]) == vnet_rx.VnetHeader(
        flags=1, csum_start=34, csum_offset=6, num_buffers=1
    )
    assert frame[54:] == bytes([1]) * 3000


def test_a_driver_that_breaks_the_rules_is_named(station: Station) -> None:
    tap = vnet_rx.Tap.adopt(station.taps[0])
    arena = vnet_rx.PageArena(4)
    send(station, [100])

    def wrong(at: int, value: int) -> str:
        ring = vnet_rx.Vring(arena, 8)
        ring.add([(arena.address_of(0), 4096)], None)
        ring.publish()
        ring.memory.store32(at + (ring.layout.desc if at else ring.layout.avail), value)
        host = vnet_rx.TapHost(tap, ring.memory, ring.layout)
        with pytest.raises(vnet_rx.DriverFault) as raised:
            host.pump()
        ring.stop()
        return str(raised.value)

    assert "9 entries ahead" in wrong(0, 9 << 16)
    assert "0 bytes" in wrong(8, 0)
    assert "outside" in wrong(8, 1 << 31)
    assert "flags" in wrong(12, 0)
    assert "loops" in wrong(12, 3)
    assert "descriptor id 9" in wrong(12, 3 | 9 << 16)


# ---- the kernel as judge of headers ------------------------------------------------------------


def test_the_kernel_refuses_what_makes_no_sense(station: Station) -> None:
    """The oracle itself: it accepts good headers, and only those."""
    tap = vnet_rx.Tap.adopt(station.taps[0])
    frames = list(vnet_rx.Capture(Path(vnet_rx.__file__).parent / "data/mixed.pcapng").frames)
    for frame, header in frames:
        assert tap.send(frame, header)
    frame, header = max(frames, key=lambda one: len(one[0]))
    assert header.gso_type & 0x7F in (1, 4) and header.flags & 1
    gso, size, start, at = header.gso_type, header.gso_size, header.csum_start, header.csum_offset
    for wrong in (
        vnet_rx.VnetHeader(1, 99, 0, size, start, at),
        vnet_rx.VnetHeader(1, gso, 0, 0, start, at),
        vnet_rx.VnetHeader(1, 0, 0, 0, 65_500, 65_500),
        vnet_rx.VnetHeader(0, 0, 65_535),
    ):
        with pytest.raises(vnet_rx.DeviceError, match="tap0: the kernel refused a frame of"):
            tap.send(frame[:60] if wrong.hdr_len else frame, wrong)
    with pytest.raises(vnet_rx.DeviceError, match="13 bytes"):
        tap.send(bytes(13))
    with pytest.raises(TypeError, match="bytes or a Packet, not str"):
        tap.send("frame")  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_received_header_is_accepted_by_the_kernel(
    station: Station, mode: str, strategy: str, dialect: str
) -> None:
    shipped = Path(vnet_rx.__file__).parent / "data" / "mixed.pcapng"
    config = vnet_rx.RxConfig(mode=mode, dialect=dialect)
    tap = vnet_rx.Tap.adopt(station.taps[0], config.features)
    before = station.counters()
    with vnet_rx.open(f"pcap:{shipped}", mode=mode, strategy=strategy, dialect=dialect) as rx:
        sent = sum(tap.send(packet) for packet in rx)
    after = station.counters()
    assert sent == rx.stats.rx_packets > 300
    assert after["rx_packets"] - before["rx_packets"] == sent
    assert after["rx_errors"] == before["rx_errors"] == 0


# ---- what can be wrong -------------------------------------------------------------------------


def in_a_namespace(source: str, *wrapper: str, root: bool = True) -> str:
    """What a program prints that runs in namespaces of its own, or the last line of its error."""
    need_tools("unshare")
    namespace = OWN_NAMESPACE if root else ["unshare", "--user", "--net"]
    done = subprocess.run(
        [*namespace, *wrapper, sys.executable, "-c", f"import os, vnet_rx\n{source}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return (done.stdout or done.stderr).strip().splitlines()[-1]


def test_names_that_are_none() -> None:
    fds = len(os.listdir("/proc/self/fd"))
    for name in ("sixteen_letters_", "a/b", "a b", "a:b", "..", ".", "a\0b", "%s", "%d%d", "é" * 8):
        with pytest.raises(vnet_rx.ConfigError, match="give 1 to 15 bytes"):
            vnet_rx.open(f"tap:{name}")
    for device, says in (("tap:fd=", "fd="), ("tap:fd=-1", "fd=-1"), ("tap:fd=99999", "99999")):
        with pytest.raises(vnet_rx.ConfigError, match=says):
            vnet_rx.open(device)
    with open(os.devnull) as null, pytest.raises(vnet_rx.ConfigError, match="IFF_VNET_HDR"):
        vnet_rx.open(f"tap:fd={null.fileno()}")
    assert len(os.listdir("/proc/self/fd")) == fds


def test_a_name_in_use_elsewhere() -> None:
    need_tap()
    said = in_a_namespace(
        "first = vnet_rx.Tap('t0')\n"
        "fds = len(os.listdir('/proc/self/fd'))\n"
        "try: vnet_rx.open('tap:t0')\n"
        "except vnet_rx.DeviceError as error: message = error\n"
        "assert len(os.listdir('/proc/self/fd')) == fds\n"
        "first.close()\n"
        "vnet_rx.open('tap:t0').close()\n"
        "print(message.code, message)"
    )
    assert said == (
        "device TAP t0 is in use by another process: end that one, or choose another name"
    )


def test_a_name_of_something_else() -> None:
    need_tap()
    said = in_a_namespace("vnet_rx.open('tap:lo')")
    assert "interface lo exists and is not a TAP" in said


def test_no_permission() -> None:
    need_tap()
    said = in_a_namespace("vnet_rx.open('tap:t0')", root=False)
    assert "DeviceError: TAP t0: not permitted" in said and "unshare -rn" in said


def test_no_driver() -> None:
    need_tap()
    # A mount namespace in which /dev/net is empty.
    script = 'mount -t tmpfs none /dev/net && exec "$@"'
    said = in_a_namespace("vnet_rx.open('tap:t0')", "unshare", "--mount", "sh", "-c", script, "sh")
    assert "DeviceError: /dev/net/tun: No such file" in said and "modprobe tun" in said


def test_nothing_is_left_of_a_device_that_cannot_be() -> None:
    need_tap()
    said = in_a_namespace(
        "fds = len(os.listdir('/proc/self/fd'))\n"
        "for wrong in (dict(ring_size=3), dict(pages=2, mode='big'), dict(mode='huge')):\n"
        "    try: vnet_rx.open('tap:t0', **wrong)\n"
        "    except vnet_rx.ConfigError: pass\n"
        "    else: raise SystemExit('accepted')\n"
        "for _ in range(20):\n"
        "    with vnet_rx.open('tap:t%d') as rx: rx.poll()\n"
        "del rx\n"
        "assert len(os.listdir('/proc/self/fd')) == fds, os.listdir('/proc/self/fd')\n"
        "print(sum(':' in line for line in open('/proc/net/dev')), 'interface')"
    )
    assert said == "1 interface", "lo"


def test_features_must_agree() -> None:
    need_tap()
    said = in_a_namespace(
        "tap = vnet_rx.Tap('t0', vnet_rx.RxConfig(mode='big', dialect='legacy').features)\n"
        "vnet_rx.TapHost.of(tap, vnet_rx.RxQueue())"
    )
    assert "ConfigError: the TAP is set up for features" in said


def test_an_interface_that_is_deleted_or_down(station: Station) -> None:
    station.run("shell('ip link set tap0 down')")
    tap = vnet_rx.Tap.adopt(station.taps[0])
    with pytest.raises(vnet_rx.DeviceError, match="tap0 is down: ip link set tap0 up"):
        tap.send(bytes(60))
    with vnet_rx.open(f"tap:fd={station.taps[0]}") as rx:
        receive(rx, 0.1)
        assert not rx.wait(0.05) and rx.poll() == []
        station.run("shell('ip link delete tap0')")
        with pytest.raises(vnet_rx.DeviceError, match="tap0 was deleted"):
            while rx.wait(5):
                rx.poll()
    with pytest.raises(vnet_rx.DeviceError, match="tap0 was deleted"):
        tap.send(bytes(60))


def test_receive_ends_with_status_1_when_the_interface_is_deleted(station: Station) -> None:
    command = [sys.executable, "-m", "vnet_rx", "receive", f"tap:fd={station.taps[0]}"]
    process = subprocess.Popen(
        command, pass_fds=station.taps, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    send(station, [100])
    # The kernel counts a frame when it is read.
    while station.counters()["tx_bytes"] < 142:
        time.sleep(0.05)
    station.run("shell('ip link delete tap0')")
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 1
    assert stdout.startswith("tap:tap0: ") and "dropped: none" in stdout
    assert stderr == "vnet-rx: TAP tap0 was deleted: make it again, and open it anew\n"


def test_ctrl_c_ends_a_wait_with_the_summary(tmp_path: Path) -> None:
    need_tap()
    process = subprocess.Popen(
        [*OWN_NAMESPACE, sys.executable, "-m", "vnet_rx", "receive", "tap:t0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    maps = Path(f"/proc/{process.pid}/maps")
    while "vnet-rx" not in maps.read_text():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 130 and stderr == "", stderr
    assert stdout.startswith("tap:t0: 0 packets, 0 bytes in ")


def test_works_for_a_user_without_rights() -> None:
    need_tap()
    if os.geteuid() != 0:
        return  # Everything above was such a user.
    need_tools("setpriv")
    # Interpreter and source tree may be closed to other users, so they are put where they are not.
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        shutil.copytree(Path(vnet_rx.__file__).parent, Path(name) / "vnet_rx")
        (Path(name) / "python").mkdir()
        mount = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" python && exec "$@"']
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *WITHOUT_ROOT]
        base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
        python = f"{name}/python/{base.relative_to(Path(sys.base_prefix).resolve())}"
        command = [python, "-m", "vnet_rx", "receive", "tap:t0", "--seconds", "0.2", "--json"]
        said = subprocess.run(
            [*mount, sys.base_prefix, *user, *command],
            capture_output=True, text=True, timeout=60, check=False, cwd=name,
            env=os.environ | {"LD_LIBRARY_PATH": f"{name}/python/lib"},
        )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert '"device": "tap:t0"' in said.stdout
