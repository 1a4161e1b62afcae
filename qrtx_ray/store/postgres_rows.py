"""The SQL of the journal in PostgreSQL: statements, the rows they take, and the steps of one commit.

A commit of many transactions is sent as few statements with many rows each. That changes the order of the work within
a commit, and is done only where no order can be told from another: see `steps`.

PostgreSQL's text cannot hold the character U+0000, which a client may well send; `plain` and `restored` go round that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from qrtx_ray.errors import StoreConflict
from qrtx_ray.model import TERMINAL_STATES, JobChange, JobQuery, JobRecord
from qrtx_ray.store.protocol import Transaction
from qrtx_ray.store.sqlite_rows import change_from_row as change_from_plain_row
from qrtx_ray.store.sqlite_rows import change_row as plain_change_row
from qrtx_ray.store.sqlite_rows import job_row as plain_job_row

__all__ = [
    "CHANGES",
    "FENCE",
    "LAST_NUMBER",
    "LAST_SEQUENCE",
    "UPDATE_JOB",
    "Step",
    "change_from_row",
    "plain",
    "query_where",
    "restored",
    "steps",
]

_TERMINAL = ", ".join(f"'{state}'" for state in sorted(TERMINAL_STATES))
_TEXTS = ("id", "tenant", "device", "session_id", "idempotency_key")

# Who owns the store, who writes now, and how often it was written, in one: later writers wait here for this one, and
# one that was replaced finds no row.
FENCE = "UPDATE owner SET commits = commits + 1 WHERE epoch = %s RETURNING commits"

INSERT_JOB = """
INSERT INTO job (number, id, tenant, program, device, state, version, attempt, session_id, tags, created_at,
                 finished_at, qpu_s, idempotency_key, live, record)
VALUES (%(number)s, %(id)s, %(tenant)s, %(program)s, %(device)s, %(state)s, %(version)s, %(attempt)s, %(session_id)s,
        %(tags)s, %(created_at)s, %(finished_at)s, %(qpu_s)s, %(idempotency_key)s, %(live)s, %(record)s)
"""

# The condition is the whole compare-and-set: the version before, what never changes, and that an end is final.
UPDATE_JOB = f"""
UPDATE job SET device = %(device)s, state = %(state)s, version = %(version)s, attempt = %(attempt)s,
               session_id = %(session_id)s, tags = %(tags)s, finished_at = %(finished_at)s, qpu_s = %(qpu_s)s,
               live = %(live)s, record = %(record)s
WHERE id = %(id)s AND version = %(version)s - 1 AND number = %(number)s AND tenant = %(tenant)s
  AND idempotency_key IS NOT DISTINCT FROM %(idempotency_key)s
  AND (state = %(state)s OR state NOT IN ({_TERMINAL}))
