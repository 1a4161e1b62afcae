"""The scheduler actor: a thin shell that lets the pure core meet the world.

It turns calls into events, hands them to `scheduler.core.Core`, and does what the core commands: write first, then
everything else (see `actors.outbox`). It holds no circuits and no results; payloads pass through it as opaque bytes.
Nothing in its event loop blocks: the store lives on its own threads.

Guarantees:
    A submit, cancel, tag change or deletion is answered only after its commit (P1, P4 of the contract in docs/reliability.md).
    After `kill -9` the next process takes the store over under a higher epoch and continues; the old one can no longer
    write.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Sequence
from typing import Any

from qrtx_ray.actors.control_calls import ControlCalls, restoring
from qrtx_ray.actors.faults import reached
from qrtx_ray.actors.outbox import settled
from qrtx_ray.actors.reservation_rules import check_reservation
from qrtx_ray.actors.wire import Changes, DeviceState, SchedulerStatus
from qrtx_ray.errors import ErrorInfo, NotFound, QrtxError
from qrtx_ray.model import (
    Candidate,
    JobChange,
    JobPage,
    JobQuery,
    JobRecord,
    JobRequest,
    Reservation,
    new_id,
)
from qrtx_ray.scheduler import commands as do
from qrtx_ray.scheduler import events as on
from qrtx_ray.store.protocol import PAYLOAD_REQUEST

__all__ = ["SchedulerActor"]

log = logging.getLogger("qrtx.scheduler")

FOLLOW_WAIT_S = 20.0


class SchedulerActor(ControlCalls):
    """Singleton, named, detached. All methods are coroutines on one event loop; the core is touched by nothing else.

    Args:
        settings: `Settings.to_dict()` of the runtime's configuration.
    """

    # ----------------------------------------------------------------------------------------------- clients

    async def submit(self, requests: Sequence[JobRequest], again: bool = False) -> list[JobRecord | ErrorInfo]:
        """Accept or refuse each request; an accepted one is durable when this returns.

        Args:
            requests: Requests of any tenants.
            again: Whether the same call may have been carried out before; keys that a replica drew itself
                (they begin with `wire.OWN_KEY`) are looked up in the store only then.

        Returns:
            For each request its record (an earlier job's, when the idempotency key was used before with the same body)
            or why it was refused.
        """
        await self._ready.wait()
        earlier = await self._journal.earlier(requests, again=again)
        wall = self._now()
        jobs = tuple(
            on.NewJob(
                id=new_id(wall, secrets.token_bytes(7)),
                request=request,
                seed=request.seed if request.seed is not None else secrets.randbits(63),
                existing=earlier.get((request.tenant, request.idempotency_key or "")),
            )
            for request in requests
        )
        answers: dict[str, ErrorInfo | str] = {}
        welcome = self._welcome(jobs, answers)
        if not welcome:  # whoever is refused because commits hang must not wait for one
            return [answer for answer in answers.values() if isinstance(answer, ErrorInfo)]
        payloads = [(job.id, PAYLOAD_REQUEST, job.request.payload) for job in welcome]
        commands, performed = self._apply(on.JobsSubmitted(welcome), payloads)
        for command in commands:
            if isinstance(command, do.Refuse):
                answers[command.job_id] = command.error
            elif isinstance(command, do.Duplicate):
                answers[command.job_id] = command.existing_id
        accepted = {
            record.id: record for command in commands if isinstance(command, do.Persist) for record in command.records
        }
        await settled(performed)
        out: list[JobRecord | ErrorInfo] = []
        for job in jobs:
            answer = answers.get(job.id)
            if isinstance(answer, str):
                [earlier_job] = await self.get([answer])
                out.append(earlier_job or NotFound(f"job {answer} was deleted meanwhile").info())
            else:
                out.append(answer or accepted[job.id])
        reached("scheduler.before_reply")
        return out

    async def restore(
        self,
        job_id: str,
        tenant: str,
        by: str,
        sequence: int | None = None,
        key: str | None = None,
        again: bool = False,
    ) -> JobRecord:
        """Submit an ended job anew, to go on from its checkpoints: the same request, device and seed.

        Args:
            by: Who asks.
            sequence: The newest checkpoint to begin with; None: the newest there is.
            key: Idempotency key; a second call with it gives the job of the first.
            again: As for `submit`.

        Raises:
            NotFound: The tenant has no such job, or it has no such checkpoint.
            InvalidState: It has not ended.
            QrtxError: Why the new job is refused.
        """
        [old] = await self.get([job_id])
        if old is None or old.tenant != tenant:
            raise NotFound(f"there is no job {job_id}")
        [answer] = await self.submit([restoring(old, sequence, await self.payload(job_id), key)], again)
        if isinstance(answer, ErrorInfo):
            raise QrtxError.from_info(answer)
        log.info("job %s was restored as %s by %s", job_id, answer.id, by)
        return answer

    async def set_tags(self, job_id: str, tenant: str, tags: tuple[str, ...]) -> JobRecord:
        """Replace a job's tags. Raises NotFound."""
        return await self._request(on.TagsChanged(job_id, tenant, tags), job_id)

    async def delete(self, job_id: str, tenant: str, again: bool = False) -> None:
        """Forget a finished job: record, history, payloads, files. Raises NotFound or InvalidState (still at work).

        Args:
            again: Whether the same call may have been carried out before: then the job may be gone already.
        """
        try:
            await self._request(on.DeletionRequested(job_id, tenant), job_id)
        except NotFound:
            if not again:
                raise

    async def query(self, query: JobQuery) -> JobPage:
        await self._ready.to_read()
        page: JobPage = await self._journal.read(self._journal.store.query, query)
        return page

    async def history(self, job_id: str) -> list[JobChange]:
        await self._ready.to_read()
        changes: list[JobChange] = await self._journal.read(self._journal.store.history, job_id)
        return changes

    async def payload(self, job_id: str) -> bytes | None:
        """The request as it came, or None."""
        await self._ready.to_read()
        found: dict[str, bytes] = await self._journal.read(self._journal.store.payloads, [job_id], PAYLOAD_REQUEST)
        return found.get(job_id)

    async def usage_qpu_s(self, tenant: str, since: float) -> float:
        await self._ready.to_read()
        usage: float = await self._journal.read(self._journal.store.usage_qpu_s, tenant, since)
        return usage

    async def explain(self, job_id: str) -> dict[str, Any]:
        """Why the job is where it is."""
        await self._ready.wait()
        await self._recall(job_id)
        return self._core.explain(job_id)

    async def estimate(
        self, tenant: str, priority: int, candidates: Sequence[Candidate], wishes: dict[str, Any]
    ) -> dict[str, Any]:
        """What a job that does not exist yet would find on each device; see `Core.estimate`."""
        await self._ready.wait()
        return self._core.estimate(tenant, priority, candidates, **wishes)

    async def usage(self, tenant: str) -> dict[str, Any]:
        """What a tenant is due and has used."""
        await self._ready.wait()
        return self._core.usage(tenant)

    async def reservations(self) -> list[Reservation]:
        """Those to come and the present ones, by their beginning."""
        await self._ready.wait()
        return list(self._core.reservations())

    async def reserve(self, reservation: Reservation, operator: bool, again: bool = False) -> Reservation:
        """Hold a device; durable when this returns. Raises ValidationError, QueueFull, InvalidState or NotFound.

        Args:
            again: Whether the same call may have been carried out before: then the reservation may stand already.
        """
        await self._ready.wait()
        standing = self._core.reservations()
        if again and reservation in standing:
            return reservation
        check_reservation(reservation, standing, self._settings.scheduler.reservations, self._now(), operator=operator)
        await self._settle(on.ReservationMade(reservation))
        return reservation

    async def release(self, name: str, tenant: str | None, again: bool = False) -> None:
        """Give a reservation back; `tenant` None is the operator. Raises NotFound."""
        try:
            await self._settle(on.ReservationReleased(name, tenant))
        except NotFound:
            if not again:
                raise

    async def follow(self, epoch: int, cursor: int) -> Changes:
        """Committed changes after `cursor`; parks until there are some."""
        await self._ready.to_work()
        return await self._feed.since(epoch, cursor, FOLLOW_WAIT_S)

    async def devices(self) -> list[DeviceState]:
        await self._ready.to_read()
        return [
            DeviceState(
                view.info,
                view.status,
                view.queue_length,
                view.running,
                view.agents,
                view.qpu_s,
                view.noise_id,
                view.calibrated_at,
                view.probe_fidelity,
            )
            for view in self._core.device_readings()
        ]

    async def status(self) -> SchedulerStatus:
        await self._ready.to_read()
        now = self._clock.monotonic()
        snapshot = self._core.snapshot()
        return SchedulerStatus(
            epoch=self._journal.epoch,
            pid=os.getpid(),
            uptime_s=now - self._started_at,
            jobs={state: sum(levels) for state, levels in snapshot["jobs"].items()},
            agents={name: now - heard for name, heard in self._agents.last_heard().items()},
            compilers={name: now - heard for name, heard in self._compilers.last_heard().items()},
            counters={
                "stale_reports": snapshot["stale_reports"],
                "changes": snapshot["sequence"],
                **{f"events_{name}": count for name, count in self._events.items()},
            },
            extra=snapshot | {"storage": self._storage()},
        )

    async def settings(self) -> dict[str, Any]:
        """The configuration the runtime was started with."""
        return self._settings.to_dict()

    async def close(self) -> None:
        """Stop, with everything durable; the actor is of no use afterwards."""
        await self._ready.to_read()
        self._main.cancel()
        if self._ready.is_set():
            self._recorder.close()
        self._ready.end()
        self._closed = True
        await asyncio.to_thread(self._journal.close)

    async def ping(self) -> int:
        """The process id, once the scheduler serves, if only what is kept."""
        await self._ready.to_read()
        return os.getpid()
