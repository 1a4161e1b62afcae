"""The journal of jobs in one SQLite file: what a single head node needs, and no service to run.

The file is in write-ahead mode with ``synchronous=FULL``: a commit returns after the log was flushed, so what was
acknowledged survives power loss. There is one writer connection; every thread that reads has a connection of its own
and sees a consistent snapshot beside the writer. Who may write is decided by the epoch in the file, compared inside
each transaction: a scheduler that was replaced cannot commit, however late it wakes up.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from qrtx_ray.errors import PersistError, StoreConflict
from qrtx_ray.model import JobChange, JobId, JobPage, JobQuery, JobRecord
from qrtx_ray.store import sqlite_rows as sql
from qrtx_ray.store.protocol import Transaction
from qrtx_ray.store.record_json import record_from_json
from qrtx_ray.store.schema import check, install
from qrtx_ray.store.sqlite_errors import translated

__all__ = ["SqliteStore"]

_BUSY_TIMEOUT_S = 10.0
_LOG_BYTES = 64 * 2**20  # what the log may keep of the disk when it has been written to the file


class _Reader:
    """A thread's reading connection. The lock keeps `close` from pulling it away under a running statement."""

    __slots__ = ("db", "lock")

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.lock = threading.Lock()


class SqliteStore:
    """A `Store` in the file `path`; see the protocol for what each method promises.

    The file is made with mode 0600; a folder that does not exist yet is made with mode 0700. All methods may be
    called from any thread; commits of several threads follow one another.

    Args:
        path: The file.
        read_only: Open it for the reading methods only, and touch nothing: for a medium that takes no writes now. A file
            that was closed in order is then read as it lies there, and must not be written meanwhile.

    Raises:
        PersistError: The file cannot be opened, is no database, belongs to another program, or was written by a
            newer version of this one.
    """

    def __init__(self, path: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(path).absolute()
        self._reading_mode = "ro"
        self._writer: sqlite3.Connection | None = None
        self._epoch: int | None = None
        self._lock = threading.Lock()
        self._door = threading.Lock()  # apart from the writer's: the first read of a thread waits for no commit
        self._local = threading.local()
        self._readers: list[_Reader] = []
        self._closed = False
        if read_only:
            self._reading_mode = _readable(self.path)
        else:
            _create(self.path)
            self._writer = _writer(self.path)

    def open_epoch(self) -> int:
        with self._writing() as db:
            db.execute("UPDATE owner SET epoch = epoch + 1")
            epoch = int(db.execute("SELECT epoch FROM owner").fetchone()[0])
        self._epoch = epoch
        return epoch

    def commit(self, transactions: Sequence[Transaction]) -> None:
        with translated():
            # Texts are made before the lock is taken; one that cannot be made costs nobody else anything.
            rows = [[sql.job_row(record) for record in transaction.records] for transaction in transactions]
        with self._writing() as db:
            self._check_owner(db)
            last = int(db.execute(sql.LAST_SEQUENCE).fetchone()[0])
            for transaction, records in zip(transactions, rows, strict=True):
                last = _apply(db, transaction, records, last)

    def live_records(self) -> list[JobRecord]:
        with self._reading() as db:
            # Row by row: the texts of all of them at once are as much memory again as what is made of them.
            found = db.execute("SELECT record FROM job WHERE live = 1 ORDER BY number")
            return [record_from_json(row[0]) for row in found]

    def last_sequence(self) -> int:
        return int(self._rows(sql.LAST_SEQUENCE, ())[0][0])

    def last_number(self) -> int:
        return int(self._rows(sql.LAST_NUMBER, ())[0][0])

    def facts(self) -> dict[str, str]:
        return dict(self._rows("SELECT key, value FROM fact ORDER BY key", ()))

    def record(self, job_id: JobId) -> JobRecord | None:
        found = self._records("SELECT record FROM job WHERE id = ?", (job_id,))
        return found[0] if found else None

    def records(self, job_ids: Iterable[JobId]) -> dict[JobId, JobRecord]:
        found = self._records(
            "SELECT record FROM job WHERE id IN (SELECT value FROM json_each(?))", (_json_list(job_ids),)
        )
        return {record.id: record for record in found}

    def find_idempotent(self, tenant: str, key: str) -> JobRecord | None:
        found = self._records("SELECT record FROM job WHERE tenant = ? AND idempotency_key = ?", (tenant, key))
        return found[0] if found else None

    def query(self, query: JobQuery) -> JobPage:
        where, values = sql.query_where(query)
        order = "ASC" if query.ascending else "DESC"
        page = f"SELECT record FROM job WHERE {where} ORDER BY number {order} LIMIT ? OFFSET ?"  # noqa: S608
        with self._reading() as db:
            total = int(db.execute(f"SELECT count(*) FROM job WHERE {where}", values).fetchone()[0])  # noqa: S608
            found = db.execute(page, (*values, max(query.limit, 0), max(query.offset, 0))).fetchall()
        return JobPage(tuple(record_from_json(row[0]) for row in found), total)

    def history(self, job_id: JobId) -> list[JobChange]:
        rows = self._rows("SELECT * FROM history WHERE job_id = ? ORDER BY sequence", (job_id,))
        return [sql.change_from_row(row) for row in rows]

    def changes_since(self, sequence: int, limit: int) -> list[JobChange]:
        rows = self._rows(
            "SELECT * FROM history WHERE sequence > ? ORDER BY sequence LIMIT ?", (sequence, max(limit, 0))
        )
        return [sql.change_from_row(row) for row in rows]

    def payloads(self, job_ids: Sequence[JobId], kind: str) -> dict[JobId, bytes]:
        rows = self._rows(
            "SELECT job_id, body FROM payload WHERE job_id IN (SELECT value FROM json_each(?)) AND kind = ?",
            (_json_list(job_ids), kind),
        )
        return dict(rows)

    def usage_qpu_s(self, tenant: str, since: float) -> float:
        rows = self._rows(
            "SELECT total(qpu_s) FROM job WHERE tenant = ? AND finished_at IS NOT NULL AND finished_at >= ?",
            (tenant, since),
        )
        return float(rows[0][0])

    def finished_before(self, moment: float, limit: int) -> list[JobId]:
        rows = self._rows(
            "SELECT id FROM job WHERE live = 0 AND finished_at < ? ORDER BY finished_at, number LIMIT ?",
            (moment, max(limit, 0)),
        )
        return [row[0] for row in rows]

    def close(self) -> None:
        with self._lock, self._door:
            if self._closed:
                return
            self._closed = True
            with translated():
                for reader in self._readers:
                    with reader.lock:
                        reader.db.close()
                if self._writer is not None:
                    self._writer.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction on the writer: committed at the end, or nothing of it kept."""
        with self._lock, translated():
            if self._closed or self._writer is None:
                raise PersistError("the store is closed" if self._closed else "the store is open for reading only")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                # SQLite itself rolls back after some errors (disk full, I/O).
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The thread's own reading connection, inside one snapshot."""
        with translated():
            reader: _Reader | None = getattr(self._local, "reader", None)
            if reader is None:
                with self._door:
                    if self._closed:
                        raise PersistError("the store is closed")
                    reader = self._local.reader = _Reader(_connect(self.path, self._reading_mode))
                    self._readers.append(reader)
            with reader.lock:
                if self._closed:
                    raise PersistError("the store is closed")
                reader.db.execute("BEGIN")
                try:
                    yield reader.db
                finally:
                    if reader.db.in_transaction:
                        reader.db.execute("ROLLBACK")

    def _rows(self, statement: str, values: Sequence[Any]) -> list[Any]:
        with self._reading() as db:
            return db.execute(statement, values).fetchall()

    def _records(self, statement: str, values: Sequence[Any]) -> list[JobRecord]:
        return [record_from_json(row[0]) for row in self._rows(statement, values)]

    def _check_owner(self, db: sqlite3.Connection) -> None:
        if self._epoch is None:
            raise StoreConflict("the store was not taken over: call open_epoch() before the first commit")
        newest = int(db.execute("SELECT epoch FROM owner").fetchone()[0])
        if newest != self._epoch:
            msg = f"a newer scheduler (epoch {newest}) owns the store; this one has epoch {self._epoch}"
            raise StoreConflict(msg)


def _apply(db: sqlite3.Connection, transaction: Transaction, rows: list[dict[str, Any]], last: int) -> int:
    """Write one transaction; returns the highest sequence so far."""
    for row in rows:
        if row["version"] == 1:
            db.execute(sql.INSERT_JOB, row)
        elif db.execute(sql.UPDATE_JOB, row).rowcount != 1:
            msg = (
                f"job {row['id']!r:.40}: version {row['version']} does not follow the stored one, "
                "or changes what cannot change"
            )
            raise StoreConflict(msg)
    for change in transaction.changes:
        if change.sequence <= last:
            msg = f"the change's sequence {change.sequence} is not above the last one, {last}"
            raise StoreConflict(msg, field="sequence")
        last = change.sequence
        db.execute(sql.INSERT_CHANGE, sql.change_row(change))
    for payload in transaction.payloads:
        db.execute(sql.PUT_PAYLOAD, payload)
    for dropped in transaction.drop_payloads:
        db.execute(sql.DROP_PAYLOAD, dropped)
    for key, value in transaction.facts:
        if value is None:
            db.execute(sql.DROP_FACT, (key,))
        else:
            db.execute(sql.PUT_FACT, (key, value))
    if transaction.deletions:
        db.execute(sql.KEEP_MARKS)
        db.executemany(sql.DELETE_JOB, ((job_id,) for job_id in transaction.deletions))
    return last


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _writer(path: Path) -> sqlite3.Connection:
    """The connection that writes, the schema brought up to date."""
    with translated():
        db = _connect(path, "rw")
        try:
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise PersistError("the store's file system does not support SQLite's write-ahead log")
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            db.execute("PRAGMA foreign_keys = ON")
            install(db)
        except BaseException:
            db.close()
            raise
    return db


def _readable(path: Path) -> str:
    """How the file can be opened for reading only, where nothing can be written.

    SQLite needs its shared index beside the file, which a process that was killed leaves there and one that ends in order
    takes away. In the second case there is no log either, and the file itself is the whole truth.
    """
    log = path.with_name(f"{path.name}-wal")
    settled = not log.exists() or log.stat().st_size == 0
    for mode in ("ro", "ro&immutable=1") if settled else ("ro",):
        try:
            with translated(), closing(_connect(path, mode)) as db:
                check(db)
        except PersistError as error:
            refused = error
        else:
            return mode
    raise refused


def _create(path: Path) -> None:
    """Make an empty file that only its owner can read, durably; leave one that exists.

    An existing file must not be opened and closed here: closing any descriptor of a file drops the POSIX locks that
    SQLite connections of this process hold on it.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        msg = f"the store's file cannot be created ({error.strerror})"
        raise PersistError(msg) from error


def _json_list(ids: Iterable[str]) -> str:
    return orjson.dumps(list(ids)).decode()
