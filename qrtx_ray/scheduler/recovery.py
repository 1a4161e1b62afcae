"""After a restart: what the store says becomes what the core knows.

Desired state comes from the store, actual state from the agents, and the two meet by ordinary events: an agent that
comes back names the attempts it holds, and what nobody names in time is requeued under a new attempt number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qrtx_ray.model import JobRecord, TaskState
from qrtx_ray.scheduler import calibrating, draining, reservations
from qrtx_ray.scheduler.job import ON_AGENT, Job
from qrtx_ray.scheduler.outcomes import put_aside
from qrtx_ray.scheduler.states import Trigger
from qrtx_ray.scheduler.world import World

__all__ = ["begin", "restore"]


def begin(world: World, facts: Mapping[str, str]) -> None:
    """What is known besides jobs: use of tenants, calibrations, reservations, drains. Before everything else."""
    world.tenants.restore(facts, world.now)
    calibrating.begin(world, facts)
    reservations.begin(world, facts)
    draining.begin(world, facts)


def restore(world: World, records: Iterable[JobRecord]) -> None:
    """Take `records` (all live ones, and finished ones without metadata) into an empty world."""
    for record in sorted(records, key=lambda record: record.number):
        job = world.admit(record, restored=True)
        if record.terminal:
            world.record_again(job)
        elif record.state in ON_AGENT:
            job.patience_until = world.now + world.settings.agent_grace_s
            world.orphans.setdefault(record.agent or "", {})[record.id] = job
            world.arm(job)
        elif record.state is TaskState.COMPLETING:
            world.advance(job, [Trigger.RESULT_ACCEPTED], "scheduler restarted", progress=1.0, finished_at=world.now)
            world.close(job)
        else:
            _wait_again(world, job)


def _wait_again(world: World, job: Job) -> None:
    record = job.record
    if record.state in {TaskState.VALIDATING, TaskState.COMPILING}:
        world.advance(job, [Trigger.COMPILE_LOST], "scheduler restarted")
        if record.pause_requested:
            put_aside(world, job)
            return
    due = record.not_before
    in_line = job.record.state is TaskState.PENDING or due is None or due <= world.now
    if in_line and record.state is not TaskState.PAUSED:
        world.enqueue(job)
    world.arm(job)
