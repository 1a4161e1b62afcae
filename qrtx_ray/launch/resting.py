"""How a runtime comes to rest before its processes end: runs end their slice, their progress is kept, the journal is closed.

Nothing depends on it: a runtime that is killed loses nothing that was acknowledged either. It only saves the work since the
last checkpoints, and time at the next start.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Draining", "Rest", "close_scheduler", "rest_file"]

log = logging.getLogger("qrtx")

FINISH_S = 2.0  # for runs that are over within a moment
LOOK_S = 0.2
CLOSE_S = 10.0
NAMED = 5  # jobs in one line of text


@dataclass(frozen=True, slots=True)
class Rest:
    """How it went: seconds it took, jobs that did not come to the end of their slice, agents that did not answer."""

    took_s: float = 0.0
    unfinished: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()

    def words(self) -> str:
        """What is to be said of it; empty when all is well."""
        parts = []
        if self.unfinished:
            more = f" and {len(self.unfinished) - NAMED} more" if len(self.unfinished) > NAMED else ""
            parts.append(
                f"not at the end of a slice in time: {', '.join(self.unfinished[:NAMED])}{more};"
                " at the next start they go on from their last checkpoints"
            )
        if self.silent:
            parts.append(f"no answer from {', '.join(self.silent)}")
        return "; ".join(parts)

    def write(self, path: Path) -> None:
        """Leave it for whoever ended the runtime from another process."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_text(json.dumps(asdict(self)), "utf-8")
        except OSError as error:
            log.warning("%s cannot be written: %s", path, error.strerror)

    @classmethod
    def read(cls, path: Path) -> Rest | None:
        """What the last one to end left here."""
        try:
            plain = json.loads(path.read_text("utf-8"))
            return cls(float(plain["took_s"]), tuple(plain["unfinished"]), tuple(plain["silent"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


class Draining:
    """Agents on their way to rest.

    Args:
        agents: Names and handles of the agents.
        timeout_s: How long they may take.
    """

    def __init__(self, agents: Sequence[tuple[str, Any]], timeout_s: float) -> None:
        self._began = time.monotonic()
        self._timeout_s = timeout_s
        self._calls = {agent.drain.remote(timeout_s, min(FINISH_S, timeout_s / 2)): name for name, agent in agents}

    def wait(self, hurried: Callable[[], bool] = lambda: False) -> Rest:
        """Wait for all of them, at most for the time they have, and not at all once `hurried()`."""
        import ray

        waiting, unfinished, silent = list(self._calls), set[str](), []
        until = self._began + self._timeout_s + LOOK_S
        while waiting and time.monotonic() < until and not hurried():
            ready, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=LOOK_S)
            for call in ready:
                try:
                    unfinished.update(job_id for job_id, _ in ray.get(call))
                except ray.exceptions.RayError:
                    silent.append(self._calls[call])
        silent += [self._calls[call] for call in waiting]
        return Rest(time.monotonic() - self._began, tuple(sorted(unfinished)), tuple(sorted(silent)))


def rest_file(storage: Path) -> Path:
    """Where a runtime leaves word of how it came to rest."""
    return storage / "run" / "rest.json"


def close_scheduler() -> None:
    """Have the scheduler write what it has and let go of the journal."""
    import ray

    from qrtx_ray.actors.names import SCHEDULER, find_actor

    scheduler = find_actor(SCHEDULER)
    if scheduler is not None:
        try:
            ray.get(scheduler.close.remote(), timeout=CLOSE_S)
        except ray.exceptions.RayError:
            log.debug("the scheduler is gone")
