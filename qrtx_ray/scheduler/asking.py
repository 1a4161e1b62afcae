"""What agents are asked about the attempts they hold, and asked again, for a call may have been lost on its way."""

from __future__ import annotations

from qrtx_ray.errors import NotFound
from qrtx_ray.model import JobId, JobRecord
from qrtx_ray.scheduler.commands import ConcludeAttempt, PreemptAttempt, StopAttempt
from qrtx_ray.scheduler.job import Job, Why
from qrtx_ray.scheduler.workers import Agent, Attempt
from qrtx_ray.scheduler.world import World

__all__ = ["SLICES", "ask_back", "ask_end", "conclusion_s", "owned", "reconsider", "remind"]

SLICES = 2  #: within which somebody who was asked to end an attempt after its slice should have done so


def owned(world: World, job_id: JobId, tenant: str | None) -> JobRecord:
    """The job's record, if `tenant` may touch it.

    Raises:
        NotFound: No such job in memory, or another tenant's: the same words, for nobody learns of others' jobs.
    """
    record = world.record(job_id)
    if tenant is not None and record.tenant != tenant:
        raise NotFound(f"there is no job {job_id}")
    return record


def reconsider(world: World, job: Job) -> None:
    """Ask the present attempt back for as long as there is a reason. Where there is none any more it is not asked for again;
    who has heard of it already ends the attempt all the same.
    """
    why = _reason(world, job)
    if why is not None:
        ask_back(world, job, why)
    elif job.agent is not None and job.asked not in {None, Why.URGENT}:
        job.agent.making_way.pop((job.record.id, job.record.attempt), None)


def ask_back(world: World, job: Job, why: Why) -> None:
    """Ask whoever holds the job to give the present attempt back after its slice."""
    if job.agent is not None:
        attempt = (job.record.id, job.record.attempt)
        job.asked = why
        job.agent.making_way.setdefault(attempt, world.now)
        world.send(PreemptAttempt(job.agent.name, job.agent.incarnation, *attempt))


def _reason(world: World, job: Job) -> Why | None:
    """What somebody wants of a job that an agent has, besides more urgent work."""
    record, agent = job.record, job.agent
    if agent is None or record.cancel_requested:
        return None
    if record.pause_requested:
        return Why.PAUSE
    if agent.drained or world.device(record.device).drains:
        return Why.DRAIN
    return None if job.move is None else Why.MIGRATION


def ask_end(world: World, job: Job) -> None:
    """Tell whoever holds the job to end the present attempt: at once, or after its slice with the results it has by then."""
    if job.agent is not None:
        kind = ConcludeAttempt if job.record.keep_partial else StopAttempt
        world.send(kind(job.agent.name, job.agent.incarnation, job.record.id, job.record.attempt))


def conclusion_s(world: World, record: JobRecord) -> float:
    """How long an agent may take to report an attempt that it was told to end."""
    slices = SLICES if record.keep_partial else 0
    return world.settings.cancel_grace_s + slices * world.settings.preemption.slice_s


def remind(world: World, agent: Agent, attempt: Attempt) -> None:
    """The agent still has the attempt: say again what was said about it, and end what is not wanted."""
    job = world.holder(agent, attempt)
    if job is None:
        world.send(StopAttempt(agent.name, agent.incarnation, *attempt))
    elif job.record.cancel_requested:
        ask_end(world, job)
    elif attempt in agent.making_way:
        world.send(PreemptAttempt(agent.name, agent.incarnation, *attempt))
