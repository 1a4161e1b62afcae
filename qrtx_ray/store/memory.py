"""A job journal in memory, keeping every promise of the durable one but durability.

It is the public double for tests and simulations: what it accepts, SQLite accepts, and the other way round. Two
`MemoryStore` objects over the same `MemoryData` are two owners of one store, as two processes on one file are.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from qrtx_ray.errors import PersistError, StoreConflict
from qrtx_ray.model import TERMINAL_STATES, JobChange, JobId, JobPage, JobQuery, JobRecord
from qrtx_ray.store.protocol import PAYLOAD_EXECUTABLE, PAYLOAD_REQUEST, Transaction
from qrtx_ray.store.record_json import record_to_json

__all__ = ["MemoryData", "MemoryStore"]

_BIGGEST = 2**63  # integers of SQLite have 64 bits with sign
_KINDS = frozenset({PAYLOAD_REQUEST, PAYLOAD_EXECUTABLE})


@dataclass(slots=True)
class MemoryData:
    """What survives the store object: the "file"."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    epoch: int = 0
    last_number: int = 0
    last_sequence: int = 0
    jobs: dict[JobId, JobRecord] = field(default_factory=dict)
    numbers: dict[int, JobId] = field(default_factory=dict)
    keys: dict[tuple[str, str], JobId] = field(default_factory=dict)
    changes: dict[int, JobChange] = field(default_factory=dict)
    histories: dict[JobId, tuple[JobChange, ...]] = field(default_factory=dict)
    payloads: dict[tuple[JobId, str], bytes] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)


class MemoryStore:
    """A `Store` over `data` (its own by default)."""

    def __init__(self, data: MemoryData | None = None) -> None:
        self.data = MemoryData() if data is None else data
        self._epoch: int | None = None
        self._closed = False

    def open_epoch(self) -> int:
        with self._open():
            self.data.epoch += 1
            self._epoch = self.data.epoch
            return self.data.epoch

    def commit(self, transactions: Sequence[Transaction]) -> None:
        for transaction in transactions:
            for record in transaction.records:
                record_to_json(record)
        with self._open():
            if self._epoch is None:
                raise StoreConflict("the store was not taken over: call open_epoch() before the first commit")
            if self._epoch != self.data.epoch:
                msg = f"a newer scheduler (epoch {self.data.epoch}) owns the store; this one has epoch {self._epoch}"
                raise StoreConflict(msg)
            writing = _Writing(self.data)
            try:
                for transaction in transactions:
                    writing.apply(transaction)
            except BaseException:
                writing.roll_back()
                raise

    def live_records(self) -> list[JobRecord]:
        with self._open():
            live = [job for job in self.data.jobs.values() if not (job.terminal and job.metadata_recorded)]
        return sorted(live, key=lambda job: job.number)

    def last_sequence(self) -> int:
        with self._open():
            return self.data.last_sequence

    def last_number(self) -> int:
        with self._open():
            return self.data.last_number

    def facts(self) -> dict[str, str]:
        with self._open():
            return dict(sorted(self.data.facts.items()))

    def record(self, job_id: JobId) -> JobRecord | None:
        with self._open():
            return self.data.jobs.get(job_id)

    def records(self, job_ids: Iterable[JobId]) -> dict[JobId, JobRecord]:
        with self._open():
            return {job_id: self.data.jobs[job_id] for job_id in job_ids if job_id in self.data.jobs}

    def find_idempotent(self, tenant: str, key: str) -> JobRecord | None:
        with self._open():
            job_id = self.data.keys.get((tenant, key))
            return None if job_id is None else self.data.jobs[job_id]

    def query(self, query: JobQuery) -> JobPage:
        with self._open():
            found = [job for job in self.data.jobs.values() if _matches(job, query)]
        found.sort(key=lambda job: job.number, reverse=not query.ascending)
        start = max(query.offset, 0)
        return JobPage(tuple(found[start : start + max(query.limit, 0)]), len(found))

    def history(self, job_id: JobId) -> list[JobChange]:
        with self._open():
            return list(self.data.histories.get(job_id, ()))

    def changes_since(self, sequence: int, limit: int) -> list[JobChange]:
        with self._open():
            kept = self.data.changes
            later = (kept[key] for key in range(sequence + 1, self.data.last_sequence + 1) if key in kept)
            return list(itertools.islice(later, max(limit, 0)))

    def payloads(self, job_ids: Sequence[JobId], kind: str) -> dict[JobId, bytes]:
        with self._open():
            kept = self.data.payloads
            return {job_id: kept[job_id, kind] for job_id in job_ids if (job_id, kind) in kept}

    def usage_qpu_s(self, tenant: str, since: float) -> float:
        with self._open():
            return math.fsum(
                job.qpu_s
                for job in self.data.jobs.values()
                if job.tenant == tenant and job.finished_at is not None and job.finished_at >= since and job.qpu_s
            )

    def finished_before(self, moment: float, limit: int) -> list[JobId]:
        with self._open():
            ended = [
                (job.finished_at, job.number, job.id)
                for job in self.data.jobs.values()
                if job.terminal and job.metadata_recorded and job.finished_at is not None and job.finished_at < moment
            ]
        return [job_id for _, _, job_id in heapq.nsmallest(max(limit, 0), ended)]

    def close(self) -> None:
        self._closed = True

    def _open(self) -> threading.RLock:
        if self._closed:
            raise PersistError("the store is closed")
        return self.data.lock


