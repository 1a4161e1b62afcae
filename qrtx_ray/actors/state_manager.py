"""The QuantumStateManager actor: three levels of quantum state behind one name.

Level 1 is what is alive: qubits of running groups, leased. Level 2 is state that was stored: checkpoints of runs, arrays and
documents under names, compressed and checksummed, in files; the checkpoints used last are also held in the object store. They
are the manager's own: an agent that dies takes nothing of them along. Level 3 is what is known: the metadata files of jobs
and states. File work happens on threads; the event loop only keeps the books.

What nobody needs any more is found by looking, now and then: leases of agents that are gone, checkpoints whose time is over,
files that an attempt believed lost wrote after all.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from ray.exceptions import ActorDiedError, RayError

from qrtx_ray.actors.garbage import collect_seldom
from qrtx_ray.actors.held_checkpoints import HeldCheckpoints
from qrtx_ray.actors.keeping import checkpoint_store
from qrtx_ray.actors.live_qubits import LiveQubits, QubitLease
from qrtx_ray.actors.logs import log_as_configured
from qrtx_ray.actors.metadata_document import metadata_document
from qrtx_ray.actors.names import find_actor
from qrtx_ray.actors.objects import get_object, put_object
from qrtx_ray.config import Settings
from qrtx_ray.model import CheckpointRef, JobRecord, TaskState
from qrtx_ray.store.circuit_fs import META, CircuitFS
from qrtx_ray.store.named_states import NamedStates
from qrtx_ray.store.state_index import StateIndex
from qrtx_ray.store.state_store import StateRef, StateStore

__all__ = ["StateManagerActor"]

log = logging.getLogger("qrtx.state")

HELD = 4  # checkpoints of the largest size that is held in the object store
SWEEP_S = 15.0
LOOK_S = 5.0  # for an agent's word
LEFTOVERS_S = 24 * 3600.0
REMEMBERED_ENDS = 10_000


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
        self._checkpoints = checkpoint_store(self._settings)
        self._named = NamedStates(str(paths.quantum_states), compression_level=state.level2_compression_level)
        self._held = HeldCheckpoints(HELD * state.level2_object_bytes)
        self._ended: dict[str, frozenset[CheckpointRef]] = {}
        # Numbers from the clock: larger than those of a manager that lived before this one.
        self._live = LiveQubits(state.level1_cache_size, first_fence=time.time_ns() // 1000)
        self._vacated = asyncio.Condition()
        self._next_leftovers = 0.0
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep_always())
        collect_seldom()

    async def ping(self) -> int:
        """The actor's process id."""
        return os.getpid()

    # ------------------------------------------------------------------------------------------------------- level 1

    async def occupy(
        self, device: str, agent: str, incarnation: str, group: str, qubits: Mapping[str, int]
    ) -> int | None:
        """Lease the live qubits of a group; waits while more would be alive than the configuration allows.

        Returns the number of the lease, larger than that of every one before; None when the incarnation was superseded or
        given up meanwhile, and holds nothing.
        """
        lease = QubitLease(device, agent, incarnation, group, dict(qubits), time.time())
        async with self._vacated:
            self._live.greet(agent, incarnation)
            self._vacated.notify_all()  # to those that wait for room, and to a predecessor that waits in vain
            await self._vacated.wait_for(
                lambda: not self._live.expects(agent, incarnation) or self._live.fits(lease.total)
            )
            return self._live.occupy(lease) if self._live.expects(agent, incarnation) else None

    async def vacate(self, agent: str, incarnation: str, group: str) -> bool:
        """Give a lease back. Returns whether it was held."""
        async with self._vacated:
            freed = self._live.vacate(agent, incarnation, group)
            self._vacated.notify_all()
            return freed

    async def reclaim(self, agent: str, incarnation: str, epoch: int | None = None) -> bool:
        """The agent was given up, by the scheduler of `epoch` where one is told: free what it held. Returns whether it was
        the present incarnation.
        """
        async with self._vacated:
            known = self._live.give_up(agent, incarnation, epoch)
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
                "fence": lease.fence,
            }
            for lease in self._live.leases(device)
        ]

    # ------------------------------------------------------------------------------------------------------- level 2

    async def keep_checkpoint(self, ref: CheckpointRef, objects: Sequence[Any]) -> bool:
        """Pull a checkpoint from the agent that sealed it, and keep it durably and as the manager's own.

        Args:
            objects: The reference to its bytes in the object store, in a sequence, so that it is not resolved on the way.

        Raises:
            CheckpointDamaged: The bytes are not what `ref` refers to.
            PersistError: The files refused.
            RayError: The agent is gone, and its object with it.
        """
        data = await get_object(objects[0])
        await asyncio.to_thread(self._checkpoints.write_packed, ref, data)
        await self.note_checkpoints([ref])
        if ref.job_id not in self._ended:
            own = await put_object(data)
            if own is not None:
                self._held.hold(ref, own)
        return True

    async def note_checkpoints(self, refs: Sequence[CheckpointRef]) -> bool:
        """An agent wrote these files itself. One of a job that has ended came too late, and goes."""
        for ref in refs:
            if ref not in self._ended.get(ref.job_id, {ref}):
                await asyncio.to_thread(self._checkpoints.remove, ref)
        return True

    async def fetch_checkpoint(self, ref: CheckpointRef) -> list[Any] | None:
        """The object that holds the file's bytes, in a list; None when it has to be read from the file."""
        held = self._held.find(ref)
        return None if held is None else [held]

    async def checkpoints(self, job_id: str) -> list[dict[str, Any]]:
        """What is said of each checkpoint that is there, valid or not, the newest first. Raises NotFound for no identifier."""
        return await asyncio.to_thread(self._describe, job_id)

    async def keep_only(self, job_id: str, refs: Sequence[CheckpointRef]) -> bool:
        """Remove the job's checkpoints that these superseded."""
        self._held.keep_only(job_id, refs)
        await asyncio.to_thread(self._checkpoints.keep_only, job_id, refs)
        return True

    async def put_named_state(self, tenant: str, name: str, document: bytes, expected: str | None) -> str:
        """Keep a tenant's document under a name; see `NamedStates.put`."""
        return await asyncio.to_thread(self._named.put, tenant, name, document, expected, time.time())

    async def get_named_state(self, tenant: str, name: str) -> tuple[bytes, str]:
        """A tenant's document and its etag; see `NamedStates.get`."""
        return await asyncio.to_thread(self._named.get, tenant, name)

    async def delete_named_state(self, tenant: str, name: str, expected: str | None) -> None:
        """Forget a tenant's document; see `NamedStates.delete`."""
        await asyncio.to_thread(self._named.delete, tenant, name, expected)

    async def named_states(self, tenant: str) -> list[dict[str, Any]]:
        """What a tenant keeps, by name: name, etag, size_bytes, at."""
        return [asdict(state) for state in await asyncio.to_thread(self._named.list, tenant)]

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
        """Write `meta.json` of finished jobs, and drop what only their runs needed. Repeating it does the same.

        A job that completed needs no checkpoints. From one that ended otherwise a new one may be made: its valid ones stay
        for as long as the configuration says.
        """
        for record in records:
            completed = record.state is TaskState.COMPLETED
            self._note_end(record.id, frozenset() if completed else frozenset(record.checkpoints))
        await asyncio.to_thread(self._write_metadata, records)

    async def forget(self, job_ids: Sequence[str]) -> None:
        """Remove the files of deleted jobs."""
        for job_id in job_ids:
            self._note_end(job_id, frozenset())
            await asyncio.to_thread(self._files.delete, job_id)

    async def status(self) -> dict[str, Any]:
        """What the manager has at hand, as plain data: qubits alive by device, bytes of checkpoints in the object store."""
        return {"live_qubits": self._live.by_device(), "held_checkpoint_bytes": self._held.size_bytes}

    async def sweep(self, now: float) -> dict[str, int]:
        """Remove what is over at `now`; how many leases were reclaimed, and how many checkpoints expired or were left over."""
        reclaimed = await self._reclaim_leaks(now)
        expired, leftovers = await asyncio.to_thread(self._checkpoints.expire, now), 0
        if now >= self._next_leftovers:
            self._next_leftovers = now + LEFTOVERS_S
            age_s = self._settings.quantum_state.checkpoint_retention
            leftovers = await asyncio.to_thread(self._checkpoints.remove_leftovers, now, age_s)
        return {"reclaimed": reclaimed, "expired": expired, "leftovers": leftovers}

    async def _sweep_always(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self.sweep(time.time())
            except Exception:
                log.exception("what is over could not be removed; it is tried again")

    async def _reclaim_leaks(self, now: float) -> int:
        """Free what agents hold that are gone, of which nobody told."""
        old = [lease for lease in self._live.leases() if lease.since < now - SWEEP_S]
        gone = [lease for lease in old if not await self._is_there(lease)]
        return sum([await self.reclaim(lease.agent, lease.incarnation) for lease in gone])

    @staticmethod
    async def _is_there(lease: QubitLease) -> bool:
        try:
            handle = await asyncio.to_thread(find_actor, lease.agent)
            if handle is None:
                return False
            async with asyncio.timeout(LOOK_S):
                return bool((await handle.status.remote())["incarnation"] == lease.incarnation)
        except ActorDiedError:
            return False
        except (RayError, TimeoutError):
            return True  # it is being brought back, or is busy: the next look will tell

    def _note_end(self, job_id: str, kept: frozenset[CheckpointRef]) -> None:
        """From now on whatever comes of the job and is not among `kept` comes too late."""
        self._held.drop(job_id)
        self._ended.pop(job_id, None)  # those that ended last are remembered
        self._ended[job_id] = kept
        while len(self._ended) > REMEMBERED_ENDS:
            del self._ended[next(iter(self._ended))]

    def _describe(self, job_id: str) -> list[dict[str, Any]]:
        found, expiries = self._checkpoints.found(job_id), self._checkpoints.expiries(job_id)
        return [
            {
                "attempt": ref.attempt,
                "sequence": ref.sequence,
                "progress": ref.progress,
                "kind": ref.kind,
                "at": ref.at,
                "size_bytes": ref.size_bytes,
                "sha256": ref.sha256,
                "expires_at": expiries.get((ref.attempt, ref.sequence), header["expires_at"]),
                "about": header["about"],
                "parent": header["parent"],
                "restored_from": header["restored_from"],
            }
            for ref, header in found
        ]

    def _store_state(self, key: str, arrays: dict[str, npt.NDArray[np.generic]], metadata: dict[str, Any]) -> StateRef:
        ref = self._states.put(key, arrays, metadata)
        self._index.put(ref)
        return ref

    def _delete_state(self, key: str) -> None:
        self._index.delete(key)
        self._states.delete(key)

    def _write_metadata(self, records: Sequence[JobRecord]) -> None:
        for record in records:
            # Before the metadata: a folder that has it holds no checkpoint but those that stay for their time.
            if record.state is TaskState.COMPLETED:
                self._checkpoints.drop(record.id)
            else:
                ended = record.finished_at if record.finished_at is not None else time.time()
                retention_s = self._settings.quantum_state.checkpoint_retention
                self._checkpoints.retain(record.id, record.checkpoints, ended + retention_s)
            text = orjson.dumps(metadata_document(record), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
            self._files.write_artefacts(record.id, {META: text})
