"""What the pages tell to paste does what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vnet_rx
from ovs import TOOLS

from .real import need_tap, need_tools

pytestmark = pytest.mark.real

SOURCE = Path(__file__).parents[2]


def blocks(page: str) -> list[str]:
    """What there is to paste on a page."""
    return re.findall(r"```sh\n(.*?)```", (SOURCE / "docs" / page).read_text(), re.DOTALL)


BLOCKS, DPDK, OVS = blocks("tap.md"), blocks("dpdk.md"), blocks("openvswitch.md")


def paste(block: str, place: Path) -> str:
    """What the block prints, in an empty folder beside the source tree's scripts."""
    (place / "scripts").symlink_to(SOURCE / "scripts")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", block], cwd=place, env=os.environ | {"PATH": path},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tap_from_the_command_line(tmp_path: Path) -> None:
    need_tap()
    said = paste(BLOCKS[0], tmp_path)
    assert said.startswith("tap:t0: ") and "dropped: none" in said
    frames = vnet_rx.Capture(tmp_path / "t0.pcapng").frames
    assert sum(len(frame) == 1042 for frame, _ in frames) == 100


def test_tap_in_python(tmp_path: Path) -> None:
    need_tap()
    said = paste(BLOCKS[1], tmp_path)
    assert re.search(r"^28042 VnetHeader\(flags=0x1, gso_type=0x5, .*gso_size=1400", said, re.M)
    assert "'device': 'tap:t0'" in said


def test_tcp_between_two_namespaces(tmp_path: Path) -> None:
    need_tap()
    assert '"mode": "big"' in paste(BLOCKS[2], tmp_path)


def test_dpdk_from_the_command_line(tmp_path: Path) -> None:
    need_tools("dpdk-testpmd")
    said = paste(DPDK[0], tmp_path)
    assert said.startswith("vhost-user:port0.sock: ") and "dropped: none" in said
    assert {len(frame) for frame, _ in vnet_rx.Capture(tmp_path / "port0.pcapng").frames} == {64}


def test_dpdk_in_python(tmp_path: Path) -> None:
    need_tools("dpdk-testpmd")
    said = paste(DPDK[1], tmp_path)
    assert said.startswith("mergeable ['GUEST_CSUM',")
    assert re.search(r"^\d{5,} packets, \d+ notifications$", said, re.M)


def test_sending_to_dpdk(tmp_path: Path) -> None:
    need_tools("dpdk-testpmd")
    said = paste(DPDK[2], tmp_path)
    assert re.match(r"10\.0\.0\.2 is at (..:){5}..\n$", said)


def test_open_vswitch_in_a_folder(tmp_path: Path) -> None:
    need_tools(*TOOLS)
    said = paste(OVS[0], tmp_path)
    assert said.startswith("through the switch mergeable ['GUEST_CSUM',")


def test_there_is_no_other_block() -> None:
    assert (len(BLOCKS), len(DPDK), len(OVS)) == (3, 3, 1)
