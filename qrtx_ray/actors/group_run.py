"""One group on its way through an engine child: results in, blame on the right member, nobody else harmed.

A child that dies takes the whole batch with it, but only one member is to blame. The others are therefore run again, each
alone: whoever has then seen two children die is the guilty one and fails; the honest ones complete. One death is not enough,
for a child can also be killed from outside. A member that is stopped while it runs costs the child as well; the rest of the
batch is simply run again, since results depend on nothing but the job's own program and seed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from qrtx_ray.actors.answers import run_end_of
from qrtx_ray.errors import ErrorInfo, ExecuteError, QrtxError, WorkerDied
from qrtx_ray.model import Group, Member, RunReport
from qrtx_ray.multiplex.compose import Demultiplexer, compose
from qrtx_ray.sandbox.process import Sandbox
from qrtx_ray.store.circuit_fs import CircuitFS

__all__ = ["GroupRun"]

log = logging.getLogger("qrtx.device")

_WRITERS = ThreadPoolExecutor(4, thread_name_prefix="results")

Attempt = tuple[str, int]
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
        self._stopped: list[RunReport] = []
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
        self._stopped.append(self.stopped(job_id, attempt))
        if running and self._call is not None:
            # Not `kill`: the call may still wait for a child, and must then not begin.
            self._interrupted = True
            self._call.cancel()
        return True

    @staticmethod
    def stopped(job_id: str, attempt: int) -> RunReport:
        """The report of an attempt that was stopped on request."""
        return RunReport(job_id, attempt, error=STOPPED)

    async def execute(self) -> None:
        """Run all members. When this returns the child is free, and `keep` has something to keep for everybody."""
        apart, suspects = False, set[str]()
        while waiting := self._members.waiting:
            batch = waiting[:1] if apart else waiting
            self._interrupted = False
            error = await self._run_batch(batch)
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
        return [*await asyncio.gather(*written), *self._stopped]

    async def _run_batch(self, batch: list[Member]) -> QrtxError | None:
        """Run `batch` in one call of the child; an error returned is the child's, not a member's."""
        self._members.begin(batch)
        deadline_s = max(member.timeout_s for member in batch)
        message = compose(self._group.device, batch)
        call = self._sandbox.call(message, deadline_s=deadline_s, on_event=self._heard)
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
                self._stopped.append(RunReport(member.job_id, member.attempt, error=silent))
        return None

    def _heard(self, event: dict[str, Any]) -> None:
        outcome, fraction = event.get("outcome"), event.get("progress")
        job_id = str(event.get("job_id"))
        if isinstance(outcome, dict):
            self._members.accept(outcome | {"job_id": job_id})
        elif isinstance(fraction, float) and self._members.at_work(job_id):
            self._fractions[job_id] = min(1.0, max(0.0, fraction))

    def _write(self, member: Member, outcome: Mapping[str, Any]) -> RunReport:
        end = run_end_of(outcome)
        if isinstance(end, ErrorInfo):
            return RunReport(member.job_id, member.attempt, error=end)
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
