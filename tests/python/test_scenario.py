"""Scenario files: what is written is read again, and what is no scenario is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vnet_rx.errors import ConfigError
from vnet_rx.testing import Config, Scenario, generate
from vnet_rx.testing.strategies import scenarios

GOOD: dict[str, Any] = {
    "vnet_rx_scenario": 1,
    "config": {"mode": "small", "strategy": "eager", "dialect": "modern", "pages": 4},
    "operations": [{"op": "refill"}, {"op": "poll", "budget": 1}],
}


def changed(**changes: Any) -> str:
    return json.dumps({**GOOD, **changes})


def config(**changes: Any) -> str:
    return changed(config={**GOOD["config"], **changes})


@settings(deadline=None)
@given(scenarios())
def test_written_and_read_again(scenario: Scenario) -> None:
    for indent in (None, 1):
        assert Scenario.from_json(scenario.to_json(indent)) == scenario


@given(st.integers(0, 2**64 - 1))
def test_generated_from_a_seed_alone(seed: int) -> None:
    scenario = generate(seed)
    assert scenario == generate(seed) == Scenario.from_json(scenario.to_json())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("\ufeff" + json.dumps(GOOD), "not JSON"),
        (changed(note="\ud800"), "note: "),
        (changed(seed=77).replace("77", "-0"), "seed: -0.0"),
        ("[]", "vnet_rx_scenario is missing"),
        ("{}", "vnet_rx_scenario is missing"),
        (changed(vnet_rx_scenario=2), "vnet_rx_scenario: 2 is not possible: choose 1 to 1"),
        (changed(vnet_rx_scenario=True), "vnet_rx_scenario: True"),
        (changed(surprise=1), "surprise is not a field"),
        (changed(surprise=1).replace("surprise", "." * 999), "is not a field"),
        (changed(operations=[{"op": "explode"}]), "operations[0].op: 'explode' is not possible"),
        (changed(operations=[{}]), "operations[0].op is missing"),
        (changed(operations=[7]), "operations[0]: 7"),
        (changed(operations=[{"op": "poll", "budget": -1}]), "operations[0].budget: -1"),
        (changed(operations=[{"op": "poll", "budget": 1.5}]), "operations[0].budget: 1.5"),
        (changed(operations=[{"op": "poll"}]), "operations[0].budget is missing"),
        (changed(operations=[{"op": "refill", "budget": 1}]), "operations[0].budget is not a"),
        (
            changed(operations=[{"op": "device", "do": [{"act": "send", "size": 70_001}]}]),
            "operations[0].do[0].size: 70001",
        ),
        (
            changed(operations=[{"op": "device", "do": [{"act": "scribble", "area": "desc", "at": 0,
                                                          "bytes": "zz"}]}]),
            "operations[0].do[0].bytes: 'zz'",
        ),
        (
            changed(operations=[{"op": "device", "do": [{"act": "jump", "by": 1}] * 65}]),
            "operations[0].do:",
        ),
        (changed(operations=[{"op": "refill"}] * 10_001), "operations:"),
        (config(mode="huge"), "config.mode: 'huge' is not possible: choose one of small"),
        (config(ring_size=3), "config.ring_size: 3"),
        (config(ring_size=65_536), "config.ring_size: 65536"),
        (config(pages=10**12), "config.pages: 1000000000000"),
        (config(mode="big", ring_size=16, pages=100), "config.ring_size: 16"),
        (config(mode="big"), "config.pages: 4"),
        (config(features=1 << 15), "config.features: 32768"),
        (config(first_index=-1), "config.first_index: -1"),
        (changed(expect=[1]), "expect has 1 numbers for 2 operations"),
        ('{"vnet_rx_scenario": 1, "vnet_rx_scenario": 1}', "stands twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"vnet_rx_scenario": 1' + " " * (5 << 20), "too long"),
        ('{"vnet_rx_scenario": ' + "9" * 10_000 + "}", "not"),
    ],
)  # fmt: skip
def test_what_is_no_scenario_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Scenario.from_json(text)
    assert named in str(raised.value)
    assert len(str(raised.value)) < 400


def test_every_cut_of_a_file_is_an_error(tmp_path: Path) -> None:
    text = generate(3).to_json()
    for at in range(0, len(text) - 1, max(1, len(text) // 300)):
        with pytest.raises(ConfigError):
            Scenario.from_json(text[:at])


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.json: No such file"):
        Scenario.load(tmp_path / "absent.json")
    (tmp_path / "utf-16.json").write_bytes(json.dumps(GOOD).encode("utf-16"))
    with pytest.raises(ConfigError, match=r"utf-16\.json: the scenario is not JSON"):
        Scenario.load(tmp_path / "utf-16.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.json: the scenario is not JSON"):
        Scenario.load(tmp_path / "binary.json")
    with pytest.raises(ConfigError, match="Is a directory"):
        Scenario.load(tmp_path)


def test_a_configuration_is_checked_when_it_is_made() -> None:
    with pytest.raises(ConfigError, match=r"config\.ring_size"):
        Config("big", "eager", "legacy", 100, ring_size=16)
