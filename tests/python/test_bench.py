"""``vnet_rx.bench`` and ``vnet-rx bench``, on a small tree that a real run left."""

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from vnet_rx import bench
from vnet_rx.bench.charts import charts
from vnet_rx.bench.page import page
from vnet_rx.bench.plot import plot
from vnet_rx.bench.svg import Scale, svg
from vnet_rx.bench.tables import deferring, digits, peers, threads
from vnet_rx.cli import main
from vnet_rx.errors import BenchError, ConfigError

DATA = Path(__file__).parent / "data"
TREE = DATA / "criterion"
COUNTS = DATA / "counts.json"
CELL = "receive/deferred/mergeable/60"


@pytest.fixture
def results() -> bench.Results:
    return bench.read(TREE, COUNTS)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(TREE, tmp_path / "criterion"))


def cell_of(name: str, *samples: float) -> bench.Cell:
    low, *_, high = sorted(samples)
    middle = sorted(samples)[len(samples) // 2]
    return bench.Cell(name, bench.Estimate(middle, low, high), samples)


def test_a_cell_is_read_as_criterion_wrote_it() -> None:
    cell = bench.load(TREE)[CELL]
    directory = TREE / "receive_deferred_mergeable" / "60" / "new"
    sample = json.loads((directory / "sample.json").read_text())
    median = json.loads((directory / "estimates.json").read_text())["median"]
    assert cell.samples[3] == pytest.approx(sample["times"][3] / sample["iters"][3])
    assert len(cell.samples) == 10
    assert cell.median.point == median["point_estimate"]
    assert cell.median.low == median["confidence_interval"]["lower_bound"]
    assert cell.median.low < cell.median.point < cell.median.high


def test_times_are_per_element_not_per_iteration() -> None:
    cell = bench.load(TREE)["pool/vec/page"]
    directory = TREE / "pool_vec" / "page" / "new"
    assert json.loads((directory / "benchmark.json").read_text())["throughput"] == {"Elements": 64}
    median = json.loads((directory / "estimates.json").read_text())["median"]
    assert cell.median.point == median["point_estimate"] / 64


def test_cells_are_in_the_order_of_their_sizes() -> None:
    names = list(bench.load(TREE))
    sizes = [name for name in names if name.startswith("receive/eager/mergeable/")]
    assert sizes == ["receive/eager/mergeable/60", "receive/eager/mergeable/65536"]


def test_strategies_are_compared_pair_by_pair(results: bench.Results) -> None:
    compared = {one.name: one for one in bench.compare_strategies(results.times)}
    assert "receive/mergeable/65536" in compared and "threads/untouched/60" in compared
    assert not any("floor" in name or "virtio-drivers" in name for name in compared)
    for one in compared.values():
        assert one.ratio.low <= one.ratio.point <= one.ratio.high
        assert (one.change == "none") is not one.stands_out


def test_a_difference_within_the_noise_is_not_claimed() -> None:
    noisy = bench.compare(cell_of("a/eager", *range(20, 60)), cell_of("a/deferred", *range(25, 65)))
    assert not noisy.stands_out and noisy.change == "none"
    clear = bench.compare(cell_of("a/eager", *range(40, 50)), cell_of("a/deferred", *range(20, 25)))
    assert clear.stands_out and clear.change.startswith("-51 %")
    # The interval of the ratio alone is not enough: the two cells' own must be disjoint.
    touching = bench.compare(
        cell_of("a/eager", 10, *[30] * 20), cell_of("a/deferred", 9, *[20] * 20)
    )
    assert touching.ratio.high < 1 and not touching.stands_out


def test_the_bootstrap_finds_the_ratio_and_repeats_itself() -> None:
    old, new = cell_of("eager", *range(80, 121)), cell_of("deferred", *range(40, 61))
    first, second = bench.compare(old, new), bench.compare(old, new)
    assert first.ratio == second.ratio
    assert first.ratio.point == 0.5
    assert 0.4 < first.ratio.low < 0.5 < first.ratio.high < 0.6
    wider = bench.compare(cell_of("eager", *range(1, 200)), new)
    assert wider.ratio.high - wider.ratio.low > first.ratio.high - first.ratio.low
    with pytest.raises(ConfigError, match="99 resamples"):
        bench.compare(old, new, resamples=99)


def test_counts_are_per_packet(results: bench.Results) -> None:
    cell = "receive/eager/mergeable/65536"
    assert results.per_packet(cell, "skb_allocs") == 17
    assert results.per_packet(cell, "heap_allocations") == 0
    assert results.per_packet("receive/deferred/mergeable/65536", "skb_allocs") == 1
    assert results.per_packet("nothing/60", "skb_allocs") is None
    assert results.per_packet("peers/virtio-drivers/60", "skb_allocs") is None


def test_counts_beside_the_tree_are_found(tree: Path) -> None:
    assert not bench.read(tree).counts
    shutil.copy(COUNTS, tree.parent / "counts.json")
    assert bench.read(tree).counts[CELL]["packets"] == 1024


def test_results_survive_being_kept(results: bench.Results, tmp_path: Path) -> None:
    kept = tmp_path / "results.json"
    full = bench.Results(results.times, results.counts, bench.describe("rustc"), {"ring": "256"})
    kept.write_text(bench.dumps(full.as_json()))
    again = bench.read(kept)
    assert again.as_json()["cells"] == full.as_json()["cells"]
    assert again.as_json()["comparisons"][0]["name"] == full.as_json()["comparisons"][0]["name"]
    assert again.machine["processor"] and again.machine["kernel"].startswith("Linux")
    assert again.counts == full.counts
    assert list(again.times) == list(full.times)


def test_the_tables_of_the_docs_are_what_the_results_say() -> None:
    script = Path(__file__).parents[2] / "scripts" / "performance_tables.py"
    command = [sys.executable, str(script), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def spoil(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("sample.json", '{"iters": [1.0, 2.0], "times": [1.0', "truncated or not JSON"),
        ("sample.json", '{"iters": [1.0, 2.0], "times": [1.0]}', "2 iteration counts and 1 times"),
        ("sample.json", '{"iters": [], "times": []}', "'iters' is []"),
        ("sample.json", '{"iters": [0.0], "times": [1.0]}', "0.0, not a positive number"),
        ("sample.json", '{"iters": [1.0], "times": [NaN]}', "nan, not a positive number"),
        ("sample.json", '{"iters": "11", "times": "11"}', "'iters' is '11'"),
        ("sample.json", '{"iters": [true], "times": [1]}', "True, not a positive number"),
        ("sample.json", "[]", "it has no 'iters'"),
        ("benchmark.json", "{}", "it has no 'full_id'"),
        ("benchmark.json", '{"full_id": 7}', "'full_id' is 7"),
        ("benchmark.json", '{"full_id": "a", "throughput": {"Elements": 0}}', "not a positive"),
        ("estimates.json", '{"median": 3}', "'median' is 3"),
        ("estimates.json", '{"median": {"point_estimate": 3}}', "'confidence_interval'"),
        ("estimates.json", "\x00\x01", "not JSON"),
    ],
)
def test_a_foreign_or_truncated_file_is_named(tree: Path, file: str, text: str, says: str) -> None:
    path = spoil(tree / "receive_deferred_mergeable" / "60" / "new" / file, text)
    with pytest.raises(BenchError, match=re.escape(str(path))) as caught:
        bench.load(tree)
    assert says in str(caught.value)
    assert caught.value.code == "bench"


def test_a_missing_file_or_tree_is_named(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"cargo bench.*--criterion"):
        bench.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchError, match="holds no results of baseline 'new'"):
        bench.load(tmp_path / "empty")
    missing = tree / "pool_vec" / "page" / "new" / "sample.json"
    missing.unlink()
    with pytest.raises(BenchError, match=re.escape(f"{missing} cannot be read")):
        bench.load(tree)


