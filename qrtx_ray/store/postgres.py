"""The journal of jobs in PostgreSQL: for a site that runs such a server anyway, with its replicas and its backups.

A commit returns after the server has flushed it (`synchronous_commit` is never off). There is one writing connection;
reads go over connections of their own and each sees one snapshot. Who may write is decided by the epoch in table
`owner`: every transaction begins by changing that row under its own epoch, so writers follow one another, and a
scheduler that was replaced cannot commit, however late it wakes up.

A lost connection leaves open whether the last commit was kept. The row of the owner also counts the commits: a new
connection waits for the row until whatever still works on it has ended, and then the count tells. Only what is known
not to have been kept is sent again, once; what cannot be known is an error, and ends this process's work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from qrtx_ray.errors import PersistError, StoreConflict
from qrtx_ray.model import JobChange, JobId, JobPage, JobQuery, JobRecord
from qrtx_ray.store import postgres_rows as sql
from qrtx_ray.store.postgres_connections import Connection, Readers, connect
from qrtx_ray.store.postgres_errors import translated
from qrtx_ray.store.postgres_schema import check, install
from qrtx_ray.store.protocol import Transaction
from qrtx_ray.store.record_json import record_from_json

__all__ = ["PostgresStore"]


class PostgresStore:
    """A `Store` in the database that `url` names; see the protocol for what each method promises.

    The tables are made in the first schema of the role's `search_path`. All methods may be called from any thread;
    commits of several threads follow one another.

    Args:
        url: ``postgresql://…``, judged already by `config.journal_url`.
        read_only: Open it for the reading methods only: for a server that takes no writes now.

    Raises:
        PersistError: The server cannot be reached or is not suitable, or the schema holds another program's tables,
            or those of a newer version of this one.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self._url = url
        self._read_only = read_only
        self._epoch: int | None = None
        self._commits = 0
        self._last_sequence = 0
        self._unsure: str | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._readers = Readers(lambda: connect(url, read_only=read_only))
        with translated():
            self._writer = connect(url, read_only=read_only)
            try:
                (check if read_only else install)(self._writer)
            except BaseException:
                self._writer.close()
                raise

    def open_epoch(self) -> int:
        with self._writing() as db, translated():
            row = _one(db.execute("UPDATE owner SET epoch = epoch + 1 RETURNING epoch, commits"))
            # A statement of its own: it must see what was committed while the first one waited.
            last = _one(db.execute(sql.LAST_SEQUENCE))[0]
            _end(db)
            self._epoch, self._commits, self._last_sequence = row[0], row[1], last
            self._unsure = None
            return int(row[0])

    def commit(self, transactions: Sequence[Transaction]) -> None:
        with translated():
            # Rows are made before the lock is taken; one that cannot be made costs nobody else anything.
            steps = sql.steps(transactions)
        with self._lock:
            self._check_open()
            if self._epoch is None:
                raise StoreConflict("the store was not taken over: call open_epoch() before the first commit")
            if self._unsure is not None:
                raise PersistError(self._unsure)
            last = _last_sequence(transactions, self._last_sequence)
            self._write_once(self._epoch, steps)
            self._last_sequence = last
            self._commits += 1

    def live_records(self) -> list[JobRecord]:
        return self._records("SELECT record FROM job WHERE live ORDER BY number")

    def last_sequence(self) -> int:
        return int(self._rows(sql.LAST_SEQUENCE)[0][0])

    def last_number(self) -> int:
        return int(self._rows(sql.LAST_NUMBER)[0][0])

    def facts(self) -> dict[str, str]:
        rows = self._rows("SELECT key, value FROM fact ORDER BY key")
        return {sql.restored(key): sql.restored(value) for key, value in rows}

    def record(self, job_id: JobId) -> JobRecord | None:
        found = self._records("SELECT record FROM job WHERE id = %s", sql.plain(job_id))
        return found[0] if found else None

    def records(self, job_ids: Iterable[JobId]) -> dict[JobId, JobRecord]:
        found = self._records("SELECT record FROM job WHERE id = ANY(%s::text[])", [sql.plain(one) for one in job_ids])
        return {record.id: record for record in found}

    def find_idempotent(self, tenant: str, key: str) -> JobRecord | None:
        found = self._records(
            "SELECT record FROM job WHERE tenant = %s AND idempotency_key = %s", sql.plain(tenant), sql.plain(key)
        )
        return found[0] if found else None

    def query(self, query: JobQuery) -> JobPage:
        where, values = sql.query_where(query)
        order = "ASC" if query.ascending else "DESC"
        # One statement, and so one snapshot.
        statement = f"""
            SELECT (SELECT count(*) FROM job WHERE {where}),
                   ARRAY(SELECT record FROM job WHERE {where} ORDER BY number {order} LIMIT %s OFFSET %s)
        """  # noqa: S608
        total, found = self._rows(statement, *values, *values, max(query.limit, 0), max(query.offset, 0))[0]
        return JobPage(tuple(record_from_json(text) for text in found), total)

    def history(self, job_id: JobId) -> list[JobChange]:
        rows = self._rows(f"{sql.CHANGES} WHERE job_id = %s ORDER BY sequence", sql.plain(job_id))
        return [sql.change_from_row(row) for row in rows]

    def changes_since(self, sequence: int, limit: int) -> list[JobChange]:
        rows = self._rows(f"{sql.CHANGES} WHERE sequence > %s ORDER BY sequence LIMIT %s", sequence, max(limit, 0))
        return [sql.change_from_row(row) for row in rows]

    def payloads(self, job_ids: Sequence[JobId], kind: str) -> dict[JobId, bytes]:
        rows = self._rows(
            "SELECT job_id, body FROM payload WHERE job_id = ANY(%s::text[]) AND kind = %s",
            [sql.plain(one) for one in job_ids],
            sql.plain(kind),
        )
        return {sql.restored(job_id): bytes(body) for job_id, body in rows}

    def usage_qpu_s(self, tenant: str, since: float) -> float:
        rows = self._rows(
            "SELECT coalesce(sum(qpu_s), 0) FROM job"
            " WHERE tenant = %s AND finished_at IS NOT NULL AND finished_at >= %s",
            sql.plain(tenant),
            since,
        )
        return float(rows[0][0])

    def finished_before(self, moment: float, limit: int) -> list[JobId]:
        rows = self._rows(
            "SELECT id FROM job WHERE NOT live AND finished_at < %s ORDER BY finished_at, number LIMIT %s",
            moment,
            max(limit, 0),
        )
        return [sql.restored(row[0]) for row in rows]

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._readers.close()
            self._writer.close()

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        """All rows of a statement that only reads; asked again once when the connection turns out to be lost."""
        try:
            return self._read(statement, values)
        except _Lost:
            self._readers.forget()
        try:
            return self._read(statement, values)
        except _Lost as lost:
            raise PersistError(lost.message) from lost

    def _read(self, statement: str, values: Sequence[Any]) -> list[Any]:
        with self._readers.borrowed() as db, _loss_told(db), translated():
            return db.execute(statement, values, binary=True).fetchall()

    def _records(self, statement: str, *values: Any) -> list[JobRecord]:
        return [record_from_json(row[0]) for row in self._rows(statement, *values)]

    def _check_open(self) -> None:
        if self._closed or self._read_only:
            raise PersistError("the store is closed" if self._closed else "the store is open for reading only")

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction on the writer, which the block must end; otherwise nothing of it is kept."""
        with self._lock:
            self._check_open()
            with _transaction(self._connected()) as db:
                yield db

    def _connected(self) -> Connection:
        """The writer, connected anew where its connection is known to be lost."""
        if self._writer.closed:
            with translated():
                self._writer = connect(self._url)
        return self._writer

    def _write_once(self, epoch: int, steps: Sequence[sql.Step]) -> None:
        """Have `steps` written, once, also when the connection is lost meanwhile.

        Raises:
            PersistError: Also when it cannot be known whether they were written; until the next `open_epoch` there
                is then no further commit.
        """
        try:
            try:
                self._write(epoch, steps)
            except _InDoubt:
                if not self._was_kept(epoch):
                    self._write(epoch, steps)
            except _Lost:
                self._write(epoch, steps)
        except _InDoubt as doubt:
            self._unsure = f"{doubt.message}; whether the last commit was kept is not known"
            raise PersistError(self._unsure) from doubt

    def _was_kept(self, epoch: int) -> bool:
        """Whether the commit that a lost connection interrupted was kept.

        Raises:
            _InDoubt: That cannot be known now.
        """
        try:
            with translated():
                # FOR UPDATE waits for the end of the interrupted transaction, should the server still work on it.
                row = _one(self._connected().execute("SELECT epoch, commits FROM owner FOR UPDATE"))
        except PersistError as error:
            raise _InDoubt(error.message) from error
        if row[0] != epoch:
            msg = f"the connection was lost, and a newer scheduler (epoch {row[0]}) owns the store"
            raise _InDoubt(msg)
        return bool(row[1] == self._commits + 1)

    def _write(self, epoch: int, steps: Sequence[sql.Step]) -> None:
        with _transaction(self._connected()) as db:
            fence: psycopg.Cursor[Any] | None = None
            updates: list[tuple[dict[str, Any], psycopg.Cursor[Any]]] = []
            try:
                with translated(), db.pipeline():
                    fence = db.execute(sql.FENCE, (epoch,), prepare=True)
                    updates = [update for step in steps for update in _sent(db, *step)]
            except StoreConflict:
                # What a newer owner wrote may be in the way of what this one must not write any more.
                if fence is None or fence.rowcount != 0:
                    raise
            assert fence is not None
            with translated():
                self._check_fence(db, fence, epoch)
                for row, cursor in updates:
                    if cursor.rowcount != 1:
                        msg = (
                            f"job {sql.restored(row['id'])!r:.40}: version {row['version']} does not follow "
                            "the stored one, or changes what cannot change"
                        )
                        raise StoreConflict(msg)
                _end(db)

    def _check_fence(self, db: Connection, fence: psycopg.Cursor[Any], epoch: int) -> None:
        counted = fence.fetchone()
        if counted is None:
            db.execute("ROLLBACK", prepare=False)
            newest = _one(db.execute("SELECT epoch FROM owner"))[0]
            msg = f"a newer scheduler (epoch {newest}) owns the store; this one has epoch {epoch}"
            raise StoreConflict(msg)
        if counted[0] != self._commits + 1:
            self._unsure = "the store is not as this scheduler left it: a server with older data took over"
            raise PersistError(self._unsure)


class _Lost(PersistError):
    """The connection was lost; nothing that was asked of it is kept."""


class _InDoubt(_Lost):
    """The connection was lost between a COMMIT and its answer."""


@contextmanager
def _loss_told(db: Connection) -> Iterator[None]:
    """Make `_Lost` of an error that the connection did not survive."""
    try:
        yield
    except _Lost:
        raise
    except PersistError as error:
        if not db.closed:
            raise
        raise _Lost(error.message) from error


@contextmanager
def _transaction(db: Connection) -> Iterator[Connection]:
    """A transaction that the block ends with `_end`; rolled back when it does not."""
    with _loss_told(db):
        try:
            with translated():
                db.execute("BEGIN", prepare=False)
            yield db
        finally:
            status = db.info.transaction_status
            if status is TransactionStatus.ACTIVE:  # interrupted by what is no error of the driver
                db.close()
            elif status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}:
                with translated():
                    db.execute("ROLLBACK", prepare=False)


def _end(db: Connection) -> None:
    try:
        with _loss_told(db), translated():
            told = db.execute("COMMIT", prepare=False).statusmessage
    except _Lost as lost:
        raise _InDoubt(lost.message) from lost
    # The COMMIT of a transaction in which something failed is answered "ROLLBACK", without an error.
    if told != "COMMIT":
        raise PersistError("the store's server did not commit")


def _sent(db: Connection, statement: str, rows: Sequence[Any]) -> Iterable[tuple[dict[str, Any], psycopg.Cursor[Any]]]:
    """Send `statement` with each of `rows`; those that must each have changed a row, and what will tell."""
    if statement == sql.UPDATE_JOB:
        return [(row, db.execute(statement, row, prepare=True)) for row in rows]
    db.cursor().executemany(statement, rows)
    return ()


def _one(cursor: psycopg.Cursor[Any]) -> Any:
    row = cursor.fetchone()
    if row is None:
        raise PersistError("the store has lost the row that names its owner")
    return row


def _last_sequence(transactions: Sequence[Transaction], last: int) -> int:
    """The highest sequence after `transactions`, when it was `last` before."""
    for transaction in transactions:
        for change in transaction.changes:
            if change.sequence <= last:
                msg = f"the change's sequence {change.sequence} is not above the last one, {last}"
                raise StoreConflict(msg, field="sequence")
            last = change.sequence
    return last
