"""A job as the runtime knows it: the request, the durable record, and the view shown outside.

These are plain frozen values. They travel between actors, are stored, and are read by the pure scheduler; none of
them holds a circuit: the payload and the compiled form are opaque bytes kept beside the record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from qrtx_ray.errors import ErrorInfo
from qrtx_ray.model.checkpoint import CheckpointRef
from qrtx_ray.model.ids import GroupId, JobId
from qrtx_ray.model.pickling import quickly_pickled

__all__ = [
    "AUTO_DEVICE",
    "TERMINAL_STATES",
    "Candidate",
    "CircuitProfile",
    "JobChange",
    "JobPage",
    "JobQuery",
    "JobRecord",
    "JobRequest",
    "Level",
    "PayloadFormat",
    "Program",
    "TaskState",
]

AUTO_DEVICE = "auto"  #: the device of a job that leaves the choice to the scheduler, until the choice is made


class Program(StrEnum):
    """What is computed from the circuits."""

    SAMPLER = "sampler"
    ESTIMATOR = "estimator"


class PayloadFormat(StrEnum):
    """How `JobRequest.payload` is to be read."""

    RUNTIME = "runtime"  #: JSON `params` of a Qiskit Runtime job, as the official client encodes them
    NATIVE = "native"  #: JSON body of the native API (circuits as OpenQASM 2/3 text or base64 QPY)


class Level(IntEnum):
    """Priority levels; a smaller number goes first."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3

    @classmethod
    def of(cls, priority: int) -> Level:
        """The level of a numeric priority 0..100 (50 is normal): 90.. critical, 70.. high, 30.. normal, else low."""
        if priority >= 90:
            return cls.CRITICAL
        if priority >= 70:
            return cls.HIGH
        return cls.NORMAL if priority >= 30 else cls.LOW

    @property
    def priority(self) -> int:
        """The numeric priority that the level's name stands for, in the middle of the level."""
        return (95, 80, 50, 15)[self]


class TaskState(StrEnum):
    """Where a job is on its way (RFC 0007). What may follow what is the table in `scheduler.states`."""

    PENDING = "Pending"
    VALIDATING = "Validating"
    COMPILING = "Compiling"
    QUEUED = "Queued"
    ALLOCATING = "Allocating"
    EXECUTING = "Executing"
    COMPLETING = "Completing"
    PAUSED = "Paused"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    TIMEOUT = "Timeout"


TERMINAL_STATES = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.TIMEOUT})


