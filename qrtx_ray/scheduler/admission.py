"""The door: which requests become jobs, and what is refused as soon as more is known of them."""

from __future__ import annotations

from typing import Any

from qrtx_ray.errors import (
    DeadlineUnmeetable,
    DeviceUnavailable,
    ErrorInfo,
    IdempotencyConflict,
    InternalError,
    NotFound,
    QueueFull,
    QuotaQpuSeconds,
    QuotaQueued,
    ValidationError,
)
from qrtx_ray.model import AUTO_DEVICE, CircuitProfile, JobRecord, JobRequest, PayloadFormat, Program
from qrtx_ray.scheduler.commands import Duplicate, Refuse
from qrtx_ray.scheduler.events import JobsSubmitted, NewJob
from qrtx_ray.scheduler.job import Job, evolve
from qrtx_ray.scheduler.tenants import Account
from qrtx_ray.scheduler.world import World

__all__ = ["deadline_refusal", "on_jobs_submitted", "quota_refusal"]

_ROUNDING = 1 + 1e-9  # a sum of parts must fit the whole
_BLANK = JobRecord("", 0, "", Program.SAMPLER, "", PayloadFormat.NATIVE, 0.0, 0)  # to be filled in: see `evolve`


def on_jobs_submitted(world: World, event: JobsSubmitted) -> None:
    """Accept, refuse, or recognise each request by itself: one that is refused costs the others nothing."""
    for new in event.jobs:
        existing = _existing(world, new)
        if existing is not None:
            if existing.digest == new.request.digest:
                world.send(Duplicate(new.id, existing.id))
            else:
                text = "the idempotency key was used with another request body"
                world.send(Refuse(new.id, IdempotencyConflict(text, field="idempotency_key").info()))
            continue
        if new.id in world.jobs or new.id in world.finished:
            # Identifiers are ours; accepting one twice would write two jobs into one row.
            world.send(Refuse(new.id, InternalError("the identifier is in use").info()))
            continue
        refusal = _refusal(world, new)
        if refusal is not None:
            world.send(Refuse(new.id, refusal))
            continue
        world.number += 1
        job = world.admit(_record(world, new))
        world.enqueue(job)
        world.arm(job)


def _existing(world: World, new: NewJob) -> JobRecord | None:
    key = new.request.idempotency_key
    if key is None:
        return None
    known = world.keys.get((new.request.tenant, key))
    return new.existing if known is None else world.record(known)


def _refusal(world: World, new: NewJob) -> ErrorInfo | None:
    settings, request = world.settings, new.request
    refusal = _no_device(world, request) or _no_reservation(world, request)
    if refusal is not None:
        return refusal
    limit = settings.max_queue_size
    if world.live >= limit:
        return QueueFull(f"the queue holds {limit} jobs; max_queue_size is {limit}", limit=f"{limit} jobs").info()
    account = world.tenants.account(request.tenant)
    of_tenant = settings.max_queue_per_tenant
    if of_tenant is not None and account.live >= of_tenant:
        text = f"the tenant has {of_tenant} unfinished jobs; max_queue_per_tenant is {of_tenant}"
        return QueueFull(text, limit=f"{of_tenant} jobs").info()
    of_tenant = account.policy.max_queued
    if of_tenant is not None and account.live >= of_tenant:
        text = f"the tenant has {account.live} unfinished jobs; its quota `queued` is {of_tenant}"
        return QuotaQueued(text, field="quotas.queued", limit=f"{of_tenant} jobs").info()
    if not request.dry_run:
        refusal = _over_quota(world, account, account.committed_us, 0)
    return refusal or deadline_refusal(world, request.deadline_at, 0.0)


def _no_device(world: World, request: JobRequest) -> ErrorInfo | None:
    automatic = request.device == AUTO_DEVICE
    if automatic and not request.choices:
        return DeviceUnavailable("there is no device to choose from", field="choices").info()
    for name in request.choices if automatic else (request.device,):
        device = world.devices.get(name)
        if device is None or not device.configured:
            field = "choices" if automatic else "device"
            return DeviceUnavailable(f"there is no device {name}", field=field).info()
    return None


