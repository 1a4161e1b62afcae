"""What PostgreSQL and its driver say, in the runtime's own words.

The server's texts may quote a whole row, and so what a tenant sent; of an error about rows only the name goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from qrtx_ray.errors import PersistError, StoreConflict, StoreFull

__all__ = ["translated", "unreachable"]

_DATA, _CONSTRAINT = "22", "23"  # classes of SQLSTATE
_DISK_FULL = "53100"
_SHOWN = 200  # characters of a reason


@contextmanager
def translated() -> Iterator[None]:
    """Turn the errors of the driver into ours.

    Raises:
        StoreFull: The server's disk is full.
        StoreConflict: A constraint was violated, or a value does not fit its column.
        PersistError: Anything else, with the name of the error; also a lost connection.
    """
    try:
        yield
    except psycopg.Error as error:
        told = _ours(error)
        raise told from (None if isinstance(told, StoreConflict) else error)
    except (OverflowError, UnicodeEncodeError):
        raise StoreConflict("a value of the transaction does not fit the store's columns") from None


def unreachable(error: psycopg.Error, secret: str | None) -> PersistError:
    """Why no connection came about; `secret` is cut out of the driver's text.

    The text is about addresses, roles and databases, none of which a tenant has a say in.
    """
    lines = str(error).splitlines() or [type(error).__name__]
    reason = lines[0].strip()
    if secret:
        reason = reason.replace(secret, "***")
    return PersistError(f"the store's server cannot be used: {reason:.{_SHOWN}}")


def _ours(error: psycopg.Error) -> PersistError:
    state = error.sqlstate or ""
    name = type(error).__name__
    if state == _DISK_FULL:
        return StoreFull("the store has no space left; nothing of the call was kept")
    if state.startswith(_CONSTRAINT):
        constraint = error.diag.constraint_name or "a rule"
        if constraint == "job_idempotency":
            return StoreConflict("the tenant already used this idempotency key", field="idempotency_key")
        return StoreConflict(f"the store's rules refuse the row ({name}: {constraint})")
    if state.startswith(_DATA) or isinstance(error, psycopg.DataError):
        return StoreConflict(f"a value of the transaction does not fit the store's columns ({name})")
    if not state and isinstance(error, psycopg.ProgrammingError):
        return StoreConflict("a value of the transaction has a type the store cannot keep")
    if not state and isinstance(error, psycopg.OperationalError):
        return PersistError("the connection to the store's server was lost")
    return PersistError(f"the store cannot be used ({name})")
