"""The answers of the native API as models: they document, nothing is validated with them at run time."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from qrtx_ray.api.error_document import ErrorView
from qrtx_ray.codec.native_schema import NativeJob

__all__ = [
    "AgentDocument",
    "AgentListView",
    "CancelBody",
    "CandidateView",
    "ChangeView",
    "CheckpointListView",
    "CheckpointView",
    "CollectedView",
    "DeviceDocument",
    "DeviceListView",
    "EstimateView",
    "ExplanationView",
    "HealthView",
    "HistoryView",
    "JobListView",
    "JobView",
    "ManyAccepted",
    "MigrateBody",
    "NativeJobs",
    "NewReservation",
    "ReservationListView",
    "ReservationView",
    "RestoreBody",
    "ResultsView",
    "StateListView",
    "StateView",
    "UpdatesView",
    "UsageView",
    "VersionView",
]


class NativeJobs(BaseModel):
    """The body that submits several jobs."""

    jobs: list[NativeJob] = Field(min_length=1)


class ResultFile(BaseModel):
    """The result document, as a file."""

    sha256: str | None
    size_bytes: int | None


class CandidateView(BaseModel):
    """What a job would be on one device, from its circuits and the device's published calibration."""

    device: str
    calibration_id: str
    fidelity: float | None = Field(description="predicted, 0..1; null on a device without noise")
    qpu_s: float = Field(description="seconds of QPU time it would be charged")
    estimated_s: float = Field(description="wall-clock seconds of the run on one core")
    refusal: str = Field(description="why it cannot run there, or empty")


class CheckpointView(BaseModel):
    """Progress of a job that is durable: a run goes on from the newest that can be used."""

    sequence: int = Field(description="number among the job's checkpoints; grows")
    attempt: int = Field(description="the execution that took it")
    progress: float = Field(description="of the job, 0..1")
    at: str
    size_bytes: int
    kind: str = Field(description="slices: shots and parameter rows; segment: also the state inside a circuit")


class CheckpointListView(BaseModel):
    """The valid checkpoints of a job, newest first."""

    job_id: str
    checkpoints: list[CheckpointView]


class CancelBody(BaseModel):
    """How a job is cancelled. May be left out."""

    partial: bool = Field(default=False, description="keep the results of what was done until then")


class MigrateBody(BaseModel):
    """Where a job is to go on. May be left out."""

    agent: str | None = Field(default=None, description="left out: any other than the present one")


class RestoreBody(BaseModel):
    """Where a new job begins. May be left out."""

    sequence: int | None = Field(default=None, description="number of the checkpoint; left out: the newest")


class JobView(BaseModel):
    """A job. Times are ISO 8601 in UTC."""

    id: str
    number: int
    state: str = Field(description="exact state, e.g. Validating")
    status: str = Field(description="coarse state: PENDING, COMPILING, QUEUED, RUNNING, PAUSED, DONE, ERROR, …")
    terminal: bool
    version: int = Field(description="grows with every change; give it back as ?version= to wait for the next")
    program: str
    device: str
    name: str
    tags: list[str]
    priority: int = Field(description="0..100, 50 is normal")
    level: str
    private: bool
    seed: str = Field(description="decimal; as text, because it may be longer than a JSON number can carry")
    source: str
    instance: str
    session_id: str | None
    created_at: str
    queued_at: str | None
    started_at: str | None
    finished_at: str | None
    progress: float = Field(description="0..1")
    slices: int = Field(description="slices done by the present execution")
    attempt: int
    retries: int
    queue_timeout_s: float | None
    execution_timeout_s: float | None
    max_qpu_s: float | None
    choices: list[str] = Field(description="devices to choose among, of a job submitted with device auto")
    candidates: list[CandidateView] = Field(description="what it would be on each of them, once that is known")
    deadline: str | None
    fidelity_floor: float | None
    reservation: str | None
    dry_run: bool
    promoted_at: str | None = Field(
        description="when it had waited longer than its level allows, and went before others"
    )
    preemptions: int = Field(description="how often it made way for more urgent work")
    checkpoint_interval_s: float | None = Field(description="as asked for; null: as configured")
    checkpoints: list[CheckpointView] = Field(description="those that are valid, newest first")
    restored_from: str | None = Field(description="the job whose checkpoints it began with")
    pause_requested: bool = Field(description="it will pause after its slice")
    paused_at: str | None
    paused_by: str | None
    cancel_requested: bool
    cancelled_by: str | None
    keep_partial: bool = Field(description="whoever cancelled it wants what was done until then")
    partial: bool = Field(description="its results cover only `progress` of the job")
    qpu_s: float | None = Field(description="charged seconds of QPU time")
    profile: dict[str, Any] | None = Field(description="what the compiler found")
    result: ResultFile | None
    error: ErrorView | None


class Outcome(BaseModel):
    """What became of one of several jobs: `job` or `error`."""

    job: JobView | None = None
    error: ErrorView | None = None


class ManyAccepted(BaseModel):
    """Outcome i belongs to job i of the request."""

    outcomes: list[Outcome]


class JobListView(BaseModel):
    """A page of jobs."""

    jobs: list[JobView]
    total: int
    limit: int
    offset: int


class ChangeView(BaseModel):
    """A change of state."""

    sequence: int
    at: str
    from_state: str | None
    to_state: str
    attempt: int
    reason: str


class HistoryView(BaseModel):
    """All changes of a job, oldest first."""

    job_id: str
    changes: list[ChangeView]


