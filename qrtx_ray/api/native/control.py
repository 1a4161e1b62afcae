"""What a job can be told while it is on its way: pause, resume, checkpoint, migrate, cancel; and how it is begun again."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray.api.auth import principal_of
from qrtx_ray.api.context import Api
from qrtx_ray.api.envelope import idempotency_key
from qrtx_ray.api.native.models import CancelBody, CheckpointListView, JobView, MigrateBody, RestoreBody
from qrtx_ray.api.native.views import checkpoint_view, job_view
from qrtx_ray.api.requests import Query, integer, job_id_of, optional_object, text
from qrtx_ray.api.responses import json_response
from qrtx_ray.api.routing import OperationRouter, add_operation, new_router, schema_reference
from qrtx_ray.errors import ValidationError
from qrtx_ray.model import JobRecord

__all__ = ["Control"]

_MAX_SEQUENCE = 2**53


def _body(model: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": schema_reference(model)}}
    return {"requestBody": {"required": False, "content": content}}


class Control:
    """Commands below ``/v1/jobs/{job_id}``, and the job's checkpoints."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._gateway = api.gateway

    def router(self) -> OperationRouter:
        router = new_router("jobs")

        def command(name: str, handler: Any, summary: str, **more: Any) -> None:
            add_operation(router, "POST", f"/jobs/{{job_id}}/{name}", handler, summary, model=JobView, **more)

        partial = {"partial": "true: keep the results of what was done until then"}
        command("cancel", self.cancel, "Cancel", query=partial, extra=_body(CancelBody))
        command("pause", self.pause, "Pause")
        command("resume", self.resume, "Let a paused job go on")
        wait = {"wait": "seconds, at most 60: answer when the checkpoint stands"}
        command("checkpoint", self.checkpoint, "Keep the progress of a running job now", query=wait)
        command("migrate", self.migrate, "Let a running job go on elsewhere", extra=_body(MigrateBody))
        command("restore", self.restore, "A new job from checkpoints", status=201, extra=_body(RestoreBody))
        add_operation(
            router, "GET", "/jobs/{job_id}/checkpoints", self.checkpoints, "Checkpoints", model=CheckpointListView
        )
        return router

    async def cancel(self, request: Request) -> Response:
        """A waiting or paused job is Cancelled at once, a running one is stopped. With `{"partial": true}`, or
        `?partial=true`, a run ends after its slice, and its results are kept as far as they go. 409 when it has ended.
        """
        tenant = principal_of(request).tenant
        body = await self._read(request, CancelBody)
        partial = body.get("partial", Query(request).flag("partial"))
        if not isinstance(partial, bool | None):
            raise ValidationError("partial must be true or false", field="partial")
        record = await self._gateway.cancel(job_id_of(request), tenant, tenant, partial=partial or False)
        return json_response(job_view(record))

    async def pause(self, request: Request) -> Response:
        """A waiting job is Paused at once. One that runs pauses after its slice, and keeps what it has done: until then
        `pause_requested` is true. Pausing again changes nothing. 409 when it has ended.
        """
        tenant = principal_of(request).tenant
        return json_response(job_view(await self._gateway.pause(job_id_of(request), tenant, tenant)))

    async def resume(self, request: Request) -> Response:
        """A paused job waits for a device again, and goes on from its last checkpoint. What is not paused stays as it is.
        409 when it has ended.
        """
        tenant = principal_of(request).tenant
        return json_response(job_view(await self._gateway.resume(job_id_of(request), tenant, tenant)))

    async def checkpoint(self, request: Request) -> Response:
        """After its slice the job keeps what it has done, and runs on. With `?wait=` (seconds, at most 60) the answer comes
        when a newer checkpoint stands, or the job has ended. 409 unless it runs.
        """
        tenant = principal_of(request).tenant
        job_id = job_id_of(request)
        wait_s = Query(request).seconds("wait", self._api.settings.wait_max_s) or 0.0
        before = _newest(await self._gateway.get(job_id, tenant))
        record = await self._gateway.checkpoint(job_id, tenant)
        deadline = self._api.clock.monotonic() + wait_s
        while not record.terminal and _newest(record) <= before:
            left = deadline - self._api.clock.monotonic()
            if left <= 0:
                break
            record = await self._gateway.wait(job_id, tenant, left, known_version=record.version, until_terminal=False)
        return json_response(job_view(record))

    async def migrate(self, request: Request) -> Response:
        """After its slice the job leaves its agent and goes on with `agent`, or with any other. 409 unless it runs and
        somebody else can take it.
        """
        tenant = principal_of(request).tenant
        agent = (await self._read(request, MigrateBody)).get("agent")
        if agent is not None:
            agent = text(agent, "agent", 128)
        return json_response(job_view(await self._gateway.migrate(job_id_of(request), tenant, tenant, agent)))

    async def restore(self, request: Request) -> Response:
        """A new job with the request and the seed of one that has ended. It begins with its newest checkpoint, or with that
        numbered `sequence`; one that does not fit any more is left out. Takes an `Idempotency-Key`. 409 when the job has not
        ended.
        """
        tenant = principal_of(request).tenant
        sequence = (await self._read(request, RestoreBody)).get("sequence")
        if sequence is not None:
            integer(sequence, "sequence", 1, _MAX_SEQUENCE)
        key = idempotency_key(request)
        record = await self._gateway.restore(job_id_of(request), tenant, tenant, sequence, key)
        return json_response(job_view(record), 201, {"Location": f"/v1/jobs/{record.id}"})

    async def checkpoints(self, request: Request) -> Response:
        """Those that are valid, newest first."""
        record = await self._gateway.get(job_id_of(request), principal_of(request).tenant)
        listed = [checkpoint_view(one) for one in record.checkpoints]
        return json_response({"job_id": record.id, "checkpoints": listed})

    async def _read(self, request: Request, model: Any) -> dict[str, Any]:
        settings = self._api.settings
        return await optional_object(request, settings.body_timeout_s, settings.json_depth, model.model_fields)


def _newest(record: JobRecord) -> int:
    """The number of the newest checkpoint, 0 where there is none."""
    return max((one.sequence for one in record.checkpoints), default=0)
