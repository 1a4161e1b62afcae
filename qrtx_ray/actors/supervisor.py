"""Starts, watches and re-creates the runtime's named actors.

Ray restarts a process that dies; this looks after what Ray does not: that every actor of the configuration exists at all.
`ensure_runtime` is safe to call from anywhere at any time (the command line, a replica of the front, a submitted job):
named actors are created once, whoever comes first.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayActorError

from qrtx_ray.actors.compiler import CompilerActor
from qrtx_ray.actors.device import DeviceActor
from qrtx_ray.actors.logs import log_as_configured
from qrtx_ray.actors.names import (
    NAMESPACE,
    SCHEDULER,
    STATE_MANAGER,
    SUPERVISOR,
    compiler_name,
    device_agent_name,
    find_actor,
)
from qrtx_ray.actors.policies import policy_of
from qrtx_ray.actors.scheduler import SchedulerActor
from qrtx_ray.actors.settings import servings
from qrtx_ray.actors.state_manager import StateManagerActor
from qrtx_ray.config import Settings
from qrtx_ray.store.open import check_store

__all__ = ["SupervisorActor", "actor_names", "ensure_runtime", "wait_until_ready"]

log = logging.getLogger("qrtx.supervisor")

WATCH_S = 5.0
HEAD = "node:__internal_head__"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One actor that should exist."""

    name: str
    kind: type
    arguments: tuple[Any, ...]
    on_head: bool
    num_cpus: float = 0.0


def ensure_runtime(settings: Settings) -> None:
    """Create whatever of the runtime does not exist yet. Ray must be initialised.

    A runtime that is already there keeps the configuration it was started with.

    Raises:
        ValidationError: The scheduling policy that the configuration names cannot be made, or the driver of the
            journal's database is not installed.
    """
    policy_of(settings)  # better said here than by an actor that cannot start
    check_store(settings.paths.journal_url)
    _create(_Wanted(SUPERVISOR, SupervisorActor, (settings.to_dict(),), on_head=True))


async def wait_until_ready(timeout_s: float) -> dict[str, int]:
    """Wait until scheduler, compilers, state manager and all agents answer; returns their process ids by name.

    Raises:
        TimeoutError: Something does not answer in time.
    """
    async with asyncio.timeout(timeout_s):
        supervisor = None
        while supervisor is None:
            supervisor = find_actor(SUPERVISOR)
            await asyncio.sleep(0 if supervisor else 0.05)
        pids: dict[str, int] = await supervisor.wait_until_ready.remote()
        return pids


def actor_names(settings: Settings) -> list[str]:
    """Names of all actors that `settings` ask for, the supervisor last."""
    return [wanted.name for wanted in _wanted(settings)] + [SUPERVISOR]


def _wanted(settings: Settings) -> list[_Wanted]:
    plain = settings.to_dict()
    out = [
        _Wanted(SCHEDULER, SchedulerActor, (plain,), on_head=True),
        _Wanted(STATE_MANAGER, StateManagerActor, (plain,), on_head=True),
    ]
    for index in range(settings.resources.compiler_workers):
        name = compiler_name(index)
        out.append(_Wanted(name, CompilerActor, (name, plain), on_head=False))
    for serving in servings(settings):
        names = tuple(device.name for device in serving.devices)
        for index in range(serving.agents):
            name = device_agent_name(serving.entry, index)
            arguments = (name, names, plain, serving.engine_memory_mb, serving.engine_threads)
            out.append(_Wanted(name, DeviceActor, arguments, on_head=False))
    return out


def _create(wanted: _Wanted) -> Any:
    # No task retries: a call that was interrupted would run twice. No concurrency groups: each is a thread of its own.
    options: dict[str, Any] = {
        "name": wanted.name,
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": wanted.num_cpus,
        "max_restarts": -1,
        "max_task_retries": 0,
        "max_concurrency": 20_000,
        "enable_task_events": False,  # thousands of calls a second, none of which anybody looks up
    }
    if wanted.on_head:
        options["resources"] = {HEAD: 0.001}
    return ray.remote(wanted.kind).options(**options).remote(*wanted.arguments)


class SupervisorActor:
    """Keeps the configured actors in being.

    Args:
        settings: `Settings.to_dict()`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        configured = Settings.from_dict(settings)
        log_as_configured(configured)
        self._wanted = _wanted(configured)
        self._created = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def ping(self) -> int:
        """The actor's process id."""
        return os.getpid()

    async def wait_until_ready(self) -> dict[str, int]:
        """Process ids of all actors, once all of them answer."""
        await self._created.wait()
        names = [wanted.name for wanted in self._wanted]
        return dict(zip(names, await asyncio.gather(*(self._pid(name) for name in names)), strict=True))

    async def _pid(self, name: str) -> int:
        while True:
            handle = await asyncio.to_thread(find_actor, name)
            try:
                if handle is not None:
                    pid: int = await handle.ping.remote()
                    return pid
            except RayActorError:
                log.debug("%s does not answer yet", name)
            await asyncio.sleep(0.1)

    async def _watch(self) -> None:
        while True:
            for wanted in self._wanted:
                await self._keep(wanted)
            self._created.set()
            await asyncio.sleep(WATCH_S)

    async def _keep(self, wanted: _Wanted) -> None:
        handle = await asyncio.to_thread(find_actor, wanted.name)
        try:
            if handle is None:
                await asyncio.to_thread(_create, wanted)
            elif self._created.is_set():
                async with asyncio.timeout(WATCH_S):
                    await handle.ping.remote()
        except ActorDiedError:
            log.warning("%s is gone for good; it is created anew", wanted.name)
        except (RayActorError, TimeoutError):
            log.debug("%s is away; Ray brings it back", wanted.name)
        except Exception:
            log.exception("%s could not be created", wanted.name)
