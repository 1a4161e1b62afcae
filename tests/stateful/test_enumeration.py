"""The scheduler is killed at every point of every story, and at sampled pairs of points, over two kinds of store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrtx_ray.errors import StoreConflict
from qrtx_ray.model import TaskState

from .enumeration import Story, in_memory, in_sqlite, pairs
from .plan import Plan
from .stories import STORIES, leases
from .world import World

PAIRS = 2_000
IN_FILES = 100  # of them also in files, where a run costs many times as much
SHARED = Path("/dev/shm")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """In memory where the system has such a place: what is tried here is the store, not the disk."""
    with tempfile.TemporaryDirectory(dir=SHARED if SHARED.is_dir() else None) as name:
        yield Path(name)


@pytest.mark.parametrize("name", STORIES)
def test_the_scheduler_dies_at_any_point_of(name: str) -> None:
    story = Story(name, STORIES[name], in_memory)
    points = story.points()
    assert points > 20
    for point in range(1, points + 1):
        assert story.live(point).crashes >= 1


@pytest.mark.parametrize("name", STORIES)
def test_the_scheduler_dies_over_a_journal_in_a_file_at_any_point_of(name: str, folder: Path) -> None:
    story = Story(name, STORIES[name], in_sqlite(folder))
    points = story.points()
    assert points == Story(name, STORIES[name], in_memory).points(), "both stores take the same steps"
    for point in range(1, points + 1):
        assert story.live(point).crashes >= 1


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_scheduler_that_was_replaced_writes_nothing_and_gives_out_nothing(kind: str, folder: Path) -> None:
    disk = in_memory() if kind == "memory" else in_sqlite(folder)()
    world = World(1, Plan.quiet(), disk)
    world.start()
    for step in STORIES["from submit to deletion"][:4]:  # until all are compiled
        step(world)
    world.shell.eager = False
    leases("a")(world)  # decided, and not durable yet
    successor = disk.another()
    successor.open()
    with pytest.raises(StoreConflict):
        world.shell.flush()
    assert world.agents["a"].groups == []
    assert {record.state for record in successor.all_records().values()} == {TaskState.QUEUED}
    successor.close()
    disk.close()


def test_the_scheduler_dies_twice() -> None:
    stories = [Story(name, steps, in_memory) for name, steps in STORIES.items()]
    died = [story.live(first, second).crashes for story, first, second in pairs(stories, PAIRS, seed=1)]
    assert sum(count >= 2 for count in died) > PAIRS // 4


def test_the_scheduler_dies_twice_over_a_journal_in_a_file(folder: Path) -> None:
    stories = [Story(name, steps, in_sqlite(folder)) for name, steps in STORIES.items()]
    died = [story.live(first, second).crashes for story, first, second in pairs(stories, IN_FILES, seed=2)]
    assert sum(count >= 2 for count in died) > IN_FILES // 4
