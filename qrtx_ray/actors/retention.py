"""Clean-up: jobs that ended long ago go, with all that belongs to them, and so do files whose job is gone.

Only what `storage.job_retention` asks for is deleted, in small batches with pauses, so that nobody has to wait for it. A
live job is never touched, nor one whose metadata is still to be recorded: the journal itself names the others. Their rows go
first; their files are removed after that, and what a crash leaves of them is found again by looking for folders without a row.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from qrtx_ray.actors.journal import Journal
from qrtx_ray.config import Settings
from qrtx_ray.errors import QrtxError
from qrtx_ray.model import JobId
from qrtx_ray.store.circuit_fs import CircuitFS

__all__ = ["Retention", "made_at"]

log = logging.getLogger("qrtx.scheduler")

Remove = Callable[[Sequence[JobId]], Awaitable[None]]

DAY_S = 86_400.0
PERIOD_S = 60.0  # between two looks for old jobs
BATCH = 100
PAUSE_S = 0.05  # between two batches
SWEEP_BATCH = 500
MEMORY = "memory:"


def made_at(job_id: JobId) -> float:
    """When the job was submitted, by its identifier; seconds since the epoch."""
    return (int(job_id, 32) >> 52) / 1000.0


class Retention:
    """Deletes what is old.

    Args:
        settings: For how long jobs are kept, and where their files are.
        journal: To find them.
        now: Seconds since the epoch.
        delete: Deletes finished jobs, durably, and has their files removed.
        remove_files: Has the files of jobs removed that the journal does not know.
    """

    def __init__(
        self, settings: Settings, journal: Journal, now: Callable[[], float], delete: Remove, remove_files: Remove
    ) -> None:
        self._keep_s = settings.storage.job_retention
        self._url = settings.paths.circuit_fs_url
        # Without a journal that lasts, every folder would look like one whose job is gone.
        self._sweeps = settings.paths.journal_url != MEMORY
        self._journal = journal
        self._now = now
        self._delete = delete
        self._remove_files = remove_files

    async def run(self) -> None:
        """Clean up, again and again; returns at once when jobs are kept for ever."""
        if self._keep_s is None:
            return
        sweep_at = time.monotonic() + PERIOD_S
        while True:
            try:
                deleted = await self.expire()
                if deleted:
                    log.info("%d jobs were deleted, kept for %g s after their end", deleted, self._keep_s)
                if self._sweeps and time.monotonic() >= sweep_at:
                    sweep_at = time.monotonic() + DAY_S
                    swept = await self.sweep()
                    log.info("%d folders without a job were removed", swept)
            except QrtxError as error:
                log.warning("old jobs could not be cleaned up now: %s", error.message)
            await asyncio.sleep(PERIOD_S)

    async def expire(self) -> int:
        """Delete all jobs that have been kept for long enough; how many there were."""
        if self._keep_s is None:
            return 0
        deleted = 0
        limit = self._now() - self._keep_s
        while True:
            old = await self._journal.read(self._journal.store.finished_before, limit, BATCH)
            if old:
                await self._delete(old)
                deleted += len(old)
            if len(old) < BATCH:
                return deleted
            await asyncio.sleep(PAUSE_S)

    async def sweep(self) -> int:
        """Remove folders of jobs that the journal does not know, older than a day and than jobs are kept; how many."""
        if self._keep_s is None:
            return 0
        limit = self._now() - max(self._keep_s, DAY_S)
        # The folders first: whatever has one then was in the journal before.
        folders = await asyncio.to_thread(lambda: CircuitFS(self._url).list_jobs())
        old = [job_id for job_id in folders if made_at(job_id) < limit]
        swept = 0
        for first in range(0, len(old), SWEEP_BATCH):
            batch = old[first : first + SWEEP_BATCH]
            known = await self._journal.read(self._journal.store.records, batch)
            gone = [job_id for job_id in batch if job_id not in known]
            if gone:
                await self._remove_files(gone)
                swept += len(gone)
            await asyncio.sleep(PAUSE_S)
        return swept
