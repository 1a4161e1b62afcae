"""A journal as a trace: who asked for what and when, what it took, and what became of it, one JSON object a line.

The journal is only read, also while a runtime writes it; circuits, results, names and tags of jobs are not looked at.
What the lines mean stands in `qrtx_ray.simulation.lines`, which reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from qrtx_ray.model import JobRecord, Reservation, TaskState
from qrtx_ray.store.journal_snapshot import Snapshot, snapshot
from qrtx_ray.store.record_json import record_from_json

__all__ = ["Crew", "Span", "trace_lines"]

_PROFILE = {"active_qubits": "qubits"}
_PROFILE |= dict.fromkeys(
    ("depth", "two_qubit_gates", "circuits", "shots", "qpu_s", "estimated_s", "estimated_bytes"), ""
)
_PROFILE |= dict.fromkeys(("group_key", "fidelity", "sensitivity", "structure"), "")
_WISHES = ("fidelity_floor", "max_qpu_s", "queue_timeout_s", "execution_timeout_s", "session_id", "reservation")
_OUTCOME = ("device", "attempt", "retries", "preemptions", "qpu_s")
_OUTCOME_TIMES = ("queued_at", "started_at", "finished_at")
_RESERVATION = "reservation/"  # what the keys of the scheduler's facts about them begin with


@dataclass(frozen=True, slots=True)
class Crew:
    """Devices, by name and width, that the same `agents` processes serve."""

    devices: tuple[tuple[str, int], ...]
    agents: int


@dataclass(frozen=True, slots=True)
class Span:
    """Which jobs: submitted at `since` or later and before `until` (seconds since the epoch); None: no bound."""

    since: float | None = None
    until: float | None = None


def trace_lines(
    journal: Path | str, crews: Sequence[Crew], span: Span = Span(), *, anonymise: bool = False
) -> Iterator[dict[str, Any]]:
    """The lines of the trace: the header, the machines, reservations that still stand, then the jobs as they came.

    Args:
        journal: The SQLite file, or the URL of the PostgreSQL database.
        crews: The machines, as the configuration has them. A device that only jobs name is described as unknown.
        anonymise: Call tenants t1, t2, … by their first appearance.

    Raises:
        NotFound: There is no such file.
        PersistError: It is no journal of ours, or damaged, or its server cannot be reached.
    """
    with snapshot(journal) as seen:
        where, values = _where(span)
        [(origin,)] = seen.rows(f"SELECT min(created_at) FROM job WHERE {where}", values)  # noqa: S608
        writer = _Writer(origin or 0.0, _members(seen), anonymise=anonymise)
        yield {"trace": "qrtx", "version": 1, "origin": writer.origin, "source": "journal"}
        named = seen.rows(f"SELECT DISTINCT device FROM job WHERE {where} ORDER BY device", values)  # noqa: S608
        yield from _machines(crews, [seen.text(row[0]) for row in named])
        for text in _reservations(seen):
            yield writer.reservation(Reservation(**orjson.loads(text)))
        for row in seen.rows(f"SELECT record FROM job WHERE {where} ORDER BY number", values):  # noqa: S608
            yield writer.job(record_from_json(row[0]))


def _where(span: Span) -> tuple[str, list[float]]:
    bounds = [("created_at >= ?", span.since), ("created_at < ?", span.until)]
    terms = [term for term, value in bounds if value is not None]
    return " AND ".join(terms) or "1 = 1", [value for _, value in bounds if value is not None]


def _machines(crews: Sequence[Crew], named: Sequence[str]) -> Iterator[dict[str, Any]]:
    known = {name for crew in crews for name, _ in crew.devices}
    for crew in crews:
        alone = len(crew.devices) == 1
        for name, num_qubits in crew.devices:
            yield {"kind": "device", "name": name, "num_qubits": num_qubits, "agents": crew.agents if alone else 0}
    for name in named:
        if name not in known and name != "auto":
            yield {"kind": "device", "name": name}
    for crew in crews:
        if len(crew.devices) > 1:
            yield {"kind": "agents", "devices": [name for name, _ in crew.devices], "count": crew.agents}


def _members(seen: Snapshot) -> dict[str, int]:
    """How many jobs ran in each group of more than one; also those outside the span took their part of its time."""
    group = seen.field("group")
    rows = seen.rows(f"SELECT {group}, count(*) FROM job GROUP BY 1 HAVING count(*) > 1", ())  # noqa: S608
    return {name: members for name, members in rows if name is not None}


def _reservations(seen: Snapshot) -> list[str]:
    if not seen.has("fact"):
        return []
    rows = seen.rows("SELECT key, value FROM fact ORDER BY key", ())
    return [seen.text(value) for key, value in rows if key.startswith(_RESERVATION)]


class _Writer:
    """Makes lines, with times from `origin` on and tenants' names hidden where that is wanted."""

    def __init__(self, origin: float, members: Mapping[str, int], *, anonymise: bool) -> None:
        self.origin = origin
        self._members = members
        self._anonymise = anonymise
        self._tenants: dict[str, str] = {}
        self._latest = 0.0
        self._reservations: set[str] = set()

    def reservation(self, reservation: Reservation) -> dict[str, Any]:
        """When it was made is not known; the trace makes it at its beginning."""
        self._reservations.add(reservation.name)
        times = {name: self._since(getattr(reservation, name)) for name in ("begins_at", "ends_at")}
        line = {**asdict(reservation), **times, "tenant": self._tenant(reservation.tenant)}
        return {"kind": "reservation", "at": 0.0, **line}

    def job(self, record: JobRecord) -> dict[str, Any]:
        """The line of a job; keys that say nothing are left out."""
        # The wall clock may have been set back between two jobs; a trace only goes forward.
        self._latest = max(self._latest, self._since(record.created_at))
        line: dict[str, Any] = {
            "kind": "job",
            "at": self._latest,
            "id": record.id,
            "tenant": self._tenant(record.tenant),
            "priority": record.priority,
            "program": record.program.value,
            "device": "auto" if record.choices else record.device,
            "choices": record.choices,
            "candidates": [asdict(candidate) for candidate in record.candidates],
            "dry_run": record.dry_run,
            "seed": record.seed,
            "deadline_at": None if record.deadline_at is None else self._since(record.deadline_at),
            **{name: getattr(record, name) for name in _WISHES},
            **self._end(record),
            "recorded": self._recorded(record),
        }
        if record.reservation not in self._reservations:
            line["reservation"] = None  # it is over; a job that names one that is not there would be refused
        if record.profile is not None:
            line |= {shown or name: getattr(record.profile, name) for name, shown in _PROFILE.items()}
        return {name: value for name, value in line.items() if not _says_nothing(value)}

    def _end(self, record: JobRecord) -> dict[str, Any]:
        """What of the end was the job's own doing, and what its run took."""
        end: dict[str, Any] = {}
        if record.state is TaskState.CANCELLED and record.finished_at is not None:
            end["cancel_at"] = max(self._latest, self._since(record.finished_at))
        elif record.state is TaskState.FAILED and record.error is not None:
            end["compile_fails" if record.profile is None else "fails"] = record.error.code
        if record.state is TaskState.COMPLETED and record.started_at is not None and record.finished_at is not None:
            # Members of a group share its beginning and its end; each took a part of the time between.
            shared = self._members.get(record.group or "", 1)
            end["wall_s"] = max(0.0, record.finished_at - record.started_at) / shared
        return end

    def _recorded(self, record: JobRecord) -> dict[str, Any]:
        times = {name: getattr(record, name) for name in _OUTCOME_TIMES}
        shown = {name: None if at is None else self._since(at) for name, at in times.items()}
        return {"state": record.state.value, **{name: getattr(record, name) for name in _OUTCOME}, **shown}

    def _since(self, at: float) -> float:
        return max(0.0, at - self.origin)

    def _tenant(self, name: str) -> str:
        if not self._anonymise:
            return name
        return self._tenants.setdefault(name, f"t{len(self._tenants) + 1}")


def _says_nothing(value: Any) -> bool:
    # 0 says something: its default may be another number.
    return value is None or value is False or (isinstance(value, tuple | list) and not value)
