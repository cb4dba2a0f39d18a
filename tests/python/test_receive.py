"""``vnet-rx receive`` and ``RxQueue.consume``, on devices that need no permission."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vnet_rx

from .conftest import MODES, STRATEGIES
from .test_cli import run
from .test_open import SHIPPED


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_written_is_what_came(tmp_path: Path, mode: str, strategy: str) -> None:
    out = tmp_path / "out.pcapng"
    arguments = ["--mode", mode, "--strategy", strategy, "--write", str(out), "--json"]
    done = run("receive", f"pcap:{SHIPPED}", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "the live line is for terminals"
    shown = json.loads(done.stdout)
    frames = list(vnet_rx.Capture(SHIPPED).frames)
    written = list(vnet_rx.Capture(out).frames)
    assert shown["packets"] == len(written) == len(frames) - shown["undeliverable"]
    assert (shown["undeliverable"] > 0) == (mode == "small")
    assert shown["bytes"] == sum(len(frame) for frame, _ in written)
    assert shown["drops"] == {} and shown["seconds"] > 0
    assert 0 < shown["notifications"] < shown["packets"]
    assert (shown["mode"], shown["strategy"]) == (mode, strategy)
    assert ("MRG_RXBUF" in shown["features"]) == (mode == "mergeable")
    if mode != "small":
        assert [frame for frame, _ in written] == [frame for frame, _ in frames]
        fields = ("flags", "gso_type", "gso_size", "csum_start", "csum_offset")
        for (_, got), (_, sent) in zip(written, frames, strict=True):
            assert [getattr(got, name) for name in fields] == [
                getattr(sent, name) for name in fields
            ]


def test_completed_checksums_say_so_and_nothing_else_changes(tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    assert run("receive", f"pcap:{SHIPPED}", "--write", str(out), "--complete-checksums").stdout
    changed = 0
    pairs = zip(vnet_rx.Capture(SHIPPED).frames, vnet_rx.Capture(out).frames, strict=True)
    for (before, was), (after, now) in pairs:
        if was.flags & 1:
            at = was.csum_start + was.csum_offset
            assert before[:at] == after[:at] and before[at + 2 :] == after[at + 2 :]
            assert (now.flags, now.gso_type) == (2, 0)
            changed += before != after
        else:
            assert before == after
    assert changed > 500


def test_count_and_seconds_end_it() -> None:
    shown = json.loads(run("receive", "sim:count=5000", "--count", "777", "--json").stdout)
    assert shown["packets"] == 777 and shown["bytes"] == 777 * 1514
    began = time.monotonic()
    done = run("receive", "sim:count=1000000000,size=64", "--seconds", "0.5")
    assert done.returncode == 0 and time.monotonic() - began < 30
    for word in ("packets/s", "dropped: none", "notifications", "mergeable, deferred, modern"):
        assert word in done.stdout


def test_ctrl_c_ends_it_with_the_summary(tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    device = "sim:count=1000000000,size=64"
    command = [sys.executable, "-m", "vnet_rx", "receive", device, "--json", "--write", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (out.exists() and out.stat().st_size > 100_000):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and stderr == ""
    # Everything that was received was written.
    assert json.loads(stdout)["packets"] == len(vnet_rx.Capture(out).frames) > 0


def test_the_live_line_is_for_terminals() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "vnet_rx", "receive", "sim:count=1000000000,size=64"]
    done = subprocess.run(
        [*command, "--seconds", "1", "--stats-interval", "0.1"],
        stdout=subprocess.PIPE, stderr=theirs, timeout=120, check=True,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "packets/s" in shown and "notifications/packet" in shown and b"\r" not in done.stdout
    assert shown.endswith("\r\x1b[K"), "the line is gone in the end"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["floppy:a"], "unknown device 'floppy:a'"),
        (["tap"], "unknown device 'tap'"),
        (["pcap:/nonexistent"], "/nonexistent"),
        (["sim:", "--count", "0"], "--count 0 "),
        (["sim:", "--seconds", "nan"], "--seconds nan "),
        (["sim:", "--stats-interval", "-1"], "--stats-interval -1"),
        (["sim:", "--ring-size", "5"], "ring size 5 "),
        (["sim:", "--mode", "huge"], "invalid choice: 'huge'"),
        (["sim:", "--complete-checksums"], "--write"),
        (["sim:", "--write", "/nonexistent/x"], "/nonexistent/x"),
        (["tap:a-name-far-too-long"], "a-name-far-too-long"),
        (["tap:fd=x"], "tap:fd=x"),
        (["tap:fd=0"], "descriptor 0 "),
    ],
)
def test_mistakes_are_named(arguments: list[str], says: str) -> None:
    done = run("receive", *arguments)
    assert done.returncode == 2
    assert says in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_full_disk_ends_it_with_status_1() -> None:
    done = run("receive", "sim:count=100000", "--write", "/dev/full")
    assert done.returncode == 1
    assert "/dev/full" in done.stderr and "Traceback" not in done.stderr
    assert "packets/s" in done.stdout, "the summary comes all the same"


def test_consume_counts_the_good_ones(tmp_path: Path) -> None:
    rx = vnet_rx.RxQueue(vnet_rx.RxConfig(ring_size=128))
    rx.refill()
    host = vnet_rx.Host.of(rx)
    bad = vnet_rx.VnetHeader(gso_type=99)
    for i in range(100):
        host.offer(bytes(60 + i), bad if i % 10 == 0 else None)
    with vnet_rx.CaptureWriter(tmp_path / "out.pcapng") as writer:
        assert rx.consume(20, writer) == 18
        assert rx.consume(writer=writer) == 72
        assert rx.consume(writer=writer) == 0
    assert [len(frame) for frame, _ in vnet_rx.Capture(tmp_path / "out.pcapng").frames] == [
        60 + i for i in range(100) if i % 10
    ]
    assert rx.stats().faults["BadGso"] == 10
    with pytest.raises(vnet_rx.ClosedError, match="capture file"):
        rx.consume(writer=writer)
    with pytest.raises(vnet_rx.ConfigError, match="budget 0"):
        rx.consume(0)
    rx.close()
    assert rx.arena.free == rx.arena.pages
