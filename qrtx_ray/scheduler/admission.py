"""The door: which requests become jobs."""

from __future__ import annotations

from qrtx_ray.errors import DeviceUnavailable, ErrorInfo, IdempotencyConflict, InternalError, QueueFull
from qrtx_ray.model import JobRecord
from qrtx_ray.scheduler.commands import Duplicate, Refuse
from qrtx_ray.scheduler.events import JobsSubmitted, NewJob
from qrtx_ray.scheduler.world import World

__all__ = ["on_jobs_submitted"]


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
        job = world.admit(_record(new, world.number, world.now))
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
    device = world.devices.get(request.device)
    if device is None or not device.configured:
        return DeviceUnavailable(f"there is no device {request.device}", field="device").info()
    limit = settings.max_queue_size
    if world.live >= limit:
        return QueueFull(f"the queue holds {limit} jobs; max_queue_size is {limit}", limit=f"{limit} jobs").info()
    of_tenant = settings.max_queue_per_tenant
    if of_tenant is not None and world.tenants.get(request.tenant, 0) >= of_tenant:
        text = f"the tenant has {of_tenant} unfinished jobs; max_queue_per_tenant is {of_tenant}"
        return QueueFull(text, limit=f"{of_tenant} jobs").info()
    return None


def _record(new: NewJob, number: int, now: float) -> JobRecord:
    request = new.request
    return JobRecord(
        id=new.id,
        number=number,
        tenant=request.tenant,
        program=request.program,
        device=request.device,
        payload_format=request.payload_format,
        created_at=now,
        seed=new.seed,
        instance=request.instance,
        priority=request.priority,
        name=request.name,
        tags=request.tags,
        session_id=request.session_id,
        private=request.private,
        queue_timeout_s=request.queue_timeout_s,
        execution_timeout_s=request.execution_timeout_s,
        max_qpu_s=request.max_qpu_s,
        idempotency_key=request.idempotency_key,
        digest=request.digest,
        client=request.client,
        source=request.source,
    )
