"""Jobs in memory, as a gateway shows them: what moves them, and what waits for them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from qrtx_ray.api.gateway import JobUpdate
from qrtx_ray.errors import ErrorInfo, IdempotencyConflict, InvalidState, NotFound, QrtxError
from qrtx_ray.model import (
    CheckpointRef,
    JobChange,
    JobId,
    JobPage,
    JobQuery,
    JobRecord,
    JobRequest,
    TaskState,
    new_id,
)

__all__ = ["FakeJobs"]

_AT_WORK = frozenset({TaskState.ALLOCATING, TaskState.EXECUTING, TaskState.COMPLETING})
_UNDER_COMPILER = frozenset({TaskState.VALIDATING, TaskState.COMPILING})
KEPT_CHECKPOINTS = 2


class FakeJobs:
    """The part of a `qrtx_ray.api.gateway.Gateway` in memory that concerns jobs; see `FakeGateway`."""

    def __init__(self, answer: Callable[[JobRequest], bytes] | None, wall: Callable[[], float] = time.time) -> None:
        self.answer = answer
        self._wall = wall
        self._records: dict[JobId, JobRecord] = {}
        self._requests: dict[JobId, JobRequest] = {}
        self._results: dict[JobId, bytes] = {}
        self._changes: list[JobChange] = []
        self._moved = asyncio.Event()
        self.checkpoints_wanted: list[JobId] = []
        self.requests: list[JobRequest] = []
        self.refusal: QrtxError | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    # what the front calls

    async def submit(self, request: JobRequest) -> JobRecord:
        self.loop = asyncio.get_running_loop()
        if self.refusal is not None:
            raise self.refusal
        known = self._find_idempotent(request)
        if known is not None:
            return known
        record = self._accept(request)
        if self.answer is not None:
            self.loop.call_soon(self.complete, record.id, self.answer(request))
        return record

    async def submit_many(self, requests: Sequence[JobRequest]) -> list[JobRecord | ErrorInfo]:
        answers: list[JobRecord | ErrorInfo] = []
        for request in requests:
            try:
                answers.append(await self.submit(request))
            except QrtxError as error:
                answers.append(error.info())
        return answers

    async def cancel(self, job_id: JobId, tenant: str, by: str, *, partial: bool = False) -> JobRecord:
        record = await self._unfinished(job_id, tenant)
        if partial and record.state in _AT_WORK:
            return self._note(record, cancelled_by=by, cancel_requested=True, keep_partial=True)
        return self.advance(job_id, TaskState.CANCELLED, cancelled_by=by, cancel_requested=True)

    async def pause(self, job_id: JobId, tenant: str, by: str) -> JobRecord:
        record = await self._unfinished(job_id, tenant)
        if record.state is TaskState.PAUSED:
            return record
        if record.state in _AT_WORK | _UNDER_COMPILER:
            return self._note(record, pause_requested=True, paused_by=by)
        return self.advance(job_id, TaskState.PAUSED, f"paused by {by}", paused_at=self._wall(), paused_by=by)

    async def resume(self, job_id: JobId, tenant: str, by: str) -> JobRecord:
        record = await self._unfinished(job_id, tenant)
        if record.state is TaskState.PAUSED:
            return self.advance(
                job_id,
                TaskState.QUEUED,
                f"resumed by {by}",
                paused_at=None,
                paused_by=None,
                queued_at=self._wall(),
            )
        return self._note(record, pause_requested=False, paused_by=None) if record.pause_requested else record

    async def checkpoint(self, job_id: JobId, tenant: str) -> JobRecord:
        record = await self._unfinished(job_id, tenant)
        if record.state is not TaskState.EXECUTING:
            raise InvalidState(f"only a running job can be checkpointed; this one is {record.state}")
        self.checkpoints_wanted.append(job_id)
        return record

    async def restore(
        self, job_id: JobId, tenant: str, by: str, sequence: int | None, idempotency_key: str | None
    ) -> JobRecord:
        del by
        old = await self.get(job_id, tenant)
        if not old.terminal:
            raise InvalidState(f"only a job that has ended is restored; this one is {old.state}")
        kept = tuple(one for one in old.checkpoints if sequence is None or one.sequence <= sequence)
        if sequence is not None and (not kept or kept[0].sequence != sequence):
            raise NotFound(f"the job has no checkpoint {sequence}", field="sequence")
        return await self.submit(
            replace(
                self._requests[job_id],
                seed=old.seed,
                device=old.device,
                idempotency_key=idempotency_key,
                digest=hashlib.sha256(f"restore/{job_id}/{sequence}".encode()).hexdigest(),
                restored_from=job_id,
                checkpoints=kept,
            )
        )

    async def get(self, job_id: JobId, tenant: str) -> JobRecord:
        record = self._records.get(job_id)
        if record is None or record.tenant != tenant:
            raise NotFound("there is no such job", field="job_id")
        return record

    async def wait(
        self, job_id: JobId, tenant: str, timeout_s: float, *, known_version: int | None, until_terminal: bool
    ) -> JobRecord:
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            record = await self.get(job_id, tenant)
            news = known_version is not None and record.version != known_version
            if record.terminal or (news and not until_terminal):
                return record
            try:
                async with asyncio.timeout_at(deadline):
                    await self._moved.wait()
            except TimeoutError:
                return record

    async def query(self, query: JobQuery) -> JobPage:
        matching = [record for record in self._records.values() if _matches(record, query)]
        matching.sort(key=lambda record: record.number, reverse=not query.ascending)
        return JobPage(tuple(matching[query.offset : query.offset + query.limit]), len(matching))

    async def payload(self, job_id: JobId, tenant: str) -> bytes:
        return self._requests[(await self.get(job_id, tenant)).id].payload

    async def results(self, job_id: JobId, tenant: str) -> bytes | None:
        record = await self.get(job_id, tenant)
        return self._results.pop(job_id, None) if record.private else self._results.get(job_id)

    async def history(self, job_id: JobId, tenant: str) -> list[JobChange]:
        await self.get(job_id, tenant)
        return [change for change in self._changes if change.job_id == job_id]

    async def updates(self, job_id: JobId, tenant: str, after: int) -> JobUpdate:
        record = await self.get(job_id, tenant)
        mine = (change for change in self._changes if change.job_id == job_id and change.sequence > after)
        return JobUpdate(record, tuple(mine))

    async def watch(self, job_id: JobId, tenant: str, after: int) -> AsyncIterator[JobUpdate]:
        shown: JobRecord | None = None
        while True:
            update = await self.updates(job_id, tenant, after)
            if update.changes or (shown is not None and update.record is not shown):
                after = update.changes[-1].sequence if update.changes else after
                yield update
            shown = update.record
            if shown.terminal:
                return
            if self._records.get(job_id) is shown:
                await self._moved.wait()

    async def set_tags(self, job_id: JobId, tenant: str, tags: tuple[str, ...]) -> JobRecord:
        record = await self.get(job_id, tenant)
        return self._put(replace(record, tags=tags, version=record.version + 1))

    async def delete(self, job_id: JobId, tenant: str) -> None:
        if not (await self.get(job_id, tenant)).terminal:
            raise InvalidState("the job has not ended; cancel it first")
        for table in (self._records, self._requests, self._results):
            table.pop(job_id, None)

    # what the test calls

    def start(self, job_id: JobId) -> JobRecord:
        """The job executes now."""
        attempt = self._records[job_id].attempt + 1
        return self.advance(job_id, TaskState.EXECUTING, started_at=self._wall(), attempt=attempt, slices=0)

    def complete(self, job_id: JobId, results: bytes, qpu_s: float = 2.0) -> JobRecord:
        """The job ends Completed; without effect when it has ended."""
        if self._records[job_id].terminal:
            return self._records[job_id]
        self._results[job_id] = results
        if self._records[job_id].started_at is None:
            self.start(job_id)
        return self.advance(
            job_id, TaskState.COMPLETED, progress=1.0, qpu_s=qpu_s, checkpoints=(), **_result_fields(results)
        )

    def fail(self, job_id: JobId, error: ErrorInfo, state: TaskState = TaskState.FAILED) -> JobRecord:
        """The job ends Failed (or Timeout) because of `error`."""
        return self.advance(job_id, state, error=error)

    def advance(self, job_id: JobId, state: TaskState, reason: str = "", **fields: Any) -> JobRecord:
        """Put the job into `state` and change further `fields` of its record; wake all who wait."""
        old = self._records[job_id]
        record = replace(old, state=state, version=old.version + 1, **fields)
        if record.terminal:
            record = replace(record, finished_at=self._wall())
        self._change(old.state, record, reason)
        return self._put(record)

    def move(self, job_id: JobId, progress: float, slices: int) -> JobRecord:
        """The run has come this far; that is told and not written."""
        return self._put(replace(self._records[job_id], progress=progress, slices=slices))

    def keep_checkpoint(
        self, job_id: JobId, progress: float, *, size_bytes: int = 512, kind: str = "slices"
    ) -> JobRecord:
        """A checkpoint of the running job is durable."""
        old = self._records[job_id]
        ref = self._checkpoint_of(old, progress, size_bytes, kind)
        record = replace(old, checkpoints=(ref, *old.checkpoints)[:KEPT_CHECKPOINTS], version=old.version + 1)
        self._change(old.state, record, f"checkpoint {ref.sequence} at {progress:.0%}".replace("%", " %"))
        return self._put(record)

    def make_way(self, job_id: JobId, progress: float) -> JobRecord:
        """The run ended after its slice with a checkpoint: the job is paused if that was asked for, else it waits again."""
        old = self._records[job_id]
        kept = (self._checkpoint_of(old, progress, 512, "slices"), *old.checkpoints)[:KEPT_CHECKPOINTS]
        common: dict[str, Any] = {"checkpoints": kept, "progress": progress, "agent": None}
        if old.pause_requested:
            return self.advance(job_id, TaskState.PAUSED, paused_at=self._wall(), pause_requested=False, **common)
        return self.advance(job_id, TaskState.QUEUED, preemptions=old.preemptions + 1, **common)

    def conclude(self, job_id: JobId, results: bytes, progress: float) -> JobRecord:
        """The run of a cancelled job ended after its slice with what it had."""
        self._results[job_id] = results
        return self.advance(
            job_id, TaskState.CANCELLED, progress=progress, partial=True, qpu_s=1.0, **_result_fields(results)
        )

    def _accept(self, request: JobRequest) -> JobRecord:
        self.requests.append(request)
        now = self._wall()
        record = JobRecord(
            id=new_id(now, os.urandom(7)),
            number=len(self.requests),
            tenant=request.tenant,
            program=request.program,
            device=request.device,
            payload_format=request.payload_format,
            created_at=now,
            queued_at=now,
            seed=request.seed if request.seed is not None else 1,
            state=TaskState.QUEUED,
            instance=request.instance,
            priority=request.priority,
            name=request.name,
            tags=request.tags,
            private=request.private,
            queue_timeout_s=request.queue_timeout_s,
            execution_timeout_s=request.execution_timeout_s,
            max_qpu_s=request.max_qpu_s,
            idempotency_key=request.idempotency_key,
            digest=request.digest,
            client=request.client,
            source=request.source,
            choices=request.choices,
            deadline_at=request.deadline_at,
            fidelity_floor=request.fidelity_floor,
            reservation=request.reservation,
            dry_run=request.dry_run,
            checkpoint_interval_s=request.checkpoint_interval_s,
            restored_from=request.restored_from,
            checkpoints=request.checkpoints,
        )
        self._requests[record.id] = request
        self._change(None, record)
        return self._put(record)

    def _find_idempotent(self, request: JobRequest) -> JobRecord | None:
        if request.idempotency_key is None:
            return None
        for record in self._records.values():
            if (record.tenant, record.idempotency_key) == (request.tenant, request.idempotency_key):
                if record.digest != request.digest:
                    raise IdempotencyConflict("this Idempotency-Key was used with another body")
                return record
        return None

    async def _unfinished(self, job_id: JobId, tenant: str) -> JobRecord:
        record = await self.get(job_id, tenant)
        if record.terminal:
            raise InvalidState(f"the job has already ended ({record.state})")
        return record

    def _note(self, record: JobRecord, **fields: Any) -> JobRecord:
        """A wish is written; the state stays."""
        return self._put(replace(record, version=record.version + 1, **fields))

    def _checkpoint_of(self, record: JobRecord, progress: float, size_bytes: int, kind: str) -> CheckpointRef:
        sequence = 1 + max((one.sequence for one in record.checkpoints), default=0)
        digest = hashlib.sha256(f"{record.id}/{sequence}".encode()).hexdigest()
        return CheckpointRef(
            record.id, record.attempt, sequence, digest, size_bytes, progress, round(self._wall(), 3), kind
        )

    def _change(self, before: TaskState | None, record: JobRecord, reason: str = "") -> None:
        sequence = len(self._changes) + 1
        self._changes.append(JobChange(sequence, record.id, self._wall(), before, record.state, record.attempt, reason))

    def _put(self, record: JobRecord) -> JobRecord:
        self._records[record.id] = record
        self._moved.set()
        self._moved = asyncio.Event()
        return record


def _result_fields(results: bytes) -> dict[str, Any]:
    return {"result_bytes": len(results), "result_sha256": hashlib.sha256(results).hexdigest()}


def _matches(record: JobRecord, query: JobQuery) -> bool:
    return (
        record.tenant == query.tenant
        and (query.states is None or record.state in query.states)
        and (query.device is None or record.device == query.device)
        and (query.program is None or record.program == query.program)
        and (query.session_id is None or record.session_id == query.session_id)
        and set(query.tags) <= set(record.tags)
        and (query.created_after is None or record.created_at >= query.created_after)
        and (query.created_before is None or record.created_at <= query.created_before)
    )
