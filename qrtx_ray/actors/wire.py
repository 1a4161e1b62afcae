"""What the actors' calls return. Plain frozen values, so that a caller of another process reads them without the actor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qrtx_ray.model import CompileTask, DeviceInfo, DeviceStatus, Group, JobId, JobRecord

__all__ = ["OWN_KEY", "AgentState", "Changes", "CompileLease", "DeviceState", "SchedulerStatus", "WorkLease"]

OWN_KEY = "\x1f"  #: begins an idempotency key that a replica drew itself; unprintable, so that no client can send one


@dataclass(frozen=True, slots=True)
class CompileLease:
    """Work for a compiler; empty when there was none in time. `known` is False when the scheduler asks it to join again."""

    epoch: int
    tasks: tuple[CompileTask, ...] = ()
    known: bool = True


@dataclass(frozen=True, slots=True)
class WorkLease:
    """A group for an agent, its members' executables filled in; None when there was none in time."""

    epoch: int
    group: Group | None = None
    known: bool = True


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since a cursor, oldest first, one entry a job and moment; then the jobs deleted since. After `reset`
    the follower forgets all.
    """

    epoch: int
    cursor: int
    records: tuple[JobRecord, ...] = ()
    deletions: tuple[JobId, ...] = ()
    reset: bool = False


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device as the scheduler sees it now. `queue_length` counts jobs not yet running, `running` those that are. Of one
    whose noise drifts: the published noise, when it was calibrated (seconds since the epoch), its last measured fidelity.
    """

    info: DeviceInfo
    status: DeviceStatus
    queue_length: int
    running: int
    agents: tuple[str, ...]
    qpu_s: float = 0.0
    noise_id: str = ""
    calibrated_at: float | None = None
    probe_fidelity: float | None = None


@dataclass(frozen=True, slots=True)
class AgentState:
    """An agent as the scheduler sees it now: what it serves, how many attempts it has, whether it is drained, and for how many
    seconds nothing was heard of it.
    """

    name: str
    devices: tuple[str, ...]
    running: int
    drained: bool
    last_heard_s: float
    incarnation: str


@dataclass(frozen=True, slots=True)
class SchedulerStatus:
    """A reading of the scheduler's instruments."""

    epoch: int
    pid: int
    uptime_s: float
    jobs: dict[str, int] = field(default_factory=dict)
    agents: dict[str, float] = field(default_factory=dict)
    compilers: dict[str, float] = field(default_factory=dict)
    counters: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
