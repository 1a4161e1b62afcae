"""One group on its way through an engine child: results in, blame on the right member, nobody else harmed.

A child that dies takes the whole batch with it, but only one member is to blame. The others are therefore run again, each
alone: whoever has then seen two children die is the guilty one and fails; the honest ones complete. One death is not enough,
for a child can also be killed from outside, and a death after a new checkpoint is none: the run got further. A member that is
stopped while it runs costs the child as well; the rest of the batch is simply run again, since results depend on nothing but
the job's own program and seed.

A member that is preempted costs nothing but the rest of its slice: the child is told, ends the slice and hands out what it has,
which becomes a file. A later attempt goes on from it. Checkpoints on the way are taken in the same manner while the run goes on.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import takewhile
from typing import Any

from qrtx_ray.actors.answers import MadeWay, RunEnd, run_end_of, sealed_of, slices_of
from qrtx_ray.actors.kept_progress import Announce, Keeper, KeptProgress
from qrtx_ray.errors import ErrorInfo, ExecuteError, QrtxError, ResourceExhausted, WorkerDied
from qrtx_ray.model import Group, Member, RunReport
from qrtx_ray.multiplex.compose import Demultiplexer, compose
from qrtx_ray.sandbox.area import Area
from qrtx_ray.sandbox.interrupts import Interrupts
from qrtx_ray.sandbox.process import Sandbox
from qrtx_ray.store.checkpoints import StoredCheckpoint
from qrtx_ray.store.circuit_fs import CircuitFS

__all__ = ["Attempt", "GroupRun"]

log = logging.getLogger("qrtx.device")

_WRITERS = ThreadPoolExecutor(4, thread_name_prefix="results")

Attempt = tuple[str, int]
NOTE_JOBS = 500  # named in one note to the child, whose size is bounded
BESIDE_SHARE, BESIDE_BYTES = 4, 64 * 2**20  # what a run of a wide state needs beside it: a part of its size, and some
MOST_DEATHS = 8  # of children of one member, however far each got
TOGETHER_S = 0.5  # for which the reports of a group wait for each other
WRITE_AGAIN_S = 1.0  # between two tries to write results where there is no room for them, or no file system
STOPPED = ErrorInfo("stopped", "the attempt was stopped on request", "ExecuteError")


class GroupRun:
    """Runs a group to its end.

    Args:
        group: Members with their executables.
        sandbox: The child that runs engines; killed and replaced as needed.
        files: Where results become durable.
        keeper: Where checkpoints do.
        announce: How the scheduler hears of checkpoints taken on the way.
        memory_bytes: What the child may use; shared memory is part of that.
    """

    def __init__(
        self,
        group: Group,
        sandbox: Sandbox,
        files: CircuitFS,
        keeper: Keeper,
        announce: Announce,
        memory_bytes: int | None = None,
    ) -> None:
        self._memory_bytes = memory_bytes
        self._group = group
        self._sandbox = sandbox
        self._files = files
        self._members = Demultiplexer(group.members)
        self._kept = {member.job_id: KeptProgress(member, keeper, announce) for member in group.members}
        self._progress: dict[str, tuple[float, int]] = {}
        self._settled: list[RunReport] = []  # of members that have no outcome
        self._leaving: set[str] = set()
        self._concluding: set[str] = set()
        self._wanted: set[str] = set()  # checkpoints asked for and not yet handed out
        self._line = Interrupts()
        self._call: asyncio.Task[dict[str, Any]] | None = None
        self._interrupted = False
        self._area: Area | None = None  # of the present call
        self._left: dict[str, Area] = {}  # where the last checkpoint of a member lies, until it is kept
        self._deaths: Counter[str] = Counter()
        self._suspects: set[str] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._writing: dict[Attempt, asyncio.Event] = {}  # results on their way to the disk; set: nobody wants them

    def members(self) -> list[Attempt]:
        """All attempts of the group."""
        return [(member.job_id, member.attempt) for member in self._group.members]

    def progress(self) -> list[tuple[str, int, float, int]]:
        """``(job, attempt, fraction, slices)`` of the members that reported any."""
        known = self._progress
        return [(m.job_id, m.attempt, *known[m.job_id]) for m in self._group.members if m.job_id in known]

    def stop(self, job_id: str, attempt: int) -> bool:
        """Stop one member; its child dies now if it is at work on it. Returns whether the attempt was waiting here, or its
        results were still on their way to the disk: these are given up if they cannot be written.
        """
        running = self._members.at_work(job_id)
        if not self._members.drop(job_id, attempt):
            writing = self._writing.get((job_id, attempt))
            if writing is not None:
                writing.set()
            return writing is not None
        self._settled.append(self.stopped(job_id, attempt))
        if running and self._call is not None:
            # Not `kill`: the call may still wait for a child, and must then not begin.
            self._interrupted = True
            self._call.cancel()
        return True

    def preempt(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Have members make way: one at work after its slice, one that waits at once. Returns those that were waiting here."""
        here = self._here(attempts)
        self._tell("preempt", [member for member in here if member.job_id not in self._leaving])
        self._leaving.update(member.job_id for member in here)
        for member in here:
            if not self._members.at_work(member.job_id):
                self._give_back(member)
        return [(member.job_id, member.attempt) for member in here]

    def conclude(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Have members end after their slice with the results they have; one that waits has none, and is stopped. Returns
        those that were waiting here.
        """
        here = self._here(attempts)
        self._tell("conclude", [member for member in here if member.job_id not in self._concluding])
        self._concluding.update(member.job_id for member in here)
        for member in here:
            if not self._members.at_work(member.job_id):
                self.stop(member.job_id, member.attempt)
        return [(member.job_id, member.attempt) for member in here]

    def checkpoint(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Have members at work hand out a checkpoint after their slice. Returns those that were."""
        here = [member for member in self._here(attempts) if self._members.at_work(member.job_id)]
        self._tell("checkpoint", [member for member in here if member.job_id not in self._wanted])
        self._wanted.update(member.job_id for member in here)
        return [(member.job_id, member.attempt) for member in here]

    @staticmethod
    def given_back(member: Member) -> RunReport:
        """The report of a member that made way before it began: it has what it came with."""
        progress = member.checkpoints[0].progress if member.checkpoints else 0.0
        return RunReport(member.job_id, member.attempt, preempted=True, progress=progress)

    @staticmethod
    def stopped(job_id: str, attempt: int) -> RunReport:
        """The report of an attempt that was stopped on request."""
        return RunReport(job_id, attempt, error=STOPPED)

    async def execute(self) -> None:
        """Run all members. When this returns the child is free, and `keep` has something to keep for everybody."""
        try:
            await self._run_all()
        except BaseException:
            self._close_left()
            raise

    async def _run_all(self) -> None:
        apart = False
        while waiting := self._members.waiting:
            together = [] if apart else list(takewhile(lambda member: not self._goes_alone(member), waiting))
            batch = together or waiting[:1]
            error = await self._run_batch(batch)
            if error is None or self._interrupted:
                continue  # when a member was stopped, the others simply run again
            apart = True
            for member in batch:
                self._blame(member, error, alone=len(batch) == 1)

    async def keep(self) -> AsyncIterator[list[RunReport]]:
        """Make the results durable. Every member gets exactly one report; all at once, but nobody waits long for another."""
        outcomes = self._members.outcomes
        ended = [member for member in self._group.members if member.job_id in outcomes]
        # Side by side, because the file system settles several flushes at once for little more than the price of one.
        under_way = [asyncio.ensure_future(self._report(member, outcomes[member.job_id])) for member in ended]
        reports, self._settled = self._settled, []
        try:
            while under_way:
                await asyncio.wait(under_way, timeout=TOGETHER_S)
                reports += [report.result() for report in under_way if report.done()]
                under_way = [report for report in under_way if not report.done()]
                if under_way:
                    yield reports
                    reports = []
            yield reports
        finally:
            self._close_left()

    def _goes_alone(self, member: Member) -> bool:
        """One that goes on from a checkpoint, or whose checkpoints carry a state, so that no message is too large and the
        shared memory is its own; both are long ones anyway.
        """
        return self._kept[member.job_id].goes_on or member.bulk_bytes > 0

    def _here(self, attempts: Iterable[Attempt]) -> list[Member]:
        return [member for attempt in attempts if (member := self._members.waits(*attempt)) is not None]

    def _tell(self, what: str, members: Iterable[Member]) -> None:
        """Tell the child something about those of `members` that are at work."""
        jobs = [member.job_id for member in members if self._members.at_work(member.job_id)]
        for start in range(0, len(jobs), NOTE_JOBS):
            self._line.send({what: jobs[start : start + NOTE_JOBS]})

    def _blame(self, member: Member, error: QrtxError, *, alone: bool) -> None:
        """A child failed with `member` in it: decide whether that is its end."""
        job_id = member.job_id
        further = self._kept[job_id].child_died()
        if self._members.waits(job_id, member.attempt) is None:
            return  # it had ended, or was stopped
        self._deaths[job_id] += 1
        guilty = self._deaths[job_id] >= MOST_DEATHS or (job_id in self._suspects and not further)
        if alone and (guilty or not isinstance(error, WorkerDied)):
            self._members.settle(job_id, {"error": error.info().to_dict()})
        self._suspects.add(job_id)

    def _stays(self, member: Member) -> bool:
        """Whether the member still waits to be run; one that is to make way is given back."""
        if self._members.waits(member.job_id, member.attempt) is None:
            return False
        if member.job_id in self._leaving:
            self._give_back(member)
            return False
        return True

    def _give_back(self, member: Member) -> None:
        self._members.drop(member.job_id, member.attempt)
        kept = self._kept[member.job_id]
        self._settled.append(
            RunReport(
                member.job_id,
                member.attempt,
                preempted=True,
                progress=kept.progress,
                checkpoint=kept.news,
                refused=tuple(kept.refused),
            )
        )

    async def _run_batch(self, batch: list[Member]) -> QrtxError | None:
        """Run `batch` from what is kept of it; an error returned is the child's, not a member's."""
        self._interrupted = False
        area = self._area = _area_for(batch, self._memory_bytes)
        kept = {}
        try:
            for member in batch if len(batch) == 1 else ():
                stored = await self._kept[member.job_id].resume(None if area is None else _into(area))
                if stored is not None:
                    kept[member.job_id] = stored
            # Any of them may have been stopped or preempted meanwhile.
            batch = [member for member in batch if self._stays(member)]
            return await self._call_child(batch, kept) if batch else None
        finally:
            self._area = None
            await self._leave(batch, area)

    async def _leave(self, batch: list[Member], area: Area | None) -> None:
        """After a call: what the next one may go on from is on the disk before it begins."""
        for member in batch:
            if self._members.waits(member.job_id, member.attempt) is not None:
                await self._kept[member.job_id].settled()
        if area is None:
            return
        job_id = batch[0].job_id if batch else ""
        if self._members.outcomes.get(job_id, {}).get("preempted") is True:
            self._left[job_id] = area
        else:
            self._spawn(self._close_later(area, job_id))

    async def _close_later(self, area: Area, job_id: str) -> None:
        if job_id:
            await self._kept[job_id].settled()
        self._close(area)

    def _close_left(self) -> None:
        left, self._left = self._left, {}
        for area in left.values():
            self._close(area)

    @staticmethod
    def _close(area: Area) -> None:
        _WRITERS.submit(area.close)  # to give gigabytes back takes a while

    async def _call_child(self, batch: list[Member], kept: Mapping[str, StoredCheckpoint]) -> QrtxError | None:
        self._members.begin(batch)
        deadline_s = max(member.timeout_s for member in batch)
        message = compose(
            self._group.device,
            batch,
            noise_id=self._group.noise_id,
            checkpoints={job_id: stored.body for job_id, stored in kept.items()},
            bulk_bytes={job_id: stored.bulk_bytes for job_id, stored in kept.items()},
        )
        self._line = Interrupts()
        self._tell("conclude", [member for member in batch if member.job_id in self._concluding])
        self._tell("checkpoint", [member for member in batch if member.job_id in self._wanted])
        area = None if self._area is None else self._area.descriptor
        call = self._sandbox.call(
            message, deadline_s=deadline_s, on_event=self._heard, interrupts=self._line, area=area
        )
        self._call = asyncio.get_running_loop().create_task(call)
        try:
            self._members.accept_all((await self._call).get("outcomes"))
        except QrtxError as error:
            return error
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
            return None
        finally:
            self._call = None
            self._members.end()
        if not self._interrupted:
            for member in batch:
                if self._members.drop(member.job_id, member.attempt):
                    silent = ExecuteError("the engine gave no outcome for this job").info()
                    self._settled.append(RunReport(member.job_id, member.attempt, error=silent))
        return None

    def _heard(self, event: dict[str, Any]) -> None:
        job_id, fraction = str(event.get("job_id")), event.get("progress")
        if isinstance(event.get("outcome"), dict):
            self._members.accept(event["outcome"] | {"job_id": job_id})
            return
        if not self._members.at_work(job_id):
            return
        if isinstance(fraction, float):
            self._progress[job_id] = (min(1.0, max(0.0, fraction)), slices_of(event.get("slices")))
        if "checkpoint" in event:
            self._handed_out(job_id, event)

    def _handed_out(self, job_id: str, event: Mapping[str, Any]) -> None:
        """A checkpoint of a run that goes on. What is no checkpoint is not answered: the run is the child's own affair."""
        area, line = self._area, self._line
        sealed = sealed_of(event, 0 if area is None else area.size_bytes)
        if sealed is None:
            log.warning("%s handed out a checkpoint that cannot be read", job_id)
            return
        if self._kept[job_id].take(
            sealed, _bulk(area, sealed.bulk_at, sealed.bulk_bytes), lambda: self._taken(line, job_id)
        ):
            self._wanted.discard(job_id)

    def _taken(self, line: Interrupts, job_id: str) -> None:
        line.send({"taken": [job_id]})
        if job_id in self._wanted:  # it was asked for while this one was being kept, and may have been taken for it
            line.send({"checkpoint": [job_id]})

    async def _report(self, member: Member, outcome: Mapping[str, Any]) -> RunReport:
        kept, area = self._kept[member.job_id], self._left.get(member.job_id)
        if outcome.get("anew"):
            log.warning("%s began anew: %s", member.job_id, str(outcome["anew"])[:200])
            kept.engine_refused()
        end = run_end_of(
            outcome,
            may_leave=member.job_id in self._leaving or member.job_id in self._concluding,
            may_conclude=member.job_id in self._concluding,
            area_bytes=0 if area is None else area.size_bytes,
        )
        if isinstance(end, ErrorInfo):
            return RunReport(member.job_id, member.attempt, error=end, refused=tuple(kept.refused))
        if isinstance(end, RunEnd):
            report = await self._written(member, end)
            await kept.settled()  # or a file might appear after those of an ended job were dropped
            return report
        return await self._made_way(member, end, area)

    async def _made_way(self, member: Member, end: MadeWay, area: Area | None) -> RunReport:
        kept, sealed = self._kept[member.job_id], end.checkpoint
        await kept.settled()
        if sealed is not None:
            await kept.keep(sealed, _bulk(area, sealed.bulk_at, sealed.bulk_bytes))
        return RunReport(
            member.job_id,
            member.attempt,
            wall_s=end.wall_s,
            preempted=True,
            progress=kept.progress,
            checkpoint=kept.news,
            refused=tuple(kept.refused),
        )

    async def _written(self, member: Member, end: RunEnd) -> RunReport:
        """The report when the results are durable. While they cannot be written they stay here, for as long as they are wanted:
        to run the job once more would cost more, and help no better.
        """
        attempt, error = (member.job_id, member.attempt), None
        given_up = self._writing[attempt] = asyncio.Event()
        try:
            while not given_up.is_set():
                report = await asyncio.get_running_loop().run_in_executor(_WRITERS, self._write, member, end)
                if report.error is None or not report.error.retryable:
                    return report
                if error is None:
                    log.warning("results of %s wait to be written: %s", member.job_id, report.error.message)
                error = report.error
                with suppress(TimeoutError):
                    async with asyncio.timeout(WRITE_AGAIN_S):
                        await given_up.wait()
            return self.stopped(*attempt)
        finally:
            del self._writing[attempt]

    def _write(self, member: Member, end: RunEnd) -> RunReport:
        refused = tuple(self._kept[member.job_id].refused)
        try:
            stored = self._files.write_results(member.job_id, end.results, member.attempt)
        except QrtxError as error:
            return RunReport(member.job_id, member.attempt, error=error.info(), refused=refused)
        return RunReport(
            member.job_id,
            member.attempt,
            sha256=stored.sha256,
            size_bytes=stored.size_bytes,
            qpu_s=end.qpu_s,
            wall_s=end.wall_s,
            progress=end.progress if end.partial else 0.0,
            refused=refused,
            partial=end.partial,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _area_for(batch: list[Member], memory_bytes: int | None) -> Area | None:
    """Shared memory for two states, so that the run goes on in the one while the other is written; for one, where two would
    leave the child too little for the rest, and the run then waits while it is written.
    """
    size = batch[0].bulk_bytes if len(batch) == 1 else 0
    if not size:
        return None
    pages = -(-size // mmap.PAGESIZE)
    beside = size // BESIDE_SHARE + BESIDE_BYTES
    states = 2 if memory_bytes is None or 2 * size + beside <= memory_bytes else 1
    try:
        return Area((states * pages + 1) * mmap.PAGESIZE)
    except OSError as error:
        log.warning("no shared memory for %s, which is not kept on the way: %s", batch[0].job_id, error.strerror)
        return None


def _bulk(area: Area | None, start: int, nbytes: int) -> memoryview | None:
    view = area.view() if area is not None and nbytes else None
    return None if view is None else view[start : start + nbytes]


def _into(area: Area) -> Callable[[int], memoryview]:
    def room(nbytes: int) -> memoryview:
        view = area.view(nbytes)
        if view is None:
            raise ResourceExhausted(f"a stored state of {nbytes} bytes has no room in {area.size_bytes}")
        return view

    return room
