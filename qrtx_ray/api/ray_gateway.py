"""The gateway of production: from a replica of the HTTP front to the scheduler actor."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from ray.exceptions import RayActorError, RayTaskError

from qrtx_ray.actors.link import SchedulerLink
from qrtx_ray.actors.names import STATE_MANAGER, find_actor
from qrtx_ray.actors.wire import OWN_KEY, Changes, DeviceState, SchedulerStatus
from qrtx_ray.api.estimates import Estimator
from qrtx_ray.api.gateway import AgentView, DeviceView, JobUpdate, NamedState
from qrtx_ray.api.micro_batch import MicroBatcher
from qrtx_ray.api.named_states import NamedStates
from qrtx_ray.api.status_cache import StatusCache
from qrtx_ray.config import Settings
from qrtx_ray.devices import catalogue
from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.errors import (
    ErrorInfo,
    InternalError,
    NotFound,
    PersistError,
    QrtxError,
    StoreConflict,
    StoreFull,
    StoreReadOnly,
    StoreSlow,
)
from qrtx_ray.model import (
    DeviceInfo,
    JobChange,
    JobId,
    JobPage,
    JobQuery,
    JobRecord,
    JobRequest,
    Reservation,
    is_job_id,
)
from qrtx_ray.store.circuit_fs import CircuitFS

__all__ = ["RayGateway"]

log = logging.getLogger("qrtx.front")

SUBMIT_PATIENCE_S = 20.0
CALL_PATIENCE_S = 10.0
DEVICES_FRESH_S = 0.2
INLINE_READ_BYTES = 64 * 1024
RETRY_PAUSE_S = 0.05
FOLLOW_PAUSE_S = 0.2
_FINAL = (StoreFull, StoreConflict, StoreReadOnly, StoreSlow)  # the reason is worth more than another try
SURVEY_ROUNDS = 2  # one that is under way when the question comes, and the question itself


class RayGateway:
    """Talks to the scheduler; keeps what a replica needs to answer most reads itself.

    Args:
        settings: The configuration the runtime was started with.
    """

    def __init__(self, settings: Settings) -> None:
        self._link = SchedulerLink()
        self._states = NamedStates()
        self._files = CircuitFS(settings.paths.circuit_fs_url)
        self._local_files = "://" not in settings.paths.circuit_fs_url
        self._cache = StatusCache(settings.performance.status_cache_entries)
        self._submissions: MicroBatcher[JobRequest, JobRecord | ErrorInfo] = MicroBatcher(
            self._submit_batch, settings.performance.batch_size, weigh=lambda request: len(request.payload)
        )
        self._estimator = Estimator(settings.resources.compiler_workers, SURVEY_ROUNDS * settings.compiler.timeout)
        self._devices: tuple[float, list[DeviceView]] = (0.0, [])
        self._devices_lock = asyncio.Lock()
        self._calibrations: dict[tuple[str, str], str] = {}
        self._follower: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow the scheduler. Call on the event loop that serves the requests."""
        if self._follower is None:
            self._follower = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Stop following."""
        if self._follower is not None:
            self._follower.cancel()
            self._follower = None

    # ------------------------------------------------------------------------------------------------------- writing

    async def submit(self, request: JobRequest) -> JobRecord:
        answer = await self._submissions.submit(_with_key(request))
        if isinstance(answer, ErrorInfo):
            raise QrtxError.from_info(answer)
        return answer

    async def submit_many(self, requests: Sequence[JobRequest]) -> list[JobRecord | ErrorInfo]:
        answers = (self._submissions.submit(_with_key(request)) for request in requests)
        return [_answer(answer) for answer in await asyncio.gather(*answers, return_exceptions=True)]

    async def _submit_batch(self, requests: Sequence[JobRequest]) -> Sequence[JobRecord | ErrorInfo]:
        generation = self._cache.generation
        answers: Sequence[JobRecord | ErrorInfo] = await self._patiently(
            SUBMIT_PATIENCE_S, lambda again: ("submit", list(requests), again)
        )
        return [answer if isinstance(answer, ErrorInfo) else self._remember(generation, answer) for answer in answers]

    async def cancel(self, job_id: JobId, tenant: str, by: str, *, partial: bool = False) -> JobRecord:
        return await self._command(job_id, lambda again: ("cancel", job_id, tenant, by, again, partial))

    async def pause(self, job_id: JobId, tenant: str, by: str) -> JobRecord:
        return await self._command(job_id, lambda again: ("pause", job_id, tenant, by, again))

    async def resume(self, job_id: JobId, tenant: str, by: str) -> JobRecord:
        return await self._command(job_id, lambda again: ("resume", job_id, tenant, by, again))

    async def checkpoint(self, job_id: JobId, tenant: str) -> JobRecord:
        return await self._command(job_id, lambda again: ("checkpoint", job_id, tenant, again))

    async def migrate(self, job_id: JobId, tenant: str, by: str, agent: str | None) -> JobRecord:
        return await self._command(job_id, lambda again: ("migrate", job_id, tenant, by, agent, again))

    async def restore(
        self, job_id: JobId, tenant: str, by: str, sequence: int | None, idempotency_key: str | None
    ) -> JobRecord:
        key = idempotency_key if idempotency_key is not None else _own_key()
        return await self._command(job_id, lambda again: ("restore", job_id, tenant, by, sequence, key, again))

    async def set_tags(self, job_id: JobId, tenant: str, tags: tuple[str, ...]) -> JobRecord:
        return await self._command(job_id, lambda _: ("set_tags", job_id, tenant, tags))

    async def _command(self, job_id: JobId, call: Callable[[bool], tuple[Any, ...]]) -> JobRecord:
        """Have the scheduler do something to a job; what it answers is kept. `call` as for `_patiently`."""
        _check(job_id)
        generation = self._cache.generation
        record: JobRecord = await self._patiently(CALL_PATIENCE_S, call)
        return self._remember(generation, record)

    async def delete(self, job_id: JobId, tenant: str) -> None:
        _check(job_id)
        await self._patiently(CALL_PATIENCE_S, lambda again: ("delete", job_id, tenant, again))
        self._cache.forget(job_id)

    # ------------------------------------------------------------------------------------------------------- reading

    async def get(self, job_id: JobId, tenant: str) -> JobRecord:
        _check(job_id)
        record = self._cache.get(job_id)
        if record is None:
            generation = self._cache.generation
            found: JobRecord | None = (await self._ask("get", [job_id]))[0]
            record = found if found is None else self._remember(generation, found)
        if record is None or record.tenant != tenant:
            raise NotFound(f"there is no job {job_id}")
        return record

    async def wait(
        self, job_id: JobId, tenant: str, timeout_s: float, *, known_version: int | None, until_terminal: bool
    ) -> JobRecord:
        deadline = time.monotonic() + timeout_s
        record = await self.get(job_id, tenant)
        while True:
            if record.terminal or (
                not until_terminal and known_version is not None and record.version != known_version
            ):
                return record
            left = deadline - time.monotonic()
            if left <= 0 or not await self._cache.changed(job_id, left):
                return record
            record = await self.get(job_id, tenant)

    async def updates(self, job_id: JobId, tenant: str, after: int) -> JobUpdate:
        record = await self.get(job_id, tenant)
        found: list[JobChange] = await self._ask("history", job_id)
        changes = tuple(change for change in found if change.sequence > after)
        if changes and changes[-1].to_state != record.state:
            # The stream is a moment behind the journal; the last change and the record must tell the same.
            generation = self._cache.generation
            (fresh,) = await self._ask("get", [job_id])
            record = record if fresh is None else self._remember(generation, fresh)
        return JobUpdate(record, changes)

    async def watch(self, job_id: JobId, tenant: str, after: int) -> AsyncIterator[JobUpdate]:
        shown: JobRecord | None = None
        while True:
            record = await self.get(job_id, tenant)
            if shown is None or record.version != shown.version:
                update = await self.updates(job_id, tenant, after)
                if update.changes or shown is not None:
                    after = update.changes[-1].sequence if update.changes else after
                    yield update
                shown = update.record
            elif (record.progress, record.slices) != (shown.progress, shown.slices):
                shown = record
                yield JobUpdate(record)
            else:
                await self._cache.changed(job_id, CALL_PATIENCE_S)
            if shown.terminal:
                return
            # Also after a yield: the job may have moved on while the caller was busy with what it got.

    async def query(self, query: JobQuery) -> JobPage:
        page: JobPage = await self._ask("query", query)
        return page

    async def payload(self, job_id: JobId, tenant: str) -> bytes:
        await self.get(job_id, tenant)
        data: bytes | None = await self._ask("payload", job_id)
        if data is None:
            raise NotFound(f"the request of job {job_id} is no longer kept")
        return data

    async def results(self, job_id: JobId, tenant: str) -> bytes | None:
        record = await self.get(job_id, tenant)
        if not record.terminal or record.result_sha256 is None:
            return None  # a cancelled job may have some: those of what was done until then
        if record.private:
            return await asyncio.to_thread(self._read_once, record)
        if self._local_files and (record.result_bytes or 0) <= INLINE_READ_BYTES:
            return self._files.read_results(job_id, record.result_sha256)
        return await asyncio.to_thread(self._files.read_results, job_id, record.result_sha256)

    def _read_once(self, record: JobRecord) -> bytes | None:
        data = self._files.read_results(record.id, record.result_sha256)
        if data is not None:
            self._files.delete(record.id)
        return data

    async def history(self, job_id: JobId, tenant: str) -> list[JobChange]:
        await self.get(job_id, tenant)
        changes: list[JobChange] = await self._ask("history", job_id)
        return changes

    async def explain(self, job_id: JobId, tenant: str) -> dict[str, Any]:
        await self.get(job_id, tenant)
        explanation: dict[str, Any] = await self._ask("explain", job_id)
        return explanation

    async def estimate(self, request: JobRequest) -> dict[str, Any]:
        noise = {view.info.name: view.noise_id for view in await self.devices()}
        candidates = await self._estimator.survey(request, noise)
        wishes = {
            "fidelity_floor": request.fidelity_floor,
            "max_qpu_s": request.max_qpu_s,
            "deadline_at": request.deadline_at,
            "reservation": request.reservation,
            "session_id": request.session_id,
        }
        found: dict[str, Any] = await self._ask("estimate", request.tenant, request.priority, candidates, wishes)
        return found

    async def usage(self, tenant: str) -> dict[str, Any]:
        usage: dict[str, Any] = await self._ask("usage", tenant)
        return usage

    async def reservations(self) -> list[Reservation]:
        found: list[Reservation] = await self._ask("reservations")
        return found

    async def reserve(self, reservation: Reservation, *, operator: bool) -> Reservation:
        made: Reservation = await self._patiently(
            CALL_PATIENCE_S, lambda again: ("reserve", reservation, operator, again)
        )
        return made

    async def release(self, name: str, tenant: str | None) -> None:
        await self._patiently(CALL_PATIENCE_S, lambda again: ("release", name, tenant, again))

    async def devices(self) -> list[DeviceView]:
        async with self._devices_lock:
            read_at, views = self._devices
            if time.monotonic() - read_at > DEVICES_FRESH_S:
                states: list[DeviceState] = await self._ask("devices")
                status: SchedulerStatus = await self._ask("status")
                await asyncio.to_thread(self._read_calibrations, states)
                views = [self._view(state, status.uptime_s) for state in states]
                self._devices = (time.monotonic(), views)
            return views

    async def pause_device(self, name: str, *, drain: bool) -> None:
        await self._ask("drain_device", name, True, drain)
        self._devices = (0.0, [])

    async def resume_device(self, name: str) -> None:
        await self._ask("drain_device", name, False, False)
        self._devices = (0.0, [])

    async def agents(self) -> list[AgentView]:
        states = await self._ask("agents")
        return [AgentView(one.name, one.devices, one.running, one.drained, one.last_heard_s) for one in states]

    async def drain_agent(self, name: str) -> None:
        await self._ask("drain_agent", name, True)

    async def resume_agent(self, name: str) -> None:
        await self._ask("drain_agent", name, False)

    async def put_state(self, tenant: str, name: str, document: bytes, expected: str | None) -> str:
        return await self._states.put(tenant, name, document, expected)

    async def get_state(self, tenant: str, name: str) -> tuple[bytes, str]:
        return await self._states.get(tenant, name)

    async def delete_state(self, tenant: str, name: str, expected: str | None) -> None:
        await self._states.delete(tenant, name, expected)

    async def states(self, tenant: str) -> list[NamedState]:
        return await self._states.list(tenant)

    async def usage_qpu_s(self, tenant: str, since: float) -> float:
        usage: float = await self._ask("usage_qpu_s", tenant, since)
        return usage

    async def health(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(2.0):
                status: SchedulerStatus = await self._link.call_once("status")
                state_manager = await asyncio.to_thread(find_actor, STATE_MANAGER)
        except (TimeoutError, RayActorError, RayTaskError):
            return {"ready": False, "scheduler": "away"}
        storage = status.extra.get("storage", {})
        return {
            "ready": bool(status.agents) and bool(status.compilers) and storage.get("accepting", True),
            "scheduler": "serving",
            "state_manager": "away" if state_manager is None else "serving",
            "epoch": status.epoch,
            "uptime_s": status.uptime_s,
            "jobs": status.jobs,
            "agents": status.agents,
            "compilers": status.compilers,
            "counters": status.counters,
            "storage": storage,
        }

    # -------------------------------------------------------------------------------------------------------- inside

    def _view(self, state: DeviceState, uptime_s: float) -> DeviceView:
        return DeviceView(
            info=state.info,
            status=state.status,
            queue_length=state.queue_length,
            running=state.running,
            agents=len(state.agents),
            calibration_id=self._calibrations[_noise_of(state)],
            utilisation=min(1.0, state.qpu_s / max(uptime_s, 1e-9)),
            noise_id=state.noise_id,
            calibrated_at=state.calibrated_at,
            probe_fidelity=state.probe_fidelity,
        )

    def _read_calibrations(self, states: Sequence[DeviceState]) -> None:
        wanted = {_noise_of(state): state for state in states}
        for key in self._calibrations.keys() - wanted.keys():
            del self._calibrations[key]  # of a calibration that another has taken the place of
        for key, state in wanted.items():
            if key not in self._calibrations:
                self._calibrations[key] = _calibration_id(state.info, state.noise_id)

    def _remember(self, generation: int, record: JobRecord) -> JobRecord:
        """Keep what was asked for in `generation` of the cache, unless the stream has begun anew since."""
        return self._cache.put(record) if self._cache.generation == generation else record

    async def _ask(self, method: str, *arguments: Any) -> Any:
        """A call that may be repeated without harm."""
        return await self._patiently(CALL_PATIENCE_S, lambda _: (method, *arguments))

    async def _patiently(self, patience_s: float, call: Callable[[bool], tuple[Any, ...]]) -> Any:
        """Call the scheduler, again while it is being restarted; `call` is told whether it is a repetition."""
        again = False
        try:
            async with asyncio.timeout(patience_s):
                while True:
                    try:
                        return await _own_errors(self._link.call_once(*call(again)))
                    except (RayActorError, PersistError) as error:
                        if isinstance(error, _FINAL):
                            raise
                        again = True
                        await asyncio.sleep(RETRY_PAUSE_S)
        except TimeoutError:
            raise PersistError(f"the scheduler has not answered for {patience_s:g} s; try again") from None

    async def _follow(self) -> None:
        epoch, cursor = 0, 0
        while True:
            try:
                changes: Changes = await self._link.call("follow", epoch, cursor)
            except Exception:
                log.exception("the scheduler's feed failed; it is taken up again")
                await asyncio.sleep(FOLLOW_PAUSE_S)
                continue
            if changes.reset:
                self._cache.clear()
            self._cache.update(changes.records)
            for job_id in changes.deletions:
                self._cache.forget(job_id)
            epoch, cursor = changes.epoch, changes.cursor


async def _own_errors(call: Awaitable[Any]) -> Any:
    """Await `call` with the scheduler's own errors as themselves, not wrapped in Ray's."""
    try:
        return await call
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, QrtxError):
            raise QrtxError.from_info(cause.info()) from None
        raise InternalError("the scheduler could not answer") from error


def _with_key(request: JobRequest) -> JobRequest:
    # A call that was cut short by a restart is repeated; only a key of its own makes that safe for a request without one.
    if request.idempotency_key is not None:
        return request
    return replace(request, idempotency_key=_own_key())


def _own_key() -> str:
    return f"{OWN_KEY}{secrets.token_urlsafe(15)}"


def _answer(answer: JobRecord | ErrorInfo | BaseException) -> JobRecord | ErrorInfo:
    if isinstance(answer, QrtxError):
        return answer.info()
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _noise_of(state: DeviceState) -> tuple[str, str]:
    """What a device's calibration is a function of: devices without drift share that of their metadata."""
    return (state.info.name if state.noise_id else state.info.metadata, state.noise_id)


def _calibration_id(info: DeviceInfo, noise_id: str) -> str:
    if noise_id:
        return DeviceModel.load(info.name, noise_id).calibration.id
    # Not by way of a model: those are kept, and a replica wants no more than the name of each.
    return Calibration.from_properties(catalogue.properties(info.metadata), catalogue.configuration(info.metadata)).id


def _check(job_id: str) -> None:
    if not is_job_id(job_id):
        raise NotFound("there is no such job")
