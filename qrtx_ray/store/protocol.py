"""The durable truth: what every store must do. One conformance suite runs against all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from qrtx_ray.model import JobChange, JobId, JobPage, JobQuery, JobRecord

__all__ = ["PAYLOAD_EXECUTABLE", "PAYLOAD_REQUEST", "Store", "Transaction"]

PAYLOAD_REQUEST = "request"  #: the request as it came
PAYLOAD_EXECUTABLE = "executable"  #: the compiled job


@dataclass(frozen=True, slots=True)
class Transaction:
    """Everything one event changes; all of it is committed, or none.

    Args:
        records: Rows to insert (version 1) or to replace (version n, over a stored version n-1). Number, tenant and
            idempotency key never change, and a terminal state is never left.
        changes: History rows to append; their sequence numbers are the caller's and grow (gaps are allowed; one that
            is not above the last is a conflict).
        payloads: ``(job id, kind, bytes)`` to put beside a row (replaces one of the same kind).
        drop_payloads: ``(job id, kind)`` no longer needed.
        deletions: Jobs to remove with their history and payloads; unknown ones are passed over.
        facts: ``(key, text)`` to keep beside the jobs, in place of what was kept under the key; None removes it.
    """

    records: tuple[JobRecord, ...] = ()
    changes: tuple[JobChange, ...] = ()
    payloads: tuple[tuple[JobId, str, bytes], ...] = ()
    drop_payloads: tuple[tuple[JobId, str], ...] = ()
    deletions: tuple[JobId, ...] = ()
    facts: tuple[tuple[str, str | None], ...] = ()


class Store(Protocol):
    """A journal of jobs. Synchronous and thread-compatible: the shell calls it from one writer thread and, for the
    read methods, from other threads at the same time.

    Raises (any method):
        StoreFull: No space; nothing of the call was kept.
        StoreConflict: A version did not match, an idempotency key exists, a newer epoch (or none yet) owns the store,
            or a row breaks another rule of the store: the fault is the transaction's, the store is well.
        PersistError: Any other refusal; nothing of the call was kept.
    """

    def open_epoch(self) -> int:
        """Take the store over: bump the persisted epoch and return it. Every later `commit` by an older owner fails."""
        ...

    def commit(self, transactions: Sequence[Transaction]) -> None:
        """Write all of `transactions` in one durable commit (group commit).

        Guarantees:
            When it returns, the rows survive power loss (as far as the medium keeps its promises).
            When it raises, nothing of *any* of them was written.
        """
        ...

    def live_records(self) -> list[JobRecord]:
        """All jobs that are not in a terminal state, plus terminal ones whose metadata is not recorded, by number."""
        ...

    def last_sequence(self) -> int:
        """Highest sequence of any change ever kept, also of jobs deleted since; 0 when there was none."""
        ...

    def last_number(self) -> int:
        """Highest job number ever kept, also of jobs deleted since; 0 when there was none."""
        ...

    def facts(self) -> dict[str, str]:
        """Everything kept by `Transaction.facts`, by key."""
        ...

    def record(self, job_id: JobId) -> JobRecord | None:
        """One job, or None."""
        ...

    def records(self, job_ids: Iterable[JobId]) -> dict[JobId, JobRecord]:
        """Those of `job_ids` that exist."""
        ...

    def find_idempotent(self, tenant: str, key: str) -> JobRecord | None:
        """The job that `tenant` submitted under `key`, or None."""
        ...

    def query(self, query: JobQuery) -> JobPage:
        """A page of jobs, newest (highest number) first unless `query.ascending`; both bounds of `created` are
        exclusive.
        """
        ...

    def history(self, job_id: JobId) -> list[JobChange]:
        """All changes of a job, oldest first."""
        ...

    def changes_since(self, sequence: int, limit: int) -> list[JobChange]:
        """Changes with a greater sequence, in order."""
        ...

    def payloads(self, job_ids: Sequence[JobId], kind: str) -> dict[JobId, bytes]:
        """Payloads of `kind`, for those jobs that have one."""
        ...

    def usage_qpu_s(self, tenant: str, since: float) -> float:
        """Σ `qpu_s` of the tenant's jobs finished at or after `since` (epoch seconds)."""
        ...

    def finished_before(self, moment: float, limit: int) -> list[JobId]:
        """The `limit` jobs that ended longest ago, before `moment` (epoch seconds), and whose metadata is recorded."""
        ...

    def close(self) -> None:
        """Release files; idempotent."""
        ...
