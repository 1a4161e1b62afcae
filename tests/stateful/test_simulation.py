"""Many seeds, each a run of the whole with its own faults; then those that once found something."""

from __future__ import annotations

from pathlib import Path

import pytest

from .clients import request
from .coverage import missing, taken
from .disk import Disk
from .enumeration import Story, in_memory
from .oracles import Violation
from .stories import STORIES
from .world import Failure, World, run

SEEDS = 1_500
REGRESSIONS = Path(__file__).with_name("regressions.txt")


def test_every_seed_drains_and_every_edge_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    crashes = 0
    with taken() as edges:
        for name, steps in STORIES.items():
            Story(name, steps, in_memory).live()
        for seed in range(SEEDS):
            crashes += run(seed).crashes
    with capsys.disabled():
        print(f"\n{SEEDS} seeds, {crashes} deaths of the scheduler, {len(edges)} edges")  # noqa: T201
    assert missing(edges) == []
    assert crashes > SEEDS // 2


def test_seeds_that_once_found_something() -> None:
    lines = [line for line in REGRESSIONS.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    for line in lines:
        seed, story = line.split(" ", 1)
        assert story
        run(int(seed))


def test_a_seed_gives_the_same_run_again() -> None:
    for seed in range(20):
        first, second = World(seed), World(seed)
        first.run()
        second.run()
        assert first.disk.all_records() == second.disk.all_records()
        assert first.crashes == second.crashes


def test_a_failure_names_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(self: Disk, batch: object) -> None:
        del self, batch

    monkeypatch.setattr(Disk, "commit", lost)
    with pytest.raises(Failure, match=r"^seed 3: "):
        run(3)


def test_an_acknowledged_job_that_is_not_there_is_noticed() -> None:
    world = World(1)
    world.start()
    world.shell.submit([(request(seed=1), 1)], lambda ids: world.oracles.accepted(ids[0], "alice", None))
    world.oracles.nothing_lost()
    world.disk.all_records().clear()
    with pytest.raises(Violation):
        world.oracles.nothing_lost()
