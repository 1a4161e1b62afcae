"""What the core can be told: facts, in the past tense. An event never says what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from qrtx_ray.model import (
    AgentInfo,
    CompileReport,
    Heartbeat,
    JobId,
    JobRecord,
    JobRequest,
    KeptCheckpoint,
    Reservation,
    RunReport,
)

__all__ = [
    "AgentDrained",
    "AgentHeard",
    "AgentJoined",
    "AgentLost",
    "AgentReady",
    "AgentResumed",
    "CancelRequested",
    "CheckpointRequested",
    "CheckpointsKept",
    "CompilerJoined",
    "CompilerLost",
    "CompilerReady",
    "DeletionRequested",
    "DevicePaused",
    "DeviceResumed",
    "Event",
    "JobsCompiled",
    "JobsSubmitted",
    "MetadataRecorded",
    "MigrationRequested",
    "NewJob",
    "PauseRequested",
    "ProbeMeasured",
    "ReservationMade",
    "ReservationReleased",
    "ResumeRequested",
    "RunsReported",
    "RunsStarted",
    "TagsChanged",
    "Ticked",
]


@dataclass(frozen=True, slots=True)
class NewJob:
    """A request with the identifier and the seed the shell drew for it.

    `existing` is the job the store already holds under the same tenant and idempotency key, if the shell found one;
    the core looks among the jobs in its memory itself.
    """

    id: JobId
    request: JobRequest
    seed: int
    existing: JobRecord | None = None


@dataclass(frozen=True, slots=True)
class JobsSubmitted:
    """Requests arrived; each is accepted (its row is in the Persist), refused, or a duplicate."""

    jobs: tuple[NewJob, ...]


@dataclass(frozen=True, slots=True)
class CompilerJoined:
    """A compiler process took the name `compiler`; one of another incarnation under that name is gone."""

    compiler: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class CompilerReady:
    """The compiler can take up to `capacity` jobs now; 0 withdraws an earlier offer."""

    compiler: str
    incarnation: str
    capacity: int


@dataclass(frozen=True, slots=True)
class JobsCompiled:
    """The compiler finished these; the shell stores the executables with the Persist that follows."""

    compiler: str
    incarnation: str
    reports: tuple[CompileReport, ...]


@dataclass(frozen=True, slots=True)
class CompilerLost:
    """The compiler is gone; None means whichever incarnation is known."""

    compiler: str
    incarnation: str | None = None


@dataclass(frozen=True, slots=True)
class AgentJoined:
    """A device agent introduced itself and named every attempt it holds."""

    info: AgentInfo


@dataclass(frozen=True, slots=True)
class AgentReady:
    """The agent can take one more group of up to `capacity` members; 0 withdraws an earlier offer."""

    agent: str
    incarnation: str
    capacity: int


@dataclass(frozen=True, slots=True)
class RunsStarted:
    """The agent began these attempts."""

    agent: str
    incarnation: str
    members: tuple[tuple[JobId, int], ...]


@dataclass(frozen=True, slots=True)
class AgentHeard:
    """A sign of life. `heartbeat.running` names every attempt the agent holds: running, prefetched, or finished but
    not yet reported; what is missing there for long is taken for lost.
    """

    heartbeat: Heartbeat


@dataclass(frozen=True, slots=True)
class RunsReported:
    """These attempts ended; their results, if any, are durable."""

    agent: str
    incarnation: str
    reports: tuple[RunReport, ...]


@dataclass(frozen=True, slots=True)
class AgentLost:
    """The agent is gone; None means whichever incarnation is known."""

    agent: str
    incarnation: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody wants the job cancelled. `tenant` None is the operator, who may touch every job.

    `partial`: a run under way is concluded after its slice, and its results are kept as far as they go.
    """

    job_id: JobId
    tenant: str | None
    by: str
    partial: bool = False


@dataclass(frozen=True, slots=True)
class PauseRequested:
    """Somebody wants the job to wait until it is resumed."""

    job_id: JobId
    tenant: str | None
    by: str


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """Somebody wants a paused job, or one that is about to be, to go on."""

    job_id: JobId
    tenant: str | None
    by: str


@dataclass(frozen=True, slots=True)
class CheckpointRequested:
    """Somebody wants a checkpoint of a running job after its slice; the run goes on."""

    job_id: JobId
    tenant: str | None


@dataclass(frozen=True, slots=True)
class MigrationRequested:
    """Somebody wants a running job to go on elsewhere: with `agent`, or with any other than the present one."""

    job_id: JobId
    tenant: str | None
    by: str
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class CheckpointsKept:
    """The agent made these checkpoints durable, and the runs went on."""

    agent: str
    incarnation: str
    checkpoints: tuple[KeptCheckpoint, ...]


@dataclass(frozen=True, slots=True)
class TagsChanged:
    """The tags of a job were replaced."""

    job_id: JobId
    tenant: str | None
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeletionRequested:
    """Somebody wants a finished job forgotten."""

    job_id: JobId
    tenant: str | None


@dataclass(frozen=True, slots=True)
class DevicePaused:
    """The operator stopped new work for a device; what runs there runs on, or with `drain` makes way after its slice."""

    device: str
    drain: bool = False


@dataclass(frozen=True, slots=True)
class DeviceResumed:
    """The operator lets a device take work again."""

    device: str


@dataclass(frozen=True, slots=True)
class AgentDrained:
    """The operator wants an agent, or with None every agent, to give its work back after the slice and take no more."""

    agent: str | None


@dataclass(frozen=True, slots=True)
class AgentResumed:
    """The operator lets an agent (None: every agent) take work again."""

    agent: str | None


@dataclass(frozen=True, slots=True)
class MetadataRecorded:
    """The metadata files of these finished jobs are durable."""

    job_ids: tuple[JobId, ...]


@dataclass(frozen=True, slots=True)
class ProbeMeasured:
    """Probe circuits ran on a device under `noise_id`: measured fidelity 0..1, or None when they could not be run."""

    device: str
    noise_id: str
    fidelity: float | None


@dataclass(frozen=True, slots=True)
class ReservationMade:
    """Somebody wants a device for a while. Refused with InvalidState where it overlaps another reservation."""

    reservation: Reservation


@dataclass(frozen=True, slots=True)
class ReservationReleased:
    """A reservation is given back before its end. `tenant` None is the operator, who may touch every one."""

    name: str
    tenant: str | None


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed: deadlines are looked at."""


Event = (
    JobsSubmitted
    | CompilerJoined
    | CompilerReady
    | JobsCompiled
    | CompilerLost
    | AgentJoined
    | AgentReady
    | RunsStarted
    | AgentHeard
    | RunsReported
    | AgentLost
    | CancelRequested
    | PauseRequested
    | ResumeRequested
    | CheckpointRequested
    | MigrationRequested
    | CheckpointsKept
    | TagsChanged
    | DeletionRequested
    | DevicePaused
    | DeviceResumed
    | AgentDrained
    | AgentResumed
    | MetadataRecorded
    | ProbeMeasured
    | ReservationMade
    | ReservationReleased
    | Ticked
)
