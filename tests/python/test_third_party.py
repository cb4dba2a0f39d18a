"""The example of a driver of one's own: the kit finds its bug, and nothing else."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis.stateful import run_state_machine_as_test

from vnet_rx.testing import Budget, Config, Engine, Limits, Reference, Scenario, diff, fuzz, load
from vnet_rx.testing.portable import portable
from vnet_rx.testing.strategies import RxMachine, configs, scenarios

TOP = Path(__file__).parents[2]
sys.path.insert(0, str(TOP))
TinyDriver: Any = load("examples.third_party_driver:TinyDriver")
LIMITS = Limits(("small",), ("deferred",), ("modern",), operations=(4, 30))


class Mended(TinyDriver):  # type: ignore[misc]
    checks_length = True


def test_the_fuzzer_finds_the_bug_in_words() -> None:
    report = fuzz(TinyDriver, Reference(), budget=Budget(cases=400), limits=LIMITS)
    assert report.findings
    assert "buffer 0's used length is" in report.findings[0].report


def test_the_mended_driver_passes() -> None:
    report = fuzz(Mended, Reference(), budget=Budget(cases=800), limits=LIMITS)
    assert not report.findings


def suite(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=TOP, env={**os.environ, **environment}, capture_output=True, text=True
    )


def test_the_suite_names_the_fault() -> None:
    done = suite("examples/third_party_driver.py", "-k", "fault or good")
    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1 and "test_fault[F06]" in failed[0], done.stdout
    assert "the device sends a packet of" in done.stdout


@pytest.mark.parametrize("by_option", [True, False])
def test_a_factory_named_to_pytest(by_option: bool, tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(
        "from vnet_rx.testing.conformance import RxConformance\n"
        "class TestIt(RxConformance):\n"
        "    modes, dialects, random_cases = ('small',), ('modern',), 20\n"
    )
    (tmp_path / "named.py").write_text("from vnet_rx.testing import Engine\nmake = Engine()\n")
    arguments = ["--rx-driver=named:make"] if by_option else []
    environment = {} if by_option else {"VNET_RX_DRIVER": "named:make"}
    done = suite(
        str(file), *arguments, "-k", "F01 or good", PYTHONPATH=str(tmp_path), **environment
    )
    assert done.returncode == 0, done.stdout
    without = suite(str(file), "-k", "F01")
    assert without.returncode == 1 and "give --rx-driver package.module:factory" in without.stdout


class EngineMachine(RxMachine):
    make_driver = staticmethod(Engine())


class MendedMachine(RxMachine):
    make_driver = staticmethod(Mended)
    configs = configs(("small",), ("deferred",), ("modern",))


class MutantMachine(RxMachine):
    # Any packet that is dropped shows it: what is tested is the machine, not hypothesis's luck.
    make_driver = staticmethod(Reference("M13"))


SETTINGS = settings(max_examples=40, stateful_step_count=20, deadline=None)


@pytest.mark.parametrize("machine", [EngineMachine, MendedMachine])
def test_the_state_machine_passes(machine: type[RxMachine]) -> None:
    run_state_machine_as_test(machine, settings=SETTINGS)


def test_the_state_machine_finds_a_mutant() -> None:
    with pytest.raises(AssertionError, match="is not"):
        run_state_machine_as_test(MutantMachine, settings=settings(SETTINGS, max_examples=300))


@settings(max_examples=60, deadline=None)
@given(scenarios())
def test_drawn_scenarios_agree(scenario: Scenario) -> None:
    divergence = diff(Engine(), Reference(), scenario)
    assert divergence is None, divergence.report()


def test_portable_scenarios_stay_portable() -> None:
    config = Config("mergeable", "deferred", "modern", 64)
    scenario = Scenario.of(
        config,
        [
            {"op": "device", "do": [{"act": "again", "back": 0}, {"act": "jump", "by": 1}]},
            {"op": "poll", "budget": 1},
            {"op": "close"},
            {"op": "refill"},
        ],
    )
    once = portable(scenario)
    assert [one["op"] for one in once.operations] == ["device", "poll", "refill", "close"]
    assert once.operations[0]["do"] == () and once.config.pages > config.pages


def test_an_avail_ring_that_names_other_buffers_is_not_portable() -> None:
    # The device fills buffer 0 once more, and what buffer 1 holds then depends on the driver.
    config = Config("small", "deferred", "modern", 500, ring_size=2, event_idx=False)
    config = replace(config, first_index=65530)
    poll: dict[str, Any] = {"op": "poll", "budget": 64}
    release, refill = {"op": "release_all"}, {"op": "refill"}
    send = {"act": "send", "size": 100}
    scribble = {"act": "scribble", "area": "avail", "at": 0, "bytes": "00" * 10}
    packet = [{"op": "device", "do": [send]}, poll]
    twice = [*packet, release, *packet, release, refill, poll]
    confused = [{"op": "device", "do": [scribble, send]}, poll]
    operations = [refill, *twice, *packet, poll, *confused, *twice]
    divergence = diff(Mended, Reference(), Scenario.of(config, operations))
    assert divergence is None, divergence.report()
