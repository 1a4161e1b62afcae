"""Where files of the runtime live: a local folder or an object store, behind few operations.

Paths are relative, ``folder/name``, and made by the callers from identifiers and fixed names only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import fsspec

from qrtx_ray.errors import ValidationError
from qrtx_ray.store.local_files import LocalFiles
from qrtx_ray.store.object_files import ObjectFiles

__all__ = ["OBJECT_STORES", "Files", "OpenFile", "Streamed", "open_files"]

#: Protocols whose store replaces and creates an object whole or not at all, which the guarantees here rest on.
OBJECT_STORES = frozenset({"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})


class OpenFile(Protocol):
    """A file that is read from its beginning on. `size_bytes` is its length."""

    size_bytes: int

    def read_into(self, target: memoryview) -> int:
        """Fill `target` as far as the file goes; how many bytes that were."""
        ...


class Streamed(Protocol):
    """The content of a file too large to be held: a head of a fixed length, known only after the rest, and the rest."""

    head_bytes: int

    def head(self) -> bytes:
        """The head, `head_bytes` long. Asked for when `rest` was produced to its end."""
        ...

    def rest(self) -> Iterator[bytes | memoryview]:
        """What follows it, in pieces, the same every time; each is good until the next is asked for. May be asked for twice."""
        ...


class Files(Protocol):
    """Atomic files.

    Raises (any method):
        StoreFull: No space.
        PersistError: Any other refusal of the file system.
    """

    def read(self, path: str) -> bytes | None:
        """The content, or None when there is no such file."""
        ...

    def replace(self, path: str, data: bytes, *, durable: bool) -> None:
        """Write the file; a reader sees the old content or the new, never a part. `durable`: survives power loss."""
        ...

    def create(self, path: str, data: bytes, *, attempt: int) -> bool:
        """Write the file durably unless there is one; False when there is one already (which is durable, too).

        Leftovers of attempts before `attempt` that died on their way are removed.
        """
        ...

    def stream(self, path: str, content: Streamed) -> None:
        """Write or replace a file durably, piece by piece; a reader sees the old content or the new, never a part.

        Raises:
            StoreConflict: The folder was removed meanwhile, or the draft as a leftover.
        """
        ...

    def open(self, path: str) -> AbstractContextManager[OpenFile | None]:
        """The file for reading, or None when there is no such file."""
        ...

    def sweep(self, path: str, names: Callable[[str], bool], drafts: Callable[[str], bool]) -> int:
        """Remove the files in folder `path` whose name `names` says yes to, and what is unfinished of those that `drafts`
        says yes to; how many files of the first kind. One look at the folder.
        """
        ...

    def folders(self) -> Iterator[tuple[str, list[str]]]:
        """Every folder with the names in it, in no order; those of unfinished files among them begin with a dot."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file or a folder with all it holds; nothing happens when it is absent."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        ...

    def free_bytes(self) -> int | None:
        """Space that is left, or None where that is not ours to know."""
        ...

    def names(self, path: str) -> list[str]:
        """Names in folder `path` ("" for the root), in no order; empty when it is absent."""
        ...


def open_files(url: str, folder: str) -> Files:
    """The files below ``<url>/<folder>``.

    Args:
        url: A local path, ``file:///…``, or a URL of one of `OBJECT_STORES`, e.g. ``s3://bucket/prefix``.
        folder: Appended to it.

    Raises:
        ValidationError: Another protocol, or its fsspec driver is not installed.
        PersistError: The local folder cannot be made.
    """
    protocol, found, rest = url.partition("://")
    if not found:
        return LocalFiles(url, folder)
    if protocol in {"file", "local"}:
        return LocalFiles(rest, folder)
    if protocol not in OBJECT_STORES:
        msg = f"files must live in a local folder or one of {', '.join(sorted(OBJECT_STORES))}"
        raise ValidationError(msg, field="storage")
    try:
        # Without a memory of listings: other processes write here too.
        system, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        msg = f"the fsspec driver for {protocol}:// cannot be used here; is its package installed?"
        raise ValidationError(msg, field="storage") from error
    return ObjectFiles(system, f"{root.rstrip('/')}/{folder}")
