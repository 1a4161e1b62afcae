"""A scheduler in this process with a compiler and an agent that do as the test says; a restart is a new scheduler."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from qrtx_ray.actors.names import SCHEDULER
from qrtx_ray.actors.scheduler import SchedulerActor
from qrtx_ray.config import Settings
from qrtx_ray.errors import ErrorInfo
from qrtx_ray.model import AgentInfo, CompileReport, Group, Heartbeat, JobRecord, RunReport, TaskState

from .building import DEVICE, PROFILE, request
from .ray_double import Cluster, Handle


class House:
    """Everything around one journal.

    Attributes:
        scheduler: The present one.
        exits: Codes with which it wanted to end its process.
    """

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._settings = settings
        self._cluster = cluster
        self.exits: list[int] = []
        self.scheduler = SchedulerActor(settings.to_dict())
        self.handle: Handle = cluster.add(SCHEDULER, self.scheduler)

    async def restart(self) -> None:
        """Kill the scheduler and start the next on the same journal: what it had only in memory is gone."""
        self.handle.crash()
        old, self.scheduler = self.scheduler, SchedulerActor(self._settings.to_dict())
        await self.scheduler.ping()
        await old.close()
        self.handle.target = self.scheduler
        self.handle.away = False

    async def close(self) -> None:
        await self.scheduler.close()

    async def submit(self, count: int = 1, **fields: Any) -> list[str]:
        answers = await self.scheduler.submit([request(**fields) for _ in range(count)])
        assert all(isinstance(answer, JobRecord) for answer in answers), answers
        return [answer.id for answer in answers if isinstance(answer, JobRecord)]

    async def record(self, job_id: str) -> JobRecord:
        [found] = await self.scheduler.get([job_id])
        assert found is not None
        return found

    async def state(self, job_id: str) -> TaskState:
        return (await self.record(job_id)).state

    async def compile(self, name: str = "c", incarnation: str = "1", error: ErrorInfo | None = None) -> list[str]:
        """Compile whatever waits; returns the jobs."""
        await self.scheduler.join_compiler(name, incarnation)
        lease = await self.scheduler.lease_compile(name, incarnation, 100, [])
        reports = [
            CompileReport(task.job_id, task.attempt, error=error)
            if error
            else CompileReport(task.job_id, task.attempt, PROFILE, b"compiled " + task.payload)
            for task in lease.tasks
        ]
        done = asyncio.create_task(self.scheduler.lease_compile(name, incarnation, 0, reports))
        await self.until_all([task.job_id for task in lease.tasks], _compiled)
        done.cancel()
        return [task.job_id for task in lease.tasks]

    async def until_all(self, job_ids: list[str], condition: Any) -> None:
        async with asyncio.timeout(5):
            while not all(condition(record) for record in await self.scheduler.get(job_ids)):
                await asyncio.sleep(0.002)

    async def join(self, name: str = "agent", incarnation: str = "1", running: tuple[Any, ...] = ()) -> int:
        return await self.scheduler.join_agent(AgentInfo(name, incarnation, (DEVICE,), running))

    async def lease(self, name: str = "agent", incarnation: str = "1", reports: Any = ()) -> Group:
        lease = await self.scheduler.lease(name, incarnation, 32, reports)
        assert lease.known
        assert lease.group is not None
        return lease.group

    async def report(self, *reports: RunReport, name: str = "agent", incarnation: str = "1") -> bool:
        return await self.scheduler.report(name, incarnation, reports)

    async def beat(self, *running: Any, name: str = "agent", incarnation: str = "1", progress: Any = ()) -> bool:
        return await self.scheduler.heartbeat(Heartbeat(name, incarnation, running, progress))


def _compiled(record: JobRecord) -> bool:
    return record.state not in {TaskState.PENDING, TaskState.VALIDATING, TaskState.COMPILING}


def done(job_id: str, attempt: int = 1, **fields: Any) -> RunReport:
    return replace(RunReport(job_id, attempt, "ab" * 32, 100, 2.0, 0.1), **fields)
