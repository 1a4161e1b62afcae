"""How jobs, devices and agents are steered: cancel, pause, resume, checkpoint, migrate, restore, drain.

Every call is answered after its commit. A caller that got no answer asks again with `again`, and then finds done what the lost
call did: each of these either changes nothing the second time, or recognises that it was done.
"""

from __future__ import annotations

import hashlib

from qrtx_ray.actors.outbox import settled
from qrtx_ray.actors.wire import AgentState
from qrtx_ray.actors.worker_calls import WorkerCalls
from qrtx_ray.errors import InvalidState, NotFound, QrtxError
from qrtx_ray.model import JobRecord, JobRequest, TaskState
from qrtx_ray.scheduler import events

__all__ = ["ControlCalls", "restoring"]


class ControlCalls(WorkerCalls):
    """The part of the scheduler actor that clients and operators steer by. `tenant` None is the operator."""

    async def cancel(
        self, job_id: str, tenant: str | None, by: str, again: bool = False, partial: bool = False
    ) -> JobRecord:
        """Cancel a job. Raises NotFound or InvalidState (already finished).

        Args:
            again: Whether the same call may have been carried out before: then the job may be cancelled already.
            partial: Whether a run under way is to end after its slice with the results it has by then.
        """
        try:
            return await self._request(events.CancelRequested(job_id, tenant, by, partial), job_id)
        except InvalidState:
            [record] = await self.get([job_id])
            if again and record is not None and record.state is TaskState.CANCELLED and record.cancelled_by == by:
                return record
            raise

    async def pause(self, job_id: str, tenant: str | None, by: str, again: bool = False) -> JobRecord:
        """Have a job wait until it is resumed; one that runs makes way after its slice, and is then Paused. Pausing what is
        paused changes nothing. Raises NotFound or InvalidState (already finished).

        Args:
            again: Whether the same call may have been carried out before: then the job may have ended in spite of it.
        """
        try:
            return await self._request(events.PauseRequested(job_id, tenant, by), job_id)
        except InvalidState:
            [record] = await self.get([job_id])
            if again and record is not None and record.paused_by == by:
                return record
            raise

    async def resume(self, job_id: str, tenant: str | None, by: str, again: bool = False) -> JobRecord:
        """Let a paused job go on, from its last checkpoint. Resuming what runs or waits changes nothing.

        Args:
            again: Whether the same call may have been carried out before: then the job may have gone on, and ended.

        Raises:
            NotFound: There is no such job.
            InvalidState: Already finished.
        """
        try:
            return await self._request(events.ResumeRequested(job_id, tenant, by), job_id)
        except InvalidState:
            [record] = await self.get([job_id])
            if again and record is not None and record.state is TaskState.COMPLETED:
                return record
            raise

    async def checkpoint(self, job_id: str, tenant: str | None, again: bool = False) -> JobRecord:
        """Have a running job keep its progress after its slice and go on. Raises NotFound or InvalidState (does not run).

        Args:
            again: Whether the same call may have been carried out before: then the job may have completed meanwhile.
        """
        try:
            return await self._request(events.CheckpointRequested(job_id, tenant), job_id)
        except InvalidState:
            [record] = await self.get([job_id])
            if again and record is not None and record.state is TaskState.COMPLETED:
                return record
            raise

    async def migrate(
        self, job_id: str, tenant: str | None, by: str, agent: str | None = None, again: bool = False
    ) -> JobRecord:
        """Have a running job go on with `agent`, or with any other than the present one.

        Args:
            again: Whether the same call may have been carried out before: then the job may be on its way already.

        Raises:
            NotFound: There is no such job.
            InvalidState: It does not run, or no other agent can take it.
        """
        try:
            return await self._request(events.MigrationRequested(job_id, tenant, by, agent), job_id)
        except InvalidState:
            [record] = await self.get([job_id])
            if again and record is not None and not record.terminal:
                return record
            raise

    async def set_device_paused(self, device: str, paused: bool) -> None:
        """Stop or resume giving out work of `device`. Raises NotFound."""
        await self.drain_device(device, paused, drain=False)

    async def drain_device(self, device: str, on: bool, drain: bool = True) -> None:
        """Stop giving out work of `device`, and with `drain` have what runs there make way after its slice; or, with `on` False,
        resume. Holds over restarts. Raises NotFound.
        """
        await self._settle(events.DevicePaused(device, drain) if on else events.DeviceResumed(device))

    async def drain_agent(self, agent: str | None, on: bool) -> None:
        """Have an agent (None: every one) give its work back after its slice and take no more; or, with `on` False, take work
        again. Holds over restarts. Raises NotFound.
        """
        await self._settle(events.AgentDrained(agent) if on else events.AgentResumed(agent))

    async def agents(self) -> list[AgentState]:
        """The agents that have joined, by name."""
        await self._ready.to_read()
        now, heard = self._clock.monotonic(), self._agents.last_heard()
        return [
            AgentState(
                view.name,
                view.devices,
                len(view.held),
                view.drained,
                max(0.0, now - heard[view.name]) if view.name in heard else 0.0,
                view.incarnation,
            )
            for view in self._core.agent_readings()
        ]

    async def _request(self, event: events.Event, job_id: str) -> JobRecord:
        """Apply an event about one job; its record as committed then."""
        await self._ready.wait()
        await self._recall(job_id)
        before = self._core.record(job_id)
        await self._settle(event)
        return self._committed.get(job_id) or before

    async def _settle(self, event: events.Event) -> None:
        """Apply an event; return, or be refused, when everything that this rests on is durable."""
        await self._ready.wait()
        try:
            _, performed = self._apply(event)
        except QrtxError:
            # What the core refuses by may be a change that is still on its way to the disk.
            await settled(self._outbox.post(None, ()))
            raise
        await settled(performed)


def restoring(old: JobRecord, sequence: int | None, payload: bytes | None, key: str | None) -> JobRequest:
    """The request for a job that begins with the checkpoints of `old`, which has ended.

    Raises:
        InvalidState: It has not ended.
        NotFound: It has no such checkpoint, or its own request, `payload`, is not kept.
    """
    if not old.terminal:
        raise InvalidState(f"job {old.id} has not ended; pause and resume it instead")
    checkpoints = old.checkpoints
    if sequence is not None:
        checkpoints = tuple(ref for ref in checkpoints if ref.sequence <= sequence)
        if not checkpoints or checkpoints[0].sequence != sequence:
            raise NotFound(f"job {old.id} has no checkpoint {sequence}", field="sequence")
    if not checkpoints:
        raise NotFound(f"job {old.id} has no checkpoint to begin with", field="sequence")
    if payload is None:
        raise NotFound(f"the request of job {old.id} is not kept any more")
    return JobRequest(
        program=old.program,
        device=old.device,
        payload=payload,
        payload_format=old.payload_format,
        tenant=old.tenant,
        instance=old.instance,
        priority=old.priority,
        name=old.name,
        tags=old.tags,
        seed=old.seed,
        session_id=old.session_id,
        private=old.private,
        queue_timeout_s=old.queue_timeout_s,
        execution_timeout_s=old.execution_timeout_s,
        max_qpu_s=old.max_qpu_s,
        idempotency_key=key,
        digest=hashlib.sha256(f"restore/{old.id}/{sequence}".encode()).hexdigest(),
        client=old.client,
        source=old.source,
        fidelity_floor=old.fidelity_floor,
        checkpoint_interval_s=old.checkpoint_interval_s,
        restored_from=old.id,
        checkpoints=checkpoints,
    )
