"""Plain data of the runtime: frozen, slotted, importing nothing but the standard library and `errors`."""

from __future__ import annotations

from qrtx_ray.model.checkpoint import CheckpointKind, CheckpointRef, KeptCheckpoint
from qrtx_ray.model.execution import (
    AgentInfo,
    CompileReport,
    CompileTask,
    DeviceInfo,
    DeviceStatus,
    Group,
    Heartbeat,
    Member,
    RunReport,
)
from qrtx_ray.model.ids import GroupId, JobId, is_job_id, new_id
from qrtx_ray.model.job import (
    AUTO_DEVICE,
    TERMINAL_STATES,
    Candidate,
    CircuitProfile,
    JobChange,
    JobPage,
    JobQuery,
    JobRecord,
    JobRequest,
    Level,
    PayloadFormat,
    Program,
    TaskState,
)
from qrtx_ray.model.noise import NoiseId
from qrtx_ray.model.reservation import Reservation

__all__ = [
    "AUTO_DEVICE",
    "TERMINAL_STATES",
    "AgentInfo",
    "Candidate",
    "CheckpointKind",
    "CheckpointRef",
    "CircuitProfile",
    "CompileReport",
    "CompileTask",
    "DeviceInfo",
    "DeviceStatus",
    "Group",
    "GroupId",
    "Heartbeat",
    "JobChange",
    "JobId",
    "JobPage",
    "JobQuery",
    "JobRecord",
    "JobRequest",
    "KeptCheckpoint",
    "Level",
    "Member",
    "NoiseId",
    "PayloadFormat",
    "Program",
    "Reservation",
    "RunReport",
    "TaskState",
    "is_job_id",
    "new_id",
]
