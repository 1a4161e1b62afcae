"""Level 3 of quantum state: what is known of each stored state, one small JSON file each.

A state can be found by its key alone, and what is found says how large it is and which digest it must have.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from qrtx_ray.errors import NotFound, PersistError
from qrtx_ray.model import is_job_id
from qrtx_ray.store.state_store import StateRef

__all__ = ["StateIndex"]


class StateIndex:
    """References of stored states in a folder.

    Args:
        folder: A local folder; made when the first reference is kept.

    Raises (any method):
        NotFound: The key is no identifier of ours, or nothing is stored under it.
        PersistError: The file system refused, or a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, ref: StateRef) -> None:
        """Keep a reference; replaces an older one of its key in one step."""
        path = self._path(ref.key)
        draft = path.with_suffix(".tmp")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.write_text(json.dumps(asdict(ref)), "utf-8")
            draft.replace(path)
        except OSError as error:
            raise PersistError(f"the reference of state {ref.key} cannot be written") from error

    def find(self, key: str) -> StateRef:
        """The reference kept under `key`."""
        try:
            return StateRef(**json.loads(self._path(key).read_text("utf-8")))
        except FileNotFoundError:
            raise NotFound("no such state", field="key") from None
        except (OSError, TypeError, ValueError) as error:
            raise PersistError(f"the reference of state {key} cannot be read") from error

    def delete(self, key: str) -> None:
        """Forget a reference; idempotent."""
        self._path(key).unlink(missing_ok=True)

    def keys(self) -> list[str]:
        """All keys, oldest identifier first."""
        return sorted(path.stem for path in self._folder.glob("*.json"))

    def _path(self, key: str) -> Path:
        if not is_job_id(key):
            raise NotFound("no such state", field="key")
        return self._folder / f"{key}.json"
