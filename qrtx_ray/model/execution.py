"""What passes between the scheduler and those that work for it: leases, reports, and device descriptions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qrtx_ray.errors import ErrorInfo
from qrtx_ray.model.ids import GroupId, JobId
from qrtx_ray.model.job import CircuitProfile, JobRecord, PayloadFormat, Program
from qrtx_ray.model.pickling import quickly_pickled

__all__ = [
    "AgentInfo",
    "CompileReport",
    "CompileTask",
    "DeviceInfo",
    "DeviceStatus",
    "Group",
    "Heartbeat",
    "Member",
    "RunReport",
]


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device that jobs can name.

    Args:
        name: ``<metadata>@<executor>``.
        metadata: Where topology and calibration come from, e.g. ``fake_sherbrooke``.
        executor: ``aer`` (noisy by default) or ``aer_ideal``.
        num_qubits: Width.
        aliases: Other names it answers to.
    """

    name: str
    metadata: str
    executor: str
    num_qubits: int
    aliases: tuple[str, ...] = ()


class DeviceStatus(StrEnum):
    """Whether a device takes work."""

    ONLINE = "online"
    PAUSED = "paused"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """A device agent (one actor, one engine child) and the devices it serves.

    `incarnation` is drawn anew by every process that takes the agent's name, so that a report of a dead process is
    recognised. `running` names what it already executes, for adoption after the scheduler restarted.
    """

    name: str
    incarnation: str
    devices: tuple[str, ...]
    running: tuple[tuple[JobId, int], ...] = ()


@quickly_pickled
@dataclass(frozen=True, slots=True)
class CompileTask:
    """One job to decode, validate and compile. `payload` is opaque here."""

    job_id: JobId
    attempt: int
    program: Program
    device: str
    payload: bytes
    payload_format: PayloadFormat
    seed: int
    tenant: str = ""
    name: str = ""
    client: str = ""

    @classmethod
    def of(cls, record: JobRecord, attempt: int, payload: bytes) -> CompileTask:
        """The task of compiling the job `record`, whose request came as `payload`."""
        return cls(
            job_id=record.id,
            attempt=attempt,
            program=record.program,
            device=record.device,
            payload=payload,
            payload_format=record.payload_format,
            seed=record.seed,
            tenant=record.tenant,
            name=record.name,
            client=record.client,
        )


@quickly_pickled
@dataclass(frozen=True, slots=True)
class CompileReport:
    """What came of a CompileTask: either `profile` and `executable`, or `error`."""

    job_id: JobId
    attempt: int
    profile: CircuitProfile | None = None
    executable: bytes = b""
    error: ErrorInfo | None = None


@quickly_pickled
@dataclass(frozen=True, slots=True)
class Member:
    """A job inside a group. `attempt` fences its report; `timeout_s` bounds its wall-clock run; `qubits` it occupies."""

    job_id: JobId
    attempt: int
    seed: int
    timeout_s: float
    executable: bytes = b""
    qubits: int = 0


@quickly_pickled
@dataclass(frozen=True, slots=True)
class Group:
    """Jobs that one agent runs in one go on one device."""

    id: GroupId
    device: str
    members: tuple[Member, ...]


@quickly_pickled
@dataclass(frozen=True, slots=True)
class RunReport:
    """The end of one attempt: the result file is durable (`sha256`, `size_bytes`), or `error` says why there is none.

    `qpu_s` is what the device charges (seconds of QPU time); `wall_s` what the run took here.
    """

    job_id: JobId
    attempt: int
    sha256: str | None = None
    size_bytes: int | None = None
    qpu_s: float = 0.0
    wall_s: float = 0.0
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """An agent's sign of life: what runs now, how far it is (job → fraction), what waits prefetched."""

    agent: str
    incarnation: str
    running: tuple[tuple[JobId, int], ...] = ()
    progress: tuple[tuple[JobId, int, float], ...] = ()
