"""Commands about the runtime itself: up, down, env, status, devices, demo."""

from __future__ import annotations

import os
import shlex
import signal
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from qrtx_ray.cli.show import console, seconds, table
from qrtx_ray.client import QrtxClient, find_connection
from qrtx_ray.config import load_settings
from qrtx_ray.errors import DeviceUnavailable, QrtxError

__all__ = ["register"]

STOP_PATIENCE_S = 60.0


def register(application: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, down, env, status, devices, demo):
        application.command()(command)


def up(
    config: Annotated[Path | None, typer.Option(help="YAML file; default: $QRTX_CONFIG.")] = None,
    profile: Annotated[str | None, typer.Option(help="default or optimized.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the HTTP front; 0 takes a free one.")] = None,
    storage: Annotated[Path | None, typer.Option(help="Folder of everything durable.")] = None,
    dashboard: Annotated[bool, typer.Option(help="Start Ray's dashboard and its job server.")] = True,
) -> None:
    """Start the runtime on this machine and keep it running until Ctrl-C or `qrtx down`."""
    given: dict[str, Any] = {"server.port": port, "storage.path": str(storage) if storage else None}
    settings = load_settings(
        config, profile, overrides={key: value for key, value in given.items() if value is not None}
    )
    _refuse_second(settings.paths.storage)
    from qrtx_ray.launch import LocalRuntime

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with LocalRuntime(settings, dashboard=dashboard, say=_step) as runtime:
        console.print(f"\n[bold green]ready[/]  {runtime.url}  (API page: {runtime.url}/docs)")
        console.print(f"dashboard  {runtime.dashboard_url or 'off'}")
        console.print(f"data       {settings.paths.storage}   (token: {settings.paths.token_file})")
        console.print('next       eval "$(qrtx env)"   then plain QiskitRuntimeService() speaks to this runtime')
        console.print(
            "           qrtx submit examples/bell.qasm --device fake_manila@aer   |   qrtx jobs   |   qrtx down"
        )
        if runtime.dashboard_url and os.environ.get("RAY_AUTH_TOKEN_PATH"):
            console.print(
                f"jobs       RAY_ADDRESS={runtime.dashboard_url} RAY_AUTH_MODE=token"
                f" RAY_AUTH_TOKEN_PATH={shlex.quote(os.environ['RAY_AUTH_TOKEN_PATH'])} ray job submit -- python …",
                soft_wrap=True,
            )
        stop.wait()
    console.print("stopped")


def _refuse_second(storage: Path) -> None:
    try:
        connection = find_connection(environment={**os.environ, "QRTX_URL": "", "QRTX_STORAGE_PATH": str(storage)})
    except QrtxError:
        return
    if connection.pid and _alive(connection.pid):
        raise DeviceUnavailable(f"a runtime with this storage is up already: {connection.url} (pid {connection.pid})")


def _step(text: str) -> None:
    console.print(f"[dim]·[/dim] {escape(text)}")


def down() -> None:
    """Stop the runtime that `qrtx up` keeps on this machine."""
    connection = find_connection()
    if not connection.pid or not _alive(connection.pid):
        raise DeviceUnavailable("no runtime is up here")
    os.kill(connection.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_PATIENCE_S
    while _alive(connection.pid):
        if time.monotonic() > deadline:
            raise DeviceUnavailable(f"process {connection.pid} has not ended after {STOP_PATIENCE_S:g} s")
        time.sleep(0.1)
    console.print("stopped")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A zombie still answers to signal 0; its parent has not looked yet.
    return ") Z " not in Path(f"/proc/{pid}/stat").read_text("utf-8")


def env(instance: Annotated[str, typer.Option(help="Instance name or CRN.")] = "default") -> None:
    """Print the export lines that point the official Qiskit Runtime client here."""
    connection = find_connection()
    for name, value in connection.runtime_environment(instance).items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    typer.echo(f"export QRTX_URL={shlex.quote(connection.url)}")
    typer.echo(f"export QRTX_TOKEN={shlex.quote(connection.token)}")


def status() -> None:
    """How the runtime does."""
    with QrtxClient() as client:
        health = client.health()
        console.print(f"{client.connection.url}  {'[green]ready[/]' if health.get('ready') else '[red]not ready[/]'}")
        facts = [("scheduler", f"{health['scheduler']}, epoch {health['epoch']}, up {seconds(health['uptime_s'])}")]
        facts.append(
            ("jobs", ", ".join(f"{count} {state}" for state, count in health["jobs"].items() if count) or "none")
        )
        facts += [
            (name, f"heard {seconds(age)} ago") for name, age in {**health["agents"], **health["compilers"]}.items()
        ]
        console.print(table(("what", "how"), facts))


def devices(
    all_devices: Annotated[bool, typer.Option("--all", help="Also those that nothing waits for.")] = False,
) -> None:
    """The devices, with queue and use."""
    with QrtxClient() as client:
        listed = client.devices()
    busy = [d for d in listed if d["queue_length"] or d["running"] or d["utilisation"]]
    shown = listed if all_devices or not busy else busy
    rows = [
        (
            d["name"],
            d["num_qubits"],
            d["status"],
            d["queue_length"],
            d["running"],
            d["agents"],
            f"{d['utilisation']:.1%}",
            ", ".join(d["aliases"]) or "–",
        )
        for d in shown
    ]
    console.print(table(("device", "qubits", "status", "queue", "running", "agents", "QPU use", "aliases"), rows))
    if len(shown) < len(listed):
        console.print(f"[dim]{len(listed) - len(shown)} more are idle; --all lists them[/dim]")


def demo() -> None:
    """Start a runtime, run real work through it, print what came out, shut down."""
    from qrtx_ray.cli.demo import run_demo

    raise typer.Exit(run_demo())
