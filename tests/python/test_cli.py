"""The command line, as a user meets it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vnet_rx


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vnet_rx", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_compare_shows_every_mode_and_strategy() -> None:
    done = run("compare", "--repeat", "2")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "progress is for terminals"
    for word in ("small", "big", "mergeable", "eager", "deferred", "GUEST_TSO4", "ns/packet"):
        assert word in done.stdout
    assert "Deferring took 1.00 skb allocations per packet instead of" in done.stdout


@pytest.mark.parametrize("dialect", ["legacy", "modern"])
def test_compare_in_json(dialect: str) -> None:
    done = run("compare", "--json", "--repeat", "1", "--dialect", dialect)
    shown = json.loads(done.stdout)
    frames = shown["capture"]["frames"]
    assert shown["capture"]["recorded_headers"] == frames > 500
    assert shown["capture"]["longest"] > 60_000
    assert shown["config"]["dialect"] == dialect
    assert len(shown["results"]) == 6
    for result in shown["results"]:
        assert result["offered"] == frames
        assert result["delivered"] + result["undeliverable"] == frames
        assert result["mismatched"] == 0
        assert result["seconds"] > 0 and result["packets_per_second"] > 0
        assert result["counters"]["rx_packets"] == result["delivered"]
        if result["mode"] != "small":
            assert result["undeliverable"] == 0
            if result["strategy"] == "deferred":
                assert result["counters"]["skb_allocs"] == frames


def test_compare_takes_a_plain_capture_and_one_configuration(tmp_path: Path) -> None:
    path = tmp_path / "plain.pcapng"
    with vnet_rx.CaptureWriter(path) as writer:
        for size in (60, 1514, 65_589, 70_000):
            writer.write(bytes(size), timestamp_ns=size)
    done = run("compare", str(path), "--mode", "big", "--strategy", "eager", "--json")
    (result,) = json.loads(done.stdout)["results"]
    assert (result["mode"], result["strategy"]) == ("big", "eager")
    assert (result["delivered"], result["undeliverable"]) == (60, 20)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["/nonexistent.pcap"], "/nonexistent.pcap"),
        (["/dev/null"], "empty"),
        ([sys.executable], "not a capture"),
        (["--ring-size", "3"], "ring size 3 "),
        (["--ring-size", "16"], "ring of 16 is too small for big mode"),
        (["--mode", "huge"], "invalid choice: 'huge'"),
        (["--repeat", "0"], "--repeat 0 "),
        (["--budget", "0"], "budget 0 "),
        (["--budget", "-5"], "budget -5 "),
    ],
)
def test_mistakes_are_named_and_never_a_traceback(arguments: list[str], says: str) -> None:
    done = run("compare", *arguments)
    assert done.returncode == 2
    assert says in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_help_teaches() -> None:
    assert "compare" in run("--help").stdout
    shown = run("compare", "--help").stdout
    for word in ("CAPTURE", "--json", "Exit status", "default: 256"):
        assert word in shown
    assert run().returncode == 2


def test_ctrl_c_ends_it_cleanly() -> None:
    command = [sys.executable, "-m", "vnet_rx", "compare", "--repeat", "10000000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    # Until the native module is mapped it is still starting up.
    maps = Path(f"/proc/{process.pid}/maps")
    while "vnet-rx" not in maps.read_text():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.strip() == "vnet-rx: interrupted"


def test_a_mismatch_ends_with_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from vnet_rx.cli import compare, main

    real = vnet_rx.Replay

    class Lying:
        """A replay that says one packet was wrong."""

        DEFAULT_BUDGET = real.DEFAULT_BUDGET

        def __init__(self, *arguments: object) -> None:
            self.replay = real(*arguments)  # type: ignore[arg-type]
            self.stats, self.pass_once = self.replay.stats, self.replay.pass_once

        def total(self) -> dict[str, int]:
            return self.replay.total() | {"mismatched": 1}

    monkeypatch.setattr(compare, "Replay", Lying)
    assert main(["compare", "--repeat", "1"]) == 1
