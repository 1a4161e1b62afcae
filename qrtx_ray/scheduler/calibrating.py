"""Devices with drift in the world: probes are asked for, calibrations begin and end, and both survive a restart."""

from __future__ import annotations

from collections.abc import Mapping

from qrtx_ray.scheduler.calibration import DeviceCalibration, Phase
from qrtx_ray.scheduler.commands import MeasureProbe
from qrtx_ray.scheduler.events import ProbeMeasured
from qrtx_ray.scheduler.placing import recompile, vacate
from qrtx_ray.scheduler.workers import Agent, Device
from qrtx_ray.scheduler.world import World

__all__ = [
    "CALIBRATION",
    "FACT",
    "PROBE",
    "begin",
    "look_at_draining",
    "on_calibration_done",
    "on_probe_due",
    "on_probe_measured",
]

FACT = "device/"  #: what the keys of the facts begin with
PROBE = "probe"
CALIBRATION = "calibration"
_PATIENCE_S = 10.0  #: how soon a probe that found no idle agent is tried again


def begin(world: World, facts: Mapping[str, str]) -> None:
    """Take up the calibrations of before, or begin with number 0; devices without drift have none."""
    drifting = [name for name, noise in world.settings.noise.items() if noise.drifts and name in world.devices]
    for place, name in enumerate(drifting, 1):
        state = DeviceCalibration(world.settings.noise[name], world.now)
        world.devices[name].calibration = state
        known = facts.get(FACT + name)
        if known is None:
            world.keep(FACT + name, state.fact())
        else:
            state.recall(known)
        # Spread over the interval, so that a large fleet is not probed in one instant.
        state.next_probe_at = world.now + state.noise.probe_interval_s * place / len(drifting)
        world.alarms.arm(f"{PROBE}/{name}", state.next_probe_at)


def on_probe_due(world: World, name: str) -> None:
    """Ask an agent for a measurement: an idle one, or, when that has been wanted for a whole interval, any."""
    device = world.devices[name]
    state = device.calibration
    if state is None or state.phase is not Phase.READY:
        return
    noise = state.noise
    if state.asked_at is not None:
        state.asked_at, state.next_probe_at = None, world.now  # nobody answered: another may
    overdue = world.now - state.next_probe_at >= noise.probe_interval_s
    agent = _prober(device, any_agent=overdue)
    if agent is None:
        pause_s = min(_PATIENCE_S, noise.probe_interval_s) if device.takers else noise.probe_interval_s
        world.alarms.arm(f"{PROBE}/{name}", world.now + pause_s)
        return
    state.asked_at = world.now
    truth = state.truth(world.now)
    seed = (noise.seed * 1_000_003 + state.epoch * 100_003 + int(world.now - state.calibrated_at)) % 2**63
    world.send(MeasureProbe(agent.name, agent.incarnation, name, truth, seed))
    world.alarms.arm(f"{PROBE}/{name}", world.now + noise.probe_timeout_s)


def on_probe_measured(world: World, event: ProbeMeasured) -> None:
    """Take a measurement in, and begin a calibration where it says so; one of an earlier epoch changes nothing."""
    device = world.devices.get(event.device)
    state = device.calibration if device else None
    if device is None or state is None or state.asked_at is None or not _of_this_epoch(state, event.noise_id):
        world.stale_reports += 1
        return
    state.asked_at = None
    state.next_probe_at = world.now + state.noise.probe_interval_s
    world.alarms.arm(f"{PROBE}/{event.device}", state.next_probe_at)
    if event.fidelity is None:
        return
    state.measured(min(max(event.fidelity, 0.0), 1.0), world.now)
    world.keep(FACT + event.device, state.fact())
    if state.wanted(world.now) and state.allowed(world.now):
        _drain(world, device, state)


def look_at_draining(world: World) -> None:
    """Begin the calibration of every device that has drained."""
    for name, device in list(world.draining.items()):
        state = device.calibration
        if state is None or _still_waits(world, device, state) or _at_work(world, device, state):
            continue
        del world.draining[name]
        state.phase = Phase.CALIBRATING
        state.until = world.now + state.noise.calibration_s
        world.alarms.arm(f"{CALIBRATION}/{name}", state.until)


def on_calibration_done(world: World, name: str) -> None:
    """The device publishes new figures and takes work again."""
    device = world.devices[name]
    state = device.calibration
    if state is None:
        return
    state.renew(world.now)
    world.keep(FACT + name, state.fact())
    world.alarms.arm(f"{PROBE}/{name}", state.next_probe_at)
    world.settle_line(device)
    recompile(world, device)


def _drain(world: World, device: Device, state: DeviceCalibration) -> None:
    name = device.info.name
    state.phase = Phase.DRAINING
    world.alarms.arm(f"{PROBE}/{name}", None)
    world.draining[name] = device
    world.settle_line(device)
    vacate(world, device)


def _prober(device: Device, *, any_agent: bool) -> Agent | None:
    takers = [agent for agent in device.agents.values() if not agent.drained]
    idle = (agent for agent in takers if not agent.open)
    return next(idle, None) or (next(iter(takers), None) if any_agent else None)


def _of_this_epoch(state: DeviceCalibration, noise_id: str) -> bool:
    prefix, _, _ = state.published.rpartition(":")
    return noise_id.rpartition(":")[0] == prefix


def _still_waits(world: World, device: Device, state: DeviceCalibration) -> bool:
    """Whether the attempt that the device was found to wait for is still there: told without a look at all of them."""
    if state.waits_for is None:
        return False
    agent = world.agents.get(state.waits_for[0])
    return agent is not None and agent.name in device.agents and state.waits_for[1] in agent.held


def _at_work(world: World, device: Device, state: DeviceCalibration) -> bool:
    """Whether an agent has work of the device; `waits_for` then tells one of it."""
    # An attempt that was given up here may still run there, and for which device is not known any more.
    for agent in device.agents.values():
        for attempt in agent.held:
            job = world.jobs.get(attempt[0])
            if job is None or job.record.device == device.info.name:
                state.waits_for = (agent.name, attempt)
                return True
    state.waits_for = None
    # After a restart: agents that have not come back yet may bring work along.
    return any(job.record.device == device.info.name for jobs in world.orphans.values() for job in jobs.values())
