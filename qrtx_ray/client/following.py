"""Waiting for a job and watching it: what both clients decide, without doing it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from qrtx_ray.client.calls import job_path
from qrtx_ray.client.events import EventReader
from qrtx_ray.client.messages import JobStatus
from qrtx_ray.errors import DeviceUnavailable, ExecutionTimeout

__all__ = ["Patience", "Watch"]

HOLD_S = 30.0  # longest time one question is kept by the server
SILENCE_S = 60.0  # a stream says something every few seconds; after this one is dead
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
TRIES = 10


class Patience:
    """How long a wait may still take.

    Args:
        job_id: The job waited for.
        timeout_s: Longest wait; None waits for ever.
    """

    def __init__(self, job_id: str, timeout_s: float | None) -> None:
        self._job_id = job_id
        self._timeout_s = timeout_s
        self._started = time.monotonic()

    def hold_s(self) -> float:
        """How long the server may keep the next question."""
        if self._timeout_s is None:
            return HOLD_S
        return max(0.0, min(HOLD_S, self._started + self._timeout_s - time.monotonic()))

    def ended(self, status: JobStatus) -> bool:
        """Whether the wait is over.

        Raises:
            ExecutionTimeout: The time is over and the job has not ended.
        """
        if status.terminal:
            return True
        if self._timeout_s is not None and self.hold_s() <= 0:
            raise ExecutionTimeout(f"job {self._job_id} is still {status.state} after {self._timeout_s:g} s")
        return False


class Watch:
    """A job that is being watched over streams that may break; each goes on where the last one ended.

    Args:
        job_id: The job.
    """

    def __init__(self, job_id: str) -> None:
        self.path = job_path(job_id) + "/events"
        self.ended = False
        self._reader = EventReader()
        self._view: dict[str, Any] | None = None
        self._failures = 0

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the next stream."""
        return {"Last-Event-ID": str(self._reader.last_id)}

    def begin(self) -> None:
        """A new stream starts: half an event of the last one is forgotten."""
        self._reader.restart()

    def feed(self, line: str) -> Iterator[JobStatus]:
        """What a line of the stream completes: the job as it is then, also where only a part of it was told."""
        for name, document in self._reader.feed(line):
            self._failures = 0
            view = _merged(self._view, name, document)
            if view is not None:
                self._view = view
                status = JobStatus.from_view(view)
                self.ended = status.terminal
                yield status

    def pause_s(self, error: Exception | None, url: str) -> float:
        """The stream ended before the job did: seconds until the next try.

        Raises:
            DeviceUnavailable: There never was a stream, or it cannot be taken up again.
        """
        if self._view is None or self._failures >= TRIES:
            raise DeviceUnavailable(f"{url} cannot be reached") from error
        self._failures += 1
        return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self._failures - 1)))


def _merged(view: dict[str, Any] | None, name: str, document: dict[str, Any]) -> dict[str, Any] | None:
    """The job's view after an event; None while nothing is known of the job, or nothing of the kind of event."""
    if name == "job":
        return document
    if view is None:
        return None
    if name == "progress":
        return {**view, **document}
    kept = document.get("checkpoint") if name == "checkpoint" else None
    if kept is None:
        return None
    known = [one for one in view.get("checkpoints", []) if one["sequence"] != kept["sequence"]]
    return {**view, "checkpoints": sorted([kept, *known], key=lambda one: -one["sequence"])}
