"""The answers of the Runtime API as models: they document, nothing is validated with them at run time."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

__all__ = ["BackendList", "JobAccepted", "JobDocument", "JobList", "JobMetrics", "JobSubmission", "Usage", "Versions"]


class JobSubmission(BaseModel):
    """The body of ``POST /jobs``. Keys that are not listed are ignored."""

    program_id: str = Field(description="sampler or estimator")
    backend: str = Field(description="device name or alias")
    params: dict[str, Any] = Field(description="pubs, options and version 2, as the official client encodes them")
    tags: list[str] = Field([], max_length=8)
    cost: float | None = Field(None, ge=1, le=10_800, description="bound on QPU time, seconds")
    private: bool = False
    calibration_id: str | None = None


class JobAccepted(BaseModel):
    """A job was accepted and is durable."""

    id: str
    backend: str
    session_id: str | None
    private: bool


class JobState(BaseModel):
    """One of Queued, Running, Completed, Cancelled, Failed; with a reason where there is one."""

    status: str
    reason: str | None = None
    reason_code: int | None = None
    reason_solution: str | None = None


class JobDocument(BaseModel):
    """A job."""

    id: str
    backend: str
    state: JobState
    status: str
    created: str = Field(description="ISO 8601, UTC")
    ended: str | None
    program: dict[str, str]
    params: dict[str, Any] | None = Field(None, description="absent when excluded or private")
    tags: list[str]
    session_id: str | None
    private: bool
    user_id: str
    cost: float | None = Field(description="bound on QPU time, seconds")
    usage: dict[str, float]
    estimated_running_time_seconds: float | None
    calibration_id: str | None


class JobList(BaseModel):
    """A page of jobs, without their parameters."""

    jobs: list[JobDocument]
    count: int = Field(description="how many there are in all (never less than offset)")
    limit: int
    offset: int


class JobMetrics(BaseModel):
    """Times and usage of a job."""

    timestamps: dict[str, str | None]
    usage: dict[str, Any]
    caller: str
    num_circuits: int | None
    qrtx: dict[str, Any]


class BackendList(BaseModel):
    """All devices."""

    devices: list[dict[str, Any]]


class Usage(BaseModel):
    """QPU time of the last 28 days."""

    instance_id: str
    plan_id: str
    usage_consumed_seconds: float
    usage_limit_seconds: float | None
    usage_allocation_seconds: float | None
    usage_limit_reached: bool
    usage_period: dict[str, str | None]


class Versions(BaseModel):
    """Versions of the API."""

    versions: list[str]
