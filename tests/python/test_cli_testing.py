"""``vnet-rx fuzz``, ``replay``, ``shrink`` and ``mutants``, as a user meets them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vnet_rx.testing import Scenario

from .test_cli import run

TOP = Path(__file__).parents[2]
TINY = "examples.third_party_driver:make"


def test_fuzz_finds_nothing_and_says_what_it_did() -> None:
    done = run("fuzz", "--cases", "120", "--seed", "9", "--workers", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "seed 9: 120 cases" in done.stdout and "no divergence" in done.stdout


def test_fuzz_in_json_is_the_same_again() -> None:
    shown = []
    for workers in ("1", "2"):
        arguments = ("--cases", "110", "--seed", "4", "--mode", "small", "--strategy", "eager")
        done = run("fuzz", *arguments, "--workers", workers, "--json")
        assert done.returncode == 0
        shown.append(json.loads(done.stdout))
        assert list(shown[-1]) == [
            "seed", "cases", "operations", "seconds", "operations_per_second", "faults", "findings"
        ]  # fmt: skip
    same = ("seed", "cases", "operations", "faults", "findings")
    assert [shown[0][name] for name in same] == [shown[1][name] for name in same]


def test_a_finding_is_told_saved_replayed_and_shrunk(tmp_path: Path) -> None:
    found = run(
        "fuzz", "--driver", "reference+M06", "--cases", "200", "--seed", "1", "--workers", "2",
        "--mode", "mergeable", "--save", str(tmp_path),
    )  # fmt: skip
    assert found.returncode == 1
    assert "reference+M06 and reference differ after operation" in found.stdout
    path = next(tmp_path.glob("divergence-*.json"))
    assert f"vnet-rx replay --driver reference+M06 {path}" in found.stdout
    replayed = run("replay", "--driver", "reference+M06", "--verbose", str(path))
    assert replayed.returncode == 1 and "the driver polls" in replayed.stdout
    honest = run("replay", "--json", "--record", str(path))
    assert json.loads(honest.stdout) == [{"file": str(path), "passed": True}]
    expect = Scenario.load(path).expect
    assert expect is not None
    path.write_text(path.read_text().replace(str(expect[-1]), str(expect[-1] ^ 1)))
    broken = run("replay", str(path))
    assert broken.returncode == 1 and "is not as the file expects" in broken.stdout
    shrunk = run("shrink", "--driver", "reference+M06", str(path), "--output", str(tmp_path / "s"))
    assert shrunk.returncode == 0
    assert len(Scenario.load(tmp_path / "s").operations) <= 3
    agreed = run("shrink", str(path))
    assert (agreed.returncode, agreed.stdout) == (1, "") and "agree on" in agreed.stderr


def test_mutants_in_json_and_as_a_table() -> None:
    arguments = ("mutants", "--only", "M03", "--only", "M13", "--seed", "1")
    shown = json.loads(run(*arguments, "--json").stdout)["mutants"]
    assert [(row["id"], row["found"]) for row in shown] == [("M03", True), ("M13", True)]
    assert {"id", "found", "seconds", "operations", "minimised_operations"} <= set(shown[0])
    table = run(*arguments)
    assert table.returncode == 0 and "2 of 2 found" in table.stdout
    missed = run("mutants", "--only", "M05", "--seed", "2010", "--seconds-each", "0.000001")
    assert missed.returncode == 1 and "NOT FOUND" in missed.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fuzz", "--cases", "0"), "'0' is not possible: give 1 or more"),
        (("fuzz", "--seconds", "-1"), "seconds -1.0 is not possible"),
        (("fuzz", "--seconds", "1", "--cases", "1"), "not allowed with argument"),
        (("fuzz", "--mode", "huge"), "invalid choice: 'huge'"),
        (("fuzz", "--seed", str(2**64)), "is not possible: choose 0 to 2^64 - 1"),
        (("fuzz", "--case-seconds", "0"), "'0' is not possible: choose above 0"),
        (("fuzz", "--driver", "no.module:make"), "cannot be imported"),
        (("fuzz", "--driver", "nonsense"), "give package.module:factory"),
        (("fuzz", "--against", "reference+M99"), "unknown mutant 'M99'"),
        (("replay", "/no/such/file"), "/no/such/file: No such file or directory"),
        (("replay", "pyproject.toml"), "pyproject.toml: the scenario is not JSON"),
        (("shrink", "/"), "/: Is a directory"),
        (("mutants", "--only", "M23"), "invalid choice: 'M23'"),
        (("mutants", "--seconds-each", "0"), "--seconds-each 0.0 is not possible"),
        (("mutants", "--seconds-each", "nan"), "--seconds-each nan is not possible"),
        (("mutants", "--seed", str(2**64)), "is not possible: choose 0 to 2^64 - 1"),
        (("replay", "--case-seconds", "nan", "x"), "'nan' is not possible: choose above 0"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments: tuple[str, ...], says: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert says in done.stderr and "Traceback" not in done.stderr


def test_a_driver_in_the_current_folder_is_found(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vnet_rx", "fuzz", "--driver", TINY, "--mode", "small"]
    options = ["--dialect", "modern", "--cases", "200", "--seed", "1", "--save", str(tmp_path)]
    done = subprocess.run(
        [*command, *options], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "used length is" in done.stdout, done.stderr


HANGS = """
from vnet_rx.testing import Reference
def make(config):
    driver = Reference()(config)
    def poll(budget, hook=None):
        while True:
            pass
    driver.poll = poll
    return driver
"""


def test_a_driver_that_hangs_is_told_by_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)

    def vnet_rx(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vnet_rx", *arguments, "--driver", "hangs:make"]
        command += ["--case-seconds", "0.5"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    found = vnet_rx("fuzz", "--cases", "5", "--seed", "1", "--workers", "1")
    assert found.returncode == 1 and "No answer within 0.5 s" in found.stdout
    (path,) = (tmp_path / "findings").glob("hang-*.json")
    again = vnet_rx("replay", str(path))
    assert (again.returncode, again.stderr) == (1, "")
    assert "no answer within 0.5 s" in again.stdout
    shorter = vnet_rx("shrink", str(path))
    assert (shorter.returncode, shorter.stdout) == (1, "")
    assert "what hangs is not made shorter" in shorter.stderr


CRASHES = """
import os
def make(config):
    os._exit(3)
"""


def test_a_driver_that_ends_its_process_is_named(tmp_path: Path) -> None:
    (tmp_path / "crashes.py").write_text(CRASHES)
    command = [sys.executable, "-m", "vnet_rx", "fuzz", "--driver", "crashes:make", "--cases", "9"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cases 0 to 8" in done.stderr and "crashed it or hung" in done.stderr


def test_ctrl_c_ends_with_the_summary() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vnet_rx", "fuzz", "--seconds", "60", "--seed", "2", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(stdout)["cases"] > 0
    assert stderr == "vnet-rx: interrupted\n"
