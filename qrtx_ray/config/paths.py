"""Where things are kept: the storage keys resolved to absolute paths and URLs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Paths", "absolute", "default_storage"]


def default_storage(env: Mapping[str, str] | None = None) -> Path:
    """``$XDG_DATA_HOME/qrtx`` when that variable holds an absolute path, else ``~/.local/share/qrtx``."""
    env = os.environ if env is None else env
    data_home = Path(env.get("XDG_DATA_HOME", ""))
    if data_home.is_absolute():
        return data_home / "qrtx"
    return Path(env.get("HOME") or Path.home()) / ".local" / "share" / "qrtx"


def absolute(path: str | Path) -> Path:
    """`path` with ``~`` expanded, relative to the current directory; symbolic links stay."""
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100  # resolve() would follow links


@dataclass(frozen=True, slots=True)
class Paths:
    """Absolute places of everything durable.

    Args:
        storage: Root folder.
        journal_url: ``sqlite:///<absolute path>`` (so four slashes in all), ``postgresql://…`` or ``memory:``.
        circuit_fs_url: Folder or fsspec URL that holds ``circuit_fs/``.
        token_file: The service's own token.
        quantum_states / state_metadata: Folders of levels 2 and 3 of the state manager.
        custom_devices: Folder of further device metadata, if any.
    """

    storage: Path
    journal_url: str
    circuit_fs_url: str
    token_file: Path
    quantum_states: Path
    state_metadata: Path
    custom_devices: Path | None

    @classmethod
    def of(
        cls,
        *,
        storage: str | None,
        journal_url: str | None,
        circuit_fs_url: str | None,
        token_file: str | None,
        level2: str | None,
        level3: str | None,
        custom_devices: str | None,
    ) -> Paths:
        """Resolve the keys as written; None stands for the documented default under `storage`."""
        root = absolute(storage) if storage else default_storage()
        return cls(
            storage=root,
            journal_url=journal_url or f"sqlite:///{root}/journal.db",
            circuit_fs_url=_folder_url(circuit_fs_url) if circuit_fs_url else str(root),
            token_file=absolute(token_file) if token_file else root / "token",
            quantum_states=absolute(level2) if level2 else root / "quantum_states",
            state_metadata=absolute(level3) if level3 else root / "metadata",
            custom_devices=absolute(custom_devices) if custom_devices else None,
        )

    def create(self) -> None:
        """Make the root folder, readable by its owner only."""
        self.storage.mkdir(parents=True, exist_ok=True, mode=0o700)


def _folder_url(url: str) -> str:
    return url if "://" in url else str(absolute(url))
