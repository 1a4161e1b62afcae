"""Public doubles: stand-ins for parts of the runtime, for tests of what talks to them.

They keep the promises of what they stand for, hold everything in memory, and show what they were told.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from qrtx_ray.api.gateway import DeviceView
from qrtx_ray.errors import ErrorInfo, IdempotencyConflict, InvalidState, NotFound, QrtxError
from qrtx_ray.model import (
    AUTO_DEVICE,
    DeviceInfo,
    JobChange,
    JobId,
    JobPage,
    JobQuery,
    JobRecord,
    JobRequest,
    Reservation,
    TaskState,
    new_id,
)

__all__ = ["FakeGateway"]


class FakeGateway:
    """A `qrtx_ray.api.gateway.Gateway` in memory.

    Jobs stay Queued until the test moves them with `start`, `advance`, `complete`, `fail`; or they complete by
    themselves, one turn of the event loop after submission, with what `answer` returns.

    Args:
        devices: What exists.
        answer: Makes the result document of a job, or None: the test completes jobs itself.
        wall: Reads the wall clock.

    Attributes:
        requests: Everything that was submitted, in order.
        refusal: When set, `submit` and `estimate` raise it, and `reserve` unless an operator asks.
        explanation: Further keys of what `explain` answers.
        answer: As given; may be changed.
        loop: The event loop that the last `submit` ran on, for tests that live in another thread.
    """

    def __init__(
        self,
        devices: Iterable[DeviceInfo],
        answer: Callable[[JobRequest], bytes] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._devices = [DeviceView(info, agents=1, calibration_id="0123456789ab") for info in devices]
        self.answer = answer
        self._wall = wall
        self._records: dict[JobId, JobRecord] = {}
        self._payloads: dict[JobId, bytes] = {}
        self._results: dict[JobId, bytes] = {}
        self._changes: list[JobChange] = []
        self._reservations: dict[str, Reservation] = {}
        self._moved = asyncio.Event()
        self.explanation: dict[str, Any] = {}
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

    async def cancel(self, job_id: JobId, tenant: str, by: str) -> JobRecord:
        record = await self.get(job_id, tenant)
        if record.terminal:
            raise InvalidState(f"the job has already ended ({record.state})")
        return self.advance(job_id, TaskState.CANCELLED, cancelled_by=by, cancel_requested=True)

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
        return self._payloads[(await self.get(job_id, tenant)).id]

    async def results(self, job_id: JobId, tenant: str) -> bytes | None:
        record = await self.get(job_id, tenant)
        return self._results.pop(job_id, None) if record.private else self._results.get(job_id)

    async def history(self, job_id: JobId, tenant: str) -> list[JobChange]:
        await self.get(job_id, tenant)
        return [change for change in self._changes if change.job_id == job_id]

    async def watch(self, job_id: JobId, tenant: str, after_sequence: int) -> AsyncIterator[tuple[int, JobRecord]]:
        while True:
            record = await self.get(job_id, tenant)
            sequence = max(change.sequence for change in self._changes if change.job_id == job_id)
            if sequence > after_sequence:
                after_sequence = sequence
                yield sequence, record
            if record.terminal:
                return
            if self._records.get(job_id) is record:
                await self._moved.wait()

    async def set_tags(self, job_id: JobId, tenant: str, tags: tuple[str, ...]) -> JobRecord:
        record = await self.get(job_id, tenant)
        return self._put(replace(record, tags=tags, version=record.version + 1))

    async def delete(self, job_id: JobId, tenant: str) -> None:
        if not (await self.get(job_id, tenant)).terminal:
            raise InvalidState("the job has not ended; cancel it first")
        for table in (self._records, self._payloads, self._results):
            table.pop(job_id, None)

    async def devices(self) -> list[DeviceView]:
        waiting = [record for record in self._records.values() if not record.terminal]
        return [
            replace(view, queue_length=sum(record.device == view.info.name for record in waiting))
            for view in self._devices
        ]

    async def usage_qpu_s(self, tenant: str, since: float) -> float:
        mine = (record for record in self._records.values() if record.tenant == tenant)
        return sum(record.qpu_s or 0.0 for record in mine if (record.finished_at or 0.0) >= since)

    async def explain(self, job_id: JobId, tenant: str) -> dict[str, Any]:
        record = await self.get(job_id, tenant)
        line = [one for one in self._records.values() if one.device == record.device and not one.started_at]
        ahead = [one for one in line if not one.terminal and (one.level, one.number) < (record.level, record.number)]
        waits = record.state is TaskState.QUEUED
        return {
            "job_id": job_id,
            "state": record.state.value,
            "reason": f"{len(ahead)} job{'s are' if len(ahead) != 1 else ' is'} ahead of it"
            if waits
            else f"it has ended: {record.state.value}",
            "position": len(ahead) if waits else None,
            "ahead": [],
            "candidates": [],
            "estimated_start": None,
            "changes": [],
            **self.explanation,
        }

    async def estimate(self, request: JobRequest) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        names = request.choices if request.device == AUTO_DEVICE else (request.device,)
        figures = {
            "qpu_s": 2.0,
            "estimated_s": 0.01,
            "wait_s": 0.0,
            "wait_low_s": 0.0,
            "wait_high_s": 1.0,
            "fidelity": 0.9,
            "refusal": "",
            "score": 0.9,
            "contributions": {"fidelity": 0.9},
            "provenance": {"calibration_id": "0123456789ab", "method": "fake"},
        }
        devices = {name: {**figures, "chosen": name == names[0]} for name in names}
        return {"devices": devices, "chosen": names[0], "policy": "fake"}

    async def usage(self, tenant: str) -> dict[str, Any]:
        queued = sum(record.tenant == tenant and not record.terminal for record in self._records.values())
        used = await self.usage_qpu_s(tenant, 0.0)
        period = {"period_s": 86_400.0, "period_ends_at": (self._wall() // 86_400 + 1) * 86_400}
        quotas = {"queued": {"used": queued, "limit": None}, "qpu_seconds": {"used": used, "limit": None, **period}}
        return {"tenant": tenant, "weight": 1.0, "half_life_s": 604_800.0, "decayed_qpu_s": used, "quotas": quotas}

    async def reservations(self) -> list[Reservation]:
        standing = [one for one in self._reservations.values() if one.ends_at > self._wall()]
        return sorted(standing, key=lambda one: (one.begins_at, one.name))

    async def reserve(self, reservation: Reservation, *, operator: bool) -> Reservation:
        if self.refusal is not None and not operator:
            raise self.refusal
        for other in await self.reservations():
            apart = other.ends_at <= reservation.begins_at or reservation.ends_at <= other.begins_at
            if other.device == reservation.device and not apart:
                raise InvalidState("the device is reserved for a part of that time")
        self._reservations[reservation.name] = reservation
        return reservation

    async def release(self, name: str, tenant: str | None) -> None:
        found = self._reservations.get(name)
        if found is None or tenant not in {None, found.tenant}:
            raise NotFound("there is no such reservation", field="name")
        del self._reservations[name]

    async def health(self) -> dict[str, Any]:
        return {"ready": self.refusal is None, "jobs": len(self._records)}

    # what the test calls

    def start(self, job_id: JobId) -> JobRecord:
        """The job executes now."""
        return self.advance(job_id, TaskState.EXECUTING, started_at=self._wall(), attempt=1)

    def complete(self, job_id: JobId, results: bytes, qpu_s: float = 2.0) -> JobRecord:
        """The job ends Completed; without effect when it has ended."""
        if self._records[job_id].terminal:
            return self._records[job_id]
        self._results[job_id] = results
        if self._records[job_id].started_at is None:
            self.start(job_id)
        return self.advance(job_id, TaskState.COMPLETED, progress=1.0, qpu_s=qpu_s, result_bytes=len(results))

    def fail(self, job_id: JobId, error: ErrorInfo, state: TaskState = TaskState.FAILED) -> JobRecord:
        """The job ends Failed (or Timeout) because of `error`."""
        return self.advance(job_id, state, error=error)

    def advance(self, job_id: JobId, state: TaskState, **fields: Any) -> JobRecord:
        """Put the job into `state` and change further `fields` of its record; wake all who wait."""
        old = self._records[job_id]
        record = replace(old, state=state, version=old.version + 1, **fields)
        if record.terminal:
            record = replace(record, finished_at=self._wall())
        self._change(old.state, record)
        return self._put(record)

    def set_view(self, name: str, **fields: Any) -> None:
        """Change what `devices` says of the device `name`."""
        self._devices = [replace(view, **fields) if view.info.name == name else view for view in self._devices]

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
        )
        self._payloads[record.id] = request.payload
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

    def _change(self, before: TaskState | None, record: JobRecord) -> None:
        sequence = len(self._changes) + 1
        self._changes.append(JobChange(sequence, record.id, self._wall(), before, record.state, record.attempt))

    def _put(self, record: JobRecord) -> JobRecord:
        self._records[record.id] = record
        self._moved.set()
        self._moved = asyncio.Event()
        return record


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
