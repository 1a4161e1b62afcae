"""Jobs that leave their device to the scheduler find one, and another one when theirs is lost to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qrtx_ray.model import AUTO_DEVICE, Candidate, CompileReport, TaskState
from qrtx_ray.scheduler.job import Job
from qrtx_ray.scheduler.lines import DeviceLine
from qrtx_ray.scheduler.outcomes import fail, put_aside
from qrtx_ray.scheduler.placement import place, refusal_of_all
from qrtx_ray.scheduler.states import Trigger
from qrtx_ray.scheduler.workers import Device
from qrtx_ray.scheduler.world import World

__all__ = [
    "ALARM",
    "look_again",
    "look_elsewhere",
    "look_for_stranded",
    "on_placement_due",
    "recompile",
    "settle_in",
    "settle_survey",
    "vacate",
]

ALARM = "placement"
STRANDED = f"{ALARM}/"  # of no one device
#: Candidates that stay with a job: it is written with every change, and who may go to 68 devices goes to the best.
KEPT_CANDIDATES = 16
_SURVEYED = (Trigger.SURVEYED,)
_REPLACED = (Trigger.REPLACED,)


def settle_survey(world: World, job: Job, report: CompileReport) -> None:
    """The survey came back: the policy chooses, and the job is compiled for what it chose."""
    record = job.record
    scored = place(world, record, report.candidates)
    if not scored or scored[0].refusal:
        error = refusal_of_all(world, record, report.candidates)
        world.amend(job, {"candidates": report.candidates})
        fail(world, job, error)
        return
    job.scored = tuple(scored)
    best = scored[0].device
    world.promise(job, _candidate(report.candidates, best))
    kept = {option.device for option in scored[:KEPT_CANDIDATES]}
    candidates = tuple(candidate for candidate in report.candidates if candidate.device in kept)
    world.advance(job, _SURVEYED, f"goes to {best}", device=best, candidates=candidates)
    if record.pause_requested:
        put_aside(world, job)
        return
    world.enqueue(job)
    world.arm(job)


def settle_in(world: World, job: Job) -> None:
    """The job came into its device's line; much may have changed there while it was with a compiler."""
    record = job.record
    device = world.devices[record.device]
    if record.id not in device.movable:
        return
    if device.closed:
        _move_away(world, device, job)
    elif not device.takers:
        look_for_stranded(world)
    else:
        _compile_anew(world, device, job)


def look_again(world: World, job: Job) -> None:
    """A job that was paused goes on: what was chosen for it counts again, and may not be the best any more."""
    record = job.record
    if record.state is TaskState.PENDING:
        chosen = next((candidate for candidate in record.candidates if candidate.device == record.device), None)
        world.promise(job, chosen)
    elif job.line is not None:
        settle_in(world, job)


def look_elsewhere(world: World, job: Job) -> None:
    """A job came back from an agent: where nobody takes its device's work any more, it may go elsewhere."""
    if isinstance(job.line, DeviceLine) and _idles(world.devices[job.record.device]):
        settle_in(world, job)


def vacate(world: World, *devices: Device) -> None:
    """The devices take no work for a while: what waits for them and may choose goes elsewhere, where that is better.

    A long line is gone through in several steps, so that no event costs much.
    """
    _look_at_all(world, devices, _move_away)


def recompile(world: World, device: Device) -> None:
    """The device was calibrated: what waits for it with an older calibration behind it and may choose, or insists on a
    fidelity, is looked at anew. Other jobs run as they are.
    """
    _look_at_all(world, (device,), _compile_anew)


def _look_at_all(world: World, devices: Sequence[Device], moving: Callable[[World, Device, Job], None]) -> None:
    for device in devices:
        device.movers, device.moving = len(device.movable), moving
        if device.movers:
            world.alarms.arm(f"{ALARM}/{device.info.name}", world.now)
    first = next((device for device in devices if device.movers), None)
    if first is not None:
        on_placement_due(world, first.info.name)


def look_for_stranded(world: World) -> None:
    """Have jobs that may choose and wait where nobody takes work looked at, when agents have had time to come (back)."""
    if world.alarms.due(STRANDED) is None and any(_strands(device) for device in world.devices.values()):
        world.alarms.arm(STRANDED, world.now + world.settings.agent_grace_s)


def _strands(device: Device) -> bool:
    return bool(device.movable) and _idles(device)


def _idles(device: Device) -> bool:
    """Whether it takes no work until somebody does something about that."""
    return device.paused or not device.takers


def on_placement_due(world: World, name: str) -> None:
    """Go on with the jobs that are to be looked at; without a name, find out where there are any."""
    if not name:
        vacate(world, *[device for device in world.devices.values() if _strands(device)])
        return
    device = world.devices[name]
    for _ in range(min(world.settings.placements_batch, device.movers, len(device.movable))):
        job_id, job = next(iter(device.movable.items()))
        device.movable.move_to_end(job_id)
        device.movers -= 1
        if device.moving is not None:
            device.moving(world, device, job)
    device.movers = min(device.movers, len(device.movable))
    world.alarms.arm(f"{ALARM}/{name}", world.now if device.movers else None)


def _move_away(world: World, device: Device, job: Job) -> None:
    record = job.record
    if not record.choices or not record.candidates or not _may_move(world, device, job):
        return
    if record.checkpoints and _may_come_back(world, device):
        look_for_stranded(world)  # then it is looked at again
        return
    scored = place(world, record, record.candidates)
    best = scored[0].device
    there = world.devices.get(best)
    if scored[0].refusal or best == record.device or there is None or _idles(there):
        return
    job.scored = tuple(scored)
    world.promise(job, _candidate(record.candidates, best))
    _send_back(world, job, f"goes to {best}", best)


def _compile_anew(world: World, device: Device, job: Job) -> None:
    record = job.record
    profile = record.profile
    if profile is None or profile.noise_id == device.noise_id or not _may_move(world, device, job):
        return
    # What the new figures make of the circuits only the compiler can tell; for a job that may choose, all devices count.
    _send_back(world, job, "calibrated", AUTO_DEVICE if record.choices else record.device)


def _candidate(candidates: tuple[Candidate, ...], device: str) -> Candidate:
    return next(candidate for candidate in candidates if candidate.device == device)


def _may_move(world: World, device: Device, job: Job) -> bool:
    # What was kept of a run belongs to its device: it is given up only where nobody is left to go on with it.
    kept = bool(job.record.checkpoints) and bool(device.agents)
    return job.placements < world.settings.max_placements and not kept


def _may_come_back(world: World, device: Device) -> bool:
    """Whether its agents went so lately that one of them may be on its way back."""
    return not device.agents and world.now < device.deserted_at + world.settings.agent_grace_s


def _send_back(world: World, job: Job, reason: str, device: str) -> None:
    world.leave_line(job)
    job.move = None
    job.placements += 1
    world.replaced += 1
    world.forget_executable(job)
    changes = {"device": device, "profile": None, "checkpoints": (), "progress": 0.0}
    world.advance(job, _REPLACED, reason, **changes)
    world.enqueue(job)
    world.arm(job)
