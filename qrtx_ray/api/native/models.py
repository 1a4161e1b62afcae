"""The answers of the native API as models: they document, nothing is validated with them at run time."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from qrtx_ray.api.error_document import ErrorView
from qrtx_ray.codec.native_schema import NativeJob

__all__ = [
    "ChangeView",
    "CollectedView",
    "DeviceDocument",
    "DeviceListView",
    "HealthView",
    "HistoryView",
    "JobListView",
    "JobView",
    "ManyAccepted",
    "NativeJobs",
    "ResultsView",
    "VersionView",
]


class NativeJobs(BaseModel):
    """The body that submits several jobs."""

    jobs: list[NativeJob] = Field(min_length=1)


class ResultFile(BaseModel):
    """The result document, as a file."""

    sha256: str | None
    size_bytes: int | None


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
    attempt: int
    retries: int
    queue_timeout_s: float | None
    execution_timeout_s: float | None
    max_qpu_s: float | None
    cancel_requested: bool
    cancelled_by: str | None
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


class ResultsView(BaseModel):
    """Results in plain JSON: per PUB the counts of each register, or expectation values with their errors."""

    job_id: str
    results: dict[str, Any]


class CollectedResults(BaseModel):
    """What came of one of several jobs: its results, or why there are none."""

    job_id: str
    results: dict[str, Any] | None
    error: ErrorView | None


class CollectedView(BaseModel):
    """Outcomes in the order in which the jobs were named."""

    outcomes: list[CollectedResults]


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


class DeviceListView(BaseModel):
    """All devices."""

    devices: list[DeviceDocument]


class HealthView(BaseModel):
    """`status` is `ok` or `degraded`; `details` needs a token."""

    status: str
    details: dict[str, Any] | None = None


class VersionView(BaseModel):
    """Versions of the server and of what it speaks."""

    version: str
    api: str
    runtime_api: list[str]
