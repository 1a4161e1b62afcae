"""Where files of the runtime live: a local folder or an object store, behind five operations.

Paths are relative, ``folder/name``, and made by the callers from identifiers and fixed names only.
"""

from __future__ import annotations

from typing import Protocol

import fsspec

from qrtx_ray.errors import ValidationError
from qrtx_ray.store.local_files import LocalFiles
from qrtx_ray.store.object_files import ObjectFiles

__all__ = ["OBJECT_STORES", "Files", "open_files"]

#: Protocols whose store replaces and creates an object whole or not at all, which the guarantees here rest on.
OBJECT_STORES = frozenset({"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})


class Files(Protocol):
    """Small atomic files.

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

    def remove(self, path: str) -> None:
        """Remove a file or a folder with all it holds; nothing happens when it is absent."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
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
        system, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        msg = f"the fsspec driver for {protocol}:// cannot be used here; is its package installed?"
        raise ValidationError(msg, field="storage") from error
    return ObjectFiles(system, f"{root.rstrip('/')}/{folder}")