def _no_reservation(world: World, request: JobRequest) -> ErrorInfo | None:
    """A reservation that the job names but that does not hold a device of its for its tenant."""
    if request.reservation is None:
        return None
    found = world.reservations.get(request.reservation)
    devices = request.choices if request.device == AUTO_DEVICE else (request.device,)
    if found is None or found.tenant != request.tenant:
        return NotFound(f"there is no reservation {request.reservation}", field="reservation").info()
    if found.device not in devices:
        text = f"the reservation is for {found.device}, where the job does not go"
        return ValidationError(text, field="reservation", limit=found.device).info()
    return None


def quota_refusal(world: World, job: Job, profile: CircuitProfile) -> ErrorInfo | None:
    """What a job whose QPU time has become known exceeds of its tenant's quota, with all that the tenant has unfinished."""
    if job.record.dry_run:
        return None
    others_us = job.account.committed_us - job.committed_us
    return _over_quota(world, job.account, others_us, round(profile.qpu_s * 1e6))


def _over_quota(world: World, account: Account, others_us: int, own_us: int) -> ErrorInfo | None:
    """Whether the period's QPU time is spent: charged, promised to unfinished jobs, or exceeded by `own_us` more."""
    limit = account.policy.max_qpu_s
    if limit is None:
        return None
    used = world.tenants.used_in_period_s(account, world.now)
    total = used + (others_us + own_us) * 1e-6
    if total < limit or (own_us and total <= limit * _ROUNDING):
        return None
    text = (
        f"the tenant used {used:.6g} s of QPU time in this period and its unfinished jobs need {others_us * 1e-6:.6g} s"
    )
    text += f", this one {own_us * 1e-6:.6g} s" if own_us else ""
    text += f"; its quota `qpu_seconds` is {limit:.6g} s in {account.policy.period_s:.6g} s"
    return QuotaQpuSeconds(text, field="quotas.qpu_seconds", limit=f"{limit:.6g} s").info()


def deadline_refusal(world: World, deadline_at: float | None, estimated_s: float) -> ErrorInfo | None:
    """Whether a job that runs for `estimated_s` cannot end before its deadline even if it begins now."""
    if deadline_at is None or world.now < deadline_at - estimated_s:
        return None
    left = deadline_at - world.now
    text = f"the run would take {estimated_s:.3f} s; the deadline is in {left:.3f} s"
    if left <= 0.0:
        text = f"the deadline, {deadline_at:.3f} s since the epoch, has passed"
    return DeadlineUnmeetable(text, field="deadline_at", limit=f"{deadline_at:.3f} s since the epoch").info()


def _record(world: World, new: NewJob) -> JobRecord:
    request = new.request
    kept = request.checkpoints[: world.settings.kept_checkpoints]
    fields: dict[str, Any] = {
        "id": new.id,
        "number": world.number,
        "tenant": request.tenant,
        "program": request.program,
        "device": request.device,
        "payload_format": request.payload_format,
        "created_at": world.now,
        "seed": new.seed,
        "instance": request.instance,
        "priority": request.priority,
        "name": request.name,
        "tags": request.tags,
        "session_id": request.session_id,
        "private": request.private,
        "queue_timeout_s": request.queue_timeout_s,
        "execution_timeout_s": request.execution_timeout_s,
        "max_qpu_s": request.max_qpu_s,
        "idempotency_key": request.idempotency_key,
        "digest": request.digest,
        "client": request.client,
        "source": request.source,
        "choices": request.choices,
        "deadline_at": request.deadline_at,
        "fidelity_floor": request.fidelity_floor,
        "reservation": request.reservation,
        "dry_run": request.dry_run,
        "checkpoint_interval_s": request.checkpoint_interval_s,
        "restored_from": request.restored_from,
        "checkpoints": kept,
        "progress": kept[0].progress if kept else 0.0,
    }
    return evolve(_BLANK, fields)
