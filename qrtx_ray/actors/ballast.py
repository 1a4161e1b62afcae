"""A file that takes up room, to be given up when there is none left: what a full disk needs most is a few more writes.

Taking the journal over after a crash is a write, and so are the ends of the jobs that still run.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

__all__ = ["Ballast"]

log = logging.getLogger("qrtx.scheduler")

SIZE_BYTES = 8 * 2**20


class Ballast:
    """`size_bytes` held at `path`. Synchronous; one thread at a time.

    Args:
        path: Beside what it is to make room for; made with mode 0600.
    """

    def __init__(self, path: Path, size_bytes: int = SIZE_BYTES) -> None:
        self.path = path
        self.size_bytes = size_bytes

    @property
    def held(self) -> bool:
        """Whether there is room to be given up."""
        try:
            return self.path.stat().st_size > 0
        except OSError:
            return False

    def take(self) -> bool:
        """Take up the room, unless that was done; False when there is none."""
        try:
            if self.path.exists() and self.path.stat().st_size == self.size_bytes:
                return True
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, self.size_bytes)
            finally:
                os.close(file)
        except OSError as error:
            log.warning("no ballast can be kept beside the journal (%s)", error.strerror)
            self.give_up()  # a part of it may be there
            return False
        return True

    def give_up(self) -> bool:
        """Make room; False when there was nothing to give up."""
        held = self.held
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("the ballast beside the journal cannot be given up (%s)", error.strerror)
            return False
        return held
