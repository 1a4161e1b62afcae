"""The ends of an attempt and of a job. Each function is one way; who calls them decides which it is."""

from __future__ import annotations

from typing import Any

from qrtx_ray.errors import AttemptLost, ErrorInfo, ExecuteError, ExecutionTimeout, QueueTimeout
from qrtx_ray.model import CompileReport, RunReport, TaskState
from qrtx_ray.scheduler.admission import deadline_refusal
from qrtx_ray.scheduler.job import Job
from qrtx_ray.scheduler.retry import backoff_s, deserves_retry, losses_with_this
from qrtx_ray.scheduler.states import Trigger
from qrtx_ray.scheduler.world import World

__all__ = [
    "cancel",
    "estimated",
    "fail",
    "lose_attempt",
    "lose_compile",
    "made_way",
    "miss_deadline",
    "settle",
    "time_out_queue",
    "time_out_run",
]

_IDLE: dict[str, Any] = {"agent": None, "group": None, "progress": 0.0, "substate": None, "started_at": None}


def _end(world: World, job: Job, triggers: list[Trigger], reason: str, **changes: Any) -> None:
    world.advance(job, triggers, reason, substate=None, finished_at=world.now, not_before=None, **changes)
    world.close(job)


def fail(world: World, job: Job, error: ErrorInfo) -> None:
    """Failed, with `error`."""
    _end(world, job, [Trigger.FAILED], error.code, error=error)


def estimated(world: World, job: Job, report: CompileReport) -> None:
    """Completed without a run: what was asked for is the estimate, and the report says where it is."""
    found = {"profile": report.profile, "candidates": report.candidates or job.record.candidates}
    digest = {"result_sha256": report.result_sha256, "result_bytes": report.result_bytes}
    _end(world, job, [Trigger.ESTIMATED], "estimated", progress=1.0, qpu_s=0.0, **found, **digest)


def cancel(world: World, job: Job, reason: str, **changes: Any) -> None:
    """Cancelled: at once if it waits, or when whoever holds it has let go."""
    _end(world, job, [Trigger.CANCELLED], reason, **changes)


def time_out_queue(world: World, job: Job) -> None:
    """Timeout: it waited too long."""
    limit = job.record.queue_timeout_s
    limit = world.settings.queue_timeout_s if limit is None else limit
    error = QueueTimeout(
        f"the job waited longer than queue_timeout_s = {limit} s", field="queue_timeout_s", limit=f"{limit} s"
    )
    _end(world, job, [Trigger.QUEUE_TIMED_OUT], error.code, error=error.info())


def miss_deadline(world: World, job: Job) -> None:
    """Failed: it still waits, and cannot end before its deadline any more."""
    estimated_s = job.record.profile.estimated_s if job.record.profile else 0.0
    error = deadline_refusal(world, job.record.deadline_at, estimated_s)
    assert error is not None
    fail(world, job, error)


def time_out_run(world: World, job: Job) -> None:
    """Timeout: the attempt ran too long and its agent did not end it."""
    limit = world.timeout_s(job.record)
    error = ExecutionTimeout(
        f"the job ran longer than execution_timeout_s = {limit} s", field="execution_timeout_s", limit=f"{limit} s"
    )
    _end(world, job, [Trigger.EXECUTION_TIMED_OUT], error.code, error=error.info())


def lose_compile(world: World, job: Job, reason: str) -> None:
    """Its compiler is gone or silent: back to Pending, unless it has cost too many compilers."""
    if job.compiler is not None:
        job.compiler.held.pop(job.record.id, None)
    job.compiler = job.patience_until = None
    job.compile_losses += 1
    if job.compile_losses > world.settings.max_losses:
        text = f"the job lost its compiler {job.compile_losses} times; max_losses is {world.settings.max_losses}"
        fail(world, job, AttemptLost(text, limit=str(world.settings.max_losses)).info())
        return
    world.advance(job, [Trigger.COMPILE_LOST], reason)
    world.enqueue(job)
    world.arm(job)


