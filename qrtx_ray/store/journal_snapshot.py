"""One look at a journal of either kind, as it was at a moment, while a runtime may go on writing it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from qrtx_ray.errors import NotFound
from qrtx_ray.store.sqlite_errors import translated

__all__ = ["Snapshot", "snapshot"]

_SQLITE_TABLE = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?"
_POSTGRESQL_TABLE = "SELECT 1 WHERE to_regclass(?) IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A journal at one moment.

    Args:
        rows: The rows of a statement, whose parameters are written ``?``; asked for as they are taken.
        text: What a text column other than `record` says, from how it is kept.
        field: The expression for a field of `record` as text.
        table: The statement that finds a row when the table of the given name exists.
    """

    rows: Callable[[str, Sequence[Any]], Iterable[tuple[Any, ...]]]
    text: Callable[[str], str]
    field: Callable[[str], str]
    table: str

    def has(self, table: str) -> bool:
        """Whether the journal has `table`: one of an earlier version may not, and is not changed."""
        return bool(list(self.rows(self.table, (table,))))


@contextmanager
def snapshot(journal: Path | str) -> Iterator[Snapshot]:
    """Look at the SQLite file `journal`, or at the database of that URL.

    Raises:
        NotFound: There is no such file.
        PersistError: It is no journal of ours or damaged, or the server cannot be reached.
        ValidationError: No URL of a database, or one whose driver is not installed.
    """
    if isinstance(journal, str):
        with _of_postgresql(journal) as found:
            yield found
        return
    if not journal.is_file():
        raise NotFound(f"there is no journal {journal}", field="journal")
    with translated(), closing(sqlite3.connect(f"file:{quote(str(journal))}?mode=ro", uri=True)) as db:
        db.execute("BEGIN")  # one snapshot for all that follows
        yield Snapshot(db.execute, str, "json_extract(record, '$.{}')".format, _SQLITE_TABLE)


@contextmanager
def _of_postgresql(url: str) -> Iterator[Snapshot]:
    from qrtx_ray.store.open import check_store

    check_store(url)
    from qrtx_ray.store import postgres_errors
    from qrtx_ray.store.postgres_connections import connect
    from qrtx_ray.store.postgres_rows import restored

    with postgres_errors.translated(), closing(connect(url)) as db:
        db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        db.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # whoever reads may be slow, and locks nothing

        def rows(statement: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
            with db.cursor(name="snapshot") as cursor:
                cursor.execute(statement.replace("?", "%s"), values)
                yield from cursor

        yield Snapshot(rows, restored, "record::json ->> '{}'".format, _POSTGRESQL_TABLE)
