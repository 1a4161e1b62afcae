"""Commands about the runtime itself: up, down, env, status, devices, demo."""

from __future__ import annotations

import os
import shlex
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from qrtx_ray.cli.show import console, seconds, size, table
from qrtx_ray.client import QrtxClient, find_connection
from qrtx_ray.config import Settings, load_settings
from qrtx_ray.config.paths import default_storage
from qrtx_ray.errors import DeviceUnavailable
from qrtx_ray.launch.occupancy import Occupancy

if TYPE_CHECKING:
    from qrtx_ray.launch import LocalRuntime

__all__ = ["register"]

STOP_PATIENCE_S = 60.0  # beside the time that runs have to end their slice


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
    from qrtx_ray.launch import LocalRuntime

    stop = threading.Event()
    with LocalRuntime(settings, dashboard=dashboard, say=_step) as runtime:

        def asked(*_: object) -> None:
            if stop.is_set():
                runtime.hurry()  # who asks a second time does not want to wait
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, asked)
        console.print(_welcome(runtime, settings), soft_wrap=True)
        stop.wait()
    console.print("stopped")


def _welcome(runtime: LocalRuntime, settings: Settings) -> str:
    """What is where, and what to do next; every line can be copied."""
    elsewhere = settings.paths.storage != default_storage()
    where = f"QRTX_STORAGE_PATH={shlex.quote(str(settings.paths.storage))} " if elsewhere else ""
    lines = [
        f"\n[bold green]ready[/]      {runtime.url}",
        f"status     {runtime.url}/   API: {runtime.url}/docs",
        f"dashboard  {runtime.dashboard_url or 'off'}",
        f"data       {settings.paths.storage}",
        f"token      in {settings.paths.token_file}",
        "\n[bold]next[/], in another terminal",
        f'  eval "$({where}qrtx env)"          then plain QiskitRuntimeService() speaks to this runtime',
        "  qrtx submit FILE --device fake_manila@aer --wait",
        f"  {where}qrtx down",
    ]
    if runtime.dashboard_url and os.environ.get("RAY_AUTH_TOKEN_PATH"):
        token = shlex.quote(os.environ["RAY_AUTH_TOKEN_PATH"])
        ray = f"RAY_ADDRESS={runtime.dashboard_url} RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={token}"
        lines.append(f"  {ray} ray job submit --working-dir . -- python SCRIPT")
    return "\n".join(lines)


def _step(text: str) -> None:
    console.print(f"[dim]·[/dim] {escape(text)}")


def down() -> None:
    """Stop the runtime that `qrtx up` keeps on this machine. Running jobs end their slice first and go on at the next start."""
    settings = load_settings()
    storage = settings.paths.storage
    occupancy = Occupancy(storage)
    pid = occupancy.holder()
    if pid is None:
        raise DeviceUnavailable(f"no runtime is up with the storage {storage}")
    from qrtx_ray.launch.resting import Rest, rest_file

    rest_file(storage).unlink(missing_ok=True)
    os.kill(pid, signal.SIGTERM)
    patience_s = STOP_PATIENCE_S + settings.server.drain_time
    deadline = time.monotonic() + patience_s
    while occupancy.holder() == pid:
        if time.monotonic() > deadline:
            raise DeviceUnavailable(f"process {pid} has not ended after {patience_s:g} s")
        time.sleep(0.05)
    rest = Rest.read(rest_file(storage))
    if rest is not None and rest.words():
        console.print(escape(rest.words()), soft_wrap=True)
    console.print("stopped")


def env(instance: Annotated[str, typer.Option(help="Instance name or CRN.")] = "default") -> None:
    """Print the export lines that point the official Qiskit Runtime client here."""
    connection = find_connection()
    for name, value in connection.runtime_environment(instance).items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    typer.echo(f"export QRTX_URL={shlex.quote(connection.url)}")
    typer.echo(f"export QRTX_TOKEN={shlex.quote(connection.token)}")


def status() -> None:
    """How the runtime does. Exit status 1: it is not ready."""
    with QrtxClient() as client:
        health = client.health()
        url = client.connection.url
    ready = bool(health.get("ready"))
    console.print(f"{url}  {'[green]ready[/]' if ready else '[red]not ready[/]'}")
    if "scheduler" not in health:
        console.print(escape(str(health.get("reason", "no reason was given"))), soft_wrap=True)
        raise typer.Exit(1)
    counts = ", ".join(f"{count} {state}" for state, count in health["jobs"].items() if count)
    facts = [
        ("scheduler", f"{health['scheduler']}, epoch {health['epoch']}, up {seconds(health['uptime_s'])}"),
        ("jobs", counts or "none"),
        ("storage", _storage(health.get("storage") or {})),
        *((name, f"heard {seconds(age)} ago") for name, age in {**health["agents"], **health["compilers"]}.items()),
    ]
    console.print(table(("what", "how"), facts))
    if not ready:
        raise typer.Exit(1)


def _storage(told: dict[str, Any]) -> str:
    """Whether jobs are taken, and how much room there is for them."""
    if not told.get("accepting", True):
        return f"[red]takes no more jobs[/]: {escape(str(told.get('reason') or 'no reason was given'))}"
    free = [count for count in (told.get("free_bytes") or {}).values() if count is not None]
    return f"{size(min(free))} free" if free else "takes jobs"


def devices(
    name: Annotated[str, typer.Argument(help="Only devices with this in their name or an alias.")] = "",
    all_devices: Annotated[bool, typer.Option("--all", help="Also those that nothing waits for.")] = False,
) -> None:
    """The devices, with queue and use."""
    with QrtxClient() as client:
        listed = client.devices()
    found = [device for device in listed if any(name in one for one in (device["name"], *device["aliases"]))]
    busy = [d for d in found if d["queue_length"] or d["running"] or d["utilisation"]]
    shown = found if all_devices or name or not busy else busy
    rows = [
        (
            device["name"],
            device["num_qubits"],
            device["status"],
            device["queue_length"],
            device["running"],
            device["agents"],
            f"{device['utilisation']:.1%}",
            ", ".join(device["aliases"]) or "–",
        )
        for device in shown
    ]
    console.print(table(("device", "qubits", "status", "queue", "running", "agents", "QPU use", "aliases"), rows))
    if len(shown) < len(found):
        console.print(f"[dim]{len(found) - len(shown)} more are idle; --all lists them[/]")


def demo() -> None:
    """Start a runtime, run real work through it, print what came out, shut down."""
    from qrtx_ray.cli.demo import run_demo

    raise typer.Exit(run_demo())
