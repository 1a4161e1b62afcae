"""From a configured URL to a job journal."""

from __future__ import annotations

from qrtx_ray.errors import ValidationError
from qrtx_ray.store.memory import MemoryStore
from qrtx_ray.store.protocol import Store
from qrtx_ray.store.sqlite import SqliteStore

__all__ = ["open_store"]

_SQLITE = "sqlite:///"


def open_store(url: str) -> Store:
    """Open the journal that `url` names.

    Args:
        url: ``sqlite:///relative/file.db``, ``sqlite:////absolute/file.db``, or ``memory:`` (new and empty each time,
            lost with the process).

    Raises:
        ValidationError: Another kind of store, or no file name.
        PersistError: The file cannot be opened.
    """
    if url == "memory:":
        return MemoryStore()
    path = url.removeprefix(_SQLITE)
    if path == url or not path or "?" in path:
        msg = "the store must be 'sqlite:///<file>' or 'memory:'; no other kind is supported"
        raise ValidationError(msg, field="store")
    return SqliteStore(path)
