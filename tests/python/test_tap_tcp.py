"""Real TCP between two namespaces, through a receive queue in each direction."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tap_tcp
import vnet_rx
from station import Station, ipv4

from .conftest import MODES, STRATEGIES
from .real import need_tap, need_tools

pytestmark = pytest.mark.real


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("dialect", ["modern", "legacy"])
def test_files_arrive_whole(mode: str, strategy: str, dialect: str) -> None:
    """``exchange`` compares hashes, both ends' packet counts, and the arena's pages."""
    need_tap()
    done = tap_tcp.exchange(8, mode=mode, strategy=strategy, dialect=dialect)
    assert done["transferred_bytes"] == 2 * 2 * 8 * tap_tcp.MEBI
    for direction in done["directions"]:
        assert direction["bytes"] > 16 * tap_tcp.MEBI
        assert direction["undeliverable"] == 0
        if mode == "small":
            assert set(direction["gso_types"]) == {0} and direction["longest"] == 1514
        else:
            assert direction["longest"] > 60_000
            assert direction["gso_types"][1] > 10 and direction["gso_types"][4] > 10
            assert direction["most_buffers"] == (16 if mode == "mergeable" else 1)


def test_what_receive_writes_is_read_by_tshark(tmp_path: Path) -> None:
    need_tap()
    need_tools("tshark")
    out = tmp_path / "out.pcapng"
    with Station(1) as left, Station(2) as right:
        # The command receives what the left station sends; nobody answers but this loop.
        answers = vnet_rx.open(f"tap:fd={right.taps[0]}")
        process = subprocess.Popen(
            [
                sys.executable, "-m", "vnet_rx", "receive", f"tap:fd={left.taps[0]}", "--json",
                "--write", str(out), "--complete-checksums", "--seconds", "5",
            ],
            pass_fds=left.taps, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        left.run(
            f"shell('ip neigh add {ipv4(2)} lladdr 02:00:00:77:00:02 dev tap0 nud permanent')\n"
            "udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            f"for n in (1, 500, 1400): udp.sendto(bytes(n), ('{ipv4(2)}', 9))\n"
            "udp.setsockopt(socket.IPPROTO_UDP, 103, 1400)\n"
            f"udp.sendto(bytes(range(250)) * 112, ('{ipv4(2)}', 9))\n"
            "tcp = socket.socket(); tcp.setblocking(False)\n"
            f"tcp.connect_ex(('{ipv4(2)}', 80))"
        )
        shown = json.loads(process.communicate(timeout=60)[0])
        answers.close()
    assert shown["packets"] >= 5 and shown["drops"] == {}
    assert shown["packets"] == len(vnet_rx.Capture(out).frames)
    checks = ["-o", "udp.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"]

    def tshark(display: str) -> int:
        command = ["tshark", "-r", str(out), *checks, "-Y", display]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return len(done.stdout.splitlines())

    assert tshark("frame") == shown["packets"]
    assert tshark('udp.checksum.status == "Good"') >= 4
    assert tshark('tcp.checksum.status == "Good" && tcp.flags.syn == 1') >= 1
    assert tshark('udp.checksum.status == "Bad" || tcp.checksum.status == "Bad"') == 0
    assert tshark("frame.comment contains virtio_net_hdr") == shown["packets"]


def test_the_script_prints_json() -> None:
    need_tap()
    script = Path(tap_tcp.__file__)
    command = [sys.executable, str(script), "--mode", "big", "--mebibytes", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["directions"]) == 2


def test_nothing_is_left_of_a_link() -> None:
    need_tap()
    fds = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with tap_tcp.Link():
            pass
    assert len(os.listdir("/proc/self/fd")) == fds
