"""Sends finished jobs to the state manager, which writes their `meta.json`, and remembers until it has.

What is lost with the process is found again at recovery: a finished job whose metadata is not marked as recorded is sent
once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from ray.exceptions import RayError

from qrtx_ray.actors.names import STATE_MANAGER, find_actor
from qrtx_ray.errors import QrtxError
from qrtx_ray.model import JobRecord

__all__ = ["MetadataRecorder"]

GATHER_S = 0.05
RETRY_S = 1.0
BATCH = 200


class MetadataRecorder:
    """Batches finished jobs towards the state manager.

    Args:
        recorded: Called with the ids whose metadata is on disk.
        record: Looks a committed record up.
    """

    def __init__(self, recorded: Callable[[Sequence[str]], None], record: Callable[[str], JobRecord | None]) -> None:
        self._recorded = recorded
        self._record = record
        self._waiting: dict[str, None] = {}
        self._news = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def add(self, job_ids: Iterable[str]) -> None:
        self._waiting.update(dict.fromkeys(job_ids))
        self._news.set()

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(GATHER_S)  # many jobs end together; one call for all of them
            batch = list(self._waiting)[:BATCH]
            records = [record for job_id in batch if (record := self._record(job_id)) is not None]
            manager = find_actor(STATE_MANAGER)
            try:
                if manager is None:
                    await asyncio.sleep(RETRY_S)
                    continue
                await manager.record_metadata.remote(records)
            except (RayError, QrtxError):
                await asyncio.sleep(RETRY_S)
                continue
            for job_id in batch:
                self._waiting.pop(job_id, None)
            self._recorded([record.id for record in records])
            if not self._waiting:
                self._news.clear()
