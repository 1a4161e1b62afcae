"""Following a job as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from qrtx_ray.api.auth import principal_of
from qrtx_ray.api.context import Api
from qrtx_ray.api.native.views import job_view
from qrtx_ray.api.requests import job_id_of
from qrtx_ray.api.routing import OperationRouter, add_operation, new_router
from qrtx_ray.errors import QrtxError, ValidationError
from qrtx_ray.model import JobId, JobRecord

__all__ = ["Events"]

_MAX_DIGITS = 18
_STREAM = {"responses": {"200": {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}}


class Events:
    """``/v1/jobs/{job_id}/events``."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def router(self) -> OperationRouter:
        router = new_router("jobs")
        add_operation(router, "GET", "/jobs/{job_id}/events", self.events, "Follow a job", extra=_STREAM)
        return router

    async def events(self, request: Request) -> Response:
        """Server-sent events `job`, each with the whole job as data and a sequence number as id. A stream that was cut
        is taken up again with `Last-Event-ID`. Comments keep the connection alive; the stream ends with the job.
        """
        tenant = principal_of(request).tenant
        job_id = job_id_of(request)
        last = request.headers.get("last-event-id", "0")
        if not (last.isascii() and last.isdigit() and len(last) <= _MAX_DIGITS):
            raise ValidationError("Last-Event-ID must be the id of an event", field="Last-Event-ID")
        await self._api.gateway.get(job_id, tenant)  # a 404 must come before the stream has begun
        return StreamingResponse(
            self._stream(job_id, tenant, int(last)),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _stream(self, job_id: JobId, tenant: str, after: int) -> AsyncIterator[bytes]:
        changes = aiter(self._api.gateway.watch(job_id, tenant, after))
        pending: asyncio.Task[tuple[int, JobRecord]] | None = None
        try:
            while True:
                pending = pending or asyncio.ensure_future(_next(changes))
                done, _ = await asyncio.wait({pending}, timeout=self._api.settings.sse_heartbeat_s)
                if not done:
                    yield b": still here\n\n"
                    continue
                try:
                    sequence, record = pending.result()
                except (StopAsyncIteration, QrtxError):
                    return  # ended, or removed while it was followed
                pending = None
                data = orjson.dumps(job_view(record))
                yield b"id: %d\nevent: job\ndata: %s\n\n" % (sequence, data)
        finally:
            if pending is not None and not pending.done():
                pending.cancel()


async def _next(changes: AsyncIterator[tuple[int, JobRecord]]) -> tuple[int, JobRecord]:
    return await anext(changes)
