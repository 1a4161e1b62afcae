"""Jobs of the native API."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray.api.auth import principal_of
from qrtx_ray.api.context import Api
from qrtx_ray.api.native.models import HistoryView, JobListView, JobView, ManyAccepted, NativeJobs, ResultsView
from qrtx_ray.api.native.results import converted, no_results
from qrtx_ray.api.native.submission import (
    MEDIA_TYPES,
    NativeSender,
    build_native,
    build_one_of_many,
    read_native_body,
    sender_of,
)
from qrtx_ray.api.native.views import change_view, error_view, job_view
from qrtx_ray.api.requests import Query, job_id_of, parse_json
from qrtx_ray.api.responses import empty, json_bytes, json_response
from qrtx_ray.api.routing import OperationRouter, add_operation, new_router, schema_reference
from qrtx_ray.codec.native_schema import NativeJob
from qrtx_ray.errors import ErrorInfo, QrtxError, ValidationError
from qrtx_ray.model import JobQuery, JobRecord, JobRequest, TaskState

__all__ = ["JOB_BODY", "Jobs"]

_STATES = {state.value.lower(): state for state in TaskState}
_MAX_OFFSET = 10**9
_MAX_VERSION = 2**53
_MANY_KEYS = {"jobs"}
_FILTERS = {
    "state": "repeatable; any of them",
    "device": "name or alias",
    "program": "sampler or estimator",
    "tag": "repeatable; all must be there",
    "session_id": "jobs of a session",
    "created_after": "ISO 8601",
    "created_before": "ISO 8601",
    "order": "asc: oldest first",
    "limit": "jobs on the page",
    "offset": "jobs to skip",
}


class Jobs:
    """Jobs: sending them, asking for them, their results and their end."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._gateway = api.gateway

    def router(self) -> OperationRouter:
        router = new_router("jobs")
        add_operation(
            router,
            "GET",
            "/jobs/{job_id}",
            self.get,
            "A job, now or when it has changed",
            model=JobView,
            query={"wait": "seconds, at most 60", "version": "the version that is known already"},
        )
        add_operation(
            router, "POST", "/jobs", self.submit, "Submit", model=JobView | ManyAccepted, status=201, extra=_BODY
        )
        add_operation(
            router,
            "GET",
            "/jobs/{job_id}/results",
            self.results,
            "Results",
            model=ResultsView,
            query={"wait": "seconds, at most 60", "format": "native or runtime", "memory": "true: every shot"},
        )
        add_operation(router, "GET", "/jobs", self.list, "List jobs", model=JobListView, query=_FILTERS)
        add_operation(router, "GET", "/jobs/{job_id}/history", self.history, "All changes", model=HistoryView)
        add_operation(router, "DELETE", "/jobs/{job_id}", self.delete, "Remove a job that has ended", status=204)
        return router

    async def submit(self, request: Request) -> Response:
        """One job, or `{"jobs": [...]}` for several: then the answer lists an outcome for each. A YAML job file is
        taken too, and a bare OpenQASM or QPY circuit with `?device=&shots=&seed=`. The answer means that the job is durable. With an
        `Idempotency-Key` the same body gives the same job; another body is refused with 409.
        """
        sender = sender_of(request)
        body = await read_native_body(request, self._api.settings)
        # only a body that names "jobs" near its start can be one with many, and it is then parsed twice
        if b'"jobs"' in body[:64]:
            document = parse_json(body, self._api.settings.json_depth)
            if isinstance(document, dict) and document.keys() == _MANY_KEYS:
                return await self._submit_many(document["jobs"], sender)
        record = await self._gateway.submit(build_native(body, sender, self._api.directory, self._api.settings))
        return json_response(job_view(record), 201, {"Location": f"/v1/jobs/{record.id}"})

    async def _submit_many(self, items: Any, sender: NativeSender) -> Response:
        most = self._api.settings.max_jobs_per_request
        if not isinstance(items, list) or not 0 < len(items) <= most:
            raise ValidationError(f"jobs must be a list of 1 to {most} jobs", field="jobs", limit=str(most))
        built = [
            build_one_of_many(item, index, sender, self._api.directory, self._api.settings)
            for index, item in enumerate(items)
        ]
        good = [job for job in built if isinstance(job, JobRequest)]
        accepted = iter(await self._gateway.submit_many(good) if good else [])
        outcomes = [_outcome(one.info() if isinstance(one, QrtxError) else next(accepted)) for one in built]
        return json_response({"outcomes": outcomes}, 201)

    async def get(self, request: Request) -> Response:
        """With `?wait=<seconds>` (up to 60) the answer comes when the job has ended, with `&version=<known version>`
        already when it has changed.
        """
        tenant = principal_of(request).tenant
        job_id = job_id_of(request)
        query = Query(request)
        wait_s = query.seconds("wait", self._api.settings.wait_max_s)
        if not wait_s:
            return json_response(job_view(await self._gateway.get(job_id, tenant)))
        known = query.integer("version", -1, -1, _MAX_VERSION)
        record = await self._gateway.wait(
            job_id, tenant, wait_s, known_version=None if known < 0 else known, until_terminal=known < 0
        )
        return json_response(job_view(record))

    async def list(self, request: Request) -> Response:
        """Filters: `state` (repeatable, any of), `device`, `program`, `tag` (repeatable, all of), `session_id`,
        `created_after`, `created_before`; `order=asc` for oldest first; `limit`, `offset`.
        """
        query = Query(request)
        limit = query.integer("limit", 20, 1, self._api.settings.page_limit)
        offset = query.integer("offset", 0, 0, _MAX_OFFSET)
        named = query.get("device")
        device = self._api.directory.find(named) if named else None
        states = [_STATES.get(state.lower()) for state in query.all("state")]
        if None in states:
            raise ValidationError(f"state must be one of {', '.join(TaskState)}", field="state")
        order = (query.get("order") or "desc").lower()
        if order not in ("asc", "desc"):
            raise ValidationError("order must be asc or desc", field="order")
        page = await self._gateway.query(
            JobQuery(
                tenant=principal_of(request).tenant,
                states=frozenset(state for state in states if state) or None,
                device=device.name if device else named,
                program=query.get("program"),
                session_id=query.get("session_id"),
                tags=query.all("tag"),
                created_after=query.time("created_after"),
                created_before=query.time("created_before"),
                ascending=order == "asc",
                limit=limit,
                offset=offset,
            )
        )
        jobs = [job_view(record) for record in page.records]
        return json_response({"jobs": jobs, "total": page.total, "limit": limit, "offset": offset})

    async def results(self, request: Request) -> Response:
        """`format=native` (default): counts or expectation values in plain JSON, with `memory=true` every shot.
        `format=runtime`: the document as the official client decodes it. With `?wait=` it waits for the end. A job that
        was cancelled with `partial` has the results of what was done until then. 409 when the job has no results (yet).
        """
        tenant = principal_of(request).tenant
        job_id = job_id_of(request)
        query = Query(request)
        wait_s = query.seconds("wait", self._api.settings.wait_max_s)
        form = query.get("format") or "native"
        if form not in ("native", "runtime"):
            raise ValidationError("format must be native or runtime", field="format")
        memory = query.flag("memory") or False
        if wait_s:
            await self._gateway.wait(job_id, tenant, wait_s, known_version=None, until_terminal=True)
        before = await self._gateway.get(job_id, tenant)
        document = await self._gateway.results(job_id, tenant)
        if document is None:
            raise no_results(before)
        record = await self._gateway.get(job_id, tenant)  # it may have ended just now
        if form == "runtime":
            return json_bytes(document)
        if len(document) <= self._api.settings.inline_bytes:
            return json_bytes(converted(record, document, memory))
        return json_bytes(await asyncio.to_thread(converted, record, document, memory))

    async def history(self, request: Request) -> Response:
        """Oldest first."""
        job_id = job_id_of(request)
        changes = await self._gateway.history(job_id, principal_of(request).tenant)
        return json_response({"job_id": job_id, "changes": [change_view(change) for change in changes]})

    async def delete(self, request: Request) -> Response:
        """204; 409 when it has not ended."""
        await self._gateway.delete(job_id_of(request), principal_of(request).tenant)
        return empty()


def _outcome(answer: JobRecord | ErrorInfo) -> dict[str, Any]:
    if isinstance(answer, ErrorInfo):
        return {"job": None, "error": error_view(answer)}
    return {"job": job_view(answer), "error": None}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    others = {kind: {"schema": {"type": "string"}} for kind in MEDIA_TYPES[1:]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}, **others}}}


#: How operations that take one job document their body.
JOB_BODY = _body(schema_reference(NativeJob))
_BODY = _body({"anyOf": [schema_reference(NativeJob), schema_reference(NativeJobs)]})
