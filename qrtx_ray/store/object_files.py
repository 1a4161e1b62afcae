"""Atomic files in an object store, through fsspec.

An object appears whole or not at all, so there are no unfinished files to name or to clean. "First one wins" is the
store's own conditional put (fsspec's ``mode="create"``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from qrtx_ray.errors import PersistError, QrtxError

if TYPE_CHECKING:
    from qrtx_ray.store.files import Streamed

__all__ = ["ObjectFiles"]

PART_BYTES = 16 * 2**20  # at least 5 MiB by S3's rules, and at most 10,000 parts


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

    def stream(self, path: str, content: Streamed) -> None:
        # Nothing can be written before what follows it, so the rest is produced once to know the head.
        for _ in content.rest():
            pass
        with _translated():
            target = self._system.open(f"{self._root}/{path}", "wb", block_size=PART_BYTES, autocommit=False)
            try:
                target.write(content.head())
                for piece in content.rest():
                    target.write(piece)
                target.close()
                target.commit()
            except BaseException:
                with suppress(Exception):
                    target.discard()
                    target.closed = True  # or it would try to write what it holds when it is collected
                raise

    @contextmanager
    def open(self, path: str) -> Iterator[_Reading | None]:
        reading = None
        with _translated(), suppress(FileNotFoundError):
            reading = _Reading(self._system.open(f"{self._root}/{path}", "rb", block_size=PART_BYTES))
        try:
            yield reading
        finally:
            if reading is not None:
                reading.close()

    def sweep(self, path: str, names: Callable[[str], bool], drafts: Callable[[str], bool]) -> int:  # noqa: ARG002 - none
        gone = [name for name in self.names(path) if names(name)]
        for name in gone:
            self.remove(f"{path}/{name}")
        return len(gone)

    def folders(self) -> Iterator[tuple[str, list[str]]]:
        # All at once: a thousand names are one request, and so would be each folder.
        with _translated():
            found = self._system.find(self._root)
        held: dict[str, list[str]] = {}
        for path in found:
            folder, _, name = str(path).rpartition("/")
            held.setdefault(folder.rpartition("/")[2], []).append(name)
        yield from held.items()

    def remove(self, path: str) -> None:
        with _translated(), suppress(FileNotFoundError):
            self._system.rm(f"{self._root}/{path}", recursive=True)

    def exists(self, path: str) -> bool:
        with _translated():
            return bool(self._system.exists(f"{self._root}/{path}"))

    def free_bytes(self) -> int | None:
        return None

    def names(self, path: str) -> list[str]:
        with _translated():
            try:
                found = self._system.ls(f"{self._root}/{path}".rstrip("/"), detail=False)
            except FileNotFoundError:
                return []
            return [str(entry).rstrip("/").rpartition("/")[2] for entry in found]


class _Reading:
    def __init__(self, file: Any) -> None:
        self._file = file
        self.size_bytes = int(file.size)

    def close(self) -> None:
        self._file.close()

    def read_into(self, target: memoryview) -> int:
        filled = 0
        with _translated():
            while filled < len(target):
                piece = self._file.read(min(PART_BYTES, len(target) - filled))
                if not piece:
                    break
                target[filled : filled + len(piece)] = piece
                filled += len(piece)
        return filled


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except QrtxError:
        raise
    except Exception as error:
        # Drivers raise whatever their libraries do; the text may hold addresses and keys, so only the kind is told.
        msg = f"the object store refused ({type(error).__name__})"
        raise PersistError(msg) from error
