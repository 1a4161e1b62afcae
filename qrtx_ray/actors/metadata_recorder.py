"""Keeps the files beside the jobs in step: `meta.json` of those that finished, nothing of those that were deleted.

The state manager writes and removes; this remembers what it has still to be told. What is lost with the process is found
again at recovery: a finished job whose metadata is not marked as recorded is sent once more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from ray.exceptions import RayError

from qrtx_ray.actors.names import STATE_MANAGER, find_actor
from qrtx_ray.model import JobRecord

__all__ = ["MetadataRecorder"]

log = logging.getLogger("qrtx.scheduler")

GATHER_S = 0.25
RETRY_S = 1.0
BATCH = 200


class MetadataRecorder:
    """Batches finished and deleted jobs towards the state manager.

    Args:
        recorded: Called with the ids whose metadata is on disk.
        records: Looks committed records up, in memory or in the store; None where there is none any more.
    """

    def __init__(
        self,
        recorded: Callable[[Sequence[str]], None],
        records: Callable[[Sequence[str]], Awaitable[Sequence[JobRecord | None]]],
    ) -> None:
        self._recorded = recorded
        self._records = records
        self._finished: dict[str, None] = {}
        self._deleted: dict[str, None] = {}
        self._news = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def add(self, job_ids: Iterable[str]) -> None:
        """These jobs finished."""
        self._finished.update(dict.fromkeys(job_ids))
        self._news.set()

    def forget(self, job_ids: Iterable[str]) -> None:
        """These jobs were deleted."""
        for job_id in job_ids:
            self._finished.pop(job_id, None)
            self._deleted[job_id] = None
        if self._deleted:
            self._news.set()

    def close(self) -> None:
        """Tell nobody anything any more."""
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(GATHER_S)  # many jobs end together; one call for all of them
            self._news.clear()
            try:
                await self._tell(list(self._finished)[:BATCH], list(self._deleted)[:BATCH])
            except RayError:
                await asyncio.sleep(RETRY_S)
            except Exception:
                log.exception("the metadata of finished jobs could not be recorded; it is tried again")
                await asyncio.sleep(RETRY_S)
            if self._finished or self._deleted:
                self._news.set()

    async def _tell(self, finished: list[str], deleted: list[str]) -> None:
        manager = await asyncio.to_thread(find_actor, STATE_MANAGER)
        if manager is None:
            await asyncio.sleep(RETRY_S)
            return
        records = [record for record in await self._records(finished) if record is not None]
        if records:
            await manager.record_metadata.remote(records)
        # After the metadata: what was written for a job that was deleted meanwhile goes as well.
        if deleted:
            await manager.forget.remote(deleted)
        for job_id in finished:
            self._finished.pop(job_id, None)
        for job_id in deleted:
            self._deleted.pop(job_id, None)
        if records:
            self._recorded([record.id for record in records])
