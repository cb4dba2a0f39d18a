"""What docs/testing.md tells to paste does what it says."""

import re
from pathlib import Path

from vnet_rx.testing import Config, NativeEngine, Reference, Scenario, diff
from vnet_rx.testing.faults import POLL, send

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()


def test_the_catalogue_as_shown() -> None:
    first = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    assert "CATALOGUE" in first and "assert diff(" in first
    exec(compile(first, "docs/testing.md", "exec"), {})


def test_a_finding_looks_as_shown() -> None:
    config = Config("mergeable", "deferred", "legacy", 1, ring_size=2, event_idx=False)
    operations = [{"op": "refill"}, send(0, len=[[0, 4097]]), {**POLL, "budget": 1}]
    found = diff(NativeEngine(), Reference("M01"), Scenario.of(config, operations))
    assert found is not None
    assert re.findall(r"```text\n(.*?)\n```", PAGE, re.DOTALL)[0] == found.report()