@pytest.mark.parametrize(
    "text",
    [
        "[]", "{}", '{"cells": 3}', '{"cells": [3]}', '{"cells": [{"cell": "a"}]}',
        '{"cells": [{"cell": "a", "packets": 0}]}', '{"cells": [{"cell": "a", "packets": "1"}]}',
    ],
)  # fmt: skip
def test_counts_that_are_none_are_named(tmp_path: Path, text: str) -> None:
    path = spoil(tmp_path / "counts.json", text)
    with pytest.raises(BenchError, match=re.escape(str(path))):
        bench.read(TREE, path)


@pytest.mark.parametrize("text", ["[]", '{"cells": [{}]}', '{"cells": [3]}', "{", '{"cells": 1}'])
def test_a_kept_file_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    path = spoil(tmp_path / "results.json", text)
    with pytest.raises(BenchError, match=re.escape(str(path))):
        bench.read(path)


def test_tables_hold_what_was_measured(results: bench.Results) -> None:
    by_cell = {tuple(row[:2]): row for row in deferring(results).rows}
    row = by_cell["mergeable", "65536"]
    assert row[2].startswith(digits(results.times["receive/eager/mergeable/65536"].median.point))
    assert "17 → 1" in row and "128" in row
    assert deferring(results).markdown().splitlines()[1].startswith("| --- | --- | ---: |")
    assert {row[2] for row in threads(results).rows} == {"eager", "deferred"}
    (row,) = peers(results).rows
    assert row[0] == "60" and row[2] == "153"


