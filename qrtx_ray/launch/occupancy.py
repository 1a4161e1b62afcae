"""One runtime for each storage folder: a lock that ends with the process that holds it, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from qrtx_ray.errors import DeviceUnavailable

__all__ = ["Occupancy"]


class Occupancy:
    """Who runs a runtime on a storage folder.

    A process id in a file would outlive its process and come to mean another one; a lock does neither.

    Args:
        storage: The folder. `take` needs it to exist.
    """

    def __init__(self, storage: Path) -> None:
        self._path = storage / "run" / "lock"
        self._descriptor: int | None = None

    def take(self) -> None:
        """Claim the folder for this process.

        Raises:
            DeviceUnavailable: Another runtime has it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            holder = self.holder()
            raise DeviceUnavailable(
                f"a runtime with the storage {self._path.parents[1]} is up already (process {holder or 'unknown'});"
                " 'qrtx status' shows it, 'qrtx down' ends it"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def leave(self) -> None:
        """Give the folder back; harmless when it was not taken."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int | None:
        """Process id of the runtime that has the folder now, or None."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(descriptor, 20, 0).decode("ascii", "replace")
            return int(text) if text.isdigit() else None
        else:
            return None
        finally:
            os.close(descriptor)
