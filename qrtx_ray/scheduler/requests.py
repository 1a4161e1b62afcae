"""What clients ask of jobs that exist. Each either holds, or raises and changes nothing."""

from __future__ import annotations

from qrtx_ray.errors import InvalidState
from qrtx_ray.scheduler.asking import ask_end, conclusion_s, owned
from qrtx_ray.scheduler.events import (
    CancelRequested,
    DeletionRequested,
    MetadataRecorded,
    TagsChanged,
)
from qrtx_ray.scheduler.job import ON_AGENT
from qrtx_ray.scheduler.outcomes import cancel
from qrtx_ray.scheduler.world import World

__all__ = [
    "on_cancel_requested",
    "on_deletion_requested",
    "on_metadata_recorded",
    "on_tags_changed",
]


def on_cancel_requested(world: World, event: CancelRequested) -> None:
    """A job that waits is cancelled at once; one that an agent holds is stopped first, or concluded where its results so far
    are wanted. Whoever asks again without wanting them has it stopped at once.

    Raises:
        NotFound: No such job in memory, or another tenant's.
        InvalidState: It is finished.
    """
    record = owned(world, event.job_id, event.tenant)
    if record.terminal:
        raise InvalidState(f"job {record.id} is {record.state.value} and cannot be cancelled")
    job = world.jobs[record.id]
    wish = {"cancel_requested": True, "cancelled_by": event.by}
    if record.state not in ON_AGENT:
        cancel(world, job, f"cancelled by {event.by}", **wish)
        return
    if not record.cancel_requested:
        world.amend(job, {**wish, "pause_requested": False, "keep_partial": event.partial})
        job.patience_until = world.now + conclusion_s(world, job.record)
        world.arm(job)
    elif record.keep_partial and not event.partial:
        world.amend(job, {"keep_partial": False})
        patience = world.now + conclusion_s(world, job.record)
        job.patience_until = min(job.patience_until or patience, patience)
        world.arm(job)
    ask_end(world, job)


def on_tags_changed(world: World, event: TagsChanged) -> None:
    """Replace the tags, whatever the job's state.

    Raises:
        NotFound: No such job in memory, or another tenant's.
    """
    record = owned(world, event.job_id, event.tenant)
    job = world.jobs.get(record.id)
    if job is not None:
        world.amend(job, {"tags": event.tags})
    else:
        world.amend_finished(record.id, {"tags": event.tags})


def on_deletion_requested(world: World, event: DeletionRequested) -> None:
    """Forget a finished job.

    Raises:
        NotFound: No such job in memory, or another tenant's.
        InvalidState: It is not finished.
    """
    record = owned(world, event.job_id, event.tenant)
    if not record.terminal:
        raise InvalidState(f"job {record.id} is {record.state.value}; only a finished job can be deleted")
    world.drop(record.id)


def on_metadata_recorded(world: World, event: MetadataRecorded) -> None:
    for job_id in event.job_ids:
        job = world.jobs.get(job_id)
        if job is not None and job.record.terminal:
            world.amend(job, {"metadata_recorded": True})
            world.retire(job_id)