def lose_attempt(world: World, job: Job, reason: str) -> None:
    """Whoever held the attempt is gone: cancelled if that was wanted, failed after too many, else back in line."""
    record = job.record
    losses = losses_with_this(record)
    if record.cancel_requested:
        cancel(world, job, reason)
    elif losses > world.settings.max_losses:
        text = f"the job lost its agent {losses} times; max_losses is {world.settings.max_losses}"
        fail(world, job, AttemptLost(text, limit=str(world.settings.max_losses)).info())
    else:
        kept = job.progress_before if record.checkpoint_sha256 is not None else 0.0
        _back_in_line(world, job, Trigger.ATTEMPT_LOST, reason, not_before=None, progress=kept)


def settle(world: World, job: Job, report: RunReport) -> None:
    """The agent spoke of the present attempt: that decides what becomes of the job."""
    record = job.record
    error = report.error
    world.charge(job, report.qpu_s)
    if record.cancel_requested:
        # Even a success: whoever was told "cancelled" must never see a result.
        cancel(world, job, "stopped by its agent", qpu_s=report.qpu_s)
        return
    if error is not None and error.code == AttemptLost.code:
        lose_attempt(world, job, error.message)
        return
    if report.preempted:
        made_way(world, job, report)
        return
    if record.state is TaskState.ALLOCATING:
        # The notice of the start was lost or overtaken by the report.
        world.advance(job, [Trigger.STARTED], "reported", started_at=max(world.now - report.wall_s, 0.0))
    if error is None and report.sha256 is not None:
        digest = {"result_sha256": report.sha256, "result_bytes": report.size_bytes}
        done = [Trigger.RESULT_STORED, Trigger.RESULT_ACCEPTED]
        _end(world, job, done, "completed", progress=1.0, qpu_s=report.qpu_s, error=None, **digest)
        return
    if error is None:
        error = ExecuteError("the agent reported neither a result nor an error").info()
    if error.code == ExecutionTimeout.code:
        _end(world, job, [Trigger.EXECUTION_TIMED_OUT], error.code, error=error, qpu_s=report.qpu_s)
    elif deserves_retry(error, record.retries, world.settings, _tried_for_s(world, job)):
        retries = record.retries + 1
        due = world.now + backoff_s(retries, world.settings)
        _back_in_line(world, job, Trigger.RETRIED, error.code, retries=retries, not_before=due, checkpoint_sha256=None)
    else:
        _end(world, job, [Trigger.FAILED], error.code, error=error, qpu_s=report.qpu_s)


def made_way(world: World, job: Job, report: RunReport) -> None:
    """The attempt ended between two slices for more urgent work: back in line, with what is kept of it."""
    world.preempted += 1
    record = job.record
    kept = report.checkpoint_sha256 or record.checkpoint_sha256
    job.keeps_nothing = record.state is TaskState.EXECUTING and kept is None
    # An attempt that goes back untouched names what it was given, and cannot know how far that was.
    done = job.progress_before if kept == record.checkpoint_sha256 else report.progress
    progress = min(max(done, 0.0), 1.0) if kept else 0.0
    changes = {"preemptions": record.preemptions + 1, "checkpoint_sha256": kept, "progress": progress}
    _back_in_line(world, job, Trigger.PREEMPTED, "made way", not_before=None, **changes)


def _tried_for_s(world: World, job: Job) -> float:
    return 0.0 if job.first_run_at is None else world.now - job.first_run_at


def _back_in_line(world: World, job: Job, trigger: Trigger, reason: str, **changes: Any) -> None:
    world.unclaim(job)
    world.advance(job, [trigger], reason, queued_at=world.now, **(_IDLE | changes))
    job.agent = job.patience_until = None
    due = job.record.not_before
    if due is None or due <= world.now:
        world.enqueue(job)
    world.arm(job)
