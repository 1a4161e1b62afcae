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
import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from qrtx_ray.actors.faults import reached
from qrtx_ray.actors.mailboxes import Mailbox
from qrtx_ray.actors.outbox import settled
from qrtx_ray.actors.reservation_rules import check_reservation
from qrtx_ray.actors.shell import SchedulerShell
from qrtx_ray.actors.wire import Changes, CompileLease, DeviceState, SchedulerStatus, WorkLease
from qrtx_ray.errors import ErrorInfo, InvalidState, NotFound
from qrtx_ray.model import (
    AgentInfo,
    Candidate,
    CompileReport,
    CompileTask,
    Heartbeat,
    JobChange,
    JobPage,
    JobQuery,
    JobRecord,
    JobRequest,
    Reservation,
    RunReport,
    TaskState,
    new_id,
)
from qrtx_ray.scheduler import commands as do
from qrtx_ray.scheduler import events as on
from qrtx_ray.store.protocol import PAYLOAD_EXECUTABLE, PAYLOAD_REQUEST

__all__ = ["SchedulerActor"]

LEASE_WAIT_S = 15.0
FOLLOW_WAIT_S = 20.0
CROWD_JOBS = 4


class SchedulerActor(SchedulerShell):
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
        payloads = [(job.id, PAYLOAD_REQUEST, job.request.payload) for job in jobs]
        commands, performed = self._apply(on.JobsSubmitted(jobs), payloads)
        answers: dict[str, ErrorInfo | str] = {}
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

    async def cancel(self, job_id: str, tenant: str, by: str, again: bool = False) -> JobRecord:
        """Cancel a job. Raises NotFound or InvalidState (already finished).

        Args:
            again: Whether the same call may have been carried out before: then the job may be cancelled already.
        """
        try:
            return await self._request(on.CancelRequested(job_id, tenant, by), job_id)
        except InvalidState:
            [record] = await self.get([job_id])
            if again and record is not None and record.state is TaskState.CANCELLED and record.cancelled_by == by:
                return record
            raise

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
        await self._ready.wait()
        page: JobPage = await self._journal.read(self._journal.store.query, query)
        return page

    async def history(self, job_id: str) -> list[JobChange]:
        await self._ready.wait()
        changes: list[JobChange] = await self._journal.read(self._journal.store.history, job_id)
        return changes

    async def payload(self, job_id: str) -> bytes | None:
        """The request as it came, or None."""
        await self._ready.wait()
        found: dict[str, bytes] = await self._journal.read(self._journal.store.payloads, [job_id], PAYLOAD_REQUEST)
        return found.get(job_id)

    async def usage_qpu_s(self, tenant: str, since: float) -> float:
        await self._ready.wait()
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
        _, performed = self._apply(on.ReservationMade(reservation))
        await settled(performed)
        return reservation

    async def release(self, name: str, tenant: str | None, again: bool = False) -> None:
        """Give a reservation back; `tenant` None is the operator. Raises NotFound."""
        await self._ready.wait()
        try:
            _, performed = self._apply(on.ReservationReleased(name, tenant))
        except NotFound:
            if not again:
                raise
            return
        await settled(performed)

    async def follow(self, epoch: int, cursor: int) -> Changes:
        """Committed changes after `cursor`; parks until there are some."""
        await self._ready.wait()
        return await self._feed.since(epoch, cursor, FOLLOW_WAIT_S)

    async def devices(self) -> list[DeviceState]:
        await self._ready.wait()
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

    async def set_device_paused(self, device: str, paused: bool) -> None:
        """Stop or resume giving out work of `device`. Raises NotFound."""
        await self._ready.wait()
        _, performed = self._apply(on.DevicePaused(device) if paused else on.DeviceResumed(device))
        await settled(performed)

    async def status(self) -> SchedulerStatus:
        await self._ready.wait()
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
            extra=snapshot,
        )

    async def settings(self) -> dict[str, Any]:
        """The configuration the runtime was started with."""
        return self._settings.to_dict()

    async def close(self) -> None:
        """Stop, with everything durable; the actor is of no use afterwards."""
        await self._ready.wait()
        self._main.cancel()
        self._recorder.close()
        await asyncio.to_thread(self._journal.close)

    async def ping(self) -> int:
        """The process id, once the scheduler serves."""
        await self._ready.wait()
        return os.getpid()

    # ------------------------------------------------------------------------------------- those that work for it

    async def join_compiler(self, compiler: str, incarnation: str) -> int:
        await self._ready.wait()
        if self._compilers.get(compiler, incarnation) is None:
            self._compilers.open(compiler, incarnation, self._clock.monotonic())
        self._apply(on.CompilerJoined(compiler, incarnation))
        return self._journal.epoch

    async def report_compiled(self, compiler: str, incarnation: str, reports: Sequence[CompileReport]) -> bool:
        """Deliver compiled jobs. False: unknown compiler, join again."""
        await self._ready.wait()
        if self._compilers.get(compiler, incarnation) is None:
            return False
        if reports:
            executables = [(r.job_id, PAYLOAD_EXECUTABLE, r.executable) for r in reports if r.executable]
            slim = tuple(replace(report, executable=b"") for report in reports)
            self._apply(on.JobsCompiled(compiler, incarnation, slim), executables)
        return True

    async def lease_compile(
        self, compiler: str, incarnation: str, capacity: int, reports: Sequence[CompileReport]
    ) -> CompileLease:
        """Deliver reports and wait for the next batch to compile."""
        await self._ready.wait()
        box = self._compilers.get(compiler, incarnation)
        if box is None:
            return CompileLease(self._journal.epoch, known=False)
        box.heard_at = self._clock.monotonic()
        await self.report_compiled(compiler, incarnation, reports)
        await self._linger(box)
        self._apply(on.CompilerReady(compiler, incarnation, capacity))
        taken = await box.take(LEASE_WAIT_S)
        box.heard_at = self._clock.monotonic()
        if not taken:
            return CompileLease(self._journal.epoch)
        payloads = await self._payload_bytes([order.job_id for order in taken], PAYLOAD_REQUEST)
        tasks = []
        for order in taken:
            record, payload = self._committed.get(order.job_id), payloads.get(order.job_id)
            if record is None or record.terminal or payload is None:
                continue
            tasks.append(
                CompileTask.of(
                    record, order.attempt, payload, calibration_id=order.calibration_id, choices=order.choices
                )
            )
        return CompileLease(self._journal.epoch, tuple(tasks))

    async def join_agent(self, info: AgentInfo) -> int:
        """An agent (again) reports for work. Returns the scheduler's epoch."""
        await self._ready.wait()
        self._agents.open(info.name, info.incarnation, self._clock.monotonic())
        _, performed = self._apply(on.AgentJoined(info))
        await settled(performed)
        return self._journal.epoch

    async def report(self, agent: str, incarnation: str, reports: Sequence[RunReport]) -> bool:
        """Deliver the ends of attempts; they are durable when this returns. False: unknown agent, join again."""
        await self._ready.wait()
        box = self._agents.get(agent, incarnation)
        if box is None:
            return False
        box.heard_at = self._clock.monotonic()
        _, performed = self._apply(on.RunsReported(agent, incarnation, tuple(reports)))
        await settled(performed)
        return True

    async def lease(self, agent: str, incarnation: str, capacity: int, reports: Sequence[RunReport]) -> WorkLease:
        """Acknowledge the last group and wait for the next, in one call."""
        await self._ready.wait()
        box = self._agents.get(agent, incarnation)
        if box is None:
            return WorkLease(self._journal.epoch, known=False)
        box.heard_at = self._clock.monotonic()
        if reports:
            _, performed = self._apply(on.RunsReported(agent, incarnation, tuple(reports)))
            await settled(performed)
        await self._linger(box)
        self._apply(on.AgentReady(agent, incarnation, capacity))
        group = await box.take(LEASE_WAIT_S)
        if group is None:
            return WorkLease(self._journal.epoch, known=self._agents.get(agent, incarnation) is not None)
        executables = await self._payload_bytes([member.job_id for member in group.members], PAYLOAD_EXECUTABLE)
        members = tuple(replace(member, executable=executables.get(member.job_id, b"")) for member in group.members)
        return WorkLease(self._journal.epoch, replace(group, members=members))

    async def started(self, agent: str, incarnation: str, members: Sequence[tuple[str, int]]) -> None:
        """The members began to run."""
        await self._ready.wait()
        self._apply(on.RunsStarted(agent, incarnation, tuple(members)))

    async def heartbeat(self, beat: Heartbeat) -> bool:
        """A sign of life. False: unknown agent, join again."""
        await self._ready.wait()
        box = self._agents.get(beat.agent, beat.incarnation)
        if box is None:
            return False
        box.heard_at = self._clock.monotonic()
        self._apply(on.AgentHeard(beat))
        self._show_progress(beat)
        return True

    async def compiler_heartbeat(self, compiler: str, incarnation: str) -> bool:
        """A compiler's sign of life. False: unknown, join again."""
        await self._ready.wait()
        box = self._compilers.get(compiler, incarnation)
        if box is None:
            return False
        box.heard_at = self._clock.monotonic()
        return True

    # ------------------------------------------------------------------------------------------------ inside

    async def _linger(self, box: Mailbox[Any]) -> None:
        # Somebody who sends one job after the other must not wait for company that never comes.
        if self._core.live_jobs >= CROWD_JOBS:
            await box.linger()

    def _show_progress(self, beat: Heartbeat) -> None:
        # A fraction is shown and not written: it is worth nothing after a restart.
        moved = self._committed.advance(beat.progress)
        if moved:
            self._feed.publish(moved)

    async def _request(self, event: on.Event, job_id: str) -> JobRecord:
        await self._ready.wait()
        await self._recall(job_id)
        before = self._core.record(job_id)
        _, performed = self._apply(event)
        await settled(performed)
        return self._committed.get(job_id) or before
