"""Devices that take no new work, and agents that take none, because an operator wants it so: also after a restart.

Both are facts: ``paused/<device>`` (JSON, whether what ran there makes way), and ``drained/<agent>``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from qrtx_ray.errors import NotFound
from qrtx_ray.scheduler.asking import reconsider
from qrtx_ray.scheduler.events import AgentDrained, AgentResumed, DevicePaused, DeviceResumed
from qrtx_ray.scheduler.job import Job
from qrtx_ray.scheduler.placing import look_for_stranded, vacate
from qrtx_ray.scheduler.workers import EVERYBODY, Agent, Device
from qrtx_ray.scheduler.world import World

__all__ = [
    "AGENT_FACT",
    "DEVICE_FACT",
    "begin",
    "is_drained",
    "on_agent_drained",
    "on_agent_resumed",
    "on_device_paused",
    "on_device_resumed",
]

DEVICE_FACT = "paused/"
AGENT_FACT = "drained/"


def begin(world: World, facts: Mapping[str, str]) -> None:
    """Take up what operators wanted before; of a device that is not configured any more it means nothing."""
    for key, text in facts.items():
        if key.startswith(AGENT_FACT):
            world.drained.add(key.removeprefix(AGENT_FACT))
        elif key.startswith(DEVICE_FACT):
            device = world.devices.get(key.removeprefix(DEVICE_FACT))
            if device is not None:
                device.paused, device.drains = True, bool(json.loads(text)["drain"])


# -- devices -----------------------------------------------------------------------------------------------------


def on_device_paused(world: World, event: DevicePaused) -> None:
    """Raises:
    NotFound: No such device.
    """
    device = _device(world, event.device)
    if not device.paused or device.drains != event.drain:
        world.keep(DEVICE_FACT + event.device, json.dumps({"drain": event.drain}))
    device.drains = event.drain
    world.pause(device, paused=True)
    for job in _at_work(world, device):
        reconsider(world, job)
    vacate(world, device)


def on_device_resumed(world: World, event: DeviceResumed) -> None:
    """Raises:
    NotFound: No such device.
    """
    device = _device(world, event.device)
    if device.paused:
        world.keep(DEVICE_FACT + event.device, None)
    if device.drains:
        device.drains = False
        for job in _at_work(world, device):
            reconsider(world, job)
    world.pause(device, paused=False)
    look_for_stranded(world)


def _device(world: World, name: str) -> Device:
    device = world.devices.get(name)
    if device is None:
        raise NotFound(f"there is no device {name}", field="device")
    return device


def _at_work(world: World, device: Device) -> Iterator[Job]:
    """The jobs of the device that its agents have."""
    for agent in device.agents.values():
        yield from (job for job in _held(world, agent) if job.record.device == device.info.name)


def _held(world: World, agent: Agent) -> Iterator[Job]:
    for attempt in agent.held:
        job = world.holder(agent, attempt)
        if job is not None:
            yield job


# -- agents ------------------------------------------------------------------------------------------------------


def is_drained(world: World, name: str) -> bool:
    """Whether the agent of this name is to take no work."""
    return name in world.drained or EVERYBODY in world.drained


def on_agent_drained(world: World, event: AgentDrained) -> None:
    """Raises:
    NotFound: No such agent.
    """
    if event.agent is None:
        _note(world, (EVERYBODY,))
    elif event.agent in world.agents or event.agent in world.drained:
        _note(world, world.drained | {event.agent})
    else:
        raise NotFound(f"there is no agent {event.agent}", field="agent")
    _apply(world)


def on_agent_resumed(world: World, event: AgentResumed) -> None:
    """Where all were drained and one is resumed, those that are here stay drained.

    Raises:
        NotFound: No such agent.
    """
    if event.agent is None:
        _note(world, ())
    elif event.agent in world.agents or event.agent in world.drained:
        drained = set(world.agents) if EVERYBODY in world.drained else world.drained
        _note(world, drained - {event.agent})
    else:
        raise NotFound(f"there is no agent {event.agent}", field="agent")
    _apply(world)


def _note(world: World, names: Iterable[str]) -> None:
    wanted = set(names)
    for name in sorted(world.drained - wanted):
        world.keep(AGENT_FACT + name, None)
    for name in sorted(wanted - world.drained):
        world.keep(AGENT_FACT + name, "true")
    world.drained = wanted


def _apply(world: World) -> None:
    """Have every agent do as is wanted of it by now."""
    touched: dict[str, Device] = {}
    for agent in world.agents.values():
        drained = is_drained(world, agent.name)
        if drained != agent.drained:
            _switch(world, agent, drained=drained)
            touched.update((name, world.devices[name]) for name in agent.devices)
    vacate(world, *[device for device in touched.values() if not device.takers])
    look_for_stranded(world)


def _switch(world: World, agent: Agent, *, drained: bool) -> None:
    agent.drained = drained
    agent.pool.takers += -1 if drained else 1
    world.offer(agent, agent.capacity)
    for job in list(_held(world, agent)):
        reconsider(world, job)
