"""A running job goes on with another agent: the attempt is asked back, and the next one kept for a while for whom it is for."""

from __future__ import annotations

from qrtx_ray.errors import InvalidState
from qrtx_ray.scheduler.asking import owned, reconsider
from qrtx_ray.scheduler.events import MigrationRequested
from qrtx_ray.scheduler.job import ON_AGENT, Move
from qrtx_ray.scheduler.workers import Agent, Device
from qrtx_ray.scheduler.world import World

__all__ = ["on_migration_requested"]


def on_migration_requested(world: World, event: MigrationRequested) -> None:
    """Have the attempt end after its slice. The wish does not outlive this process: then the job goes on with anybody.

    Raises:
        NotFound: No such job in memory, or another tenant's.
        InvalidState: No agent has the job, it is about to end or to be paused, or nobody else can take it.
    """
    record = owned(world, event.job_id, event.tenant)
    job = world.jobs.get(record.id)
    if job is None or job.agent is None or record.state not in ON_AGENT:
        raise InvalidState(f"job {record.id} is {record.state.value} with no agent; only a job that one holds is moved")
    if record.cancel_requested or record.pause_requested:
        wish = "cancelled" if record.cancel_requested else "paused"
        raise InvalidState(f"job {record.id} is being {wish} and cannot be moved")
    device = world.device(record.device)
    if device.closed:
        raise InvalidState(f"the device {record.device} takes no work now")
    _check_target(device, job.agent, event.agent)
    job.move = Move(event.agent, job.agent.name)
    world.note(job, f"moved to {event.agent or 'another agent'} by {event.by}")
    reconsider(world, job)


def _check_target(device: Device, present: Agent, wanted: str | None) -> None:
    name = device.info.name
    if wanted is None:
        if not any(agent is not present and not agent.drained for agent in device.agents.values()):
            raise InvalidState(f"no other agent takes work of the device {name}")
        return
    agent = device.agents.get(wanted)
    if agent is None:
        raise InvalidState(f"agent {wanted} does not serve the device {name}", field="agent")
    if agent is present:
        raise InvalidState(f"agent {wanted} has the job already", field="agent")
    if agent.drained:
        raise InvalidState(f"agent {wanted} is drained", field="agent")
