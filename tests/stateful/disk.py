"""What survives the scheduler: a fast journal for the simulation, and the real stores behind the same few methods.

The fast one refuses what the real ones refuse (a version that does not follow, a key used twice, an old owner), by raising:
a refusal is a failure of the run, for no transaction of a sound core is ever refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from qrtx_ray.errors import StoreConflict
from qrtx_ray.model import JobChange, JobRecord
from qrtx_ray.scheduler.commands import Persist
from qrtx_ray.store.protocol import Store, Transaction

__all__ = ["Disk", "Payload", "StoreDisk"]

Payload = tuple[str, str, bytes]
Batch = Sequence[tuple[Persist, Sequence[Payload]]]


class Disk:
    """A journal in dictionaries; a commit is all or nothing because nothing can go wrong in its midst."""

    def __init__(self) -> None:
        self.records: dict[str, JobRecord] = {}
        self.keys: dict[tuple[str, str], str] = {}
        self.changes: dict[str, list[JobChange]] = {}
        self.kept: dict[tuple[str, str], bytes] = {}
        self.known_facts: dict[str, str] = {}
        self.sequence = 0
        self.number = 0

    def open(self) -> None:
        """A scheduler took it over."""

    def commit(self, batch: Batch) -> None:
        for persist, payloads in batch:
            for record in persist.records:
                self._write(record)
            for change in persist.changes:
                if change.sequence <= self.sequence:
                    raise StoreConflict("a sequence number was used twice")
                self.sequence = change.sequence
                self.changes.setdefault(change.job_id, []).append(change)
            for job_id, kind, body in payloads:
                self.kept[job_id, kind] = body
            for dropped in persist.drop_payloads:
                self.kept.pop(dropped, None)
            for key, text in persist.facts:
                if text is None:
                    self.known_facts.pop(key, None)
                else:
                    self.known_facts[key] = text
            for job_id in persist.deletions:
                self._delete(job_id)

    def _write(self, record: JobRecord) -> None:
        before = self.records.get(record.id)
        key = None if record.idempotency_key is None else (record.tenant, record.idempotency_key)
        if before is None:
            if record.version != 1 or record.number <= self.number:
                raise StoreConflict("a row that was never written has a version, or its number exists")
            if key in self.keys:
                raise StoreConflict("the tenant already used this idempotency key")
            if key is not None:
                self.keys[key] = record.id
            self.number = record.number
        elif record.version != before.version + 1 or (before.terminal and record.state is not before.state):
            raise StoreConflict(f"version {record.version} of {record.id} does not follow {before.version}")
        self.records[record.id] = record

    def _delete(self, job_id: str) -> None:
        record = self.records.pop(job_id, None)
        if record is not None and record.idempotency_key is not None:
            self.keys.pop((record.tenant, record.idempotency_key), None)
        self.changes.pop(job_id, None)
        for kind in ("request", "executable"):
            self.kept.pop((job_id, kind), None)

    def record(self, job_id: str) -> JobRecord | None:
        return self.records.get(job_id)

    def all_records(self) -> dict[str, JobRecord]:
        return self.records

    def live(self) -> list[JobRecord]:
        return [one for one in self.records.values() if not (one.terminal and one.metadata_recorded)]

    def find(self, tenant: str, key: str) -> JobRecord | None:
        job_id = self.keys.get((tenant, key))
        return None if job_id is None else self.records[job_id]

    def history(self, job_id: str) -> list[JobChange]:
        return self.changes.get(job_id, [])

    def payload(self, job_id: str, kind: str) -> bytes | None:
        return self.kept.get((job_id, kind))

    def facts(self) -> dict[str, str]:
        return dict(self.known_facts)

    def last(self) -> tuple[int, int]:
        """Sequence and number."""
        return self.sequence, self.number

    def close(self) -> None:
        """Nothing to let go of."""


def _nowhere() -> None:
    """Nobody dies here."""


class _Steps(Sequence[Any]):
    """Rows between which the process that writes them may die."""

    def __init__(self, rows: Sequence[Any], point: Callable[[], None]) -> None:
        self._rows = rows
        self._point = point

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: Any) -> Any:
        return self._rows[place]

    def __iter__(self) -> Iterator[Any]:
        for row in self._rows:
            yield row
            self._point()


class StoreDisk:
    """A real store; a crash closes it and opens what is left.

    Args:
        reopen: Opens the store on what survived.
    """

    def __init__(self, reopen: Callable[[], Store]) -> None:
        self._reopen = reopen
        self.point: Callable[[], None] = _nowhere
        self._store: Store | None = None
        self._ids: dict[str, None] = {}

    def another(self) -> StoreDisk:
        """What a second process opens, while the first still has its own."""
        other = StoreDisk(self._reopen)
        other._ids = self._ids
        return other

    @property
    def store(self) -> Store:
        assert self._store is not None
        return self._store

    def open(self) -> None:
        if self._store is not None:
            self._store.close()
        self._store = self._reopen()
        self._store.open_epoch()

    def commit(self, batch: Batch) -> None:
        transactions = [
            Transaction(
                one.records,
                _Steps(one.changes, self.point),
                tuple(payloads),
                one.drop_payloads,
                one.deletions,
                _Steps(one.facts, self.point),
            )
            for one, payloads in batch
        ]
        self.store.commit(transactions)
        for one, _ in batch:
            self._ids.update((record.id, None) for record in one.records)

    def record(self, job_id: str) -> JobRecord | None:
        return self.store.record(job_id)

    def all_records(self) -> dict[str, JobRecord]:
        return self.store.records(list(self._ids))

    def live(self) -> list[JobRecord]:
        return self.store.live_records()

    def find(self, tenant: str, key: str) -> JobRecord | None:
        return self.store.find_idempotent(tenant, key)

    def history(self, job_id: str) -> list[JobChange]:
        return self.store.history(job_id)

    def payload(self, job_id: str, kind: str) -> bytes | None:
        return self.store.payloads([job_id], kind).get(job_id)

    def facts(self) -> dict[str, str]:
        return self.store.facts()

    def last(self) -> tuple[int, int]:
        return self.store.last_sequence(), self.store.last_number()

    def image(self) -> dict[str, Any]:
        """Everything that is on it, to be compared."""
        return {
            "records": self.all_records(),
            "changes": self.store.changes_since(0, 1_000_000),
            "facts": self.facts(),
            "last": self.last(),
        }

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
