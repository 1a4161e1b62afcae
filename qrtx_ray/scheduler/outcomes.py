"""The ends of an attempt and of a job. Each function is one way; who calls them decides which it is."""

from __future__ import annotations

from typing import Any

from qrtx_ray.errors import AttemptLost, ErrorInfo, ExecuteError, ExecutionTimeout, PauseTimeout, QueueTimeout
from qrtx_ray.model import CompileReport, RunReport, TaskState
from qrtx_ray.scheduler.admission import deadline_refusal
from qrtx_ray.scheduler.dues import left_s, timeout_s
from qrtx_ray.scheduler.job import Job, Why, kept_progress
from qrtx_ray.scheduler.keeping import take_in
from qrtx_ray.scheduler.retry import backoff_s, deserves_retry, losses_with_this
from qrtx_ray.scheduler.states import Trigger
from qrtx_ray.scheduler.world import World

__all__ = [
    "MOVE_GRACE_S",
    "cancel",
    "estimated",
    "fail",
    "lose_attempt",
    "lose_compile",
    "made_way",
    "miss_deadline",
    "put_aside",
    "settle",
    "time_out_pause",
    "time_out_queue",
    "time_out_run",
]

MOVE_GRACE_S = 30.0  #: how long a job that is moved is kept for whom it is to go to
_IDLE: dict[str, Any] = {"agent": None, "group": None, "substate": None, "started_at": None, "slices": 0}


def _end(world: World, job: Job, triggers: list[Trigger], reason: str, **changes: Any) -> None:
    idle = {"substate": None, "not_before": None, "pause_requested": False}
    world.advance(job, triggers, reason, finished_at=world.now, **(idle | changes))
    world.close(job)


def fail(world: World, job: Job, error: ErrorInfo, **changes: Any) -> None:
    """Failed, with `error`."""
    _end(world, job, [Trigger.FAILED], error.code, error=error, **changes)


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


def time_out_pause(world: World, job: Job) -> None:
    """Timeout: it was paused for too long."""
    limit = world.settings.paused_timeout_s
    error = PauseTimeout(f"the job was paused for longer than {limit:g} s", limit=f"{limit:g} s")
    _end(world, job, [Trigger.PAUSE_TIMED_OUT], error.code, error=error.info())


def miss_deadline(world: World, job: Job) -> None:
    """Failed: it still waits, and cannot end before its deadline any more."""
    error = deadline_refusal(world, job.record.deadline_at, left_s(job.record))
    assert error is not None
    fail(world, job, error)


def time_out_run(world: World, job: Job) -> None:
    """Timeout: the attempt ran too long and its agent did not end it."""
    limit = timeout_s(world.settings, job.record)
    error = ExecutionTimeout(
        f"the job ran longer than execution_timeout_s = {limit} s", field="execution_timeout_s", limit=f"{limit} s"
    )
    _end(world, job, [Trigger.EXECUTION_TIMED_OUT], error.code, error=error.info())


def put_aside(world: World, job: Job, **changes: Any) -> None:
    """Paused, by whom its record names: nobody holds it any more, and it stands in no line."""
    world.leave_line(job)
    world.promise(job, None)
    world.unclaim(job)
    world.commit(job)
    job.agent = job.compiler = job.patience_until = job.move = job.asked = None
    kept = kept_progress(job.record)
    wish = {"pause_requested": False, "paused_at": world.now, "promoted_at": None, "progress": kept}
    world.advance(job, [Trigger.PAUSED], f"paused by {job.record.paused_by}", **(wish | changes))
    world.arm(job)


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
    if job.record.pause_requested:
        put_aside(world, job)
        return
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
        fail(world, job, AttemptLost(text, limit=str(world.settings.max_losses)).info(), losses=losses)
    else:
        _back_in_line(world, job, Trigger.ATTEMPT_LOST, reason, not_before=None, losses=losses)


def settle(world: World, job: Job, report: RunReport) -> None:
    """The agent spoke of the present attempt: that decides what becomes of the job."""
    world.charge(job, report.qpu_s)
    take_in(world, job, report)
    error = report.error
    if job.record.cancel_requested:
        _settle_cancelled(world, job, report)
    elif error is not None and error.code == AttemptLost.code:
        lose_attempt(world, job, error.message)
    elif report.preempted:
        made_way(world, job)
    elif report.partial:
        lose_attempt(world, job, "its agent concluded it though nobody had asked")
    else:
        _settle_run(world, job, report)


def _settle_cancelled(world: World, job: Job, report: RunReport) -> None:
    """Even a success cancels it: whoever was told "cancelled" must never see a result, unless they asked for what there is."""
    wanted = job.record.keep_partial and report.error is None and not report.preempted
    if not wanted or report.sha256 is None:
        cancel(world, job, "stopped by its agent", qpu_s=report.qpu_s)
        return
    digest = {"result_sha256": report.sha256, "result_bytes": report.size_bytes, "partial": report.partial}
    progress = min(max(0.0, report.progress), 1.0) if report.partial else 1.0
    cancel(world, job, "concluded by its agent", qpu_s=report.qpu_s, progress=progress, **digest)


def _settle_run(world: World, job: Job, report: RunReport) -> None:
    record, error = job.record, report.error
    if record.state is TaskState.ALLOCATING:
        # The notice of the start was lost or overtaken by the report.
        world.advance(job, [Trigger.STARTED], "reported", started_at=max(world.now - report.wall_s, 0.0))
    if error is None and report.sha256 is not None:
        digest = {"result_sha256": report.sha256, "result_bytes": report.size_bytes, "checkpoints": ()}
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
        _back_in_line(world, job, Trigger.RETRIED, error.code, retries=retries, not_before=due, checkpoints=())
    else:
        _end(world, job, [Trigger.FAILED], error.code, error=error, qpu_s=report.qpu_s)


def made_way(world: World, job: Job) -> None:
    """The attempt ended between two slices, as it was asked to: back in line, with what is kept of it, or put aside."""
    record, why = job.record, job.asked
    job.keeps_nothing = record.state is TaskState.EXECUTING and not record.checkpoints
    changes = {}
    if record.pause_requested:
        why = Why.PAUSE
    elif why is Why.PAUSE:
        why = None  # it was resumed before its agent let go
    elif why is Why.URGENT:
        world.preempted += 1
        changes["preemptions"] = record.preemptions + 1
    if job.move is not None:
        job.move.until = world.now + MOVE_GRACE_S
    # An agent that shuts down gives back what it has unasked; after a restart nobody knows what it was asked.
    reason = "given back" if why is None else why.value
    _back_in_line(world, job, Trigger.PREEMPTED, reason, not_before=None, **changes)


def _tried_for_s(world: World, job: Job) -> float:
    return 0.0 if job.first_run_at is None else world.now - job.first_run_at


def _back_in_line(world: World, job: Job, trigger: Trigger, reason: str, **changes: Any) -> None:
    world.unclaim(job)
    if job.record.pause_requested and trigger is Trigger.PREEMPTED:
        put_aside(world, job, **(_IDLE | changes))
        return
    kept = 0.0 if "checkpoints" in changes else kept_progress(job.record)
    world.advance(job, [trigger], reason, queued_at=world.now, progress=kept, **(_IDLE | changes))
    job.agent = job.patience_until = job.asked = None
    if job.move is not None and job.move.until is None:
        job.move = None  # the attempt ended in another way than by being moved
    if job.record.pause_requested:
        put_aside(world, job)
        return
    due = job.record.not_before
    if due is None or due <= world.now:
        world.enqueue(job)
    world.arm(job)
