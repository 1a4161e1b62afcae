"""The PostgreSQL schema: made where it is missing, brought up to date where it is older, refused where it is newer.

The tables stand in the schema that the connection's role finds first (`search_path`). A table `qrtx_schema` says that
they are ours, and of what version. Versions are numbered as those of the SQLite file are.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from psycopg import Connection

from qrtx_ray.errors import PersistError
from qrtx_ray.store.schema import refuse_newer

__all__ = ["check", "install", "migrations"]

_LOCK = 0x51525458  #: "QRTX": the advisory lock under which the schema is changed
_MARK = "qrtx_schema"
_TABLES = ("owner", "job", "history", "payload", "fact")
_TIMEOUT = "10min"  # of a statement of a migration, which may rewrite a large table

_FOUND = """
SELECT c.relname, pg_has_role(c.relowner, 'USAGE') OR c.relowner = n.nspowner
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname = ANY(%s)
"""


def migrations() -> tuple[str, ...]:
    """SQL of every step, oldest first; step i leads from version i to i + 1."""
    folder = resources.files("qrtx_ray.store") / "migrations" / "postgresql"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple((folder / name).read_text("utf-8") for name in names)


def install(connection: Connection[Any], steps: Sequence[str] | None = None) -> None:
    """Bring the tables behind `connection` (in autocommit mode) to the present version, in one transaction.

    Args:
        steps: Migrations to apply instead of the packaged ones.

    Raises:
        PersistError: The tables belong to another program or to a role that is not trusted, or a newer version of
            this program made them.
        psycopg.Error: PostgreSQL refused.
    """
    known = migrations() if steps is None else tuple(steps)
    if _version(connection) == len(known):
        return
    with connection.transaction():
        connection.execute("SELECT set_config('statement_timeout', %s, true)", (_TIMEOUT,))
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        # Read again under the lock: another process may have been faster.
        version = _version(connection)
        refuse_newer(version, len(known))
        if version == 0:
            connection.execute(f"CREATE TABLE {_MARK} (version INTEGER NOT NULL)")
            connection.execute(f"INSERT INTO {_MARK} VALUES (0)")  # noqa: S608 - a constant of ours
        for text in known[version:]:
            connection.execute(text)
        connection.execute(f"UPDATE {_MARK} SET version = %s", (len(known),))  # noqa: S608 - a constant of ours


def check(connection: Connection[Any]) -> None:
    """Whether the tables behind `connection` can be read as they are, though they may be of an earlier version.

    Raises:
        PersistError: There are none, or they are not ours, or a newer version of this program made them.
    """
    version = _version(connection)
    if version == 0:
        raise PersistError("the schema holds no journal")
    refuse_newer(version, len(migrations()))


def _version(connection: Connection[Any]) -> int:
    """The version of the tables there are; 0 when there are none."""
    found = dict(connection.execute(_FOUND, ([_MARK, *_TABLES],)).fetchall())
    if not found:
        return 0
    if _MARK not in found:
        raise PersistError(f"the schema holds another program's table {min(found)!r}; give the journal one of its own")
    if not all(found.values()):
        raise PersistError(
            "the tables belong to a role that is neither the schema's owner nor one this connection may act as"
        )
    row = connection.execute(f"SELECT version FROM {_MARK}").fetchone()  # noqa: S608 - a constant of ours
    return 0 if row is None else int(row[0])
