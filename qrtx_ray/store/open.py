"""From a configured URL to a job journal."""

from __future__ import annotations

from importlib.util import find_spec

from qrtx_ray.config.journal_url import is_postgresql, journal_url_problem
from qrtx_ray.errors import ValidationError
from qrtx_ray.store.memory import MemoryStore
from qrtx_ray.store.protocol import Store
from qrtx_ray.store.sqlite import SqliteStore

__all__ = ["check_store", "open_store"]

_SQLITE = "sqlite:///"


def check_store(url: str) -> None:
    """Whether `open_store` could know what to do with `url`; nothing is opened.

    Raises:
        ValidationError: Another kind of store, a URL that is not one, no file name, or a driver that is not installed.
            The message quotes nothing of `url`, which may hold a password.
    """
    path = url.removeprefix(_SQLITE)
    if path != url and (not path or "?" in path):
        raise ValidationError("the store's 'sqlite:///<file>' names no file, or has parameters", field="store")
    problem = journal_url_problem(url)
    if problem is not None or (url.startswith("memory:") and url != "memory:"):
        msg = f"the store's URL is {problem or 'memory: with something behind it'}"
        raise ValidationError(msg, field="store")
    if is_postgresql(url) and find_spec("psycopg") is None:
        msg = "a journal in PostgreSQL needs its driver: pip install 'qrtx-ray[postgres]'"
        raise ValidationError(msg, field="store")


def open_store(url: str, *, read_only: bool = False) -> Store:
    """Open the journal that `url` names.

    Args:
        read_only: Only its reading methods will be used, and nothing is written to open it.
        url: ``sqlite:///relative/file.db``, ``sqlite:////absolute/file.db``,
            ``postgresql://user:password@host:port/database``, or ``memory:`` (new and empty each time, lost with the
            process).

    Raises:
        ValidationError: See `check_store`.
        PersistError: The file cannot be opened, or the server not reached.
    """
    check_store(url)
    if url == "memory:":
        return MemoryStore()
    if is_postgresql(url):
        from qrtx_ray.store.postgres import PostgresStore

        return PostgresStore(url, read_only=read_only)
    return SqliteStore(url.removeprefix(_SQLITE), read_only=read_only)
