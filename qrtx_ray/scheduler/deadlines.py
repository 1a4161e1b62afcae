"""What happens when time has passed."""

from __future__ import annotations

from qrtx_ray.model import TaskState
from qrtx_ray.scheduler.asking import ask_end
from qrtx_ray.scheduler.dues import hopeless_from, pause_ends, promotion_at, wait_deadline
from qrtx_ray.scheduler.events import Ticked
from qrtx_ray.scheduler.job import ON_AGENT, WAITING, Job
from qrtx_ray.scheduler.outcomes import (
    cancel,
    lose_attempt,
    lose_compile,
    miss_deadline,
    time_out_pause,
    time_out_queue,
    time_out_run,
)
from qrtx_ray.scheduler.world import World

__all__ = ["on_ticked"]


def on_ticked(world: World, event: Ticked) -> None:  # noqa: ARG001  # every handler has the same shape
    """Handle the deadlines that are due, earliest first; a long list is spread over several ticks."""
    world.write_usage()
    for _ in range(world.settings.ticks_batch):
        job_id = world.timers.pop_due(world.now)
        if job_id is None:
            return
        job = world.jobs[job_id]
        if job.record.state in ON_AGENT:
            _held_too_long(world, job)
        elif job.record.state in WAITING:
            _waited(world, job)
        elif job.record.state is TaskState.PAUSED:
            _paused(world, job)


def _waited(world: World, job: Job) -> None:
    record = job.record
    deadline, hopeless = wait_deadline(world.settings, record), hopeless_from(record)
    if deadline is not None and deadline <= world.now:
        time_out_queue(world, job)
    elif hopeless is not None and hopeless <= world.now:
        miss_deadline(world, job)
    elif record.state is TaskState.COMPILING:
        lose_compile(world, job, "compile lease ran out")
    else:
        promotion = promotion_at(world.settings, job)
        if job.move is not None and job.move.is_over(world.now):
            job.move = None  # for whom it was kept did not come: anybody may have it
            world.settle_line(world.device(record.device))
        if job.line is None:
            world.enqueue(job)  # the backoff before its retry is over
        elif promotion is not None and promotion <= world.now:
            world.promote(job)
        world.arm(job)


def _paused(world: World, job: Job) -> None:
    hopeless = hopeless_from(job.record)
    if hopeless is not None and hopeless <= world.now:
        miss_deadline(world, job)
    elif pause_ends(world.settings, job.record) <= world.now:
        time_out_pause(world, job)
    else:
        world.arm(job)


def _held_too_long(world: World, job: Job) -> None:
    if job.record.cancel_requested:
        cancel(world, job, "its agent did not answer in time")
    elif job.agent is None:
        lose_attempt(world, job, "its agent did not come back")
    else:
        ask_end(world, job)
        time_out_run(world, job)
