"""A runtime on this machine, from nothing to answering HTTP, and back."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from qrtx_ray.api.tokens import load_or_create_token
from qrtx_ray.client.connection import Connection, forget_connection, write_connection
from qrtx_ray.config import Settings
from qrtx_ray.errors import DeviceUnavailable
from qrtx_ray.launch.environment import authentication, free_port, own_agent_port, ray_environment, variables
from qrtx_ray.launch.occupancy import Occupancy
from qrtx_ray.launch.resting import Draining, Rest, close_scheduler, rest_file

__all__ = ["LocalRuntime"]

READY_S = 90.0
SERVE_END_S = 30.0
SERVE_CONTROLLER = ("SERVE_CONTROLLER_ACTOR", "serve")  # name and namespace
SLOTS = 64  # logical CPUs announced to Ray: the actors reserve none, and nothing else may queue behind a number


class LocalRuntime:
    """Starts Ray in this process's name, the actors, and the HTTP front; a context manager.

    Args:
        settings: The configuration; ``server.port`` 0 takes a free port.
        dashboard: Whether Ray's dashboard (and with it `ray job submit`) is started.
        say: Called with one line for each step.

    Attributes:
        url: Base URL of the HTTP front, once started.
        token: The API token.
        dashboard_url: URL of Ray's dashboard, or None.
    """

    def __init__(
        self, settings: Settings, *, dashboard: bool = False, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.settings = settings
        self.url = ""
        self.token = ""
        self.dashboard_url: str | None = None
        self._dashboard = dashboard
        self._say = say
        self._started = False
        self._hurried = False
        self.pids: dict[str, int] = {}
        self._occupancy = Occupancy(settings.paths.storage)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until it serves.

        Raises:
            DeviceUnavailable: A part did not come up in time (the text names it), or this storage has a runtime already.
        """
        paths = self.settings.paths
        paths.storage.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._occupancy.take()
        self.token = load_or_create_token(paths.token_file)
        os.environ.update(authentication(paths.storage / "run"))  # Ray reads these when it is imported
        os.environ.update(ray_environment(self.settings, paths.storage / "run"))
        host, port = self.settings.server.host, self.settings.server.port or free_port()
        self.url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}{self.settings.server.root}"  # noqa: S104
        self._start_ray()
        self._started = True
        self._start_actors()
        self._start_serve(host, port)
        self._await_front()
        write_connection(Connection(self.url, self.token, self.dashboard_url, os.getpid(), str(paths.storage)))

    def _start_ray(self) -> None:
        import ray

        self._say("starting Ray")
        # What runs on the cluster, a script of `ray job submit` for one, finds the runtime by these.
        known = {"QRTX_URL": self.url, "QRTX_TOKEN_FILE": str(self.settings.paths.token_file)}
        with variables(known), own_agent_port():
            context = ray.init(
                address="local",
                num_cpus=SLOTS,
                include_dashboard=self._dashboard,
                dashboard_host="127.0.0.1",
                dashboard_port=(self.settings.server.dashboard_port or None) if self._dashboard else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(Path(tempfile.gettempdir()) / "ray"),
                _system_config={"num_workers_soft_limit": 4},
            )
        url = getattr(context, "dashboard_url", None)
        self.dashboard_url = f"http://{url}" if url and self._dashboard else None

    def _start_actors(self) -> None:
        from qrtx_ray.actors.supervisor import ensure_runtime

        self._say("starting scheduler, state manager, compilers and device actors")
        ensure_runtime(self.settings)

    def _start_serve(self, host: str, port: int) -> None:
        from ray import serve

        from qrtx_ray.serve_app import build

        self._say("starting the HTTP front")
        logging.getLogger("ray.serve").setLevel(logging.WARNING)  # importing Serve has set it to INFO
        serve.start(http_options={"host": host, "port": port, "root_path": self.settings.server.root})
        serve.run(build(self.settings), name="qrtx", route_prefix="/", blocking=False)

    def _await_front(self) -> None:
        from qrtx_ray.actors.supervisor import wait_until_ready

        try:
            self.pids = asyncio.run(wait_until_ready(READY_S))
        except TimeoutError:
            raise DeviceUnavailable(f"an actor did not answer within {READY_S:g} s; see Ray's logs") from None
        deadline = time.monotonic() + READY_S
        headers = {"Authorization": f"Bearer {self.token}"}
        health: Any = None
        while time.monotonic() < deadline:
            try:
                answer = httpx.get(f"{self.url}/v1/health", headers=headers, timeout=5.0, trust_env=False)
                health = answer.json().get("details")
                if health and (health.get("ready") or self._serves_without_jobs(health)):
                    return
            except (httpx.HTTPError, ValueError):
                health = None
            time.sleep(0.05)
        raise DeviceUnavailable(f"the HTTP front at {self.url} was not ready within {READY_S:g} s (health: {health})")

    def _serves_without_jobs(self, health: dict[str, Any]) -> bool:
        """Whether it is up all the same, but its storage has no room or cannot be written: what is kept can be read."""
        storage = health.get("storage") or {}
        if storage.get("accepting", True):
            return False
        self._say(f"no jobs are accepted for now: {storage.get('reason')}")
        return True

    def hurry(self) -> None:
        """Do not wait for runs to end their slices, neither now nor later."""
        self._hurried = True

    def stop(self) -> Rest:
        """Come to rest, and end every process that was started here: runs end their slice and keep their progress, within
        ``server.drain_time``. At the next start on the storage they go on from there.
        """
        rest = Rest()
        if self._started:
            self._started = False
            forget_connection(self.settings.paths.storage)
            self._say("shutting down")
            draining = Draining(_agents(list(self.pids)), self.settings.server.drain_time)
            _end_serve()
            rest = draining.wait(lambda: self._hurried)
            close_scheduler()
            if rest.words():
                self._say(rest.words())
            rest.write(rest_file(self.settings.paths.storage))
        import ray

        if ray.is_initialized():
            ray.shutdown()
        self._occupancy.leave()
        return rest


def _agents(names: list[str]) -> list[tuple[str, Any]]:
    from qrtx_ray.actors.names import DEVICE_AGENT_PREFIX, find_actor

    handles = [(name, find_actor(name)) for name in names if name.startswith(DEVICE_AGENT_PREFIX)]
    return [(name, agent) for name, agent in handles if agent is not None]


def _end_serve() -> None:
    """End Serve without an error message about it.

    `serve.shutdown` waits inside a call to the controller, which then kills itself; Ray reports that call as failed.
    """
    import ray
    from ray import serve

    deadline = time.monotonic() + SERVE_END_S
    try:
        name, namespace = SERVE_CONTROLLER
        ray.get(ray.get_actor(name, namespace).graceful_shutdown.remote(wait=False), timeout=SERVE_END_S)
        while time.monotonic() < deadline:
            ray.get_actor(name, namespace)
            time.sleep(0.05)
    except (ValueError, ray.exceptions.RayError):
        logging.getLogger("qrtx").debug("Serve is gone")
    serve.shutdown()  # forgets the handles of this process
