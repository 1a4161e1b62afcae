"""Connections to a PostgreSQL server, set up so that nothing waits for ever and a commit is flushed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8Dumper

from qrtx_ray.config.journal_url import password_of
from qrtx_ray.errors import PersistError
from qrtx_ray.store.postgres_errors import unreachable

__all__ = ["Connection", "Readers", "connect"]

log = logging.getLogger("qrtx.store")

Connection = psycopg.Connection[Any]

_OLDEST_SERVER = 140_000  # PostgreSQL 14
_DRIVER = {
    "connect_timeout": "10",
    "application_name": "qrtx",
    "target_session_attrs": "read-write",  # of several servers the one that may be written, and never a standby
    "client_encoding": "utf8",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
# A process that hangs in the midst of a transaction holds the lock of the owner's row: its successor takes over at the
# latest when the server ends that session.
_SESSION = {
    "statement_timeout": "60s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
    "default_transaction_isolation": "read committed",
}
_FOUND = """
SELECT current_schema(), format('%I, pg_temp', coalesce(current_schema(), '')), current_setting('synchronous_commit'),
       current_setting('fsync')
"""


def connect(url: str, *, read_only: bool = False) -> Connection:
    """A new connection in autocommit mode.

    Args:
        read_only: The server may refuse to be written now. A standby will not do even so: it may lag behind.

    Raises:
        PersistError: It did not come about, or the server cannot keep a journal.
        psycopg.Error: It was lost at once.
    """
    try:
        parameters: dict[str, Any] = {**_DRIVER, **conninfo_to_dict(url)}
        if read_only:
            parameters["target_session_attrs"] = "primary"
        connection = psycopg.connect(**parameters, autocommit=True, prepare_threshold=2)
    except psycopg.Error as error:
        raise unreachable(error, password_of(url)) from None
    try:
        _set_up(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: Connection) -> None:
    if connection.info.server_version < _OLDEST_SERVER:
        raise PersistError(
            f"the store's server is PostgreSQL {connection.info.server_version // 10_000}; 14 is the oldest supported"
        )
    if connection.info.parameter_status("server_encoding") != "UTF8":
        raise PersistError("the store's database has another encoding than UTF8")
    # Integers of one width, whatever their value: else a statement would be prepared once for every mixture of widths.
    connection.adapters.register_dumper(int, Int8Dumper)
    row = connection.execute(_FOUND).fetchone()
    assert row is not None
    schema, path, flush, fsync = row
    if schema is None:
        raise PersistError("the role finds no schema to keep tables in (search_path)")
    # `local`, `remote_write` and the rest all flush on the server itself before a commit returns; `off` does not.
    settings = {**_SESSION, "search_path": path, "synchronous_commit": "on" if flush == "off" else flush}
    wanted = ", ".join(["set_config(%s, %s, false)"] * len(settings))
    connection.execute(f"SELECT {wanted}", [part for item in settings.items() for part in item])
    if fsync != "on":
        log.warning("the store's server does not flush (fsync = off): what is acknowledged may be lost in a crash")


class Readers:
    """Connections for reading, made as many as are used at once, and kept.

    Args:
        make: Makes a connection.
    """

    def __init__(self, make: Callable[[], Connection]) -> None:
        self._make = make
        self._idle: list[Connection] = []
        self._lent = 0
        self._closed = False
        self._door = threading.Condition()

    @contextmanager
    def borrowed(self) -> Iterator[Connection]:
        """A connection for the time of the block; afterwards it is kept, unless it was lost or interrupted.

        Raises:
            PersistError: Closed, or no connection comes about.
        """
        with self._door:
            if self._closed:
                raise PersistError("the store is closed")
            connection = self._idle.pop() if self._idle else None
            self._lent += 1
        try:
            if connection is None:
                connection = self._make()
            yield connection
        finally:
            with self._door:
                self._lent -= 1
                if connection is not None and connection.info.transaction_status is TransactionStatus.IDLE:
                    self._idle.append(connection)
                elif connection is not None:
                    connection.close()
                self._door.notify_all()

    def forget(self) -> None:
        """Close those that are not in use: when one was lost, the others are likely to be as well."""
        with self._door:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Wait for the reads under way, then close all; idempotent."""
        with self._door:
            self._closed = True
            self._door.wait_for(lambda: not self._lent)
        self.forget()
