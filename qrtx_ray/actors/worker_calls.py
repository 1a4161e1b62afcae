"""What the scheduler actor's workers call: compilers and device agents join, lease, report, and say that they live.

They pull. A lease call delivers the reports of the last batch and parks until there is work; whatever a worker says is fenced
by its incarnation, and by the attempt it speaks of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from qrtx_ray.actors.faults import reached
from qrtx_ray.actors.mailboxes import Mailbox
from qrtx_ray.actors.outbox import settled
from qrtx_ray.actors.shell import SchedulerShell
from qrtx_ray.actors.wire import CompileLease, WorkLease
from qrtx_ray.model import (
    AgentInfo,
    CheckpointRef,
    CompileReport,
    CompileTask,
    Heartbeat,
    KeptCheckpoint,
    RunReport,
)
from qrtx_ray.scheduler import events as on
from qrtx_ray.store.protocol import PAYLOAD_EXECUTABLE, PAYLOAD_REQUEST

__all__ = ["WorkerCalls"]

LEASE_WAIT_S = 15.0
CROWD_JOBS = 4


class WorkerCalls(SchedulerShell):
    """The part of the scheduler actor that compilers and agents talk to."""

    async def join_compiler(self, compiler: str, incarnation: str) -> int:
        await self._ready.to_work()
        if self._compilers.get(compiler, incarnation) is None:
            self._compilers.open(compiler, incarnation, self._clock.monotonic())
        self._apply(on.CompilerJoined(compiler, incarnation))
        return self._journal.epoch

    async def report_compiled(self, compiler: str, incarnation: str, reports: Sequence[CompileReport]) -> bool:
        """Deliver compiled jobs. False: unknown compiler, join again."""
        await self._ready.to_work()
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
        await self._ready.to_work()
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
        await self._ready.to_work()
        self._agents.open(info.name, info.incarnation, self._clock.monotonic())
        _, performed = self._apply(on.AgentJoined(info))
        await settled(performed)
        return self._journal.epoch

    async def report(self, agent: str, incarnation: str, reports: Sequence[RunReport]) -> bool:
        """Deliver the ends of attempts; they are durable when this returns. False: unknown agent, join again."""
        await self._ready.to_work()
        box = self._agents.get(agent, incarnation)
        if box is None:
            return False
        box.heard_at = self._clock.monotonic()
        _, performed = self._apply(on.RunsReported(agent, incarnation, tuple(reports)))
        await settled(performed)
        return True

    async def lease(self, agent: str, incarnation: str, capacity: int, reports: Sequence[RunReport]) -> WorkLease:
        """Acknowledge the last group and wait for the next, in one call."""
        await self._ready.to_work()
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
        await self._ready.to_work()
        self._apply(on.RunsStarted(agent, incarnation, tuple(members)))

    async def heartbeat(self, beat: Heartbeat) -> bool:
        """A sign of life. False: unknown agent, join again."""
        await self._ready.to_work()
        box = self._agents.get(beat.agent, beat.incarnation)
        if box is None:
            return False
        box.heard_at = self._clock.monotonic()
        self._apply(on.AgentHeard(beat))
        self._show_progress(beat)
        return True

    async def compiler_heartbeat(self, compiler: str, incarnation: str) -> bool:
        """A compiler's sign of life. False: unknown, join again."""
        await self._ready.to_work()
        box = self._compilers.get(compiler, incarnation)
        if box is None:
            return False
        box.heard_at = self._clock.monotonic()
        return True

    async def checkpointed(
        self, agent: str, incarnation: str, kept: Sequence[KeptCheckpoint]
    ) -> dict[str, tuple[CheckpointRef, ...]] | None:
        """These checkpoints are durable; the runs went on.

        Returns:
            For each of the jobs the checkpoints that are valid now, newest first; only what is older than they may be
            removed. None: unknown agent, join again.
        """
        await self._ready.to_work()
        box = self._agents.get(agent, incarnation)
        if box is None:
            return None
        box.heard_at = self._clock.monotonic()
        _, performed = self._apply(on.CheckpointsKept(agent, incarnation, tuple(kept)))
        await settled(performed)
        reached("scheduler.before_checkpoint_ack")
        records = await self.get(list(dict.fromkeys(one.job_id for one in kept)))
        return {record.id: record.checkpoints for record in records if record is not None}

    async def withdraw(self, agent: str, incarnation: str) -> None:
        """The agent takes no more work, whatever it had offered."""
        await self._ready.to_work()
        if self._agents.get(agent, incarnation) is not None:
            self._apply(on.AgentReady(agent, incarnation, 0))

    async def _linger(self, box: Mailbox[Any]) -> None:
        # Somebody who sends one job after the other must not wait for company that never comes.
        if self._core.live_jobs >= CROWD_JOBS:
            await box.linger()

    def _show_progress(self, beat: Heartbeat) -> None:
        # A fraction is shown and not written: it is worth nothing after a restart.
        moved = self._committed.advance(beat.progress)
        if moved:
            self._feed.publish(moved)
