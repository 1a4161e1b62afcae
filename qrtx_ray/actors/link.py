"""A worker's line to the scheduler: finds it by name, and keeps calling when it is away for a moment.

The scheduler may be killed and come back under the same name; a call that was in flight then may or may not have been
carried out. All calls made through here are therefore such that repeating them changes nothing: reports are fenced by
attempt, leases by what the worker says it holds.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ray.exceptions import RayActorError

from qrtx_ray.actors.names import SCHEDULER, find_actor

__all__ = ["SchedulerLink"]

BACKOFF_S = 0.05
BACKOFF_MAX_S = 0.25


class SchedulerLink:
    """Calls methods of the scheduler actor, patiently."""

    def __init__(self) -> None:
        self._handle: Any = None

    async def call(self, method: str, *arguments: Any) -> Any:
        """The answer of ``scheduler.method(*arguments)``; waits through restarts for as long as they take."""
        delay = BACKOFF_S
        while True:
            try:
                return await self.call_once(method, *arguments)
            except RayActorError:
                self._handle = None
                await asyncio.sleep(delay)
                delay = min(2 * delay, BACKOFF_MAX_S)

    async def call_once(self, method: str, *arguments: Any) -> Any:
        """As `call`, but a scheduler that is away raises RayActorError at once."""
        if self._handle is None:
            self._handle = await asyncio.to_thread(find_actor, SCHEDULER)
        if self._handle is None:
            raise RayActorError
        return await getattr(self._handle, method).remote(*arguments)
