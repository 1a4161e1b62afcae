"""The SQL of the job journal: statements, the parameters they take, and the text of a query."""

from __future__ import annotations

from typing import Any

import orjson

from qrtx_ray.model import TERMINAL_STATES, JobChange, JobQuery, JobRecord, TaskState
from qrtx_ray.store.record_json import record_to_json

__all__ = [
    "DELETE_JOB",
    "DROP_FACT",
    "DROP_PAYLOAD",
    "INSERT_CHANGE",
    "INSERT_JOB",
    "KEEP_MARKS",
    "LAST_NUMBER",
    "LAST_SEQUENCE",
    "PUT_FACT",
    "PUT_PAYLOAD",
    "UPDATE_JOB",
    "change_from_row",
    "change_row",
    "job_row",
    "query_where",
]

_TERMINAL = ", ".join(f"'{state}'" for state in sorted(TERMINAL_STATES))

INSERT_JOB = """
INSERT INTO job (number, id, tenant, program, device, state, version, attempt, session_id, tags, created_at,
                 finished_at, qpu_s, idempotency_key, live, record)
VALUES (:number, :id, :tenant, :program, :device, :state, :version, :attempt, :session_id, :tags, :created_at,
        :finished_at, :qpu_s, :idempotency_key, :live, :record)
"""

# The condition is the whole compare-and-set: the version before, what never changes, and that an end is final.
UPDATE_JOB = f"""
UPDATE job SET device = :device, state = :state, version = :version, attempt = :attempt, session_id = :session_id,
               tags = :tags, finished_at = :finished_at, qpu_s = :qpu_s, live = :live, record = :record
WHERE id = :id AND version = :version - 1 AND number = :number AND tenant = :tenant
  AND idempotency_key IS :idempotency_key AND (state = :state OR state NOT IN ({_TERMINAL}))
"""  # noqa: S608 - made of the enumeration's own words

INSERT_CHANGE = """
INSERT INTO history (sequence, job_id, at, from_state, to_state, attempt, reason) VALUES (?, ?, ?, ?, ?, ?, ?)
"""

PUT_PAYLOAD = """
INSERT INTO payload (job_id, kind, body) VALUES (?, ?, ?)
ON CONFLICT (job_id, kind) DO UPDATE SET body = excluded.body
"""

PUT_FACT = "INSERT INTO fact (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
DROP_FACT = "DELETE FROM fact WHERE key = ?"

DROP_PAYLOAD = "DELETE FROM payload WHERE job_id = ? AND kind = ?"
DELETE_JOB = "DELETE FROM job WHERE id = ?"

LAST_NUMBER = "SELECT max(deleted_number, coalesce((SELECT max(number) FROM job), 0)) FROM owner"
LAST_SEQUENCE = "SELECT max(deleted_sequence, coalesce((SELECT max(sequence) FROM history), 0)) FROM owner"
KEEP_MARKS = f"UPDATE owner SET deleted_number = ({LAST_NUMBER}), deleted_sequence = ({LAST_SEQUENCE})"  # noqa: S608


def job_row(record: JobRecord) -> dict[str, Any]:
    """Parameters of `INSERT_JOB` and `UPDATE_JOB`.

    Raises:
        StoreConflict: The record cannot be kept as JSON.
    """
    text = record_to_json(record)
    return {
        "number": record.number,
        "id": record.id,
        "tenant": record.tenant,
        "program": record.program.value,
        "device": record.device,
        "state": record.state.value,
        "version": record.version,
        "attempt": record.attempt,
        "session_id": record.session_id,
        "tags": orjson.dumps(record.tags).decode() if record.tags else "[]",
        "created_at": record.created_at,
        "finished_at": record.finished_at,
        "qpu_s": record.qpu_s,
        "idempotency_key": record.idempotency_key,
        "live": not (record.terminal and record.metadata_recorded),
        "record": text,
    }


def change_row(change: JobChange) -> tuple[Any, ...]:
    """Parameters of `INSERT_CHANGE`."""
    before = None if change.from_state is None else change.from_state.value
    return (change.sequence, change.job_id, change.at, before, change.to_state.value, change.attempt, change.reason)


def change_from_row(row: tuple[Any, ...]) -> JobChange:
    """The change a row of `history` (columns in the table's order) tells of."""
    sequence, job_id, at, before, after, attempt, reason = row
    from_state = None if before is None else TaskState(before)
    return JobChange(sequence, job_id, at, from_state, TaskState(after), attempt, reason)


def query_where(query: JobQuery) -> tuple[str, list[Any]]:
    """The condition of `query` on table `job`, and its parameters."""
    terms = ["tenant = ?"]
    values: list[Any] = [query.tenant]
    if query.states is not None:
        terms.append("state IN (SELECT value FROM json_each(?))")
        values.append(orjson.dumps(sorted(query.states)).decode())
    for column, wanted in (("device", query.device), ("program", query.program), ("session_id", query.session_id)):
        if wanted is not None:
            terms.append(f"{column} = ?")
            values.append(wanted)
    for tag in query.tags:
        terms.append("EXISTS (SELECT 1 FROM json_each(job.tags) WHERE value = ?)")
        values.append(tag)
    if query.created_after is not None:
        terms.append("created_at > ?")
        values.append(query.created_after)
    if query.created_before is not None:
        terms.append("created_at < ?")
        values.append(query.created_before)
    return " AND ".join(terms), values
