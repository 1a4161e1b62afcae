"""Jobs of the Runtime API: submit, list, poll (held), results, cancel, tags, logs, metrics."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray.api.auth import principal_of
from qrtx_ray.api.context import Api
from qrtx_ray.api.envelope import client_name, digest_of, idempotency_key, tags_of
from qrtx_ray.api.requests import Query, job_id_of, json_object, read_body, text
from qrtx_ray.api.responses import empty, json_response
from qrtx_ray.api.routing import OperationRouter, add_operation, new_router
from qrtx_ray.api.runtime.models import JobAccepted, JobDocument, JobList, JobMetrics, JobSubmission
from qrtx_ray.api.runtime.submission import Sender, build_request
from qrtx_ray.api.runtime.views import job_document, log_text, metrics_document
from qrtx_ray.model import TERMINAL_STATES, JobQuery, TaskState

__all__ = ["Jobs"]

_ENDED = frozenset(TERMINAL_STATES)
_PENDING = frozenset(TaskState) - _ENDED
_CANCEL_HELD_S = 5.0
_MAX_OFFSET = 10**9
_FILTERS = {
    "limit": "jobs on the page",
    "offset": "jobs to skip",
    "pending": "true: not ended; false: ended",
    "backend": "device",
    "program": "sampler or estimator",
    "tags": "repeatable; all must be there",
    "session_id": "jobs of a session",
    "created_after": "ISO 8601",
    "created_before": "ISO 8601",
    "sort": "ASC: oldest first",
}
_BODY = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": JobSubmission.model_json_schema()}}}
}


class Jobs:
    """Everything under ``/jobs``."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._gateway = api.gateway

    def router(self) -> OperationRouter:
        router = new_router("runtime: jobs")
        add_operation(
            router,
            "GET",
            "/jobs/{job_id}",
            self.get,
            "A job; held while it has not ended",
            model=JobDocument,
            query={"exclude_params": "true: without the parameters"},
        )
        add_operation(router, "POST", "/jobs", self.submit, "Submit a job", model=JobAccepted, extra=_BODY)
        add_operation(router, "GET", "/jobs/{job_id}/results", self.results, "Result document")
        add_operation(router, "GET", "/jobs", self.list, "List jobs", model=JobList, query=_FILTERS)
        add_operation(router, "GET", "/jobs/{job_id}/metrics", self.metrics, "Times and usage", model=JobMetrics)
        add_operation(router, "POST", "/jobs/{job_id}/cancel", self.cancel, "Cancel a job", status=204)
        add_operation(router, "GET", "/jobs/{job_id}/logs", self.logs, "The way of the job as text")
        add_operation(router, "PUT", "/jobs/{job_id}/tags", self.tags, "Replace the tags", status=204)
        add_operation(router, "DELETE", "/jobs/{job_id}", self.delete, "Remove a job that has ended", status=204)
        return router

    async def submit(self, request: Request) -> Response:
        """Accept a job. The answer means that the job is durable. With an `Idempotency-Key`, the same body gives the
        same job and another body is refused with 409.
        """
        principal = principal_of(request)
        body = await read_body(request, self._api.settings.body_timeout_s)
        document = json_object(request, body, self._api.settings.json_depth)
        sender = Sender(
            tenant=principal.tenant,
            instance=text(request.headers.get("service-crn", ""), "Service-CRN"),
            client=client_name(request),
            idempotency_key=idempotency_key(request),
            digest=digest_of(body),
        )
        job = build_request(document, sender, self._api.directory, self._api.settings)
        record = await self._gateway.submit(job)
        return json_response({"id": record.id, "backend": record.device, "session_id": None, "private": record.private})

    async def get(self, request: Request) -> Response:
        """A job that has not ended is answered as soon as it ends, at the latest after the server's poll time: the
        official client sleeps half a second between polls, which this saves it.
        """
        tenant = principal_of(request).tenant
        job_id = job_id_of(request)
        exclude = Query(request).flag("exclude_params") or False
        record = await self._gateway.get(job_id, tenant)
        if not record.terminal and self._api.settings.long_poll_max_s > 0:
            record = await self._gateway.wait(
                job_id, tenant, self._api.settings.long_poll_max_s, known_version=None, until_terminal=True
            )
        params = None if exclude or record.private else await self._gateway.payload(job_id, tenant)
        return json_response(job_document(record, params))

    async def list(self, request: Request) -> Response:
        """Newest first unless `sort=ASC`. `count` is never less than `offset`: the client would page for ever."""
        tenant = principal_of(request).tenant
        query = Query(request)
        limit = query.integer("limit", 10, 1, self._api.settings.page_limit)
        offset = query.integer("offset", 0, 0, _MAX_OFFSET)
        pending = query.flag("pending")
        backend = query.get("backend")
        device = self._api.directory.find(backend) if backend else None
        page = await self._gateway.query(
            JobQuery(
                tenant=tenant,
                states=None if pending is None else (_PENDING if pending else _ENDED),
                device=device.name if device else backend,
                program=query.get("program"),
                session_id=query.get("session_id"),
                tags=query.all("tags"),
                created_after=query.time("created_after"),
                created_before=query.time("created_before"),
                ascending=(query.get("sort") or "").upper() == "ASC",
                limit=limit,
                offset=offset,
            )
        )
        jobs = [job_document(record) for record in page.records]
        return json_response({"jobs": jobs, "count": max(page.total, offset), "limit": limit, "offset": offset})

    async def results(self, request: Request) -> Response:
        """The document as text; 204 while there is none, also for failed and cancelled jobs and for the second read of a
        private one.
        """
        tenant = principal_of(request).tenant
        record = await self._gateway.get(job_id_of(request), tenant)
        if record.state is not TaskState.COMPLETED:
            return empty()
        results = await self._gateway.results(record.id, tenant)
        return empty() if results is None else Response(results, media_type="text/plain")

    async def metrics(self, request: Request) -> Response:
        """Times, charged time, and what the runtime knows beyond."""
        return json_response(
            metrics_document(await self._gateway.get(job_id_of(request), principal_of(request).tenant))
        )

    async def cancel(self, request: Request) -> Response:
        """204; 409 when it has ended. The answer is held for a moment until the job has really ended: to the official
        client 204 means exactly that, and it does not ask again.
        """
        tenant = principal_of(request).tenant
        job_id = job_id_of(request)
        record = await self._gateway.cancel(job_id, tenant, tenant)
        if not record.terminal:
            await self._gateway.wait(job_id, tenant, _CANCEL_HELD_S, known_version=None, until_terminal=True)
        return empty()

    async def logs(self, request: Request) -> Response:
        """One line for each change of state."""
        changes = await self._gateway.history(job_id_of(request), principal_of(request).tenant)
        return Response(log_text(changes), media_type="text/plain")

    async def tags(self, request: Request) -> Response:
        """Body `{"tags": [...]}`: at most 8 of 86 characters."""
        tenant = principal_of(request).tenant
        job_id = job_id_of(request)
        settings = self._api.settings
        document = json_object(request, await read_body(request, settings.body_timeout_s), settings.json_depth)
        await self._gateway.set_tags(job_id, tenant, tags_of(document.get("tags")))
        return empty()

    async def delete(self, request: Request) -> Response:
        """204; 409 when it has not ended."""
        await self._gateway.delete(job_id_of(request), principal_of(request).tenant)
        return empty()
