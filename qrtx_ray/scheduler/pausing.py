"""Pause and resume of jobs. A pause that was acknowledged holds until the job is resumed, or ends."""

from __future__ import annotations

from qrtx_ray.errors import InvalidState
from qrtx_ray.model import TaskState
from qrtx_ray.scheduler.asking import owned, reconsider
from qrtx_ray.scheduler.dues import hopeless_from
from qrtx_ray.scheduler.events import PauseRequested, ResumeRequested
from qrtx_ray.scheduler.job import ON_AGENT, Job
from qrtx_ray.scheduler.outcomes import miss_deadline, put_aside
from qrtx_ray.scheduler.placing import look_again
from qrtx_ray.scheduler.states import Trigger
from qrtx_ray.scheduler.world import World

__all__ = ["on_pause_requested", "on_resume_requested"]

_LINES = frozenset({TaskState.PENDING, TaskState.QUEUED})


def on_pause_requested(world: World, event: PauseRequested) -> None:
    """A job that waits is paused at once; of one that somebody holds the wish is written, and takes effect when they let go.

    Raises:
        NotFound: No such job in memory, or another tenant's.
        InvalidState: It has ended, or is being cancelled.
    """
    record = owned(world, event.job_id, event.tenant)
    if record.terminal:
        raise InvalidState(f"job {record.id} is {record.state.value} and cannot be paused")
    if record.cancel_requested:
        raise InvalidState(f"job {record.id} is being cancelled and cannot be paused")
    if record.state is TaskState.PAUSED:
        return
    job = world.jobs[record.id]
    if not record.pause_requested:
        world.amend(job, {"pause_requested": True, "paused_by": event.by})
    if record.state in _LINES:
        put_aside(world, job)
    elif record.state in ON_AGENT:
        reconsider(world, job)


def on_resume_requested(world: World, event: ResumeRequested) -> None:
    """A paused job goes back into line, and its waiting counts from now; one that is still held merely goes on.

    Raises:
        NotFound: No such job in memory, or another tenant's.
        InvalidState: It has ended.
    """
    record = owned(world, event.job_id, event.tenant)
    if record.terminal:
        raise InvalidState(f"job {record.id} is {record.state.value} and cannot be resumed")
    job = world.jobs[record.id]
    if record.pause_requested:
        world.amend(job, {"pause_requested": False, "paused_by": None})
        reconsider(world, job)
    elif record.state is TaskState.PAUSED:
        hopeless = hopeless_from(record)
        if hopeless is not None and hopeless <= world.now:
            miss_deadline(world, job)
        else:
            _take_up(world, job, event.by)


def _take_up(world: World, job: Job, by: str) -> None:
    record = job.record
    trigger = Trigger.RESUMED_UNCOMPILED if record.profile is None else Trigger.RESUMED
    # From `not_before` on it waits: also one that has no attempt behind it, whose waiting would count from its submit.
    due = max(record.not_before or 0.0, world.now)
    changes = {"paused_at": None, "paused_by": None, "not_before": due, "queued_at": record.profile and world.now}
    world.advance(job, [trigger], f"resumed by {by}", **changes)
    if due <= world.now or trigger is Trigger.RESUMED_UNCOMPILED:
        world.enqueue(job)
    world.arm(job)
    look_again(world, job)
