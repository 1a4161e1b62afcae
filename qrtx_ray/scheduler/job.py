"""A job in the core's memory: the durable record, and what need not outlive the process."""

from __future__ import annotations

from dataclasses import fields, make_dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from qrtx_ray.model import JobChange, JobRecord, TaskState
from qrtx_ray.scheduler.queues import WaitingLine, waiting_key

if TYPE_CHECKING:
    from qrtx_ray.scheduler.workers import Agent, Compiler

__all__ = ["ON_AGENT", "WAITING", "Job", "evolve"]

WAITING = frozenset({TaskState.PENDING, TaskState.COMPILING, TaskState.QUEUED})  #: under the queue deadline
ON_AGENT = frozenset({TaskState.ALLOCATING, TaskState.EXECUTING})  #: an attempt is, or was, in an agent's hands

_NAMES = tuple(field.name for field in fields(JobRecord))
_read = attrgetter(*_NAMES)
_Draft: Any = make_dataclass("_Draft", _NAMES, slots=True)  #: a JobRecord that is not frozen yet: same slots


def evolve(record: JobRecord, changes: dict[str, Any]) -> JobRecord:
    """`dataclasses.replace` at a fifth of its price: six of these are made in the life of every job.

    The copy is filled while it may still be written to, and frozen by taking its class; nobody has seen it before.
    """
    draft = _Draft(*_read(record))
    for name, value in changes.items():
        setattr(draft, name, value)
    draft.__class__ = JobRecord
    frozen: JobRecord = draft
    return frozen


class Job:
    """A live job, or a finished one whose metadata is not recorded yet. Changed only through `World`.

    Attributes:
        record: The durable truth; as stored, but for `progress` and `substate`, which heartbeats move in between.
        key: Its place in any line; never changes.
        story: Changes since this process knows the job, oldest first.
        line: The line it stands in now (the compilers' or its device's), or None.
        compiler / compile_attempt: Who compiles it, and the fence of that lease: the record's version at the lease,
            which is durable and grows, so that no two leases of a job share it even across restarts.
        compile_losses: Compilers it lost since this process knows it.
        agent: Who holds its present attempt; None also for a restored attempt that nobody has claimed yet.
        allowance_s: What the attempt may take from its start before the core ends it.
        patience_until: When the core stops waiting for whoever holds the job (seconds since the epoch).
    """

    __slots__ = (
        "agent",
        "allowance_s",
        "compile_attempt",
        "compile_losses",
        "compiler",
        "key",
        "line",
        "patience_until",
        "record",
        "story",
    )

    def __init__(self, record: JobRecord) -> None:
        self.record = record
        self.key = waiting_key(record)
        self.story: list[JobChange] = []
        self.line: WaitingLine | None = None
        self.compiler: Compiler | None = None
        self.compile_attempt = 0
        self.compile_losses = 0
        self.agent: Agent | None = None
        self.allowance_s = 0.0
        self.patience_until: float | None = None
