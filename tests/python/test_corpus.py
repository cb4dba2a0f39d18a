"""Recorded scenarios: both implementations agree, and are observed as when they were recorded."""

from pathlib import Path

import pytest

from vnet_rx.testing import Engine, NativeEngine, Reference, Scenario, replay

FILES = sorted((Path(__file__).parents[1] / "corpus").glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recorded_scenario(path: Path) -> None:
    scenario = Scenario.load(path)
    assert scenario.note, "a recorded scenario tells its story"
    assert scenario.expect is not None
    for engine in (NativeEngine(), Engine()):
        replayed = replay(engine, Reference(), scenario)
        assert replayed.divergence is None, replayed.divergence
        assert replayed.unexpected is None


def test_there_are_some() -> None:
    assert len(FILES) >= 22
