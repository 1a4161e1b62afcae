"""Reports, charts, settings by name, and the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from qrtx_ray.cli.main import main
from qrtx_ray.errors import ValidationError
from qrtx_ray.simulation import Parameters, Variant, draw, policy_called, report_json, simulate, write_trace
from qrtx_ray.simulation.charts import Chart, Series
from tests.simulation.making import Run, job, trace
from tests.simulation.test_driver import day

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def report():
    return simulate(day(300, drift=0.1), Variant("one day", policy_called("noise_aware")))[0]


def test_the_parts_of_a_report_add_up(report):
    ends = report["ends"]
    assert sum(ends.values()) == 300 == sum(level["jobs"] for level in report["levels"].values())
    assert sum(tenant["jobs"] for tenant in report["tenants"].values()) == 300
    assert sum(device["completed"] for device in report["devices"].values()) == ends["Completed"]
    busy_s = sum(device["busy_s"] for device in report["devices"].values())
    assert report["attempts"]["busy_s"] == pytest.approx(busy_s, abs=1e-3)
    got, due = (sum(tenant[key] for tenant in report["tenants"].values()) for key in ("got_s", "due_s"))
    assert got == pytest.approx(due, abs=1e-3)
    assert 0.0 < report["utilisation"]["least"] <= report["utilisation"]["all"] <= report["utilisation"]["most"] <= 1.0
    assert 0.0 < report["fairness"]["jain_usage"] <= 1.0
    assert json.loads(report_json([report])) == [report]


def test_a_recorded_day_is_compared_with_what_was_recorded():
    known = {"state": "Completed", "started_at": 3.5}
    report, _ = simulate(trace(job(1.0, recorded=known)), Variant("x"))
    assert report["recorded"]["waiting_s"]["mean"] == 2.5
    assert report["recorded"]["difference_s"]["mean"] == pytest.approx(2.5, abs=0.05)


def test_deadlines_are_kept_missed_or_refused():
    run = Run(
        trace(
            job(0.0, 5.0, id="kept", deadline_at=6.0),
            job(0.0, 5.0, id="late", deadline_at=5.5),
            job(1.0, 1.0, id="past", deadline_at=0.5),
        )
    )
    assert run.ledger.counts["deadline_kept"] == 1
    assert run.ledger.counts["deadline_missed"] + run.ledger.counts["deadline_refused"] == 2


def test_a_job_past_its_levels_longest_wait_is_promoted_and_counted():
    run = Run(trace(job(0.0, 30.0), job(1.0, id="low", priority=10)), "levels.low.max_wait_s=10")
    low = run.ledger.levels[3]
    assert (low.promoted, low.over_limit) == (1, 1)
    assert run.records["low"].promoted_at is not None


# -- charts ----------------------------------------------------------------------------------------------------------


def test_pictures_are_svg_and_named_after_the_runs(tmp_path, report):
    paths = draw([report, report | {"name": "another/day"}], tmp_path / "plots")
    assert sorted(path.name for path in paths) == [
        "another_day-course.svg",
        "another_day-waiting.svg",
        "comparison-front.svg",
        "comparison-waiting.svg",
        "one_day-course.svg",
        "one_day-waiting.svg",
    ]
    for path in paths:
        root = ET.parse(path).getroot()  # our own file
        assert root.tag == f"{SVG}svg"
        assert len(root.findall(f".//{SVG}path")) > 2


def test_points_lie_where_their_numbers_say():
    chart = Chart("t", "x", "y", [Series("a", [(0.0, 0.0), (10.0, 10.0)])])
    drawn = ET.fromstring(chart.svg()).findall(f"{SVG}path")[-2].get("d")  # the last is the legend's
    assert drawn == "M76.0 362.0L696.0 78.0"
    steps = Chart("t", "x", "y", [Series("a", [(0.0, 0.0), (10.0, 10.0)])], kind="step")
    assert "L696.0 362.0V78.0" in steps.svg()


def test_charts_of_nothing_of_one_value_and_of_wild_names_are_drawn():
    assert "nothing to show" in Chart("t", "x", "y", []).svg()
    assert "nothing to show" in Chart("t", "x", "y", [Series("a", [(0.0, 1.0)])], log_x=True).svg()
    for value in (0.0, 1e-9, 5.0, 1e12):
        for log_x in (False, True):
            ET.fromstring(Chart('<&"', "x", "y", [Series("<a>", [(value, value)])], "points", log_x).svg())


# -- settings by name ------------------------------------------------------------------------------------------------


def test_settings_are_found_by_their_names():
    found = Parameters().with_values(
        [
            "max_group_jobs=8",
            "aging=off",
            "queue_timeout_s=none",
            "preemption.cost_threshold=0.5",
            "levels.low.max_wait_s=60",
            "tenants.alice.weight=3",
            "tenants.alice.max_running=2",
            "noise.threshold=0.9",
            "world.compilers=2",
        ]
    )
    core = found.core
    assert (core.max_group_jobs, core.aging, core.queue_timeout_s) == (8, False, None)
    assert core.preemption.cost_threshold == 0.5
    assert [level.max_wait_s for level in core.levels][3] == 60
    assert (core.tenants["alice"].weight, core.tenants["alice"].max_running) == (3, 2)
    assert (found.noise.threshold, found.world.compilers) == (0.9, 2)
    assert not found.core_for(trace().devices).noise


@pytest.mark.parametrize(
    "text",
    [
        "max_group_jobs",
        "max_group_jobz=1",
        "max_group_jobs=many",
        "max_group_jobs=none",
        "max_group_s=nan",
        "aging=perhaps",
        "aging.x=1",
        "levels=1",
        "levels.mid.weight=1",
        "preemption=1",
        "tenants.a=1",
        "world.x=1",
    ],
)
def test_settings_that_are_not_there_are_refused(text):
    with pytest.raises(ValidationError) as refusal:
        Parameters().with_values([text])
    assert refusal.value.field == "set"


def test_policies_are_found_by_their_names():
    assert policy_called("hybrid").name == "hybrid"
    with pytest.raises(ValidationError, match="priority, noise_aware"):
        policy_called("oracle")


# -- the command -----------------------------------------------------------------------------------------------------


def qrtx(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *map(str, words)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_the_command_runs_a_trace_under_two_policies(capsys, tmp_path):
    path, out = tmp_path / "a.trace", tmp_path / "a.json"
    write_trace(trace(*(job(float(at), id=f"{at}", priority=10) for at in range(5))), path)
    code, shown, said = qrtx(capsys, path, "-p", "priority", "-p", "hybrid", "--json", out, "--plots", tmp_path / "p")
    assert code == 0
    assert "priority" in shown
    assert "hybrid" in shown
    assert "10 jobs" in said
    assert [report["name"] for report in json.loads(out.read_bytes())] == ["priority", "hybrid"]
    assert len(list((tmp_path / "p").iterdir())) == 6


def test_the_command_generates_and_can_be_repeated_from_the_file(capsys, tmp_path):
    path = tmp_path / "made.trace"
    words = ["--json", "-"]
    made = qrtx(capsys, "-g", "bursty", "--jobs", 40, "--fleet", "synthetic:2", "--save", path, *words)[1]
    again = qrtx(capsys, path, *words)[1]
    assert json.loads(made) == json.loads(again)
    assert sum(json.loads(made)[0]["ends"].values()) == 40


def test_the_command_compares_settings_and_fleets(capsys, tmp_path):
    path = tmp_path / "a.trace"
    write_trace(trace(job(0.0, 60.0, priority=10), job(10.3, 5.0, priority=95)), path)
    words = ["-s", "world.compilers=1", "--variant", "patient:preemption.enabled=false", "--json", "-"]
    with_it, without = json.loads(qrtx(capsys, path, *words)[1])
    assert (with_it["name"], without["name"]) == ("priority", "patient")
    assert (with_it["preemption"]["preemptions"], without["preemption"]["preemptions"]) == (1, 0)
    small, large = json.loads(qrtx(capsys, path, "--fleet", "synthetic:1", "--fleet", "synthetic:3", "--json", "-")[1])
    assert (small["name"], large["name"]) == ("priority synthetic:1", "priority synthetic:3")
    assert len(small["devices"]) == 1
    assert small["ends"] == large["ends"] == {"Completed": 2}


def test_another_process_with_other_hashes_writes_the_same_bytes():
    words = ["simulate", "-g", "bursty", "--jobs", "300", "--fleet", "synthetic:6", "--drift", "0.1", "--mtbf", "300"]
    command = [sys.executable, "-m", "qrtx_ray.cli.main", *words, "-p", "noise_aware", "--json", "-"]
    written = [
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    ]
    assert written[0] == written[1] != b""


def test_the_command_takes_the_scheduler_from_a_configuration(capsys, tmp_path):
    path, config = tmp_path / "a.trace", tmp_path / "c.yaml"
    write_trace(trace(*(job(0.0, 0.01, id=f"{at}") for at in range(8))), path)
    config.write_text("scheduler: {algorithm: hybrid, max_queue_size: 5}\n", "utf-8")
    (report,) = json.loads(qrtx(capsys, path, "--config", config, "--json", "-")[1])
    assert report["name"] == "hybrid"
    assert report["refused"] == {"queue_full": 3}


@pytest.mark.parametrize(
    "words",
    [["none.trace"], ["-g", "monthly"], ["--pace", "fast"], ["--variant", "x"], ["-p", "oracle"], ["-s", "x=1"]],
)
def test_the_command_says_what_is_wrong(capsys, words):
    code, _, said = qrtx(capsys, *words)
    assert code == 1
    assert "error" in said
