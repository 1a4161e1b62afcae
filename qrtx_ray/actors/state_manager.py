"""The QuantumStateManager actor: three levels of quantum state behind one name.

Level 1 is what is alive: qubits of running groups, leased. Level 2 is state that was stored: arrays, compressed and
checksummed, in files below the actor. Level 3 is what is known about jobs: their metadata files. File work happens on
threads; the event loop only keeps the books.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from qrtx_ray.actors.garbage import collect_seldom
from qrtx_ray.actors.live_qubits import LiveQubits, QubitLease
from qrtx_ray.actors.logs import log_as_configured
from qrtx_ray.actors.metadata_document import metadata_document
from qrtx_ray.config import Settings
from qrtx_ray.model import JobRecord
from qrtx_ray.store.circuit_fs import CircuitFS
from qrtx_ray.store.state_index import StateIndex
from qrtx_ray.store.state_store import StateRef, StateStore

__all__ = ["StateManagerActor"]

log = logging.getLogger("qrtx.state")


class StateManagerActor:
    """Singleton, named, detached.

    Args:
        settings: `Settings.to_dict()`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = Settings.from_dict(settings)
        log_as_configured(self._settings)
        paths = self._settings.paths
        state = self._settings.quantum_state
        self._files = CircuitFS(paths.circuit_fs_url)
        self._states = StateStore(str(paths.quantum_states), compression_level=state.level2_compression_level)
        self._index = StateIndex(paths.state_metadata)
        self._live = LiveQubits(state.level1_cache_size)
        self._vacated = asyncio.Condition()
        collect_seldom()

    async def ping(self) -> int:
        """The actor's process id."""
        return os.getpid()

    # ------------------------------------------------------------------------------------------------------- level 1

    async def occupy(self, device: str, agent: str, incarnation: str, group: str, qubits: Mapping[str, int]) -> None:
        """Lease the live qubits of a group; waits while more would be alive than the configuration allows."""
        lease = QubitLease(device, agent, incarnation, group, dict(qubits), time.time())
        async with self._vacated:
            self._live.greet(agent, incarnation)
            self._vacated.notify_all()  # to those that wait for room, and to a predecessor that waits in vain
            await self._vacated.wait_for(
                lambda: not self._live.expects(agent, incarnation) or self._live.fits(lease.total)
            )
            if self._live.expects(agent, incarnation):
                self._live.occupy(lease)

    async def vacate(self, agent: str, incarnation: str, group: str) -> bool:
        """Give a lease back. Returns whether it was held."""
        async with self._vacated:
            freed = self._live.vacate(agent, incarnation, group)
            self._vacated.notify_all()
            return freed

    async def reclaim(self, agent: str, incarnation: str) -> bool:
        """The agent was given up: free what it held. Returns whether it was the present incarnation."""
        async with self._vacated:
            known = self._live.give_up(agent, incarnation)
            self._vacated.notify_all()
            return known

    async def live_qubits(self, device: str | None = None) -> list[dict[str, Any]]:
        """The leases now held, as plain data."""
        return [
            {
                "device": lease.device,
                "agent": lease.agent,
                "group": lease.group,
                "qubits": dict(lease.qubits),
                "since": lease.since,
            }
            for lease in self._live.leases(device)
        ]

    # ------------------------------------------------------------------------------------------------------- level 2

    async def store_state(
        self, key: str, arrays: dict[str, npt.NDArray[np.generic]], metadata: dict[str, Any]
    ) -> StateRef:
        """Store arrays durably under `key`.

        Raises:
            ValidationError: A dtype or metadata that is not plain.
            NotFound: `key` is no identifier.
            PersistError: The files refused.
        """
        return await asyncio.to_thread(self._store_state, key, arrays, metadata)

    async def load_state(self, ref: StateRef) -> tuple[dict[str, npt.NDArray[np.generic]], dict[str, Any]]:
        """What `store_state` stored. Raises PersistError when it is missing or damaged."""
        return await asyncio.to_thread(self._states.get, ref)

    async def find_state(self, key: str) -> StateRef:
        """The reference of the state stored under `key`, from level 3. Raises NotFound."""
        return await asyncio.to_thread(self._index.find, key)

    async def delete_state(self, key: str) -> None:
        """Forget a stored state."""
        await asyncio.to_thread(self._delete_state, key)

    # ------------------------------------------------------------------------------------------------------- level 3

    async def record_metadata(self, records: Sequence[JobRecord]) -> None:
        """Write `meta.json` of finished jobs, and drop what only their runs needed. Repeating it does the same."""
        await asyncio.to_thread(self._write_metadata, records)

    async def forget(self, job_ids: Sequence[str]) -> None:
        """Remove the files of deleted jobs."""
        for job_id in job_ids:
            await asyncio.to_thread(self._files.delete, job_id)

    def _store_state(self, key: str, arrays: dict[str, npt.NDArray[np.generic]], metadata: dict[str, Any]) -> StateRef:
        ref = self._states.put(key, arrays, metadata)
        self._index.put(ref)
        return ref

    def _delete_state(self, key: str) -> None:
        self._index.delete(key)
        self._states.delete(key)

    def _write_metadata(self, records: Sequence[JobRecord]) -> None:
        for record in records:
            text = orjson.dumps(metadata_document(record), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
            self._files.write_artefacts(record.id, {"meta.json": text})
            if record.attempt > 1 or record.preemptions:
                # No run will go on from what another kept, also not from what one kept and died before it could say so.
                self._files.drop_checkpoint(record.id)
