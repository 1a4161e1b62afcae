"""The life of a job as one table of data.

Theory. A job waits three times and works three times. It waits *Pending* for a compiler, *Queued* for a device agent
and *Allocating* on that agent, behind the group the agent runs now; it works in *Compiling*, *Executing* and, for an
instant, *Completing*. *Validating* is the door of compilation: a lease passes through it, and only a restart can find
a job standing there. *Paused* it waits for whoever paused it. *Completed*, *Failed*, *Cancelled* and *Timeout* have no way out: a terminal job never changes.

Everything that may happen to a job is a `Trigger`; `TRANSITIONS` says where it leads. What is not in the table is
refused with `InvalidTransition` and changes nothing. A job goes backwards on few occasions only. To Pending: its
compiler was lost; it was surveyed and its device is chosen, so that it can be compiled for that; it waited for a device
and must be compiled for another one, or against a newer calibration. To Queued: its agent was lost, its error deserves
another attempt, or it made way: for more urgent work, for a drain, or to go on with another agent. Going backwards never revives an old attempt: the next one has a
greater number, and reports of the old one are stale.

A dry run goes from Compiling to Completed: what was asked for is the estimate, and the compiler wrote it.

A job is paused at once where it waits. While somebody else holds it the wish is remembered, and a job that comes back from
a compiler or an agent goes on to Paused in the same event: from an agent that kept its progress directly, otherwise by
way of the state that it came back to. It is resumed into the line that it stood in, or would have come to.

The diagram in ``docs/states.md`` is drawn from the table by `mermaid`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from qrtx_ray.errors import InternalError
from qrtx_ray.model import TERMINAL_STATES, JobChange, JobRecord, TaskState

__all__ = [
    "PUBLIC_STATES",
    "TRANSITIONS",
    "ExecutingStep",
    "InvalidTransition",
    "PublicState",
    "RuntimeStatus",
    "Trigger",
    "executing_step",
    "mermaid",
    "next_state",
    "runtime_status",
]


class Trigger(StrEnum):
    """What can happen to a job."""

    COMPILE_LEASED = "compile leased"  #: a compiler was given the job
    COMPILE_STARTED = "compile started"  #: the child validates and compiles in one call; nothing stands between them
    COMPILE_LOST = "compile lost"  #: the compiler is gone or its lease ran out
    COMPILED = "compiled"  #: a profile and an executable exist
    SURVEYED = "surveyed"  #: its device is chosen among several; it is to be compiled for that one
    ESTIMATED = "estimated"  #: a dry run: the estimate is its result, and durable
    REPLACED = "replaced"  #: it is to be compiled anew: for another device, or against a newer calibration
    DISPATCHED = "dispatched"  #: a member of a group that was given to an agent
    STARTED = "started"  #: the agent began the attempt
    RESULT_STORED = "result stored"  #: the result file is durable
    RESULT_ACCEPTED = "result accepted"  #: its digest and the charge are recorded
    RETRIED = "retried"  #: the attempt failed and deserves another
    ATTEMPT_LOST = "attempt lost"  #: the agent that held the attempt is gone
    PREEMPTED = "preempted"  #: the attempt made way; its progress is kept
    PAUSED = "paused"  #: somebody wanted it so; of an attempt, what was done is kept
    RESUMED = "resumed"  #: the pause is over, and the job compiled
    RESUMED_UNCOMPILED = "resumed uncompiled"  #: the pause is over, and the job is still to be compiled
    FAILED = "failed"
    CANCELLED = "cancelled"
    QUEUE_TIMED_OUT = "queue timed out"
    PAUSE_TIMED_OUT = "pause timed out"
    EXECUTION_TIMED_OUT = "execution timed out"


TRANSITIONS: dict[tuple[TaskState, Trigger], TaskState] = {
    (TaskState.PENDING, Trigger.COMPILE_LEASED): TaskState.VALIDATING,
    (TaskState.PENDING, Trigger.PAUSED): TaskState.PAUSED,
    (TaskState.PENDING, Trigger.FAILED): TaskState.FAILED,
    (TaskState.PENDING, Trigger.CANCELLED): TaskState.CANCELLED,
    (TaskState.PENDING, Trigger.QUEUE_TIMED_OUT): TaskState.TIMEOUT,
    (TaskState.VALIDATING, Trigger.COMPILE_STARTED): TaskState.COMPILING,
    (TaskState.VALIDATING, Trigger.COMPILE_LOST): TaskState.PENDING,
    (TaskState.COMPILING, Trigger.COMPILED): TaskState.QUEUED,
    (TaskState.COMPILING, Trigger.SURVEYED): TaskState.PENDING,
    (TaskState.COMPILING, Trigger.ESTIMATED): TaskState.COMPLETED,
    (TaskState.COMPILING, Trigger.COMPILE_LOST): TaskState.PENDING,
    (TaskState.COMPILING, Trigger.FAILED): TaskState.FAILED,
    (TaskState.COMPILING, Trigger.CANCELLED): TaskState.CANCELLED,
    (TaskState.COMPILING, Trigger.QUEUE_TIMED_OUT): TaskState.TIMEOUT,
    (TaskState.QUEUED, Trigger.DISPATCHED): TaskState.ALLOCATING,
    (TaskState.QUEUED, Trigger.REPLACED): TaskState.PENDING,
    (TaskState.QUEUED, Trigger.PAUSED): TaskState.PAUSED,
    (TaskState.QUEUED, Trigger.FAILED): TaskState.FAILED,
    (TaskState.QUEUED, Trigger.CANCELLED): TaskState.CANCELLED,
    (TaskState.QUEUED, Trigger.QUEUE_TIMED_OUT): TaskState.TIMEOUT,
    (TaskState.ALLOCATING, Trigger.STARTED): TaskState.EXECUTING,
    (TaskState.ALLOCATING, Trigger.ATTEMPT_LOST): TaskState.QUEUED,
    (TaskState.ALLOCATING, Trigger.PREEMPTED): TaskState.QUEUED,
    (TaskState.ALLOCATING, Trigger.PAUSED): TaskState.PAUSED,
    (TaskState.ALLOCATING, Trigger.FAILED): TaskState.FAILED,
    (TaskState.ALLOCATING, Trigger.CANCELLED): TaskState.CANCELLED,
    (TaskState.EXECUTING, Trigger.RESULT_STORED): TaskState.COMPLETING,
    (TaskState.EXECUTING, Trigger.RETRIED): TaskState.QUEUED,
    (TaskState.EXECUTING, Trigger.ATTEMPT_LOST): TaskState.QUEUED,
    (TaskState.EXECUTING, Trigger.PREEMPTED): TaskState.QUEUED,
    (TaskState.EXECUTING, Trigger.PAUSED): TaskState.PAUSED,
    (TaskState.EXECUTING, Trigger.FAILED): TaskState.FAILED,
    (TaskState.EXECUTING, Trigger.CANCELLED): TaskState.CANCELLED,
    (TaskState.EXECUTING, Trigger.EXECUTION_TIMED_OUT): TaskState.TIMEOUT,
    (TaskState.COMPLETING, Trigger.RESULT_ACCEPTED): TaskState.COMPLETED,
    (TaskState.PAUSED, Trigger.RESUMED): TaskState.QUEUED,
    (TaskState.PAUSED, Trigger.RESUMED_UNCOMPILED): TaskState.PENDING,
    (TaskState.PAUSED, Trigger.FAILED): TaskState.FAILED,
    (TaskState.PAUSED, Trigger.CANCELLED): TaskState.CANCELLED,
    (TaskState.PAUSED, Trigger.PAUSE_TIMED_OUT): TaskState.TIMEOUT,
}


class InvalidTransition(InternalError):
    """A trigger that the table does not allow in a state: a bug of ours, never of a client.

    `story` holds what the core remembers of the job, oldest change first.
    """

    code = "invalid_transition"

    def __init__(self, state: TaskState, trigger: Trigger, story: Iterable[JobChange] = ()) -> None:
        super().__init__(f"a job in state {state.value} has no transition for '{trigger.value}'")
        self.state = state
        self.trigger = trigger
        self.story = tuple(story)


def next_state(state: TaskState, trigger: Trigger, story: Iterable[JobChange] = ()) -> TaskState:
    """Where `trigger` leads from `state`.

    Raises:
        InvalidTransition: The table has no such edge; carries `story`.
    """
    found = TRANSITIONS.get((state, trigger))
    if found is None:
        raise InvalidTransition(state, trigger, story)
    return found


class ExecutingStep(StrEnum):
    """Where inside Executing a job is; kept in `JobRecord.substate`."""

    QUANTUM_INITIALIZING = "QuantumInitializing"
    QUANTUM_RUNNING = "QuantumRunning"
    CLASSICAL_RUNNING = "ClassicalRunning"
    MEASURING = "Measuring"
    POST_PROCESSING = "PostProcessing"


def executing_step(progress: float) -> ExecutingStep:
    """The step that a fraction of progress tells: nothing done, some of it, or only the result left to write."""
    if progress <= 0:
        return ExecutingStep.QUANTUM_INITIALIZING
    return ExecutingStep.QUANTUM_RUNNING if progress < 1 else ExecutingStep.POST_PROCESSING


class PublicState(StrEnum):
    """The states the native API shows."""

    PENDING = "PENDING"
    COMPILING = "COMPILING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    DONE = "DONE"
    ERROR = "ERROR"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"


PUBLIC_STATES: dict[TaskState, PublicState] = {
    TaskState.PENDING: PublicState.PENDING,
    TaskState.VALIDATING: PublicState.COMPILING,
    TaskState.COMPILING: PublicState.COMPILING,
    TaskState.QUEUED: PublicState.QUEUED,
    TaskState.ALLOCATING: PublicState.QUEUED,
    TaskState.EXECUTING: PublicState.RUNNING,
    TaskState.COMPLETING: PublicState.RUNNING,
    TaskState.PAUSED: PublicState.PAUSED,
    TaskState.COMPLETED: PublicState.DONE,
    TaskState.FAILED: PublicState.ERROR,
    TaskState.CANCELLED: PublicState.CANCELLED,
    TaskState.TIMEOUT: PublicState.TIMEOUT,
}


class RuntimeStatus(StrEnum):
    """The five words of the Runtime API."""

    QUEUED = "Queued"
    RUNNING = "Running"
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"
    FAILED = "Failed"


_RUNTIME: dict[PublicState, RuntimeStatus] = {
    PublicState.RUNNING: RuntimeStatus.RUNNING,
    PublicState.DONE: RuntimeStatus.COMPLETED,
    PublicState.CANCELLED: RuntimeStatus.CANCELLED,
    PublicState.ERROR: RuntimeStatus.FAILED,
    PublicState.TIMEOUT: RuntimeStatus.FAILED,
}


def runtime_status(record: JobRecord) -> RuntimeStatus:
    """What the Runtime API calls the state of `record`; everything that waits is Queued."""
    return _RUNTIME.get(PUBLIC_STATES[record.state], RuntimeStatus.QUEUED)


def mermaid() -> str:
    """The table as a Mermaid state diagram, edges in table order."""
    edges = [f"    {source.value} --> {target.value}: {trigger}" for (source, trigger), target in TRANSITIONS.items()]
    ends = [f"    {state.value} --> [*]" for state in TaskState if state in TERMINAL_STATES]
    return "\n".join(["stateDiagram-v2", "    [*] --> Pending: submitted", *edges, *ends])
