"""What the scheduler asks of other actors, beside its event loop.

Looking an actor up waits for Ray, and an actor may be away. Neither may hold up the scheduler, and no errand is one that
must succeed: an agent that missed a stop is told again after its next heartbeat.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from ray.exceptions import RayError

from qrtx_ray.actors.names import STATE_MANAGER, find_actor

__all__ = ["Errands"]

log = logging.getLogger("qrtx.scheduler")


class Errands:
    """Calls nobody waits for. Belongs to the event loop it is made on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._under_way: set[asyncio.Task[None]] = set()

    def stop_attempt(self, agent: str, job_id: str, attempt: int) -> None:
        """Have an agent give up an attempt."""
        self._start(agent, "stop", job_id, attempt)

    def preempt_attempts(self, agent: str, attempts: Sequence[tuple[str, int]]) -> None:
        """Have an agent end attempts at their next slice and keep their progress."""
        self._start(agent, "preempt_many", list(attempts))

    def conclude_attempts(self, agent: str, attempts: Sequence[tuple[str, int]]) -> None:
        """Have an agent end attempts at their next slice with the results they have."""
        self._start(agent, "conclude_many", list(attempts))

    def checkpoint_attempts(self, agent: str, attempts: Sequence[tuple[str, int]]) -> None:
        """Have an agent keep the progress of attempts at their next slice; they go on."""
        self._start(agent, "checkpoint_many", list(attempts))

    def measure_probe(
        self, agent: str, device: str, noise_id: str, seed: int, measured: Callable[[float | None], None]
    ) -> None:
        """Have an agent measure the probe circuits of a device; `measured` is told the fidelity, or None."""
        task = self._loop.create_task(self._probe(agent, (device, noise_id, seed), measured))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def reclaim_qubits(self, agent: str, incarnation: str, epoch: int) -> None:
        """Tell the state manager that an agent is gone and holds no live qubits any more; `epoch` is the scheduler's."""
        self._start(STATE_MANAGER, "reclaim", agent, incarnation, epoch)

    def _start(self, actor: str, method: str, *arguments: Any) -> None:
        task = self._loop.create_task(self._run(actor, method, arguments))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _probe(self, agent: str, what: tuple[str, str, int], measured: Callable[[float | None], None]) -> None:
        fidelity = await self._run(agent, "probe", what)
        measured(fidelity if isinstance(fidelity, float) else None)

    @staticmethod
    async def _run(actor: str, method: str, arguments: tuple[Any, ...]) -> Any:
        """What the actor answers; None as well when it could not be asked."""
        try:
            handle = await asyncio.to_thread(find_actor, actor)
            if handle is not None:
                return await getattr(handle, method).remote(*arguments)
        except RayError:
            log.debug("%s was away and did not hear of %s", actor, method)
        except Exception:
            log.exception("%s could not be asked to %s", actor, method)
        return None
