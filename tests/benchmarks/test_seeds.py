"""The command that runs many seeds of the simulation tells what they gave."""

from __future__ import annotations

import json

from benchmarks.seeds import main, run_portion
from tests.stateful.disk import Disk


def test_the_summary_counts_seeds_edges_and_deaths(tmp_path, capsys):
    file = tmp_path / "seeds.json"
    assert main(["--first", "7", "--count", "12", "--json", str(file)]) == 0
    found = json.loads(file.read_text("utf-8"))
    assert json.loads(capsys.readouterr().out) == found
    assert (found["first"], found["seeds"], found["failures"], found["failed"]) == (7, 12, 0, [])
    assert found["edges"] + len(found["edges_missing"]) == found["edges_of_the_table"]
    assert found["jobs"] >= 12 * 3
    assert found["seeds_per_s"] > 0


def test_seeds_that_fail_are_told_and_do_not_stop_the_others(monkeypatch, capsys):
    monkeypatch.setattr(Disk, "find", lambda *_: None)  # a key is never found again
    monkeypatch.setattr(Disk, "record", lambda *_: None)
    portion = run_portion(range(30))
    assert portion.seeds == 30
    assert portion.failures
    assert all(failure.startswith("seed ") for failure in portion.failures)
    assert main(["--count", "30"]) == 1
    assert json.loads(capsys.readouterr().out)["failures"] == len(portion.failures)


def test_several_processes_give_what_one_gives(capsys):
    assert main(["--count", "600", "--processes", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["seeds"], found["failures"]) == (600, 0)
