"""Result documents as the native API gives them out, one by one or many at once."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray.api.auth import principal_of
from qrtx_ray.api.context import Api
from qrtx_ray.api.native.models import CollectedView
from qrtx_ray.api.native.views import error_view
from qrtx_ray.api.requests import Query
from qrtx_ray.api.responses import json_bytes
from qrtx_ray.codec.results import native_view
from qrtx_ray.errors import InvalidState, NotFound, QrtxError, ValidationError
from qrtx_ray.model import JobRecord, is_job_id

__all__ = ["MAX_COLLECTED", "Collection", "converted", "no_results"]

MAX_COLLECTED = 64

_Outcome = tuple[JobRecord, bytes] | QrtxError


def converted(record: JobRecord, document: bytes, memory: bool) -> bytes:
    """The answer for one job: its result document in plain JSON, and how much of the job it covers."""
    return orjson.dumps(_told(record, document, memory), option=orjson.OPT_SERIALIZE_NUMPY)


def _told(record: JobRecord, document: bytes, memory: bool) -> dict[str, Any]:
    view = native_view(document, memory=memory)
    return {"job_id": record.id, "partial": record.partial, "progress": record.progress, "results": view}


def no_results(record: JobRecord) -> QrtxError:
    """Why a job that exists has no results to give."""
    if not record.terminal:
        return InvalidState(f"the job has not ended; it is {record.state}")
    if record.error is not None:
        return InvalidState(f"the job ended {record.state} and has no results: {record.error.message}")
    if record.private and record.result_sha256 is not None:
        return NotFound("the results of this private job were handed out before", field="job_id")
    return InvalidState(f"the job ended {record.state} and has no results")


class Collection:
    """``/v1/results``: who sent many jobs need not ask for each."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._gateway = api.gateway

    def router(self) -> APIRouter:
        router = APIRouter(tags=["jobs"], default_response_class=Response)
        router.add_api_route(
            "/results",
            self.collect,
            methods=["GET"],
            response_model=None,
            responses={200: {"model": CollectedView}},
            summary="Results of several jobs",
        )
        return router

    async def collect(self, request: Request) -> Response:
        """`job` (repeatable, up to 64): outcome i belongs to the i-th of them, results in plain JSON or why there are
        none. With `?wait=` the answer comes when all have ended, at the latest after that many seconds. `memory=true`
        gives every shot.
        """
        tenant = principal_of(request).tenant
        query = Query(request)
        job_ids = query.all("job")
        if not 0 < len(job_ids) <= MAX_COLLECTED:
            limit = f"1..{MAX_COLLECTED}"
            raise ValidationError(f"job must be given {limit} times", field="job", limit=limit)
        wait_s = query.seconds("wait", self._api.settings.wait_max_s)
        memory = query.flag("memory") or False
        outcomes = await asyncio.gather(*(self._outcome(job_id, tenant, wait_s) for job_id in job_ids))
        size = sum(len(outcome[1]) for outcome in outcomes if isinstance(outcome, tuple))
        if size <= self._api.settings.inline_bytes:
            return json_bytes(_collected(job_ids, outcomes, memory))
        return json_bytes(await asyncio.to_thread(_collected, job_ids, outcomes, memory))

    async def _outcome(self, job_id: str, tenant: str, wait_s: float | None) -> _Outcome:
        try:
            if not is_job_id(job_id):
                raise NotFound("there is no such job", field="job")
            if wait_s:
                await self._gateway.wait(job_id, tenant, wait_s, known_version=None, until_terminal=True)
            before = await self._gateway.get(job_id, tenant)
            document = await self._gateway.results(job_id, tenant)
            if document is None:
                return no_results(before)
            return await self._gateway.get(job_id, tenant), document
        except QrtxError as error:
            return error


def _collected(job_ids: tuple[str, ...], outcomes: list[_Outcome], memory: bool) -> bytes:
    listed: list[dict[str, Any]] = []
    for job_id, outcome in zip(job_ids, outcomes, strict=True):
        if isinstance(outcome, QrtxError):
            listed.append(
                {
                    "job_id": job_id,
                    "partial": False,
                    "progress": None,
                    "results": None,
                    "error": error_view(outcome.info()),
                }
            )
        else:
            listed.append({**_told(*outcome, memory), "error": None})
    return orjson.dumps({"outcomes": listed}, option=orjson.OPT_SERIALIZE_NUMPY)
