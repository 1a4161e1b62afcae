"""One group on its way through an engine child: results in, blame on the right member, nobody else harmed.

A child that dies takes the whole batch with it, but only one member is to blame. The others are therefore run again, each
alone: whoever kills its child then is the guilty one and fails; the honest ones complete. A member that is stopped while it
runs costs the child as well; the rest of the batch is simply run again, since results depend on nothing but the job's own
program and seed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from qrtx_ray.errors import ErrorInfo, ExecuteError, PersistError, QrtxError
from qrtx_ray.model import Group, Member, RunReport
from qrtx_ray.multiplex.compose import Demultiplexer, compose
from qrtx_ray.sandbox.process import Sandbox
from qrtx_ray.store.circuit_fs import CircuitFS

__all__ = ["GroupRun"]

log = logging.getLogger("qrtx.device")

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
        self._killed = False

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
        if running:
            self._killed = True
            self._sandbox.kill()
        return True

    @staticmethod
    def stopped(job_id: str, attempt: int) -> RunReport:
        """The report of an attempt that was stopped on request."""
        return RunReport(job_id, attempt, error=STOPPED)

    async def execute(self) -> list[RunReport]:
        """Run all members. Every member gets exactly one report; results are durable when this returns."""
        apart = False
        while waiting := self._members.waiting:
            batch = waiting[:1] if apart else waiting
            self._killed = False
            error = await self._run_batch(batch)
            if error is None or self._killed:
                continue  # when we killed the child ourselves, the others simply run again
            if len(batch) == 1:
                self._members.settle(batch[0].job_id, {"error": error.info().to_dict()})
            apart = True
        return [*await asyncio.to_thread(self._write_results), *self._stopped]

    async def _run_batch(self, batch: list[Member]) -> QrtxError | None:
        """Run `batch` in one call of the child; an error returned is the child's, not a member's."""
        self._members.begin(batch)
        deadline_s = max(member.timeout_s for member in batch)
        try:
            reply = await self._sandbox.call(
                compose(self._group.device, batch), deadline_s=deadline_s, on_event=self._heard
            )
            for outcome in reply.get("outcomes", ()):
                if self._members.at_work(outcome.get("job_id")):
                    self._members.accept(outcome)
        except QrtxError as error:
            return error
        finally:
            self._members.end()
        for member in batch:
            if self._members.drop(member.job_id, member.attempt):
                silent = ExecuteError("the engine gave no outcome for this job").info()
                self._stopped.append(RunReport(member.job_id, member.attempt, error=silent))
        return None

    def _heard(self, event: dict[str, Any]) -> None:
        outcome, fraction = event.get("outcome"), event.get("progress")
        if isinstance(outcome, dict):
            self._members.accept(outcome | {"job_id": event.get("job_id")})
        elif isinstance(fraction, float) and self._members.at_work(str(event.get("job_id"))):
            self._fractions[str(event["job_id"])] = min(1.0, max(0.0, fraction))

    def _write_results(self) -> list[RunReport]:
        outcomes = self._members.outcomes
        return [
            self._write(member, outcomes[member.job_id]) for member in self._group.members if member.job_id in outcomes
        ]

    def _write(self, member: Member, outcome: Mapping[str, Any]) -> RunReport:
        if outcome.get("error"):
            return RunReport(member.job_id, member.attempt, error=ErrorInfo.from_dict(outcome["error"]))
        try:
            stored = self._files.write_results(member.job_id, bytes(outcome["results"]), member.attempt)
        except PersistError as refused:
            log.warning("results of %s could not be written: %s", member.job_id, refused.message)
            return RunReport(member.job_id, member.attempt, error=refused.info())
        return RunReport(
            member.job_id,
            member.attempt,
            sha256=stored.sha256,
            size_bytes=stored.size_bytes,
            qpu_s=float(outcome.get("qpu_s", 0.0)),
            wall_s=float(outcome.get("wall_s", 0.0)),
        )
