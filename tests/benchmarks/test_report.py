"""The convention that every benchmark keeps: goals, percentiles, table and JSON."""

from __future__ import annotations

import json

import pytest

from benchmarks.report import Figure, Options, main, percentile

FIGURES = [
    Figure("rate", 200.0, "jobs/s", 150, "higher"),
    Figure("latency_ms", 12.5, "ms", 10),
    Figure("baseline_ms", 1.0, "ms"),
]


@pytest.mark.parametrize(
    ("value", "goal", "better", "met"),
    [
        (2, 1, "higher", True),
        (1, 1, "higher", True),
        (0.5, 1, "higher", False),
        (0.5, 1, "lower", True),
        (1, 1, "lower", True),
        (2, 1, "lower", False),
        (2, None, "lower", None),
    ],
)
def test_a_goal_is_met_on_the_better_side(value, goal, better, met):
    assert Figure("x", value, "1", goal, better).met is met


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (99.5, 100), (100, 100), (0, 1)])
def test_a_percentile_is_one_of_the_values(percent, expected):
    assert percentile(range(100, 0, -1), percent) == expected


def test_the_json_has_machine_versions_commit_seed_and_figures(tmp_path, capsys):
    file = tmp_path / "figures.json"
    assert main("A headline.\n\nMore.", lambda _: FIGURES, ["--quick", "--seed", "3", "--json", str(file)]) == 0
    document = json.loads(file.read_text("utf-8"))
    assert document["benchmark"] == "A headline."
    assert (document["quick"], document["seed"]) == (True, 3)
    assert {"cores", "cpu", "memory_gib", "load_before", "load_after"} <= document["machine"].keys()
    assert {"python", "qrtx-ray", "ray", "qiskit", "qiskit-aer", "qiskit-ibm-runtime"} <= document["versions"].keys()
    assert "commit" in document
    assert document["figures"]["rate"] == {"value": 200.0, "unit": "jobs/s", "goal": 150, "better": "higher"}
    assert document["figures"]["baseline_ms"]["goal"] is None
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[-2:] for line in table if line.startswith("latency_ms")] == [["NOT", "met"]]
    assert [line.split()[-1] for line in table if line.startswith("rate")] == ["met"]


def test_what_was_measured_before_a_failure_is_shown(tmp_path, capsys):
    def measure(_):
        yield FIGURES[0]
        raise RuntimeError("broken")

    file = tmp_path / "figures.json"
    with pytest.raises(RuntimeError, match="broken"):
        main("A headline.", measure, ["--json", str(file)])
    assert list(json.loads(file.read_text("utf-8"))["figures"]) == ["rate"]
    assert "rate" in capsys.readouterr().out


def test_a_quick_run_takes_the_smaller_size():
    assert (Options(quick=True).pick(500, 50), Options().pick(500, 50)) == (50, 500)
