"""What the core wants done: imperative, plain data, performed by the shell in the order given.

A Persist is always the first command and there is at most one: the shell commits it as one transaction, together with
the payloads that belong to its records, before it performs anything else or answers anybody.
"""

from __future__ import annotations

from dataclasses import dataclass

from qrtx_ray.errors import ErrorInfo
from qrtx_ray.model import Group, JobChange, JobId, JobRecord

__all__ = [
    "EXECUTABLE",
    "CheckpointAttempt",
    "Command",
    "Compile",
    "CompileOrder",
    "ConcludeAttempt",
    "Duplicate",
    "MeasureProbe",
    "Persist",
    "PreemptAttempt",
    "RecordMetadata",
    "Refuse",
    "RunGroup",
    "StopAttempt",
]

EXECUTABLE = "executable"  #: the kind of payload that a terminal job no longer needs


@dataclass(frozen=True, slots=True)
class Persist:
    """Write all of this in one transaction.

    Args:
        records: New rows (version 1: a submit that was accepted) and new versions of rows.
        changes: History, sequence numbers growing.
        drop_payloads: ``(job id, kind)`` no longer needed.
        deletions: Jobs to remove with everything they have.
        facts: ``(key, JSON text)`` of what else the core must know after a restart (calibration of devices, reservations,
            usage of tenants); None removes the key.
    """

    records: tuple[JobRecord, ...] = ()
    changes: tuple[JobChange, ...] = ()
    drop_payloads: tuple[tuple[JobId, str], ...] = ()
    deletions: tuple[JobId, ...] = ()
    facts: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class CompileOrder:
    """One job to compile: its fence, the published noise to compile against, or the devices to survey it for."""

    job_id: JobId
    attempt: int
    calibration_id: str = ""
    choices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Compile:
    """Give these orders to a parked compiler; the shell adds the payloads."""

    compiler: str
    incarnation: str
    tasks: tuple[CompileOrder, ...]


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Give a group to an agent; the members' executables are empty here and added by the shell."""

    agent: str
    incarnation: str
    group: Group


@dataclass(frozen=True, slots=True)
class StopAttempt:
    """Tell an agent to give up an attempt. It may be unknown there; it may come twice."""

    agent: str
    incarnation: str
    job_id: JobId
    attempt: int


@dataclass(frozen=True, slots=True)
class PreemptAttempt:
    """Ask an agent to end an attempt at the next slice and keep its progress. It answers with an ordinary report."""

    agent: str
    incarnation: str
    job_id: JobId
    attempt: int


@dataclass(frozen=True, slots=True)
class CheckpointAttempt:
    """Ask an agent to keep the progress of an attempt after its slice, and to go on. It answers with `CheckpointsKept`."""

    agent: str
    incarnation: str
    job_id: JobId
    attempt: int


@dataclass(frozen=True, slots=True)
class ConcludeAttempt:
    """Ask an agent to end an attempt after its slice with the results it has by then. It answers with an ordinary report."""

    agent: str
    incarnation: str
    job_id: JobId
    attempt: int


@dataclass(frozen=True, slots=True)
class MeasureProbe:
    """Have an agent run the probe circuits of a device under `noise_id`; the answer is `ProbeMeasured`."""

    agent: str
    incarnation: str
    device: str
    noise_id: str
    seed: int


@dataclass(frozen=True, slots=True)
class RecordMetadata:
    """Write the metadata files of these finished jobs, then tell the core `MetadataRecorded`."""

    job_ids: tuple[JobId, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer a submit: not accepted."""

    job_id: JobId
    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Answer a submit: it is the job `existing_id`, submitted before under the same key."""

    job_id: JobId
    existing_id: JobId


Command = (
    Persist
    | Compile
    | RunGroup
    | StopAttempt
    | PreemptAttempt
    | CheckpointAttempt
    | ConcludeAttempt
    | MeasureProbe
    | RecordMetadata
    | Refuse
    | Duplicate
)
