"""Following a job: as server-sent events, or by asking for what came after a point of its history."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from qrtx_ray.api.auth import principal_of
from qrtx_ray.api.context import Api
from qrtx_ray.api.gateway import JobUpdate
from qrtx_ray.api.native.models import UpdatesView
from qrtx_ray.api.native.views import change_view, checkpoint_view, job_view
from qrtx_ray.api.requests import Query, job_id_of
from qrtx_ray.api.responses import json_response
from qrtx_ray.api.routing import OperationRouter, add_operation, new_router
from qrtx_ray.errors import QrtxError, ValidationError
from qrtx_ray.model import JobChange, JobId, JobRecord

__all__ = ["Events"]

_MAX_DIGITS = 18
_MAX_SEQUENCE = 10**_MAX_DIGITS - 1
_CHECKPOINT = re.compile(r"checkpoint (\d+)\b")
_STREAM = {"responses": {"200": {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}}


class Events:
    """``/v1/jobs/{job_id}/events`` and ``/v1/jobs/{job_id}/updates``."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._gateway = api.gateway

    def router(self) -> OperationRouter:
        router = new_router("jobs")
        add_operation(router, "GET", "/jobs/{job_id}/events", self.events, "Follow a job", extra=_STREAM)
        add_operation(
            router,
            "GET",
            "/jobs/{job_id}/updates",
            self.updates,
            "What happened to a job since",
            model=UpdatesView,
            query={"after": "sequence of the last change that is known; left out: all", "wait": "seconds, at most 60"},
        )
        return router

    async def updates(self, request: Request) -> Response:
        """Every change with a greater sequence than `after`, exactly as the journal has it, and how far the job is now.
        With `wait` (up to 60) the answer comes when there is a change, or the job has ended.
        """
        tenant = principal_of(request).tenant
        job_id = job_id_of(request)
        query = Query(request)
        after = query.integer("after", 0, 0, _MAX_SEQUENCE)
        deadline = self._api.clock.monotonic() + (query.seconds("wait", self._api.settings.wait_max_s) or 0.0)
        update = await self._gateway.updates(job_id, tenant, after)
        while not update.changes and not update.record.terminal:
            left = deadline - self._api.clock.monotonic()
            if left <= 0:
                break
            await self._gateway.wait(job_id, tenant, left, known_version=update.record.version, until_terminal=False)
            update = await self._gateway.updates(job_id, tenant, after)
        record = update.record
        return json_response(
            {
                "job_id": job_id,
                "state": record.state,
                "terminal": record.terminal,
                "version": record.version,
                **_how_far(record),
                "sequence": update.changes[-1].sequence if update.changes else after,
                "changes": [change_view(change) for change in update.changes],
            }
        )

    async def events(self, request: Request) -> Response:
        """Server-sent events. `job`: the whole job as it is now, with `changes`, those since the event before; `checkpoint`:
        the change and the checkpoint; these have the sequence of the last change as id, and a stream that was cut is taken up
        again with `Last-Event-ID`: then no change is missing and none comes twice. `progress`: how far the present run is,
        without an id. Comments keep the connection alive; the stream ends with the job.
        """
        tenant = principal_of(request).tenant
        job_id = job_id_of(request)
        last = request.headers.get("last-event-id", "0")
        if not (last.isascii() and last.isdigit() and len(last) <= _MAX_DIGITS):
            raise ValidationError("Last-Event-ID must be the id of an event", field="Last-Event-ID")
        await self._gateway.get(job_id, tenant)  # a 404 must come before the stream has begun
        return StreamingResponse(
            self._stream(job_id, tenant, int(last)),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _stream(self, job_id: JobId, tenant: str, after: int) -> AsyncIterator[bytes]:
        updates = aiter(self._gateway.watch(job_id, tenant, after))
        pending: asyncio.Task[JobUpdate] | None = None
        shown: JobRecord | None = None
        try:
            while True:
                pending = pending or asyncio.ensure_future(_next(updates))
                done, _ = await asyncio.wait({pending}, timeout=self._api.settings.sse_heartbeat_s)
                if not done:
                    yield b": still here\n\n"
                    continue
                try:
                    update = pending.result()
                except (StopAsyncIteration, QrtxError):
                    return  # ended, or removed while it was followed
                pending = None
                for event in _events(update, shown):
                    yield event
                shown = update.record
        finally:
            if pending is not None and not pending.done():
                pending.cancel()


async def _next(updates: AsyncIterator[JobUpdate]) -> JobUpdate:
    return await anext(updates)


def _how_far(record: JobRecord) -> dict[str, Any]:
    return {"progress": record.progress, "slices": record.slices, "attempt": record.attempt}


def _events(update: JobUpdate, shown: JobRecord | None) -> Iterator[bytes]:
    """The events of one update, their ids rising: whoever was cut off after any of them misses nothing."""
    record = update.record
    if not update.changes:
        moved = shown is not None and shown.version == record.version
        yield _event("progress", _how_far(record)) if moved else _event("job", {**job_view(record), "changes": []})
        return
    gathered: list[JobChange] = []
    for change in update.changes:
        number = _checkpoint_number(change)
        if number is None:
            gathered.append(change)
            continue
        if gathered:
            yield _job_event(record, gathered)
            gathered = []
        kept = next((checkpoint_view(one) for one in record.checkpoints if one.sequence == number), None)
        yield _event("checkpoint", {"change": change_view(change), "checkpoint": kept}, change.sequence)
    if gathered:
        yield _job_event(record, gathered)


def _job_event(record: JobRecord, changes: Iterable[JobChange]) -> bytes:
    listed = [change_view(change) for change in changes]
    return _event("job", {**job_view(record), "changes": listed}, listed[-1]["sequence"])


def _event(name: str, document: dict[str, Any], number: int | None = None) -> bytes:
    first = b"" if number is None else b"id: %d\n" % number
    return first + b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(document))


def _checkpoint_number(change: JobChange) -> int | None:
    """Which checkpoint a change tells of; None where it is one of state."""
    found = _CHECKPOINT.match(change.reason) if change.from_state == change.to_state else None
    return None if found is None else int(found[1])
