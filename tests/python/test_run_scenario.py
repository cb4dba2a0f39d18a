"""Scenarios on the engine: the native runner behind ``vnet_rx.testing`` (docs/scenario.md)."""

import json
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from vnet_rx import ConfigError, _core

CONFIG = {"mode": "mergeable", "strategy": "deferred", "dialect": "modern", "pages": 64}


def scenario(*operations: dict[str, Any]) -> str:
    return json.dumps({"vnet_rx_scenario": 1, "config": CONFIG, "operations": operations})


SENT = scenario(
    {"op": "refill"},
    {"op": "device", "do": [{"act": "send", "size": 5000}]},
    {"op": "device", "do": [{"act": "complete", "id": 99, "len": 1}]},
    {"op": "poll", "budget": 64},
    {"op": "refill"},
    {"op": "release", "packet": 0},
    {"op": "close"},
    {"op": "poll", "budget": 1},
)


def test_an_observation_has_the_fields_of_the_format() -> None:
    trace = list(_core.run_scenario(SENT))
    assert [len(seen) for seen in trace] == [16] * 8
    poll, refused, release, closed, late = trace[3:]
    assert poll[0] == ("ok", 1)
    assert poll[1] == ("used_idx_read", "header_copied")
    ((length, crc, header, head_len, linear, frags, truesize),) = poll[2]
    assert (length, head_len, linear, truesize) == (5000, 128, None, 128 + 2 * 4096)
    assert header == (0, 0, 0, 0, 0, 0, 2)
    assert [part[1:] for part in frags] == [(140, 3956), (0, 916)]
    assert poll[7] == "BadUsedId"
    assert refused[0] == ("error", "queue_broken", "BadUsedId")
    assert release[0] == ("ok", crc)
    assert closed[4:11] == (None,) * 7
    assert late[0] == ("error", "closed", None)


def test_a_long_scenario_takes_no_more_memory_than_a_short_one() -> None:
    config = {**CONFIG, "ring_size": 1024, "pages": 4096}
    operations = [{"op": "refill"}, *[{"op": "poll", "budget": 1}] * 400]
    text = json.dumps({"vnet_rx_scenario": 1, "config": config, "operations": operations})
    tracemalloc.start()
    try:
        seen = sum(len(one[9]) for one in _core.run_scenario(text))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == 401 * 1024
    assert peak < 2 << 20


def test_digests_are_those_of_the_canonical_text() -> None:
    trace = _core.run_scenario(SENT)
    texts = [json.dumps(seen, separators=(",", ":")) for seen in trace]
    assert _core.run_scenario_digests(SENT) == [zlib.crc32(text.encode()) for text in texts]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (scenario({"op": "poll", "budget": -1}), r"operations\[0\]\.budget: -1 is not possible"),
        (scenario({"op": "fly"}), r"operations\[0\]\.op: \"fly\""),
        (SENT.replace('"pages": 64', '"pages": 0'), r"config\.pages: 0 is not possible"),
        (SENT[:50], "not JSON"),
        ("[" * 10_000, "recursion"),
        ("", "not JSON"),
    ],
)
def test_a_bad_scenario_is_refused(text: str, field: str) -> None:
    for run in (_core.run_scenario, _core.run_scenario_digests):
        with pytest.raises(ConfigError, match=field) as raised:
            run(text)
        assert raised.value.code == "config"


def test_runs_in_several_threads_do_not_disturb_each_other() -> None:
    expected = _core.run_scenario_digests(SENT)
    with ThreadPoolExecutor(4) as pool:
        assert all(got == expected for got in pool.map(_core.run_scenario_digests, [SENT] * 200))
