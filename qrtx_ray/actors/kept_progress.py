"""What is kept of one member's run: what it may go on from, and what it adds while it runs.

A checkpoint is durable before anybody hears of it: first the file, then the scheduler, whose answer says which ones are valid
now. Only then may older files go. The run goes on meanwhile. Within an attempt a durable checkpoint can be used at once: should
the child die, the member goes on from it, whether or not the scheduler has heard of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from qrtx_ray.actors.answers import Sealed
from qrtx_ray.actors.faults import reached
from qrtx_ray.clock import SystemClock
from qrtx_ray.errors import QrtxError
from qrtx_ray.model import CheckpointRef, KeptCheckpoint, Member
from qrtx_ray.store.checkpoints import CheckpointDraft, StoredCheckpoint

__all__ = ["Announce", "Keeper", "KeptProgress"]

log = logging.getLogger("qrtx.device")

Announce = Callable[[KeptCheckpoint], Awaitable[Sequence[CheckpointRef] | None]]
"""Tells the scheduler of a checkpoint; answers which ones of the job are valid now, or None when it does not know the attempt."""


class Keeper(Protocol):
    """Where checkpoints become durable and come back from; see `actors.keeping.CheckpointKeeper`."""

    async def keep(self, draft: CheckpointDraft, body: bytes, bulk: memoryview | None) -> CheckpointRef: ...

    async def fetch(self, ref: CheckpointRef, into: Callable[[int], memoryview] | None) -> StoredCheckpoint | None: ...

    async def keep_only(self, job_id: str, refs: Sequence[CheckpointRef]) -> None: ...


class KeptProgress:
    """The checkpoints of one attempt.

    Args:
        member: The attempt, with the checkpoints that were valid when it was leased.
        keeper: Where they lie.
        announce: How the scheduler hears of new ones.

    Attributes:
        refused: Checkpoints that turned out to be of no use; nobody should try them again.
    """

    def __init__(self, member: Member, keeper: Keeper, announce: Announce) -> None:
        self._member = member
        self._keeper = keeper
        self._announce = announce
        self._usable = list(member.checkpoints)  # newest first
        self._began_with: CheckpointRef | None = None
        self._sequence = max((ref.sequence for ref in member.checkpoints), default=0)
        self._newest: CheckpointRef | None = None
        self._newest_at_start: CheckpointRef | None = None
        self._untold: list[CheckpointRef] = []
        self._files = asyncio.Lock()  # nothing is dropped while something is written
        self._telling = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.refused: list[CheckpointRef] = []

    @property
    def goes_on(self) -> bool:
        """Whether there is something to go on from."""
        return bool(self._usable)

    @property
    def progress(self) -> float:
        """The fraction done that is kept."""
        return self._usable[0].progress if self._usable else 0.0

    @property
    def news(self) -> CheckpointRef | None:
        """The newest of this attempt, when the scheduler may not have heard of it."""
        return self._newest if self._untold else None

    async def resume(self, into: Callable[[int], memoryview] | None) -> StoredCheckpoint | None:
        """The newest that can be used, its bulk read into the memory that `into` gives for so many bytes; None: begin anew."""
        self._newest_at_start = self._newest
        while self._usable:
            ref = self._began_with = self._usable[0]
            stored = await self._keeper.fetch(ref, into)
            if stored is not None:
                return stored
            log.warning("checkpoint %d of %s is of no use", ref.sequence, ref.job_id)
            self._refuse(ref)
        self._began_with = None
        if self._member.checkpoints:
            log.warning("%s begins anew: nothing of its kept progress can be used", self._member.job_id)
        return None

    def engine_refused(self) -> None:
        """The engine could do nothing with what the run began with."""
        if self._began_with is not None:
            self._refuse(self._began_with)
            self._began_with = None

    def child_died(self) -> bool:
        """The child died: it may have been of the checkpoint it began with, which this attempt does not give to another.

        Returns:
            Whether the run had got further than any before it: a later checkpoint is there.
        """
        if self._began_with is not None and self._began_with in self._usable:
            self._usable.remove(self._began_with)
        self._began_with = None
        return self._newest is not self._newest_at_start

    def take(self, sealed: Sealed, bulk: memoryview | None, taken: Callable[[], None]) -> bool:
        """Make a checkpoint durable beside the run. `taken` is called when the child may hand out another, also when it could
        not be kept. Returns False, and does nothing, when one is under way.
        """
        if not self._idle.is_set():
            return False
        self._idle.clear()
        self._spawn(self._take(sealed, bulk, taken))
        return True

    async def keep(self, sealed: Sealed, bulk: memoryview | None) -> CheckpointRef | None:
        """Make a checkpoint durable; None when that cannot be. Nothing that was kept before is touched."""
        member = self._member
        if sealed.bulk_bytes != (0 if bulk is None else bulk.nbytes):
            log.warning("progress of %s could not be kept: its state cannot be reached", member.job_id)
            return None
        async with self._files:
            self._sequence += 1
            draft = CheckpointDraft(
                job_id=member.job_id,
                attempt=member.attempt,
                sequence=self._sequence,
                progress=sealed.progress,
                kind=sealed.kind,
                at=SystemClock().wall(),
                about=dict(sealed.about),
                parent_sha256=self._usable[0].sha256 if self._usable else None,
                restored_from=next((r.job_id for r in member.checkpoints if r.job_id != member.job_id), None),
            )
            try:
                ref = await self._keeper.keep(draft, sealed.body, bulk)
            except QrtxError as refused:
                log.warning("progress of %s could not be kept: %s", member.job_id, refused.message)
                return None
        reached("agent.checkpoint_written")
        self._usable.insert(0, ref)
        self._newest = ref
        self._untold.append(ref)
        return ref

    async def settled(self) -> None:
        """Wait until nothing is being made durable beside the run."""
        await self._idle.wait()

    async def _take(self, sealed: Sealed, bulk: memoryview | None, taken: Callable[[], None]) -> None:
        try:
            ref = await self.keep(sealed, bulk)
        except Exception:
            log.exception("progress of %s could not be kept", self._member.job_id)
            ref = None
        finally:
            del sealed, bulk  # large, and the scheduler may be away for long
            self._idle.set()
            taken()
        if ref is not None:
            try:
                await self._tell()
            except Exception:
                log.exception(
                    "the scheduler took no word of a checkpoint of %s; it has it with the next", self._member.job_id
                )

    async def _tell(self) -> None:
        async with self._telling:  # in their order, also when the scheduler was away for a while
            for ref in list(self._untold):
                kept = KeptCheckpoint(self._member.job_id, self._member.attempt, ref)
                valid = await self._announce(kept)
                self._untold.remove(ref)
                if valid is not None:
                    async with self._files:
                        self._usable = [one for one in self._usable if one in valid or one.sequence > ref.sequence]
                        await self._keeper.keep_only(self._member.job_id, valid)

    def _refuse(self, ref: CheckpointRef) -> None:
        if ref in self._usable:
            self._usable.remove(ref)
        self.refused.append(ref)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
