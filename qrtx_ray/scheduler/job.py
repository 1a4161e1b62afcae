"""A job in the core's memory: the durable record, and what need not outlive the process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, make_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from qrtx_ray.model import JobChange, JobId, JobRecord, TaskState
from qrtx_ray.scheduler.policies.protocol import Scored
from qrtx_ray.scheduler.queues import NUMBER_BITS, WaitingLine, waiting_key
from qrtx_ray.scheduler.tenants import Account

if TYPE_CHECKING:
    from qrtx_ray.scheduler.lines import DeviceLine
    from qrtx_ray.scheduler.workers import Agent, Compiler, Device

__all__ = ["ON_AGENT", "WAITING", "Job", "Move", "Why", "change_of", "evolve", "kept_progress"]

WAITING = frozenset({TaskState.PENDING, TaskState.COMPILING, TaskState.QUEUED})  #: under the queue deadline
ON_AGENT = frozenset({TaskState.ALLOCATING, TaskState.EXECUTING})  #: an attempt is, or was, in an agent's hands

_NAMES = tuple(field.name for field in fields(JobRecord))
_Draft: Any = make_dataclass("_Draft", _NAMES, slots=True)  #: a JobRecord that is not frozen yet: same slots


def _copier() -> Callable[[JobRecord], Any]:
    """A function that copies a record into a draft: one plain assignment for each field.

    It is written out and compiled, as `dataclasses` does with its own: loops over names take more than twice as long.
    """
    lines = [f"    draft.{name} = record.{name}" for name in _NAMES]
    text = "\n".join(["def copy(record):", "    draft = new(kind)", *lines, "    return draft"])
    names: dict[str, Any] = {"new": object.__new__, "kind": _Draft}
    exec(text, names)  # noqa: S102  # made of our own field names only
    return cast("Callable[[JobRecord], Any]", names["copy"])


_copy = _copier()


def evolve(record: JobRecord, changes: dict[str, Any]) -> JobRecord:
    """`dataclasses.replace` at a tenth of its price: six of these are made in the life of every job.

    The copy is filled while it may still be written to, and frozen by taking its class; nobody has seen it before.
    """
    draft = _copy(record)
    for name, value in changes.items():
        setattr(draft, name, value)
    draft.__class__ = JobRecord
    frozen: JobRecord = draft
    return frozen


_ChangeDraft: Any = make_dataclass("_ChangeDraft", [field.name for field in fields(JobChange)], slots=True)


def change_of(
    sequence: int, job_id: JobId, at: float, before: TaskState | None, after: TaskState, attempt: int, reason: str
) -> JobChange:
    """A JobChange, made in the same way as `evolve` makes records: eight of these are made in the life of every job."""
    draft = _ChangeDraft(sequence, job_id, at, before, after, attempt, reason)
    draft.__class__ = JobChange
    frozen: JobChange = draft
    return frozen


def kept_progress(record: JobRecord, before: int | None = None) -> float:
    """How much of the job its checkpoints keep: the newest of all, or of those taken before attempt `before` of it."""
    if not record.checkpoints:
        return 0.0
    if before is None:
        return record.checkpoints[0].progress
    # Those of the job that it was restored from are older than all of its own, whatever number their attempt has.
    older = (one.progress for one in record.checkpoints if one.job_id != record.id or one.attempt < before)
    return next(older, 0.0)


class Why(Enum):
    """Why an agent was asked to give an attempt back."""

    URGENT = "made way"
    PAUSE = "paused"
    MIGRATION = "moved"
    DRAIN = "drained"


@dataclass(slots=True)
class Move:
    """Where a job that somebody moves is to go on: with `wanted`, or with anybody but `former`; after `until` with anybody.
    Before the attempt has ended there is no such time.
    """

    wanted: str | None
    former: str
    until: float | None = None

    def is_over(self, now: float) -> bool:
        """Whether anybody may take it by now."""
        return self.until is not None and self.until <= now

    def admits(self, agent: str, now: float) -> bool:
        """Whether the agent may take it."""
        if self.is_over(now):
            return True
        return agent == self.wanted if self.wanted is not None else agent != self.former


class Job:
    """A live job, or a finished one whose metadata is not recorded yet. Changed only through `World`.

    Attributes:
        record: The durable truth; as stored, but for `progress` and `substate`, which heartbeats move in between.
        key: Its place in any line; never changes.
        level: Its priority level; never changes either.
        account: That of its tenant.
        since_us: Since when it waits in its device's line, for the laws of waiting (microseconds since the epoch): since
            its submit, or since its last attempt left it.
        committed_us: QPU time it is expected to use in all, as the account has it (microseconds).
        held_us: The same of the attempt that an agent has, as the account has it; None while no agent has one.
        first_run_at: When its first attempt began, as far as this process knows.
        story: Changes since this process knows the job, oldest first.
        line: The line it stands in now (the compilers' or its device's), or None.
        compiler / compile_attempt: Who compiles it, and the fence of that lease: the record's version at the lease,
            which is durable and grows, so that no two leases of a job share it even across restarts.
        compile_losses: Compilers it lost since this process knows it.
        agent: Who holds its present attempt; None also for a restored attempt that nobody has claimed yet.
        allowance_s: What the attempt may take from its start before the core ends it.
        asked: Why its agent was asked to give the present attempt back, if it was.
        move: Where it is to go on, if somebody moves it.
        keeps_nothing: Whether it made way in the midst of a run of which nothing could be kept.
        placements: How often it was placed or compiled anew while it waited.
        promised: Where it was placed, and the work it will bring (microseconds), until it is compiled for that.
        progress_before: How much of it was done before its present attempt began.
        scored: What the policy made of the devices it could go to, best first.
        patience_until: When the core stops waiting for whoever holds the job (seconds since the epoch).
    """

    __slots__ = (
        "account",
        "agent",
        "allowance_s",
        "asked",
        "committed_us",
        "compile_attempt",
        "compile_losses",
        "compiler",
        "first_run_at",
        "held_us",
        "keeps_nothing",
        "key",
        "level",
        "line",
        "move",
        "patience_until",
        "placements",
        "progress_before",
        "promised",
        "record",
        "scored",
        "since_us",
        "story",
    )

    def __init__(self, record: JobRecord, account: Account) -> None:
        self.record = record
        self.account = account
        self.key = waiting_key(record)
        self.level = self.key >> NUMBER_BITS
        self.since_us = 0
        self.committed_us = 0
        self.held_us: int | None = None
        self.first_run_at: float | None = None
        self.story: list[JobChange] = []
        self.line: WaitingLine | DeviceLine | None = None
        self.compiler: Compiler | None = None
        self.compile_attempt = 0
        self.compile_losses = 0
        self.agent: Agent | None = None
        self.allowance_s = 0.0
        self.asked: Why | None = None
        self.move: Move | None = None
        self.keeps_nothing = False
        self.placements = 0
        self.progress_before = 0.0
        self.promised: tuple[Device, int] | None = None
        self.scored: tuple[Scored, ...] = ()
        self.patience_until: float | None = None

    @property
    def estimated_us(self) -> int:
        """QPU time one attempt is expected to be charged, in microseconds; 0 before it is compiled."""
        profile = self.record.profile
        return 0 if profile is None else round(profile.qpu_s * 1e6)
