"""What clients and operators ask of jobs and devices that exist. Each either holds, or raises and changes nothing."""

from __future__ import annotations

from qrtx_ray.errors import InvalidState, NotFound
from qrtx_ray.model import JobId, JobRecord
from qrtx_ray.scheduler.commands import StopAttempt
from qrtx_ray.scheduler.events import (
    CancelRequested,
    DeletionRequested,
    DevicePaused,
    DeviceResumed,
    MetadataRecorded,
    TagsChanged,
)
from qrtx_ray.scheduler.job import ON_AGENT, Job
from qrtx_ray.scheduler.outcomes import cancel
from qrtx_ray.scheduler.placing import look_for_stranded, vacate
from qrtx_ray.scheduler.world import World

__all__ = [
    "on_cancel_requested",
    "on_deletion_requested",
    "on_device_paused",
    "on_device_resumed",
    "on_metadata_recorded",
    "on_tags_changed",
]


def on_cancel_requested(world: World, event: CancelRequested) -> None:
    """A job that waits is cancelled at once; one that an agent holds is stopped first.

    Raises:
        NotFound: No such job in memory, or another tenant's.
        InvalidState: It is finished.
    """
    record = _owned(world, event.job_id, event.tenant)
    if record.terminal:
        raise InvalidState(f"job {record.id} is {record.state.value} and cannot be cancelled")
    job = world.jobs[record.id]
    if record.state not in ON_AGENT:
        cancel(world, job, f"cancelled by {event.by}", cancel_requested=True, cancelled_by=event.by)
        return
    if not record.cancel_requested:
        world.amend(job, {"cancel_requested": True, "cancelled_by": event.by})
        job.patience_until = world.now + world.settings.cancel_grace_s
        world.arm(job)
    stop(world, job)


def stop(world: World, job: Job) -> None:
    """Tell whoever holds the present attempt to give it up."""
    if job.agent is not None:
        world.send(StopAttempt(job.agent.name, job.agent.incarnation, job.record.id, job.record.attempt))


def on_tags_changed(world: World, event: TagsChanged) -> None:
    """Replace the tags, whatever the job's state.

    Raises:
        NotFound: No such job in memory, or another tenant's.
    """
    record = _owned(world, event.job_id, event.tenant)
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
    record = _owned(world, event.job_id, event.tenant)
    if not record.terminal:
        raise InvalidState(f"job {record.id} is {record.state.value}; only a finished job can be deleted")
    world.drop(record.id)


def on_metadata_recorded(world: World, event: MetadataRecorded) -> None:
    for job_id in event.job_ids:
        job = world.jobs.get(job_id)
        if job is not None and job.record.terminal:
            world.amend(job, {"metadata_recorded": True})
            world.retire(job_id)


def on_device_paused(world: World, event: DevicePaused) -> None:
    """Raises:
    NotFound: No such device.
    """
    _switch(world, event.device, paused=True)


def on_device_resumed(world: World, event: DeviceResumed) -> None:
    """Raises:
    NotFound: No such device.
    """
    _switch(world, event.device, paused=False)


def _switch(world: World, name: str, *, paused: bool) -> None:
    device = world.devices.get(name)
    if device is None:
        raise NotFound(f"there is no device {name}", field="device")
    world.pause(device, paused=paused)
    if paused:
        vacate(world, device)
    else:
        look_for_stranded(world)


def _owned(world: World, job_id: JobId, tenant: str | None) -> JobRecord:
    record = world.record(job_id)
    if tenant is not None and record.tenant != tenant:
        # The same words as for a job that does not exist: nobody learns of others' jobs.
        raise NotFound(f"there is no job {job_id}")
    return record
