"""Small parts for the tests of the actors: records, groups, a scripted child, and waiting for what must come true."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from qrtx_ray.config import Settings, load_settings
from qrtx_ray.model import (
    CircuitProfile,
    Group,
    JobRecord,
    JobRequest,
    Member,
    PayloadFormat,
    Program,
    TaskState,
    new_id,
)

DEVICE = "fake_manila@aer"
PROFILE = CircuitProfile(2, 3, 1, 1, 100, 0.001, 1000, 2.0, "key", "calibration", "aer")


def job_id(number: int) -> str:
    return new_id(1.7e9 + number, number.to_bytes(7, "big"))


def record(number: int = 1, state: TaskState = TaskState.QUEUED, **fields: Any) -> JobRecord:
    plain = JobRecord(
        id=job_id(number),
        number=number,
        tenant="alice",
        program=Program.SAMPLER,
        device=DEVICE,
        payload_format=PayloadFormat.NATIVE,
        created_at=1000.0,
        seed=1,
        state=state,
    )
    return dataclasses.replace(plain, **fields)


def request(tenant: str = "alice", **fields: Any) -> JobRequest:
    return JobRequest(Program.SAMPLER, DEVICE, b"payload", PayloadFormat.NATIVE, tenant, **fields)


def member(number: int, attempt: int = 1, timeout_s: float = 5.0) -> Member:
    return Member(job_id(number), attempt, seed=number, timeout_s=timeout_s, executable=b"code", qubits=2)


def group(*numbers: int) -> Group:
    return Group(f"group-{numbers[0]}", DEVICE, tuple(member(number) for number in numbers))


def outcome(job: str, **fields: Any) -> dict[str, Any]:
    return {
        "job_id": job,
        "results": b"results of " + job.encode(),
        "qpu_s": 2.0,
        "wall_s": 0.1,
        "error": None,
        **fields,
    }


def settings(folder: Any, **overrides: Any) -> Settings:
    wanted = {
        "storage.path": str(folder),
        "devices": [{"name": DEVICE, "count": 1}],
        "scheduler.agent_grace_s": 0.3,
        **overrides,
    }
    return load_settings(env={"HOME": str(folder)}, overrides=wanted)


class ScriptedSandbox:
    """A child by script: `behave(ids, emit)` gives the reply, raises, or waits for ever.

    Attributes:
        calls: The job ids of each call, as they were made.
        messages: What the child got with each.
        line: The interrupts of the latest call.
        cut_short: Calls that were cancelled.
    """

    pid = 4711

    def __init__(self, behave: Any) -> None:
        self._behave = behave
        self.calls: list[list[str]] = []
        self.messages: list[dict[str, Any]] = []
        self.line: Any = None
        self.cut_short = 0

    async def start(self) -> None:
        """There is nothing to start."""

    async def call(
        self, message: dict[str, Any], *, deadline_s: float, on_event: Any = None, interrupts: Any = None
    ) -> dict[str, Any]:
        ids = [entry["job_id"] for entry in message["members"]]
        self.calls.append(ids)
        self.messages.append(message)
        self.line = interrupts
        try:
            async with asyncio.timeout(deadline_s):
                reply: dict[str, Any] = await self._behave(ids, on_event)
                return reply
        except asyncio.CancelledError:
            self.cut_short += 1
            raise


async def honest(ids: list[str], emit: Any) -> dict[str, Any]:
    return {"outcomes": [outcome(job) for job in ids]}


async def until(condition: Any, within_s: float = 5.0) -> None:
    """Wait until `condition()` holds."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.002)
