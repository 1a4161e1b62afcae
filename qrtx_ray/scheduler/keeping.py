"""Checkpoints of running jobs: which are valid is written here, and only then do they count."""

from __future__ import annotations

from qrtx_ray.errors import InvalidState
from qrtx_ray.model import CheckpointRef, RunReport, TaskState
from qrtx_ray.scheduler.asking import owned
from qrtx_ray.scheduler.commands import CheckpointAttempt
from qrtx_ray.scheduler.events import CheckpointRequested
from qrtx_ray.scheduler.job import Job
from qrtx_ray.scheduler.world import World

__all__ = ["keep", "on_checkpoint_requested", "take_in"]


def on_checkpoint_requested(world: World, event: CheckpointRequested) -> None:
    """Ask the job's agent; its answer is an event of its own.

    Raises:
        NotFound: No such job in memory, or another tenant's.
        InvalidState: It does not run, is about to end, or its agent has not come back after a restart.
    """
    record = owned(world, event.job_id, event.tenant)
    if record.state is not TaskState.EXECUTING:
        raise InvalidState(f"job {record.id} is {record.state.value}; checkpoints are taken of running jobs")
    if record.cancel_requested:
        raise InvalidState(f"job {record.id} is being cancelled")
    agent = world.jobs[record.id].agent
    if agent is None:
        raise InvalidState(f"agent {record.agent}, which runs job {record.id}, has not come back yet")
    world.send(CheckpointAttempt(agent.name, agent.incarnation, record.id, record.attempt))


def take_in(world: World, job: Job, report: RunReport) -> None:
    """A report's word on checkpoints: the one it kept is valid, those it refused are not any more."""
    if report.refused:
        _refuse(world, job, report.refused)
    if report.checkpoint is not None:
        keep(world, job, report.checkpoint)


def keep(world: World, job: Job, new: CheckpointRef) -> bool:
    """Make `new` the first of the job's checkpoints; False where it is none of the present attempt, or not newer."""
    record = job.record
    newest = max((one.sequence for one in record.checkpoints), default=0)
    own = (new.job_id, new.attempt) == (record.id, record.attempt)
    if not own or new.sequence <= newest or not 0.0 <= new.progress <= 1.0:
        return False
    world.amend(job, {"checkpoints": (new, *record.checkpoints)[: world.settings.kept_checkpoints]})
    world.note(job, f"checkpoint {new.sequence} at {round(100 * new.progress)} %")
    return True


def _refuse(world: World, job: Job, refused: tuple[CheckpointRef, ...]) -> None:
    bad = [one for one in job.record.checkpoints if one in refused]
    if bad:
        world.amend(job, {"checkpoints": tuple([one for one in job.record.checkpoints if one not in refused])})
        for one in bad:
            world.note(job, f"refused checkpoint {one.sequence}")
