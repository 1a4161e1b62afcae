"""Kill the scheduler at every point of a story, or at any two, and look what is left.

The points lie between the steps of handling, appending, committing (also between two rows of a transaction), performing and
answering, and inside recovery. After each death the disk holds what was committed and nothing else, everything that was
acknowledged is there, and the story still comes to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from qrtx_ray.store.memory import MemoryData, MemoryStore
from qrtx_ray.store.protocol import Store
from qrtx_ray.store.sqlite import SqliteStore

from .disk import StoreDisk
from .oracles import Violation
from .plan import Plan
from .shell import Crash
from .stories import Step
from .world import Failure, World

__all__ = ["Story", "in_memory", "in_sqlite", "pairs"]


def in_memory() -> StoreDisk:
    """A journal in memory whose data outlives the store."""
    data = MemoryData()
    return StoreDisk(lambda: MemoryStore(data))


def in_sqlite(folder: Path) -> Callable[[], StoreDisk]:
    """Journals in files of `folder`, each opened anew after a death."""

    def make() -> StoreDisk:
        for file in folder.iterdir():
            file.unlink()

        def reopen() -> Store:
            return SqliteStore(folder / "journal.db")

        return StoreDisk(reopen)

    return make


@dataclass(frozen=True, slots=True)
class Story:
    """A story that is lived through again and again, each time with other deaths.

    Args:
        name: Its name.
        steps: See `stories`.
        make: Gives an empty disk.
    """

    name: str
    steps: Sequence[Step]
    make: Callable[[], StoreDisk]

    def points(self) -> int:
        """How many points there are when nobody dies."""
        return self.live().passed

    def live(self, *deaths: int) -> World:
        """Live through it; the scheduler dies at the first of `deaths`, counted from the beginning, and each successor at the
        next one, counted from its own.

        Raises:
            Failure: Something went wrong; the message names the story and the deaths.
        """
        world = World(1, Plan.quiet(), self.make())
        try:
            self._live(world, list(deaths))
        except Exception as problem:
            raise Failure(f"{self.name}, deaths {deaths}: {type(problem).__name__}: {problem}") from problem
        finally:
            world.disk.close()
        return world

    def _live(self, world: World, fuses: list[int]) -> None:
        assert isinstance(world.disk, StoreDisk)
        world.disk.point = world.shell.point
        _start(world, fuses)
        for step in self.steps:
            while True:
                try:
                    step(world)
                    break
                except Crash:
                    _dead(world)
                    _start(world, fuses)
        world.shell.fuse = 0
        world.passed = world.shell.points
        world.drain()


def _start(world: World, fuses: list[int]) -> None:
    while True:
        try:
            world.tell_time()
            world.shell.start(fuses.pop(0) if fuses else 0)
            return
        except Crash:
            _dead(world)


def _dead(world: World) -> None:
    """Right after a death: the disk holds the state before the event or the one after it, and nothing in between."""
    world.crashes += 1
    world.shell.die()
    assert isinstance(world.disk, StoreDisk)
    world.disk.open()
    world.oracles.crashed(world.agents.values())
    written = [change.sequence for job in world.oracles.durable for change in world.disk.history(job)]
    if len(written) != len(set(written)) or max(written, default=0) > world.disk.last()[0]:
        raise Violation("the history on the disk is not what was written")


def pairs(stories: Sequence[Story], count: int, seed: int) -> Iterator[tuple[Story, int, int]]:
    """`count` pairs of deaths, drawn evenly over the points of `stories`."""
    rng = Random(seed)
    lengths = [story.points() for story in stories]
    for _ in range(count):
        [place] = rng.choices(range(len(stories)), lengths)
        yield stories[place], rng.randrange(1, lengths[place] + 1), rng.randrange(1, lengths[place] + 1)