class _Writing:
    """One commit under way, with how to take each step back."""

    def __init__(self, data: MemoryData) -> None:
        self._data = data
        self._undo: list[Callable[[], object]] = []
        self._marks = (data.last_number, data.last_sequence)

    def roll_back(self) -> None:
        for step in reversed(self._undo):
            step()
        self._data.last_number, self._data.last_sequence = self._marks

    def apply(self, transaction: Transaction) -> None:
        for record in transaction.records:
            self._write(record)
        for change in transaction.changes:
            self._append(change)
        for job_id, kind, body in transaction.payloads:
            if job_id not in self._data.jobs or kind not in _KINDS:
                raise StoreConflict("the store's rules refuse the payload: unknown job or kind")
            self._set(self._data.payloads, (job_id, kind), body)
        for dropped in transaction.drop_payloads:
            self._set(self._data.payloads, dropped, None)
        for key, value in transaction.facts:
            if not key or not _is_text(key + (value or "")):
                raise StoreConflict("the store's rules refuse the fact: no key, or what is not text")
            self._set(self._data.facts, key, value)
        for job_id in transaction.deletions:
            self._delete(job_id)

    def _write(self, record: JobRecord) -> None:
        data = self._data
        _check_rules(record)
        before = data.jobs.get(record.id)
        key = None if record.idempotency_key is None else (record.tenant, record.idempotency_key)
        if record.version == 1:
            if before is not None or record.number in data.numbers:
                raise StoreConflict("the store's rules refuse the row: the job or its number exists")
            if key in data.keys:
                raise StoreConflict("the tenant already used this idempotency key", field="idempotency_key")
            self._set(data.numbers, record.number, record.id)
            if key is not None:
                self._set(data.keys, key, record.id)
            data.last_number = max(data.last_number, record.number)
        elif before is None or not _may_follow(before, record):
            msg = (
                f"job {record.id!r:.40}: version {record.version} does not follow the stored one, "
                "or changes what cannot change"
            )
            raise StoreConflict(msg)
        self._set(data.jobs, record.id, record)

    def _append(self, change: JobChange) -> None:
        data = self._data
        if change.sequence <= data.last_sequence:
            msg = f"the change's sequence {change.sequence} is not above the last one, {data.last_sequence}"
            raise StoreConflict(msg, field="sequence")
        if change.job_id not in data.jobs or not _fits(change):
            raise StoreConflict("the store's rules refuse the change: unknown job, or a value that does not fit")
        data.last_sequence = change.sequence
        self._set(data.changes, change.sequence, change)
        self._set(data.histories, change.job_id, (*data.histories.get(change.job_id, ()), change))

    def _delete(self, job_id: JobId) -> None:
        data = self._data
        record = data.jobs.get(job_id)
        if record is None:
            return
        self._set(data.jobs, job_id, None)
        self._set(data.numbers, record.number, None)
        if record.idempotency_key is not None:
            self._set(data.keys, (record.tenant, record.idempotency_key), None)
        for change in data.histories.get(job_id, ()):
            self._set(data.changes, change.sequence, None)
        self._set(data.histories, job_id, None)
        for kind in _KINDS:
            self._set(data.payloads, (job_id, kind), None)

    def _set(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        """`table[key] = value`, or remove the key when `value` is None."""
        before = table.get(key)
        if before is None:
            self._undo.append(lambda: table.pop(key, None))
        else:
            self._undo.append(lambda: table.__setitem__(key, before))
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value


def _check_rules(record: JobRecord) -> None:
    """The CHECK constraints of `schema.sql`."""
    fine = (
        1 <= record.number < _BIGGEST
        and record.id != ""
        and record.version >= 1
        and 0 <= record.attempt < _BIGGEST
        and (record.qpu_s is None or record.qpu_s >= 0)
        and (record.finished_at is not None or not record.terminal)
    )
    if not fine:
        raise StoreConflict("the store's rules refuse the row")


def _fits(change: JobChange) -> bool:
    if not _is_text(change.reason):
        return False
    return change.sequence < _BIGGEST and 0 <= change.attempt < _BIGGEST and not math.isnan(change.at)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _may_follow(before: JobRecord, record: JobRecord) -> bool:
    unchanged = (before.number, before.tenant, before.idempotency_key, before.version + 1)
    final = before.state in TERMINAL_STATES and record.state != before.state
    return unchanged == (record.number, record.tenant, record.idempotency_key, record.version) and not final


def _matches(job: JobRecord, query: JobQuery) -> bool:
    return (
        job.tenant == query.tenant
        and (query.states is None or job.state in query.states)
        and query.device in {None, job.device}
        and query.program in {None, job.program.value}
        and query.session_id in {None, job.session_id}
        and set(query.tags) <= set(job.tags)
        and (query.created_after is None or job.created_at > query.created_after)
        and (query.created_before is None or job.created_at < query.created_before)
    )