def test_a_chart_is_well_formed_and_true_to_scale(results: bench.Results) -> None:
    drawn = {chart.title: chart for chart in charts(results)}
    assert {"mergeable: time", "mergeable: instructions", "two threads"} <= set(drawn)
    for chart in drawn.values():
        element = ElementTree.fromstring(svg(chart))
        text = [node.text for node in element.iter("text")]
        assert chart.x_label in text and chart.y_label in text and "deferred" in text
        marks = element.findall(".//path[@class='mark']")
        assert len(marks) == len(chart.lines) + sum(len(line) for line in chart.lines.values())
    assert drawn["two threads"].lines.keys() == {"eager", "deferred", "floor"}
    skbs = drawn["mergeable: skb allocations"]
    assert [figure and figure.point for figure in skbs.lines["eager"]] == [1, 17]
    scale = Scale([30, 500])
    assert (scale.ticks[0], scale.ticks[-1]) == (20, 500)
    assert scale.y(500) < scale.y(100) < scale.y(20)
    assert scale.y(20) - scale.y(40) == pytest.approx(scale.y(200) - scale.y(400))
    assert len(Scale([1, 1]).ticks) > 1


def test_the_page_needs_nothing_from_elsewhere(results: bench.Results) -> None:
    hostile = {"processor": "<script>alert(1)</script>"}
    shown = page(bench.Results(results.times, results.counts, hostile, {"ring": "256"}))
    assert not re.search(r"https?:|<script|<link|src=|@import|url\(", shown)
    assert "&lt;script&gt;" in shown and "<dt>ring</dt><dd>256</dd>" in shown
    assert shown.count("<svg") == len(charts(results))
    assert "prefers-color-scheme: dark" in shown


def test_the_command_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--criterion", str(TREE), "--counts", str(COUNTS), "receive/"]) == 0
    out, err = capsys.readouterr()
    assert "receive/mergeable/65536" in out and "17 / 1" in out and "threads" not in out
    assert "processor: " in out and "rustc: " in out and err == ""
    assert main(["bench", "--criterion", str(TREE), "pool/vec"]) == 0
    assert "pool/vec/page" in capsys.readouterr().out


def test_the_command_prints_json_and_writes_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "page.html"
    assert main(["bench", "--criterion", str(TREE), "--json", "--html", str(target)]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert {cell["name"] for cell in document["cells"]} == set(bench.load(TREE))
    assert {"name", "ratio", "low", "high", "stands_out"} == set(document["comparisons"][0])
    assert document["machine"]["processor"]
    assert target.read_text().startswith("<!doctype html>") and str(target) in err
    kept = spoil(tmp_path / "kept.json", out)
    assert main(["bench", "--criterion", str(kept)]) == 0
    assert "receive/mergeable/60" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--criterion", "/nowhere"], "there is no /nowhere: run `cargo bench`"),
        (["--criterion", str(TREE), "no-such-cell"], "no cell's name contains 'no-such-cell'"),
        (["--criterion", str(TREE), "--counts", "/nowhere"], "/nowhere cannot be read"),
        (["--criterion", str(TREE), "--html", "/nowhere/a.html"], "/nowhere/a.html cannot be"),
        (["--run"], "works in the source tree"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 2
    out, err = capsys.readouterr()
    assert says in err and "Traceback" not in err and out == ""


def test_run_needs_cargo_and_says_when_it_fails(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tree.parent
    (source / "Cargo.toml").write_text('[package]\nname = "vnet-rx"\n')
    tools = source / "bin"
    tools.mkdir()
    monkeypatch.chdir(source)
    monkeypatch.setenv("PATH", str(tools))
    assert main(["bench", "--run", "--criterion", str(tree)]) == 2
    assert "--run needs cargo, which is not installed" in capsys.readouterr().err

    cargo = spoil(tools / "cargo", '#!/bin/sh\necho "$@" > asked\nexit $STATUS\n')
    cargo.chmod(0o755)
    monkeypatch.setenv("STATUS", "0")
    assert main(["bench", "--run", "--criterion", str(tree), "receive/"]) == 0
    assert (source / "asked").read_text() == "bench --locked -- receive/\n"
    assert "valgrind is not installed" in capsys.readouterr().err
    monkeypatch.setenv("STATUS", "101")
    assert main(["bench", "--run", "--criterion", str(tree)]) == 2
    assert "`cargo bench --locked --` failed" in capsys.readouterr().err


def test_plot_draws_or_says_what_is_missing(results: bench.Results, tmp_path: Path) -> None:
    target = tmp_path / "charts.svg"
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        with pytest.raises(BenchError, match=r"pip install 'vnet-rx\[plot\]'"):
            plot(results, target)
        return
    plot(results, target)
    assert "<svg" in target.read_text()
    with pytest.raises(BenchError, match="cannot be written"):
        plot(results, tmp_path / "charts.nosuchformat")
    with pytest.raises(BenchError, match="nothing to plot"):
        plot(bench.Results({}), target)
