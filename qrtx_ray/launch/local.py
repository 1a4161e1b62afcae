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
from qrtx_ray.errors import DeviceUnavailable, QrtxError
from qrtx_ray.launch.environment import free_port, ray_environment

__all__ = ["LocalRuntime"]

READY_S = 90.0
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
            DeviceUnavailable: A part did not come up in time; the text names it.
        """
        paths = self.settings.paths
        paths.storage.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.token = load_or_create_token(paths.token_file)
        os.environ.update(ray_environment(self.settings, paths.storage / "run"))
        self._start_ray()
        port = self.settings.server.port or free_port()
        host = self.settings.server.host
        self.url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}{self.settings.server.root}"  # noqa: S104
        self._started = True
        self._start_actors()
        self._start_serve(host, port)
        self._await_front()
        write_connection(Connection(self.url, self.token, self.dashboard_url, os.getpid(), str(paths.storage)))

    def _start_ray(self) -> None:
        import ray

        self._say("starting Ray")
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        os.environ.setdefault("RAY_AUTH_MODE", "token" if self._dashboard else "disabled")
        if os.environ["RAY_AUTH_MODE"] == "token":
            os.environ.setdefault("RAY_AUTH_TOKEN_PATH", str(self.settings.paths.storage / "run" / "ray_token"))
            load_or_create_token(Path(os.environ["RAY_AUTH_TOKEN_PATH"]))
        context = ray.init(
            address="local",
            num_cpus=SLOTS,
            include_dashboard=self._dashboard,
            dashboard_host="127.0.0.1",
            dashboard_port=self.settings.server.dashboard_port or None,
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
        serve.start(http_options={"host": host, "port": port, "root_path": self.settings.server.root})
        serve.run(build(self.settings), name="qrtx", route_prefix="/", blocking=False)

    def _await_front(self) -> None:
        from qrtx_ray.actors.supervisor import wait_until_ready

        try:
            self.pids: dict[str, int] = asyncio.run(wait_until_ready(READY_S))
        except TimeoutError:
            raise DeviceUnavailable(f"an actor did not answer within {READY_S:g} s; see Ray's logs") from None
        deadline = time.monotonic() + READY_S
        headers = {"Authorization": f"Bearer {self.token}"}
        health: Any = None
        while time.monotonic() < deadline:
            try:
                answer = httpx.get(f"{self.url}/v1/health", headers=headers, timeout=5.0)
                health = answer.json().get("details") if answer.status_code == httpx.codes.OK else None
                if health and health.get("ready"):
                    return
            except (httpx.HTTPError, ValueError):
                health = None
            time.sleep(0.05)
        raise DeviceUnavailable(f"the HTTP front at {self.url} was not ready within {READY_S:g} s (health: {health})")

    def stop(self) -> None:
        """Finish what runs, then end every process that was started here."""
        import ray

        if self._started:
            forget_connection(self.settings.paths.storage)
            self._say("shutting down")
            from ray import serve

            try:
                serve.shutdown()
            except (RuntimeError, QrtxError):
                logging.getLogger("qrtx").debug("Serve was gone already")
            self._started = False
        if ray.is_initialized():
            ray.shutdown()
