"""Which edges of the table of states the core took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qrtx_ray.model import TaskState
from qrtx_ray.scheduler.states import TRANSITIONS, Trigger
from qrtx_ray.scheduler.world import World

__all__ = ["Edge", "missing", "taken"]

Edge = tuple[TaskState, Trigger]


@contextmanager
def taken() -> Iterator[set[Edge]]:
    """The edges that are taken while the block runs."""
    edges: set[Edge] = set()
    advance = World.advance

    def spy(world: World, job: Any, triggers: Any, reason: str, **changes: Any) -> None:
        state = job.record.state
        for trigger in triggers:
            edges.add((state, trigger))
            state = TRANSITIONS.get((state, trigger), state)
        advance(world, job, triggers, reason, **changes)

    World.advance = spy  # type: ignore[method-assign]
    try:
        yield edges
    finally:
        World.advance = advance  # type: ignore[method-assign]


def missing(edges: set[Edge]) -> list[str]:
    """What of the table is not among `edges`, in words."""
    return [f"{state.value}: {trigger.value}" for state, trigger in TRANSITIONS if (state, trigger) not in edges]
