"""The 22 known bugs: the cases that found them still find them."""

import json
from pathlib import Path
from typing import Any

import pytest

from vnet_rx.reference import MUTANTS
from vnet_rx.testing import Reference, Scenario, case_seed, diff, generate, hunt
from vnet_rx.testing.mutants import honest

TESTS = Path(__file__).parents[1]
RECORDED: dict[str, Any] = json.loads((TESTS / "mutants.json").read_text())
ROWS = {row["id"]: row for row in RECORDED["mutants"]}


def test_all_were_found() -> None:
    assert list(ROWS) == list(MUTANTS) == [f"M{n:02}" for n in range(1, 23)]
    assert all(row["found"] and row["seconds"] < 60 for row in ROWS.values())


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_recorded_case_finds_it(mutant: str) -> None:
    scenario = generate(case_seed(RECORDED["seed"], ROWS[mutant]["case"]))
    assert diff(honest(), Reference(mutant), scenario) is not None
    assert diff(honest(), Reference(), scenario) is None


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_smallest_scenario_finds_it(mutant: str) -> None:
    scenario = Scenario.load(TESTS / "corpus" / f"{mutant.lower()}.json")
    assert len(scenario.operations) == ROWS[mutant]["minimised_operations"] <= 6
    divergence = diff(honest(), Reference(mutant), scenario)
    assert divergence is not None
    assert divergence.index == len(scenario.operations) - 1


def test_a_hunt_gives_up_in_time() -> None:
    # The first case of this seed does not find it.
    assert ROWS["M05"]["case"] > 0
    given_up = hunt("M05", seconds=0.0001, seed=RECORDED["seed"])
    assert (given_up.found, given_up.cases) == (False, 1)
