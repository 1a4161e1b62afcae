"""What the HTTP front needs of the runtime behind it: one narrow, asynchronous door.

The front never schedules, stores or runs anything. It checks who asks and what the request looks like, and calls a
`Gateway`. In production the gateway talks to the scheduler actor; tests use `qrtx_ray.testing.FakeGateway`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from qrtx_ray.errors import ErrorInfo
from qrtx_ray.model import (
    DeviceInfo,
    DeviceStatus,
    JobChange,
    JobId,
    JobPage,
    JobQuery,
    JobRecord,
    JobRequest,
    Reservation,
)

__all__ = ["AgentView", "DeviceView", "Gateway", "JobUpdate", "NamedState"]


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device and how it does at the moment.

    Args:
        info: What it is.
        status: Whether it takes work.
        queue_length: Jobs that wait for it.
        running: Jobs that it executes now.
        agents: Agents that serve it and are alive.
        calibration_id: The calibration new jobs are compiled against, or None when it has none.
        utilisation: Share of the device's (QPU) time that was used lately, ∈ [0, 1].
        noise_id: Name of the noise its last calibration published, of a device whose noise drifts; else "".
        calibrated_at: When that was, seconds since the epoch, or None.
        probe_fidelity: Fidelity of the probe circuits as measured last, or None.
    """

    info: DeviceInfo
    status: DeviceStatus = DeviceStatus.ONLINE
    queue_length: int = 0
    running: int = 0
    agents: int = 0
    calibration_id: str | None = None
    utilisation: float = 0.0
    noise_id: str = ""
    calibrated_at: float | None = None
    probe_fidelity: float | None = None


@dataclass(frozen=True, slots=True)
class AgentView:
    """A device agent and how it does at the moment.

    Args:
        name: Its name.
        devices: The devices it serves.
        running: Jobs it holds.
        drained: Whether it was told to give its work back and take no more.
        last_heard_s: Seconds since its last sign of life.
    """

    name: str
    devices: tuple[str, ...]
    running: int = 0
    drained: bool = False
    last_heard_s: float = 0.0


@dataclass(frozen=True, slots=True)
class JobUpdate:
    """A job now, and all that happened to it since a point of its history.

    Args:
        record: The present state; its `progress` and `slices` may be newer than any change.
        changes: Every change after that point, oldest first.
    """

    record: JobRecord
    changes: tuple[JobChange, ...] = ()


@dataclass(frozen=True, slots=True)
class NamedState:
    """A state that a tenant keeps under a name of its own.

    Args:
        name: The name.
        etag: SHA-256 (hex) of the document.
        size_bytes: Length of the document.
        at: When it was written last, seconds since the epoch.
    """

    name: str
    etag: str
    size_bytes: int
    at: float