@quickly_pickled
@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job as the front accepted it: the envelope checked, the payload still opaque.

    Args:
        program: What to compute.
        device: Canonical device name ``<metadata>@<executor>`` (aliases resolved), or `AUTO_DEVICE`.
        payload: The request body part that a sandboxed child will decode; bounded by the front's body limit.
        payload_format: How to read it.
        tenant: Who asks; from the token only.
        instance: Instance CRN or name the request was made under, if any.
        priority: 0..100, 50 is normal.
        seed: The seed the user gave (0 ≤ seed < 2**64), or None: the scheduler then draws one and records it.
        queue_timeout_s / execution_timeout_s: Seconds, or None for the configured default.
        max_qpu_s: The client's bound on charged time (`cost`), seconds of QPU time, or None.
        idempotency_key: Unique per tenant; a second request with the same key and digest is the same job.
        digest: SHA-256 (hex) of the request body, compared when a key is used again.
        client: What the client says it is (`X-Qx-Client-Application` or User-Agent), shortened.
        source: ``"runtime"`` or ``"native"``: which API it came by.
        choices: Canonical names of the devices that may be chosen when `device` is `AUTO_DEVICE`.
        deadline_at: When the job must have ended, seconds since the epoch, or None.
        fidelity_floor: Least predicted fidelity (0..1] the client accepts, or None.
        reservation: Name of a device reservation the job may use, or None.
        dry_run: Estimate only: the job ends after compilation and charges nothing.
        checkpoint_interval_s: Seconds of run between two checkpoints; 0: none, None: as configured.
        restored_from: The job whose checkpoints this one begins with, or None.
        checkpoints: Those checkpoints, newest first.
    """

    program: Program
    device: str
    payload: bytes
    payload_format: PayloadFormat
    tenant: str
    instance: str = ""
    priority: int = 50
    name: str = ""
    tags: tuple[str, ...] = ()
    seed: int | None = None
    session_id: str | None = None
    private: bool = False
    queue_timeout_s: float | None = None
    execution_timeout_s: float | None = None
    max_qpu_s: float | None = None
    calibration_id: str | None = None
    idempotency_key: str | None = None
    digest: str = ""
    client: str = ""
    source: str = "native"
    choices: tuple[str, ...] = ()
    deadline_at: float | None = None
    fidelity_floor: float | None = None
    reservation: str | None = None
    dry_run: bool = False
    checkpoint_interval_s: float | None = None
    restored_from: JobId | None = None
    checkpoints: tuple[CheckpointRef, ...] = ()


@quickly_pickled
@dataclass(frozen=True, slots=True)
class Candidate:
    """What a job would be on one device that it may go to; from a survey of the circuits, before they are compiled for it.

    Args:
        device: Canonical name.
        calibration_id: The published calibration the figures are from.
        fidelity: Predicted fidelity (0..1) of the least faithful PUB; None on a device without noise.
        qpu_s: Seconds the device would charge.
        estimated_s: Wall seconds of the run on one core.
        refusal: Why the job cannot run there, or "".
    """

    device: str
    calibration_id: str = ""
    fidelity: float | None = None
    qpu_s: float = 0.0
    estimated_s: float = 0.0
    refusal: str = ""


@quickly_pickled
@dataclass(frozen=True, slots=True)
class CircuitProfile:
    """What scheduling needs to know of a compiled job; made once, by the compiler child.

    Args:
        active_qubits: Qubits that any instruction acts on, the largest PUB.
        depth / two_qubit_gates: Of the largest PUB.
        circuits: Executions the job expands to (Σ over PUBs of parameter rows × measurement bases).
        shots: Σ of shots over those executions.
        estimated_s / estimated_bytes: Engine's cost law (wall seconds on one core, peak bytes).
        qpu_s: Seconds the device would be charged (see `devices.timing`).
        group_key: Jobs with equal keys may run in one engine call.
        calibration_id: The calibration it was compiled against.
        engine: Name of the engine it was compiled for.
        fidelity: Predicted fidelity (0..1) of the least faithful PUB; None on a device without noise.
        sensitivity: How much the job suffers from noise, 0 (not at all) to 1, from its structure alone.
        structure: Hash of the circuits without their numbers.
        noise_id: The published noise (see `devices.drift`) it was compiled against; "" is the packaged calibration.
        bulk_bytes: Size of the largest state that a checkpoint of the job carries; 0 where shots and rows say all.
    """

    active_qubits: int
    depth: int
    two_qubit_gates: int
    circuits: int
    shots: int
    estimated_s: float
    estimated_bytes: int
    qpu_s: float
    group_key: str
    calibration_id: str
    engine: str
    fidelity: float | None = None
    sensitivity: float = 0.0
    structure: str = ""
    noise_id: str = ""
    bulk_bytes: int = 0


@quickly_pickled
@dataclass(frozen=True, slots=True)
class JobRecord:
    """The durable truth about a job. Changed only by `scheduler.core.Core`; written before anybody is told.

    Times are seconds since the Unix epoch. `version` grows by one with every write and is compared by the store.
    `attempt` counts executions and fences late reports. `progress` ∈ [0, 1]. `device` is `AUTO_DEVICE` until one of
    `choices` is chosen by what `candidates` say. `promoted_at` is when the job had waited longer than its level allows;
    `preemptions` counts how often it made way for more urgent work, `losses` the attempts that the system lost (an agent that
    died); attempts that ended because somebody paused or moved the job, or drained a device, are neither. `checkpoints` are those that are valid, newest first: a run goes on from the
    first that can be used. `pause_requested` is remembered while somebody else holds the job. `keep_partial` is the wish of
    whoever cancelled it to have what was done until then; `partial` says that the results are only that, and cover
    `progress` of the job. `slices` counts those done by the present attempt, and like `progress` moves without a write.
    """

    id: JobId
    number: int
    tenant: str
    program: Program
    device: str
    payload_format: PayloadFormat
    created_at: float
    seed: int
    state: TaskState = TaskState.PENDING
    substate: str | None = None
    version: int = 1
    attempt: int = 0
    retries: int = 0
    instance: str = ""
    priority: int = 50
    name: str = ""
    tags: tuple[str, ...] = ()
    session_id: str | None = None
    private: bool = False
    queue_timeout_s: float | None = None
    execution_timeout_s: float | None = None
    max_qpu_s: float | None = None
    idempotency_key: str | None = None
    digest: str = ""
    client: str = ""
    source: str = "native"
    profile: CircuitProfile | None = None
    queued_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    not_before: float | None = None
    agent: str | None = None
    group: GroupId | None = None
    progress: float = 0.0
    cancel_requested: bool = False
    cancelled_by: str | None = None
    qpu_s: float | None = None
    result_sha256: str | None = None
    result_bytes: int | None = None
    error: ErrorInfo | None = None
    metadata_recorded: bool = False
    choices: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    deadline_at: float | None = None
    fidelity_floor: float | None = None
    reservation: str | None = None
    dry_run: bool = False
    promoted_at: float | None = None
    preemptions: int = 0
    checkpoints: tuple[CheckpointRef, ...] = ()
    checkpoint_interval_s: float | None = None
    restored_from: JobId | None = None
    pause_requested: bool = False
    paused_at: float | None = None
    paused_by: str | None = None
    keep_partial: bool = False
    partial: bool = False
    slices: int = 0
    losses: int = 0

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL_STATES

    @property
    def level(self) -> Level:
        return Level.of(self.priority)


@quickly_pickled
@dataclass(frozen=True, slots=True)
class JobChange:
    """One transition, as kept in the history and streamed to followers.

    `sequence` grows by one with every change of the whole runtime and is what a stream resumes from.
    """

    sequence: int
    job_id: JobId
    at: float
    from_state: TaskState | None
    to_state: TaskState
    attempt: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JobQuery:
    """A filter over jobs. `tenant` is always applied; None in another field means "any". Tags are ANDed."""

    tenant: str
    states: frozenset[TaskState] | None = None
    device: str | None = None
    program: str | None = None
    session_id: str | None = None
    tags: tuple[str, ...] = ()
    created_after: float | None = None
    created_before: float | None = None
    ascending: bool = False
    limit: int = 10
    offset: int = 0


@dataclass(frozen=True, slots=True)
class JobPage:
    """A page of a query: the records and how many match in all."""

    records: tuple[JobRecord, ...]
    total: int
    extra: dict[str, Any] = field(default_factory=dict)
