"""Stops the acceptance of jobs before the storage fails those that were accepted.

Once a second it looks at the free space of every file system that the runtime writes to, at whether they can be written at
all, and at how long commits take. Where it does not like what it sees, no more jobs are accepted, with an error that names
the limit; running work, cancels and reads go on, and the room that is left is theirs. When things are better it lets jobs in
again, by itself.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from qrtx_ray.actors.ballast import Ballast
from qrtx_ray.actors.commit_latency import CommitLatency
from qrtx_ray.config import Settings
from qrtx_ray.errors import PersistError, QrtxError, StoreFull, StoreReadOnly, StoreSlow

__all__ = ["Space", "StorageGuard", "places_of", "space_of"]

log = logging.getLogger("qrtx.scheduler")

LOOK_S = 1.0
SLOW_COMMIT_S = 2.0
GROWTH = 3  # what a request's bytes become until the next look: in the journal's log, in the journal, in files
SILENCE_S = 10.0
RELIEF = 0.05  # of the limit, that must be free above it before jobs are let in again: not to go back and forth
SQLITE = "sqlite:///"
KEY = "storage.min_free_bytes"


@dataclass(frozen=True, slots=True)
class Space:
    """What a file system says of itself."""

    free_bytes: int
    read_only: bool = False


def space_of(folder: Path) -> Space:
    """The space that is left for us in the file system of `folder`, or of the nearest folder above it that exists.

    Raises:
        OSError: The file system cannot be asked.
    """
    while True:
        try:
            said = os.statvfs(folder)
        except FileNotFoundError:
            if folder == folder.parent:
                raise
            folder = folder.parent
        else:
            return Space(said.f_bavail * said.f_frsize, bool(said.f_flag & os.ST_RDONLY))


def places_of(settings: Settings) -> dict[str, Path]:
    """The local folders that are written to, by what lies there. What a server or an object store holds is its own care."""
    paths = settings.paths
    places = {"quantum states": paths.quantum_states}
    if paths.journal_url.startswith(SQLITE):
        places = {"journal": Path(paths.journal_url.removeprefix(SQLITE)).absolute().parent} | places
    protocol, found, rest = paths.circuit_fs_url.partition("://")
    if not found or protocol in {"file", "local"}:
        places["job files"] = Path(rest if found else protocol)
    return places


@dataclass(slots=True)
class StorageGuard:
    """Judges the storage; `refusal` may be asked as often as jobs come.

    Args:
        places: Folders looked at, by what the log and the errors call them.
        min_free_bytes: Free space below which no more jobs are accepted; 0: the space is not looked at.
        ballast: Given up when there is next to no space left, and taken again when there is enough.
        slow_s: How long a commit may take (seconds) before no more jobs are accepted.
        look: `space_of`, or what stands for it in a test.
    """

    places: Mapping[str, Path]
    min_free_bytes: int
    ballast: Ballast | None = None
    slow_s: float = SLOW_COMMIT_S
    look: Callable[[Path], Space] = space_of
    latency: CommitLatency = field(default_factory=CommitLatency)
    _free: dict[str, int] = field(default_factory=dict)
    _problem: PersistError | None = None
    _slow: PersistError | None = None
    _came_bytes: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The guard of a runtime with this configuration."""
        places = places_of(settings)
        ballast = Ballast(places["journal"] / "journal.ballast") if "journal" in places else None
        return cls(places, settings.storage.min_free_bytes, ballast if settings.storage.min_free_bytes else None)

    def refusal(self, size_bytes: int = 0) -> PersistError | None:
        """Why no job is accepted now; None when jobs of `size_bytes` in all are welcome."""
        waited_s = self.latency.oldest_s()
        problem = self._problem or self._slow or (self._slowness(waited_s) if waited_s > self.slow_s else None)
        if problem is None and self._free and self.min_free_bytes:
            name = min(self._free, key=self._free.__getitem__)
            left = self._free[name] - GROWTH * (self._came_bytes + size_bytes)
            problem = self._shortage(name, left) if left < self.min_free_bytes else None
        if problem is None:
            self._came_bytes += size_bytes
        return problem

    async def watch(self) -> None:
        """Look, again and again. A file system that does not answer holds up one thread, and no jobs are accepted meanwhile."""
        while True:
            try:
                await self._watch_once()
            except Exception:
                log.exception("the storage could not be looked at; it is tried again")
            await asyncio.sleep(LOOK_S)

    async def _watch_once(self) -> None:
        came_bytes = self._came_bytes
        looking = asyncio.create_task(asyncio.to_thread(self.look_around))
        while not (await asyncio.wait({looking}, timeout=SILENCE_S))[0]:
            text = "a file system does not answer; no more jobs are accepted"
            self.judge({}, PersistError(text, limit=f"{SILENCE_S:g} s"))
        seen = looking.result()
        self._came_bytes -= came_bytes  # what has come since may not be in what was seen
        self.judge(*seen)
        self.judge_latency()

    def look_around(self) -> tuple[dict[str, int], PersistError | None]:
        """Free bytes by place, and what is wrong besides; touches the ballast. Blocks for as long as the file systems do."""
        free: dict[str, int] = {}
        problem: PersistError | None = None
        for name, folder in self.places.items():
            try:
                space = self.look(folder)
            except OSError as error:
                text = f"the file system of the {name} cannot be asked ({_name_of(error)}); no more jobs are accepted"
                problem = problem or PersistError(text)
                continue
            free[name] = space.free_bytes
            if space.read_only:
                text = f"the file system of the {name} is read-only; no more jobs are accepted"
                problem = problem or StoreReadOnly(text)
        self._trim(free)
        return free, problem

    def judge(self, free: Mapping[str, int], problem: PersistError | None) -> None:
        """Decide by what was seen."""
        problem = problem or self._shortest(free)
        self._tell(self._problem, problem)
        self._free, self._problem = dict(free), problem

    def judge_latency(self) -> None:
        """Look once at how long commits take."""
        worst_s = self.latency.worst_s()
        slow = self._slowness(worst_s) if worst_s > self.slow_s else None
        self._tell(self._slow, slow)
        self._slow = slow

    def report(self) -> dict[str, Any]:
        """What an operator should know, as plain data."""
        problem = self.refusal()
        return {
            "accepting": problem is None,
            "reason": None if problem is None else problem.message,
            "code": None if problem is None else problem.code,
            "free_bytes": dict(self._free),
            "min_free_bytes": self.min_free_bytes,
            "commit_p99_s": self.latency.p99_s(),
            "ballast": self.ballast is not None and self.ballast.held,
        }

    def _shortest(self, free: Mapping[str, int]) -> StoreFull | None:
        if not free or not self.min_free_bytes:
            return None
        name = min(free, key=free.__getitem__)
        relief = RELIEF if isinstance(self._problem, StoreFull) else 0.0
        return self._shortage(name, free[name]) if free[name] < self.min_free_bytes * (1.0 + relief) else None

    def _shortage(self, name: str, left: int) -> StoreFull:
        text = f"the file system of the {name} has {max(left, 0) >> 20} MiB left; no more jobs are accepted until there is room"
        return StoreFull(text, limit=f"{self.min_free_bytes} bytes ({KEY})")

    def _slowness(self, seconds: float) -> StoreSlow:
        text = f"a commit to the journal takes {seconds:.1f} s; no more jobs are accepted until it is faster"
        return StoreSlow(text, limit=f"{self.slow_s:g} s")

    def _trim(self, free: Mapping[str, int]) -> None:
        """Give the ballast up, or take it again."""
        if self.ballast is None or "journal" not in free:
            return
        left = free["journal"]
        if left < self.ballast.size_bytes // 2:
            if self.ballast.give_up():
                log.warning("the file system of the journal is full; its ballast was given up")
        elif left >= self.min_free_bytes + self.ballast.size_bytes and not self.ballast.held:
            self.ballast.take()

    @staticmethod
    def _tell(before: QrtxError | None, now: QrtxError | None) -> None:
        if now is not None and (before is None or before.code != now.code):
            log.warning("%s", now.message)
        elif now is None and before is not None:
            log.info("jobs are accepted again (before: %s)", before.code)


def _name_of(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "unknown error")
