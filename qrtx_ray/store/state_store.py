"""Level 2 of the quantum state manager: states as files, which outlive the process that made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from qrtx_ray.errors import NotFound, PersistError
from qrtx_ray.model import is_job_id
from qrtx_ray.store.files import open_files
from qrtx_ray.store.state_container import DEFAULT_LEVEL, Arrays, pack, unpack

__all__ = ["StateRef", "StateStore"]

_SUFFIX = ".state"


@dataclass(frozen=True, slots=True)
class StateRef:
    """What must be remembered of a stored state to read it back and to know that it is the same.

    Args:
        key: Its identifier (of the form `model.new_id` makes).
        sha256: Hex digest of its content before compression.
        size_bytes / raw_bytes: Size of the file, and of the content.
    """

    key: str
    sha256: str
    size_bytes: int
    raw_bytes: int


class StateStore:
    """Named sets of numeric arrays below ``<url>/states``. Synchronous; any thread.

    Args:
        url: As for `CircuitFS`.
        compression_level: Zstandard level of what is stored from now on; anything stored is read.

    Raises:
        ValidationError: A URL of another kind.
        StoreFull: (put) no space.
        PersistError: (any method) the file system refused.
    """

    def __init__(self, url: str, *, compression_level: int = DEFAULT_LEVEL) -> None:
        self.url = url
        self._level = compression_level
        self._files = open_files(url, "states")

    def put(self, key: str, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, Any]) -> StateRef:
        """Store a state durably under `key`; replaces an older one of that key in one step.

        Args:
            arrays: Boolean, integer, real or complex arrays of any shape.
            metadata: Plain values, as in JSON; bytes are allowed.

        Raises:
            NotFound: `key` is no identifier of ours.
            ValidationError: An array of another type, or other metadata.
        """
        path = _path(key)
        data, sha256, raw_bytes = pack(arrays, metadata, level=self._level)
        self._files.replace(path, data, durable=True)
        return StateRef(key, sha256, len(data), raw_bytes)

    def get(self, ref: StateRef) -> tuple[Arrays, dict[str, Any]]:
        """Arrays and metadata of exactly the state that `ref` describes. Never inflates beyond `ref.raw_bytes`.

        Raises:
            NotFound: There is no such state.
            PersistError: The file is truncated, damaged, or holds another state by now.
        """
        data = self._files.read(_path(ref.key))
        if data is None:
            raise NotFound("no such state", field="key")
        try:
            return unpack(data, sha256=ref.sha256, max_raw_bytes=ref.raw_bytes)
        except PersistError as error:
            msg = f"state {ref.key}: {error.message}"
            raise PersistError(msg, limit=error.limit) from error

    def delete(self, key: str) -> None:
        """Remove a state; idempotent.

        Raises:
            NotFound: `key` is no identifier of ours.
        """
        self._files.remove(_path(key))

    def list(self) -> list[str]:
        """Keys of the stored states, oldest identifier first."""
        keys = (name.removesuffix(_SUFFIX) for name in self._files.names("") if name.endswith(_SUFFIX))
        return sorted(key for key in keys if is_job_id(key))


def _path(key: str) -> str:
    if not is_job_id(key):
        raise NotFound("no such state", field="key")
    return f"{key}{_SUFFIX}"