class UpdatesView(BaseModel):
    """What happened to a job after a point of its history, and how far it is now."""

    job_id: str
    state: str
    terminal: bool
    version: int
    attempt: int
    progress: float = Field(description="0..1")
    slices: int
    sequence: int = Field(description="of the last change; give it back as ?after= to be told what follows")
    changes: list[ChangeView]


class ResultsView(BaseModel):
    """Results in plain JSON: per PUB the counts of each register, or expectation values with their errors."""

    job_id: str
    partial: bool = Field(description="of a job cancelled with `partial`: they cover only `progress` of it")
    progress: float
    results: dict[str, Any]


class CollectedResults(BaseModel):
    """What came of one of several jobs: its results, or why there are none."""

    job_id: str
    partial: bool
    progress: float | None
    results: dict[str, Any] | None
    error: ErrorView | None


class CollectedView(BaseModel):
    """Outcomes in the order in which the jobs were named."""

    outcomes: list[CollectedResults]


class DeviceEstimate(CandidateView):
    """What a job would be on one device, and how long it would wait there."""

    wait_s: float | None = Field(description="expected seconds until it would start")
    wait_low_s: float | None
    wait_high_s: float | None
    score: float | None = Field(description="what the policy in force makes of it; null where it is refused")
    contributions: dict[str, float] = Field(description="what the score is the sum of")
    chosen: bool = Field(description="whether a job with device auto would go there now")
    provenance: dict[str, Any] = Field(description="what the figures rest on: calibration, method, runs seen")


class AheadView(BaseModel):
    """How many jobs of one level are ahead."""

    level: str
    count: int


class WeighedView(CandidateView):
    """A device that was weighed: its score and what that is the sum of, or why it was refused."""

    score: float | None
    contributions: dict[str, float]
    chosen: bool


class StartView(BaseModel):
    """When a job should start, and the bounds of that."""

    at: str
    low: str
    high: str


class ExplanationView(BaseModel):
    """Why a job is where it is."""

    model_config = ConfigDict(extra="allow")

    job_id: str
    state: str
    reason: str = Field(description="one sentence")
    position: int | None = Field(description="jobs ahead of it in the line of its device; null when it stands in none")
    ahead: list[AheadView] = Field(description="those jobs by level; nothing else of them is told")
    candidates: list[WeighedView] = Field(description="the devices that were weighed, of a job with device auto")
    estimated_start: StartView | None
    changes: list[str] = Field(description="what would let it start sooner")


class EstimateView(BaseModel):
    """What a job would be, by device, as things stood `at`."""

    at: str
    chosen: str | None = Field(description="where a job with device auto would go now")
    policy: str
    devices: list[DeviceEstimate]


class QuotaView(BaseModel):
    """A quota: what is used of it, and the bound, or null where there is none."""

    used: float
    limit: float | None
    period_s: float | None = Field(default=None, description="of QPU time: length of the period it counts in")
    period_ends_at: str | None = None


class UsageView(BaseModel):
    """What a tenant is due, and what it has used."""

    model_config = ConfigDict(extra="allow")

    tenant: str
    weight: float
    half_life_s: float
    decayed_qpu_s: float = Field(description="QPU time used, halved with every half-life since")
    quotas: dict[str, QuotaView]


class NewReservation(BaseModel):
    """The body that reserves a device. Times are ISO 8601, UTC unless they say otherwise."""

    device: str
    begins_at: str | None = Field(default=None, description="left out: now")
    ends_at: str
    tenant: str | None = Field(default=None, description="operators only: whom the device is held for")


class ReservationView(BaseModel):
    """A window in which a device is held. `name` and `tenant` are null in another tenant's."""

    name: str | None
    device: str
    tenant: str | None
    begins_at: str
    ends_at: str
    active: bool


class ReservationListView(BaseModel):
    """All reservations that are not over."""

    reservations: list[ReservationView]


class DeviceDocument(BaseModel):
    """A device and how it does."""

    name: str
    metadata: str
    executor: str
    num_qubits: int
    aliases: list[str]
    status: str
    queue_length: int
    running: int
    agents: int
    calibration_id: str | None
    utilisation: float
    calibrated_at: str | None = Field(description="of a device whose noise drifts: when it was calibrated last")
    probe_fidelity: float | None = Field(description="of such a device: fidelity of its probe circuits, measured last")


class DeviceListView(BaseModel):
    """All devices."""

    devices: list[DeviceDocument]


class AgentDocument(BaseModel):
    """A device agent and how it does."""

    name: str
    devices: list[str]
    running: int = Field(description="jobs that it holds")
    drained: bool = Field(description="told to give its work back and take no more")
    last_heard_s: float = Field(description="seconds since its last sign of life")


class AgentListView(BaseModel):
    """All agents."""

    agents: list[AgentDocument]


class StateView(BaseModel):
    """A named state that was written."""

    name: str
    etag: str = Field(description="SHA-256 of the document; also in the header ETag, there in quotes")
    size_bytes: int


class ListedState(StateView):
    """A named state."""

    at: str


class StateListView(BaseModel):
    """All named states of the tenant."""

    states: list[ListedState]


class HealthView(BaseModel):
    """`status` is `ok` or `degraded`; `details` needs a token."""

    status: str
    details: dict[str, Any] | None = None


class VersionView(BaseModel):
    """Versions of the server and of what it speaks."""

    version: str
    api: str
    runtime_api: list[str]
