"""Small parts for the tests of the actors: records, groups, a scripted child, and waiting for what must come true."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from typing import Any

from qrtx_ray.config import Settings, load_settings
from qrtx_ray.errors import QrtxError
from qrtx_ray.model import (
    CheckpointRef,
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
from qrtx_ray.sandbox.frames import unpack
from qrtx_ray.store.checkpoints import CheckpointDraft, StoredCheckpoint

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


def checkpoint(job: str, attempt: int = 1, sequence: int = 1, progress: float = 0.5) -> CheckpointRef:
    """A checkpoint that no file belongs to."""
    return CheckpointRef(job, attempt, sequence, f"{sequence:064x}", 100, progress, 1000.0)


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
        area: Descriptor of the shared memory of the latest call.
        line: The interrupts of the latest call.
        cut_short: Calls that were cancelled.
    """

    pid = 4711

    def __init__(self, behave: Any) -> None:
        self._behave = behave
        self.calls: list[list[str]] = []
        self.messages: list[dict[str, Any]] = []
        self.line: Any = None
        self.area: int | None = None
        self.cut_short = 0

    def notes(self, kind: str) -> list[str]:
        """The jobs named in notes of this kind to the latest call, as far as they came."""
        bodies = [unpack(frame[4:])[1] for frame in self.line._notes] if self.line is not None else []
        return [job for body in bodies for job in body.get(kind, ())]

    async def start(self) -> None:
        """There is nothing to start."""

    async def call(
        self,
        message: dict[str, Any],
        *,
        deadline_s: float,
        on_event: Any = None,
        interrupts: Any = None,
        area: int | None = None,
    ) -> dict[str, Any]:
        ids = [entry["job_id"] for entry in message["members"]]
        self.calls.append(ids)
        self.messages.append(message)
        self.line, self.area = interrupts, area
        try:
            async with asyncio.timeout(deadline_s):
                reply: dict[str, Any] = await self._behave(ids, on_event)
                return reply
        except asyncio.CancelledError:
            self.cut_short += 1
            raise


class MemoryKeeper:
    """Checkpoints in memory in the place of files.

    Attributes:
        drafts: What was kept, in order.
        bulks: By digest.
        broken: When set, what keeping raises.
        gate: Keeping waits until it is open.
        only: What `keep_only` was called with.
    """

    def __init__(self) -> None:
        self.drafts: list[CheckpointDraft] = []
        self.bodies: dict[str, bytes] = {}
        self.bulks: dict[str, bytes] = {}
        self.broken: QrtxError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.only: list[tuple[str, tuple[CheckpointRef, ...]]] = []

    def put(self, job: str, sequence: int, body: bytes, bulk: bytes = b"", attempt: int = 1) -> CheckpointRef:
        """A checkpoint of earlier."""
        draft = CheckpointDraft(job, attempt, sequence, sequence / 10, "slices", 1000.0)
        return self._keep(draft, body, bulk)

    def _keep(self, draft: CheckpointDraft, body: bytes, bulk: bytes) -> CheckpointRef:
        digest = hashlib.sha256(f"{draft.job_id}{draft.attempt}{draft.sequence}".encode() + body + bulk).hexdigest()
        self.bodies[digest], self.bulks[digest] = body, bulk
        size = len(body) + len(bulk)
        return CheckpointRef(
            draft.job_id, draft.attempt, draft.sequence, digest, size, draft.progress, draft.at, draft.kind
        )

    async def keep(self, draft: CheckpointDraft, body: bytes, bulk: memoryview | None) -> CheckpointRef:
        await self.gate.wait()
        if self.broken is not None:
            raise self.broken
        self.drafts.append(draft)
        return self._keep(draft, body, b"" if bulk is None else bytes(bulk))

    async def fetch(self, ref: CheckpointRef, into: Any) -> StoredCheckpoint | None:
        if ref.sha256 not in self.bodies:
            return None
        bulk = self.bulks[ref.sha256]
        if bulk:
            if into is None:
                return None
            try:
                into(len(bulk))[:] = bulk
            except QrtxError:
                return None
        return StoredCheckpoint(self.bodies[ref.sha256], len(bulk), {})

    async def keep_only(self, job_id: str, refs: Any) -> None:
        self.only.append((job_id, tuple(refs)))


async def honest(ids: list[str], emit: Any) -> dict[str, Any]:
    return {"outcomes": [outcome(job) for job in ids]}


async def all_reports(run: Any) -> list[Any]:
    """All reports of a group that has run."""
    return [report async for reports in run.keep() for report in reports]


async def until(condition: Any, within_s: float = 5.0) -> None:
    """Wait until `condition()` holds."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.002)