"""  # noqa: S608 - made of the enumeration's own words

CHANGES = "SELECT sequence, job_id, at, from_state, to_state, attempt, reason FROM history"
INSERT_CHANGE = """
INSERT INTO history (sequence, job_id, at, from_state, to_state, attempt, reason) VALUES (%s, %s, %s, %s, %s, %s, %s)
"""

PUT_PAYLOAD = """
INSERT INTO payload (job_id, kind, body) VALUES (%s, %s, %s)
ON CONFLICT (job_id, kind) DO UPDATE SET body = excluded.body
"""
DROP_PAYLOAD = "DELETE FROM payload WHERE job_id = %s AND kind = %s"

PUT_FACT = "INSERT INTO fact (key, value) VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
DROP_FACT = "DELETE FROM fact WHERE key = %s"

DELETE_JOB = "DELETE FROM job WHERE id = %s"

LAST_NUMBER = "SELECT greatest(deleted_number, coalesce((SELECT max(number) FROM job), 0)) FROM owner"
LAST_SEQUENCE = "SELECT greatest(deleted_sequence, coalesce((SELECT max(sequence) FROM history), 0)) FROM owner"
KEEP_MARKS = f"UPDATE owner SET deleted_number = ({LAST_NUMBER}), deleted_sequence = ({LAST_SEQUENCE})"  # noqa: S608

Step = tuple[str, Sequence[Any]]  #: a statement, and the rows it is run with, in order


def plain(text: str) -> str:
    r"""`text` as a column holds it: U+0000 as ``\0`` and, so that it can be told apart, a backslash as two."""
    if "\\" not in text and "\0" not in text:
        return text
    return text.replace("\\", "\\\\").replace("\0", "\\0")


def restored(text: str) -> str:
    """What `plain` was given."""
    if "\\" not in text:
        return text
    return "\\".join(part.replace("\\0", "\0") for part in text.split("\\\\"))


def change_from_row(row: tuple[Any, ...]) -> JobChange:
    """The change that a row of `CHANGES` tells of."""
    sequence, job_id, at, before, after, attempt, reason = row
    return change_from_plain_row((sequence, restored(job_id), at, before, after, attempt, restored(reason)))


def query_where(query: JobQuery) -> tuple[str, list[Any]]:
    """The condition of `query` on table `job`, and its parameters."""
    terms = ["tenant = %s"]
    values: list[Any] = [plain(query.tenant)]
    if query.states is not None:
        terms.append("state = ANY(%s::text[])")
        values.append(sorted(state.value for state in query.states))
    for column, wanted in (("device", query.device), ("program", query.program), ("session_id", query.session_id)):
        if wanted is not None:
            terms.append(f"{column} = %s")
            values.append(plain(wanted))
    if query.tags:
        terms.append("tags @> %s::text[]")
        values.append(_tags(query.tags))
    if query.created_after is not None:
        terms.append("created_at > %s")
        values.append(query.created_after)
    if query.created_before is not None:
        terms.append("created_at < %s")
        values.append(query.created_before)
    return " AND ".join(terms), values


def steps(transactions: Sequence[Transaction]) -> list[Step]:
    """What a commit of `transactions` does, as few statements, in the order they are to be run.

    Within a part of the commit first all jobs are inserted, then updated in order, then come changes, payloads and
    facts. A new part begins where that would make a difference: after a deletion, and where a payload that was dropped
    is put again.

    Raises:
        StoreConflict: A record cannot be kept as JSON, or is changed before it is inserted.
        UnicodeEncodeError: A fact that is not text.
    """
    parts = [_Part()]
    for transaction in transactions:
        if parts[-1].clashes(transaction):
            parts.append(_Part())
        parts[-1].take(transaction)
    return [step for part in parts for step in part.steps()]


@dataclass(slots=True)
class _Part:
    """Work of a commit that may be done in the order of `steps`."""

    inserted: list[dict[str, Any]] = field(default_factory=list)
    updated: list[dict[str, Any]] = field(default_factory=list)
    updated_ids: set[str] = field(default_factory=set)
    changes: list[tuple[Any, ...]] = field(default_factory=list)
    put: list[tuple[str, str, bytes]] = field(default_factory=list)
    dropped: set[tuple[str, str]] = field(default_factory=set)
    facts: dict[str, str | None] = field(default_factory=dict)
    deleted: list[tuple[str]] = field(default_factory=list)

    def clashes(self, transaction: Transaction) -> bool:
        """Whether `transaction` must come after this part, whole."""
        return bool(self.deleted) or any(
            (plain(job_id), plain(kind)) in self.dropped for job_id, kind, _ in transaction.payloads
        )

    def take(self, transaction: Transaction) -> None:
        for record in transaction.records:
            self._take_record(record)
        self.changes += [_change_row(change) for change in transaction.changes]
        self.put += [(plain(job_id), plain(kind), body) for job_id, kind, body in transaction.payloads]
        self.dropped |= {(plain(job_id), plain(kind)) for job_id, kind in transaction.drop_payloads}
        for key, value in transaction.facts:
            (key + (value or "")).encode()  # the last value of a key is the only one the server sees
            self.facts[plain(key)] = None if value is None else plain(value)
        self.deleted += [(plain(job_id),) for job_id in transaction.deletions]

    def _take_record(self, record: JobRecord) -> None:
        row = _job_row(record)
        if record.version != 1:
            self.updated.append(row)
            self.updated_ids.add(record.id)
        elif record.id in self.updated_ids:
            raise StoreConflict(f"job {record.id!r:.40}: version 1 follows a later one")
        else:
            self.inserted.append(row)

    def steps(self) -> Iterator[Step]:
        facts = self.facts.items()
        every: tuple[Step, ...] = (
            (INSERT_JOB, self.inserted),
            (UPDATE_JOB, self.updated),
            (INSERT_CHANGE, self.changes),
            (PUT_PAYLOAD, self.put),
            (DROP_PAYLOAD, sorted(self.dropped)),
            (PUT_FACT, [(key, value) for key, value in facts if value is not None]),
            (DROP_FACT, [(key,) for key, value in facts if value is None]),
            (KEEP_MARKS, [()] if self.deleted else []),
            (DELETE_JOB, self.deleted),
        )
        return ((statement, rows) for statement, rows in every if rows)


def _job_row(record: JobRecord) -> dict[str, Any]:
    row = plain_job_row(record)
    for column in _TEXTS:
        value = row[column]
        if value is not None:
            row[column] = plain(value)
    row["tags"] = _tags(record.tags)
    return row


def _change_row(change: JobChange) -> tuple[Any, ...]:
    sequence, job_id, at, before, after, attempt, reason = plain_change_row(change)
    return (sequence, plain(job_id), at, before, after, attempt, plain(reason))


def _tags(tags: Iterable[str]) -> list[str]:
    return [plain(tag) for tag in tags]
