"""What passes between the scheduler and those that work for it: leases, reports, and device descriptions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qrtx_ray.errors import ErrorInfo
from qrtx_ray.model.checkpoint import CheckpointRef
from qrtx_ray.model.ids import GroupId, JobId
from qrtx_ray.model.job import Candidate, CircuitProfile, JobRecord, PayloadFormat, Program
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
    CALIBRATING = "calibrating"
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
    """One job to decode, validate and compile. `payload` is opaque here.

    `calibration_id` is the published calibration to compile against ("" for the packaged one). With `choices`, pairs of
    device and calibration, the job is only surveyed: the report carries a `Candidate` for each, and no executable. A
    `dry_run` is compiled to estimate it: the report names a result document that holds the estimate.
    """

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
    calibration_id: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    dry_run: bool = False

    @classmethod
    def of(
        cls,
        record: JobRecord,
        attempt: int,
        payload: bytes,
        *,
        calibration_id: str = "",
        choices: tuple[tuple[str, str], ...] = (),
    ) -> CompileTask:
        """The task of compiling (or surveying) the job `record`, whose request came as `payload`."""
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
            calibration_id=calibration_id,
            choices=choices,
            dry_run=record.dry_run,
        )


@quickly_pickled
@dataclass(frozen=True, slots=True)
class CompileReport:
    """What came of a CompileTask: `profile` and `executable`, or `candidates` of a survey, or `error`.

    For a dry run the estimate is durable as the job's result document: `result_sha256`, `result_bytes`.
    """

    job_id: JobId
    attempt: int
    profile: CircuitProfile | None = None
    executable: bytes = b""
    error: ErrorInfo | None = None
    candidates: tuple[Candidate, ...] = ()
    result_sha256: str | None = None
    result_bytes: int | None = None


@quickly_pickled
@dataclass(frozen=True, slots=True)
class Member:
    """A job inside a group. `attempt` fences its report; `timeout_s` bounds its wall-clock run; `qubits` it occupies.

    The run begins with the first of `checkpoints` (newest first) that can be used, and takes one every `checkpoint_every_s`
    seconds (0: only when asked to). `bulk_bytes` is the size of the largest state that one may carry.
    """

    job_id: JobId
    attempt: int
    seed: int
    timeout_s: float
    executable: bytes = b""
    qubits: int = 0
    checkpoints: tuple[CheckpointRef, ...] = ()
    checkpoint_every_s: float = 0.0
    bulk_bytes: int = 0


@quickly_pickled
@dataclass(frozen=True, slots=True)
class Group:
    """Jobs that one agent runs in one go on one device.

    `noise_id` names the noise the device has now (see `devices.drift`); "" is that of its packaged calibration.
    """

    id: GroupId
    device: str
    members: tuple[Member, ...]
    noise_id: str = ""


@quickly_pickled
@dataclass(frozen=True, slots=True)
class RunReport:
    """The end of one attempt: the result file is durable (`sha256`, `size_bytes`), or `error` says why there is none.

    `qpu_s` is what the device charges (seconds of QPU time); `wall_s` what the run took here. `preempted` says that the
    attempt made way between two slices: then there is neither result nor error, `progress` tells the fraction done, and
    `checkpoint` what was newly kept of it (None: nothing new; what the job had is as good as before). `refused` are
    checkpoints of the member that were missing, damaged or of another kind of run; nobody should try them again. `partial`
    says that the attempt was concluded on request: the results cover `progress` of the job.
    """

    job_id: JobId
    attempt: int
    sha256: str | None = None
    size_bytes: int | None = None
    qpu_s: float = 0.0
    wall_s: float = 0.0
    error: ErrorInfo | None = None
    preempted: bool = False
    progress: float = 0.0
    checkpoint: CheckpointRef | None = None
    refused: tuple[CheckpointRef, ...] = ()
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """An agent's sign of life: what it holds, and of what runs ``(job, attempt, fraction done, slices done)``."""

    agent: str
    incarnation: str
    running: tuple[tuple[JobId, int], ...] = ()
    progress: tuple[tuple[JobId, int, float, int], ...] = ()
