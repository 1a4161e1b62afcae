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

__all__ = ["DeviceView", "Gateway"]


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

    async def cancel(self, job_id: JobId, tenant: str, by: str) -> JobRecord:
        """Ask for the end of a job; a queued one is Cancelled when this returns.

        Raises:
            InvalidState: It has already ended.
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

    def watch(self, job_id: JobId, tenant: str, after_sequence: int) -> AsyncIterator[tuple[int, JobRecord]]:
        """Follow a job: ``(sequence, record)`` for every change with a greater sequence than `after_sequence`.

        The latest known change comes first, so that a new follower starts from the present state; changes in between
        may be folded into one. The iterator ends after the change that ended the job.
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

    async def health(self) -> dict[str, Any]:
        """Plain facts for an operator; ``"ready"`` (bool) says whether jobs are accepted."""
        ...
