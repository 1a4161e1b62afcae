"""When a job's next deadline is: every rule of waiting as a function of the job and the settings."""

from __future__ import annotations

from qrtx_ray.model import JobRecord, TaskState
from qrtx_ray.scheduler.job import ON_AGENT, Job, kept_progress
from qrtx_ray.scheduler.settings import CoreSettings

__all__ = [
    "hopeless_from",
    "left_s",
    "next_due",
    "pause_ends",
    "promotion_at",
    "timeout_s",
    "wait_deadline",
    "waits_since",
]


def timeout_s(settings: CoreSettings, record: JobRecord) -> float:
    """What one attempt of the job may take, in seconds."""
    limit = record.execution_timeout_s
    return settings.execution_timeout_s if limit is None else limit


def waits_since(record: JobRecord) -> float:
    """From when on the waiting of a job counts: from its submit, or from where its last attempt, or a pause, left it."""
    began = record.created_at if not record.attempt else record.queued_at or 0.0
    return max(began, record.not_before or 0.0)


def wait_deadline(settings: CoreSettings, record: JobRecord) -> float | None:
    """When a waiting job has waited too long; None for never."""
    limit = settings.queue_timeout_s if record.queue_timeout_s is None else record.queue_timeout_s
    return None if limit is None else waits_since(record) + limit


def pause_ends(settings: CoreSettings, record: JobRecord) -> float:
    """When a paused job has been paused for too long."""
    return (record.paused_at or 0.0) + settings.paused_timeout_s


def left_s(record: JobRecord) -> float:
    """Estimated run time of what a waiting job has before it: what its checkpoints keep is behind it."""
    return record.profile.estimated_s * (1.0 - kept_progress(record)) if record.profile else 0.0


def hopeless_from(record: JobRecord) -> float | None:
    """From when on a waiting job cannot end before its deadline any more; None without one."""
    return None if record.deadline_at is None else record.deadline_at - left_s(record)


def promotion_at(settings: CoreSettings, job: Job) -> float | None:
    """When a job will have waited longer than its level allows; None for never, or when it has."""
    limit = settings.levels[job.level].max_wait_s
    return None if limit is None or job.record.promoted_at is not None else job.since_us * 1e-6 + limit


def next_due(settings: CoreSettings, job: Job) -> float | None:
    """The first of the job's deadlines, whatever it waits for."""
    record = job.record
    if record.state in ON_AGENT:
        return job.patience_until
    if record.state is TaskState.PAUSED:
        return _first(pause_ends(settings, record), hopeless_from(record))
    due, extra = wait_deadline(settings, record), job.patience_until
    if extra is None and job.line is not None:
        extra = promotion_at(settings, job)
        if job.move is not None:
            extra = _first(extra, job.move.until)
    elif extra is None and record.state is TaskState.QUEUED:
        extra = record.not_before
    due = _first(due, extra)
    return due if record.deadline_at is None else _first(due, hopeless_from(record))


def _first(one: float | None, two: float | None) -> float | None:
    if one is None or two is None:
        return two if one is None else one
    return min(one, two)
