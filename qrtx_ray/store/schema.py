"""The SQLite schema: made in a new file, brought up to date in an older one, refused in a newer one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from importlib import resources

from qrtx_ray.errors import PersistError

__all__ = ["APPLICATION_ID", "check", "install", "migrations", "refuse_newer", "schema_text"]

APPLICATION_ID = 0x51525458  #: "QRTX" in the file's header, so that another program's database is not taken for ours


def schema_text() -> str:
    """The whole present schema as SQL."""
    return (resources.files("qrtx_ray.store") / "schema.sql").read_text("utf-8")


def migrations() -> tuple[str, ...]:
    """SQL of every step, oldest first; step i leads from version i to i + 1."""
    folder = resources.files("qrtx_ray.store") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple((folder / name).read_text("utf-8") for name in names)


def refuse_newer(version: int, known: int) -> None:
    """Leave a journal alone whose schema has more steps than the `known` ones of this program.

    Raises:
        PersistError: A newer version of this program wrote it.
    """
    if version > known:
        msg = (
            f"the store has schema version {version}, this program knows versions up to {known}: "
            "it was written by a newer program"
        )
        raise PersistError(msg)


def check(connection: sqlite3.Connection) -> None:
    """Whether the database behind `connection` can be read as it is, though its schema may be of an earlier version.

    Raises:
        PersistError: The file is empty, belongs to another program, or a newer version of this one wrote it.
        sqlite3.Error: SQLite refused.
    """
    version = _version(connection)
    if version == 0:
        raise PersistError("the store's file is empty")
    refuse_newer(version, len(migrations()))


def install(connection: sqlite3.Connection, steps: Sequence[str] | None = None) -> None:
    """Bring the database behind `connection` (in autocommit mode) to the present version, in one transaction.

    Args:
        steps: Migrations to apply instead of the packaged ones.

    Raises:
        PersistError: The file belongs to another program, or a newer version of this one wrote it.
        sqlite3.Error: SQLite refused.
    """
    known = migrations() if steps is None else tuple(steps)
    if _version(connection) == len(known):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again under the lock: another process may have been faster.
        version = _version(connection)
        refuse_newer(version, len(known))
        pending = [schema_text()] if version == 0 and steps is None else known[version:]
        for text in pending:
            for statement in _statements(text):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(known)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    if owner != APPLICATION_ID and (owner != 0 or tables):
        raise PersistError("the file is a database of another program")
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(text: str) -> Iterator[str]:
    # executescript() would commit the open transaction first, so the script is cut here.
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
