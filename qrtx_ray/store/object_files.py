"""Atomic files in an object store, through fsspec.

An object appears whole or not at all, so there are no unfinished files to name or to clean. "First one wins" is the
store's own conditional put (fsspec's ``mode="create"``).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from qrtx_ray.errors import PersistError

__all__ = ["ObjectFiles"]


class ObjectFiles:
    """Objects below ``root`` of the fsspec file system `system`."""

    def __init__(self, system: Any, root: str) -> None:
        self._system = system
        self._root = root
        # fsspec's in-memory file system looks, then writes: only one thread of ours may do so at a time.
        self._creating = threading.Lock()

    def read(self, path: str) -> bytes | None:
        with _translated():
            try:
                return bytes(self._system.cat_file(f"{self._root}/{path}"))
            except FileNotFoundError:
                return None

    def replace(self, path: str, data: bytes, *, durable: bool) -> None:  # noqa: ARG002 - a stored object is durable
        with _translated():
            self._system.pipe_file(f"{self._root}/{path}", data)

    def create(self, path: str, data: bytes, *, attempt: int) -> bool:  # noqa: ARG002 - leaves nothing to clean
        target = f"{self._root}/{path}"
        with _translated(), self._creating:
            try:
                self._system.pipe_file(target, data, mode="create")
            except FileExistsError:
                return False
            return True

    def remove(self, path: str) -> None:
        with _translated(), suppress(FileNotFoundError):
            self._system.rm(f"{self._root}/{path}", recursive=True)

    def exists(self, path: str) -> bool:
        with _translated():
            return bool(self._system.exists(f"{self._root}/{path}"))

    def names(self, path: str) -> list[str]:
        with _translated():
            try:
                found = self._system.ls(f"{self._root}/{path}".rstrip("/"), detail=False)
            except FileNotFoundError:
                return []
            return [str(entry).rstrip("/").rpartition("/")[2] for entry in found]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PersistError:
        raise
    except Exception as error:
        # Drivers raise whatever their libraries do; the text may hold addresses and keys, so only the kind is told.
        msg = f"the object store refused ({type(error).__name__})"
        raise PersistError(msg) from error
