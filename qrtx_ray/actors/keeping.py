"""How an agent keeps the checkpoints of its runs, and finds those of runs before.

A small checkpoint goes to the state manager, which makes it durable and holds it where any agent of the cluster gets it
quickly. A large one, and any while the manager is away, the agent writes itself: the files are the same. Kept means durable,
whoever wrote; whether a checkpoint then counts is for the scheduler to say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from ray.exceptions import RayError

from qrtx_ray.actors.objects import get_object, put_object
from qrtx_ray.config import Settings
from qrtx_ray.errors import QrtxError
from qrtx_ray.model import CheckpointRef
from qrtx_ray.store.checkpoint_envelope import MAX_HEADER_BYTES, Into
from qrtx_ray.store.checkpoints import CheckpointDraft, CheckpointStore, StoredCheckpoint

__all__ = ["CheckpointKeeper", "checkpoint_store"]

log = logging.getLogger("qrtx.device")

ANSWER_S = 5.0
TRIES, RETRY_S = 4, 1.0  # to read a file that is not known to be missing or damaged
UNTOLD = 1000
RESERVED = 0.5  # of the free space below which no more jobs are accepted; the rest is for those that were

_WRITERS = ThreadPoolExecutor(4, thread_name_prefix="checkpoints")

Arguments = ParamSpec("Arguments")
ResultT = TypeVar("ResultT")


def checkpoint_store(settings: Settings) -> CheckpointStore:
    """The checkpoints' files, as configured."""
    return CheckpointStore(
        settings.paths.circuit_fs_url,
        compression_level=settings.quantum_state.level2_compression_level,
        reserve_bytes=int(settings.storage.min_free_bytes * RESERVED),
    )


class CheckpointKeeper:
    """Keeps and fetches. Belongs to one event loop; file work happens on threads.

    Args:
        settings: Where the files are, and how large a checkpoint the object store may hold.
        find_manager: The handle of the state manager, or None; may take its time.
    """

    def __init__(self, settings: Settings, find_manager: Callable[[], Any | None]) -> None:
        state = settings.quantum_state
        self._store = checkpoint_store(settings)
        self._object_bytes = state.level2_object_bytes
        self._find_manager = find_manager
        self._manager: Any | None = None
        self._untold: dict[CheckpointRef, None] = {}

    async def keep(self, draft: CheckpointDraft, body: bytes, bulk: memoryview | None) -> CheckpointRef:
        """Make a checkpoint durable. `bulk` must not change, nor go away, before this returns or raises.

        Raises:
            PersistError: It could not be written.
            ValidationError: It is too large, or the draft is not plain.
        """
        size = len(body) + (0 if bulk is None else bulk.nbytes)
        if size > self._object_bytes:
            ref = await _on_thread(self._store.write, draft, body, bulk)
        else:
            ref, data = await _on_thread(self._store.pack, draft, body, bulk)
            if await self._hand_over(ref, data):
                return ref
            await _on_thread(self._store.write_packed, ref, data)
        self._untold[ref] = None
        while len(self._untold) > UNTOLD:
            del self._untold[next(iter(self._untold))]
        return ref

    async def fetch(self, ref: CheckpointRef, into: Into | None) -> StoredCheckpoint | None:
        """What `ref` refers to, or None when it is missing, damaged or of another version; the log says why.

        Args:
            into: See `read_envelope`. May be asked twice; what it raises as a QrtxError also means None.
        """
        if ref.size_bytes <= self._object_bytes + MAX_HEADER_BYTES:
            found = await self._held(ref, into)
            if found is not None:
                return found
        for left in reversed(range(TRIES)):
            try:
                return await _on_thread(self._store.read, ref, into)
            except QrtxError as refused:
                # Who gives one up gives its progress up: a store that is away for a moment is waited for.
                if refused.retryable and left:
                    await asyncio.sleep(RETRY_S)
                    continue
                log.warning("checkpoint %d of %s cannot be used: %s", ref.sequence, ref.job_id, refused.message)
                return None
        return None

    async def keep_only(self, job_id: str, refs: Sequence[CheckpointRef]) -> None:
        """Remove what `refs`, now valid, made obsolete: older checkpoints of the job. What fails is left for later."""
        untold = list(self._untold)
        if untold and await self._ask("note_checkpoints", untold) is not None:
            for ref in untold:
                self._untold.pop(ref, None)
        if await self._ask("keep_only", job_id, list(refs)) is None:
            try:
                await _on_thread(self._store.keep_only, job_id, list(refs))
            except QrtxError as refused:
                log.warning("old checkpoints of %s are left: %s", job_id, refused.message)

    async def _hand_over(self, ref: CheckpointRef, data: bytes) -> bool:
        """Whether the manager made it durable."""
        ours = await put_object(data)
        return ours is not None and await self._ask("keep_checkpoint", ref, [ours]) is True

    async def _held(self, ref: CheckpointRef, into: Into | None) -> StoredCheckpoint | None:
        held = await self._ask("fetch_checkpoint", ref)
        if not held:
            return None
        try:
            async with asyncio.timeout(ANSWER_S):
                data = await get_object(held[0])
            return await _on_thread(self._store.read_packed, ref, data, into)
        except (RayError, QrtxError, TimeoutError) as error:
            log.info("checkpoint %d of %s is read from its file: %s", ref.sequence, ref.job_id, type(error).__name__)
            return None

    async def _ask(self, method: str, *arguments: Any) -> Any:
        """What the manager answers; None when it is away, is silent for too long, or cannot do it."""
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._manager is None:
                    self._manager = await asyncio.to_thread(self._find_manager)
                if self._manager is not None:
                    return await getattr(self._manager, method).remote(*arguments)
        except (RayError, QrtxError, TimeoutError) as error:
            self._manager = None
            log.info("the state manager did not %s: %s", method, type(error).__name__)
        return None


async def _on_thread(work: Callable[Arguments, ResultT], *args: Arguments.args, **kwargs: Arguments.kwargs) -> ResultT:
    """What `work` returns. It has ended when this does, also when this is cancelled: it reads memory of the caller."""
    future = asyncio.get_running_loop().run_in_executor(_WRITERS, lambda: work(*args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        future.exception()  # nobody is left to tell
        raise
