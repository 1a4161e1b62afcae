"""One group on its way through an engine child: results in, blame on the right member, nobody else harmed.

A child that dies takes the whole batch with it, but only one member is to blame. The others are therefore run again, each
alone: whoever has then seen two children die is the guilty one and fails; the honest ones complete. One death is not enough,
for a child can also be killed from outside. A member that is stopped while it runs costs the child as well; the rest of the
batch is simply run again, since results depend on nothing but the job's own program and seed.

A member that is preempted costs nothing but the rest of its slice: the child is told, ends the slice and hands out what it has,
which becomes a file. A later attempt that is given the digest of that file goes on from it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import Any

from qrtx_ray.actors.answers import MadeWay, run_end_of
from qrtx_ray.actors.faults import reached
from qrtx_ray.errors import ErrorInfo, ExecuteError, QrtxError, WorkerDied
from qrtx_ray.model import Group, Member, RunReport
from qrtx_ray.multiplex.compose import Demultiplexer, compose
from qrtx_ray.sandbox.interrupts import Interrupts
from qrtx_ray.sandbox.process import Sandbox
from qrtx_ray.store.circuit_fs import CircuitFS

__all__ = ["GroupRun"]

log = logging.getLogger("qrtx.device")

_WRITERS = ThreadPoolExecutor(4, thread_name_prefix="results")

Attempt = tuple[str, int]
NOTE_JOBS = 500  # named in one note to the child, whose size is bounded
STOPPED = ErrorInfo("stopped", "the attempt was stopped on request", "ExecuteError")


class GroupRun:
    """Runs a group to its end.

    Args:
        group: Members with their executables.
        sandbox: The child that runs engines; killed and replaced as needed.
        files: Where results become durable.
    """

    def __init__(self, group: Group, sandbox: Sandbox, files: CircuitFS) -> None:
        self._group = group
        self._sandbox = sandbox
        self._files = files
        self._members = Demultiplexer(group.members)
        self._fractions: dict[str, float] = {}
        self._settled: list[RunReport] = []  # of members that have no outcome
        self._leaving: set[str] = set()
        self._line = Interrupts()
        self._call: asyncio.Task[dict[str, Any]] | None = None
        self._interrupted = False

    def members(self) -> list[Attempt]:
        """All attempts of the group."""
        return [(member.job_id, member.attempt) for member in self._group.members]

    def progress(self) -> list[tuple[str, int, float]]:
        """``(job, attempt, fraction)`` of the members that reported any."""
        known = self._fractions
        return [(m.job_id, m.attempt, known[m.job_id]) for m in self._group.members if m.job_id in known]

    def stop(self, job_id: str, attempt: int) -> bool:
        """Stop one member; its child dies now if it is at work on it. Returns whether the attempt was waiting here."""
        running = self._members.at_work(job_id)
        if not self._members.drop(job_id, attempt):
            return False
        self._settled.append(self.stopped(job_id, attempt))
        if running and self._call is not None:
            # Not `kill`: the call may still wait for a child, and must then not begin.
            self._interrupted = True
            self._call.cancel()
        return True

    def preempt(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Have members make way: one at work after its slice, one that waits at once. Returns those that were waiting here."""
        here = [member for attempt in attempts if (member := self._members.waits(*attempt)) is not None]
        at_work = [member.job_id for member in here if self._members.at_work(member.job_id)]
        self._leaving.update(member.job_id for member in here)
        for start in range(0, len(at_work), NOTE_JOBS):
            self._line.send({"preempt": at_work[start : start + NOTE_JOBS]})
        for member in here:
            if member.job_id not in at_work:
                self._give_back(member)
        return [(member.job_id, member.attempt) for member in here]

    @staticmethod
    def given_back(member: Member) -> RunReport:
        """The report of a member that made way before it began: it has what it came with."""
        return RunReport(member.job_id, member.attempt, preempted=True, checkpoint_sha256=member.checkpoint_sha256)

    @staticmethod
    def stopped(job_id: str, attempt: int) -> RunReport:
        """The report of an attempt that was stopped on request."""
        return RunReport(job_id, attempt, error=STOPPED)

    async def execute(self) -> None:
        """Run all members. When this returns the child is free, and `keep` has something to keep for everybody."""
        apart, suspects = False, set[str]()
        while waiting := self._members.waiting:
            # One that goes on from a checkpoint runs alone, so that no message is too large; it is a long one anyway.
            alone = apart or waiting[0].checkpoint_sha256 is not None
            batch = waiting[:1] if alone else list(takewhile(lambda member: member.checkpoint_sha256 is None, waiting))
            # What a child has died of once may have been the checkpoint.
            checkpoints = {} if batch[0].job_id in suspects else await self._checkpoints(batch)
            batch = [member for member in batch if self._stays(member)]
            if not batch:
                continue
            self._interrupted = False
            error = await self._run_batch(batch, checkpoints)
            if error is None or self._interrupted:
                continue  # when a member was stopped, the others simply run again
            if len(batch) == 1 and (batch[0].job_id in suspects or not isinstance(error, WorkerDied)):
                self._members.settle(batch[0].job_id, {"error": error.info().to_dict()})
            suspects.update(member.job_id for member in batch)
            apart = True

    async def keep(self) -> list[RunReport]:
        """Make the results durable. Every member gets exactly one report."""
        loop, outcomes = asyncio.get_running_loop(), self._members.outcomes
        ended = [member for member in self._group.members if member.job_id in outcomes]
        # Side by side, because the file system settles several flushes at once for little more than the price of one.
        written = (loop.run_in_executor(_WRITERS, self._write, member, outcomes[member.job_id]) for member in ended)
        return [*await asyncio.gather(*written), *self._settled]

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
        self._settled.append(self.given_back(member))

    async def _checkpoints(self, batch: list[Member]) -> dict[str, bytes]:
        """What was kept of these members, as far as it can be read. Who has none begins anew."""
        kept = {}
        for member in batch:
            sha256 = member.checkpoint_sha256
            if sha256 is not None:
                try:
                    read = self._files.read_checkpoint
                    data = await asyncio.get_running_loop().run_in_executor(_WRITERS, read, member.job_id, sha256)
                except QrtxError as refused:
                    log.warning("kept progress of %s could not be read: %s", member.job_id, refused.message)
                    data = None
                if data is None:
                    log.warning("%s begins anew: its kept progress is not there", member.job_id)
                else:
                    kept[member.job_id] = data
        return kept

    async def _run_batch(self, batch: list[Member], checkpoints: Mapping[str, bytes]) -> QrtxError | None:
        """Run `batch` in one call of the child; an error returned is the child's, not a member's."""
        self._members.begin(batch)
        deadline_s = max(member.timeout_s for member in batch)
        message = compose(self._group.device, batch, noise_id=self._group.noise_id, checkpoints=checkpoints)
        self._line = Interrupts()
        call = self._sandbox.call(message, deadline_s=deadline_s, on_event=self._heard, interrupts=self._line)
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
        if self._interrupted:
            return None
        for member in batch:
            if self._members.drop(member.job_id, member.attempt):
                silent = ExecuteError("the engine gave no outcome for this job").info()
                self._settled.append(RunReport(member.job_id, member.attempt, error=silent))
        return None

    def _heard(self, event: dict[str, Any]) -> None:
        outcome, fraction = event.get("outcome"), event.get("progress")
        job_id = str(event.get("job_id"))
        if isinstance(outcome, dict):
            self._members.accept(outcome | {"job_id": job_id})
        elif isinstance(fraction, float) and self._members.at_work(job_id):
            self._fractions[job_id] = min(1.0, max(0.0, fraction))

    def _write(self, member: Member, outcome: Mapping[str, Any]) -> RunReport:
        end = run_end_of(outcome, may_leave=member.job_id in self._leaving)
        if outcome.get("anew"):
            log.warning("%s began anew: %s", member.job_id, str(outcome["anew"])[:200])
        if isinstance(end, ErrorInfo):
            return RunReport(member.job_id, member.attempt, error=end)
        if isinstance(end, MadeWay):
            return self._write_checkpoint(member, end)
        try:
            stored = self._files.write_results(member.job_id, end.results, member.attempt)
        except QrtxError as refused:
            log.warning("results of %s could not be written: %s", member.job_id, refused.message)
            return RunReport(member.job_id, member.attempt, error=refused.info())
        return RunReport(
            member.job_id,
            member.attempt,
            sha256=stored.sha256,
            size_bytes=stored.size_bytes,
            qpu_s=end.qpu_s,
            wall_s=end.wall_s,
        )

    def _write_checkpoint(self, member: Member, end: MadeWay) -> RunReport:
        sha256, progress = member.checkpoint_sha256, 0.0
        if end.checkpoint:
            try:
                sha256 = self._files.write_checkpoint(member.job_id, end.checkpoint)
                progress = end.progress
                reached("agent.checkpoint_written")
            except QrtxError as refused:
                # What was kept before is still there.
                log.warning("progress of %s could not be kept: %s", member.job_id, refused.message)
        return RunReport(
            member.job_id,
            member.attempt,
            wall_s=end.wall_s,
            preempted=True,
            progress=progress,
            checkpoint_sha256=sha256,
        )
