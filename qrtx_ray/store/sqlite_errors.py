"""What SQLite says, in the runtime's own words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from qrtx_ray.errors import PersistError, StoreConflict, StoreFull

__all__ = ["translated"]

_NO_SPACE = frozenset({sqlite3.SQLITE_IOERR_SHMSIZE})  # growing the shared index of the log needs space as well


@contextmanager
def translated() -> Iterator[None]:
    """Turn the errors of the `sqlite3` module into ours.

    Raises:
        StoreFull: The medium, or the size given to the database, is used up.
        StoreConflict: A constraint was violated, or a value cannot be bound.
        PersistError: Anything else, with SQLite's symbolic name of the error.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _ours(error) from error
    except (OverflowError, UnicodeEncodeError) as error:
        raise StoreConflict("a value of the transaction does not fit the store's columns") from error


def _ours(error: sqlite3.Error) -> PersistError:
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    if code is not None and (code & 0xFF == sqlite3.SQLITE_FULL or code in _NO_SPACE):
        return StoreFull("the store has no space left; nothing of the call was kept")
    if code is not None and code & 0xFF == sqlite3.SQLITE_CONSTRAINT:
        text = str(error)
        if "idempotency_key" in text:
            return StoreConflict("the tenant already used this idempotency key", field="idempotency_key")
        # SQLite names the constraint, never the value.
        return StoreConflict(f"the store's rules refuse the row ({name}: {text})")
    if code is None and isinstance(error, sqlite3.InterfaceError):
        return StoreConflict("a value of the transaction has a type the store cannot keep")
    return PersistError(f"the store cannot be used ({name})")