class Gateway(Protocol):
    """The runtime as seen from a front replica. Every method may be called many times at once.

    Raises (any method that takes a job id):
        NotFound: No such job, or it belongs to another tenant; the two are never told apart.
    """

    async def submit(self, request: JobRequest) -> JobRecord:
        """Accept a job; when this returns, the job is durable.

        Raises:
            QueueFull: The tenant's or the whole queue is full.
            IdempotencyConflict: The key was used before with another digest. With the same digest the first job's
                record is returned.
            PersistError: Not accepted; nothing was kept.
        """
        ...

    async def submit_many(self, requests: Sequence[JobRequest]) -> list[JobRecord | ErrorInfo]:
        """Accept several jobs in one go; answer i belongs to ``requests[i]``, and one refusal changes no other."""
        ...

    async def cancel(self, job_id: JobId, tenant: str, by: str, *, partial: bool = False) -> JobRecord:
        """Ask for the end of a job; a queued one is Cancelled when this returns.

        Args:
            partial: End a run after its slice, and keep what it has by then as results.

        Raises:
            InvalidState: It has already ended.
        """
        ...

    async def pause(self, job_id: JobId, tenant: str, by: str) -> JobRecord:
        """Let a job wait until it is resumed. One that runs pauses after its slice: until then `pause_requested` is set.

        Raises:
            InvalidState: It has already ended.
        """
        ...

    async def resume(self, job_id: JobId, tenant: str, by: str) -> JobRecord:
        """Let a paused job go on, or one that is about to pause; without effect on any other that has not ended.

        Raises:
            InvalidState: It has already ended.
        """
        ...

    async def checkpoint(self, job_id: JobId, tenant: str) -> JobRecord:
        """Ask for a checkpoint of a running job after its slice. It stands when the record has it.

        Raises:
            InvalidState: The job does not run.
        """
        ...

    async def migrate(self, job_id: JobId, tenant: str, by: str, agent: str | None) -> JobRecord:
        """Let a running job go on elsewhere: with `agent`, or with any other than the present one.

        Raises:
            InvalidState: It does not run, or nobody else could take it.
        """
        ...

    async def restore(
        self, job_id: JobId, tenant: str, by: str, sequence: int | None, idempotency_key: str | None
    ) -> JobRecord:
        """A new job with the request and the seed of one that has ended, which begins with its checkpoints.

        Args:
            sequence: Leave out the checkpoints after this one; None: begin with the newest.
            idempotency_key: As for `submit`.

        Raises:
            InvalidState: It has not ended.
            NotFound: It has no such checkpoint.
        """
        ...

    async def get(self, job_id: JobId, tenant: str) -> JobRecord:
        """The record of a job."""
        ...

    async def wait(
        self, job_id: JobId, tenant: str, timeout_s: float, *, known_version: int | None, until_terminal: bool
    ) -> JobRecord:
        """The record as soon as it is worth telling, at the latest after `timeout_s`.

        Args:
            timeout_s: Longest wait; when it is over the present record is returned, which is no error.
            known_version: Return at once when the record's version differs from this one; None: do not compare.
            until_terminal: Return only when the job has ended, whatever `known_version` says.
        """
        ...

    async def query(self, query: JobQuery) -> JobPage:
        """A page of the tenant's jobs."""
        ...

    async def payload(self, job_id: JobId, tenant: str) -> bytes:
        """The request's payload as it came."""
        ...

    async def results(self, job_id: JobId, tenant: str) -> bytes | None:
        """The result document (Runtime JSON, UTF-8), or None when there is none (yet).

        Guarantees:
            The document of a private job is handed out once; later calls return None.
        """
        ...

    async def history(self, job_id: JobId, tenant: str) -> list[JobChange]:
        """All state changes of a job, oldest first."""
        ...

    async def updates(self, job_id: JobId, tenant: str, after: int) -> JobUpdate:
        """The job now, with every change of a greater sequence than `after`."""
        ...

    def watch(self, job_id: JobId, tenant: str, after: int) -> AsyncIterator[JobUpdate]:
        """Follow a job: every change of a greater sequence than `after` once, and in between how far it is.

        What happened until now comes first, so that a new follower starts from the present state. The record is the present
        one also where several changes come together. An update without changes tells progress, or what is no change of
        state, as new tags. The iterator ends after the change that ended the job.
        """
        ...

    async def set_tags(self, job_id: JobId, tenant: str, tags: tuple[str, ...]) -> JobRecord:
        """Replace the tags of a job."""
        ...

    async def delete(self, job_id: JobId, tenant: str) -> None:
        """Remove a job that has ended, with all that belongs to it.

        Raises:
            InvalidState: It has not ended.
        """
        ...

    async def devices(self) -> list[DeviceView]:
        """All devices, by name."""
        ...

    async def pause_device(self, name: str, *, drain: bool) -> None:
        """Give a device no more work; with `drain` what runs there makes way after its slice and waits.

        Raises:
            NotFound: There is no such device.
        """
        ...

    async def resume_device(self, name: str) -> None:
        """Let a device take work again."""
        ...

    async def agents(self) -> list[AgentView]:
        """All agents, by name."""
        ...

    async def drain_agent(self, name: str) -> None:
        """Let an agent give its work back after the slice and take no more.

        Raises:
            NotFound: There is no such agent.
        """
        ...

    async def resume_agent(self, name: str) -> None:
        """Let a drained agent take work again."""
        ...

    async def usage_qpu_s(self, tenant: str, since: float) -> float:
        """Seconds of QPU time charged to `tenant` since `since` (epoch seconds)."""
        ...

    async def explain(self, job_id: JobId, tenant: str) -> dict[str, Any]:
        """Why the job is where it is, as plain data; see docs/scheduling.md."""
        ...

    async def estimate(self, request: JobRequest) -> dict[str, Any]:
        """What the job would be on each device it may go to, as ``{"devices": {name: figures}, "chosen", "policy"}``;
        nothing is kept and nothing runs.

        Raises:
            DecodeError / ValidationError / CompileError: The circuits cannot be read.
            QueueFull: Too many estimates are asked for at once.
        """
        ...

    async def usage(self, tenant: str) -> dict[str, Any]:
        """The tenant's share and quotas, with what is used of them."""
        ...

    async def reservations(self) -> list[Reservation]:
        """All windows that are not over, of every tenant, by their beginning."""
        ...

    async def reserve(self, reservation: Reservation, *, operator: bool) -> Reservation:
        """Hold a device.

        Raises:
            ValidationError: The window is over, too long, or too far away.
            QueueFull: The tenant, or everybody together, holds as many as are allowed.
            InvalidState: It overlaps another.
        """
        ...

    async def release(self, name: str, tenant: str | None) -> None:
        """Give a reservation back. `tenant` None is the operator.

        Raises:
            NotFound: There is none of that name, or it is another tenant's.
        """
        ...

    async def put_state(self, tenant: str, name: str, document: bytes, expected: str | None) -> str:
        """Keep `document` under a name of the tenant; durable when this returns. Returns its etag.

        Args:
            expected: The etag of what must be there now; "": nothing may be there; None: whatever is there. Writing again what
                is there already succeeds in any case.

        Raises:
            StateChanged: Something else is there.
            InvalidState: The tenant keeps as many as it may.
        """
        ...

    async def get_state(self, tenant: str, name: str) -> tuple[bytes, str]:
        """The document under a name, and its etag. Raises NotFound."""
        ...

    async def delete_state(self, tenant: str, name: str, expected: str | None) -> None:
        """Forget a named state; `expected` as for `put_state`. Raises NotFound or StateChanged."""
        ...

    async def states(self, tenant: str) -> list[NamedState]:
        """The tenant's named states, by name."""
        ...

    async def health(self) -> dict[str, Any]:
        """Plain facts for an operator; ``"ready"`` (bool) says whether jobs are accepted."""
        ...
