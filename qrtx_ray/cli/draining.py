"""Commands of an operator: drain and undrain devices and agents, list agents."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer
from rich.markup import escape

from qrtx_ray.cli.show import console, seconds, table
from qrtx_ray.client import QrtxClient
from qrtx_ray.errors import NotFound

__all__ = ["register"]

Name = Annotated[str, typer.Argument(help="A device, an alias of one, or an agent.")]
LOOK_S = 0.5


def register(application: typer.Typer) -> None:
    """Add the commands."""
    for command in (drain, undrain, agents):
        application.command()(command)


def drain(
    name: Name,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Until nothing runs there.")] = False,
) -> None:
    """Take a device or an agent out of service: what runs there makes way after its slice, nothing is lost."""
    with QrtxClient() as client:
        kind, found = _find(client, name)
        (client.drain_device if kind == "device" else client.drain_agent)(found)
        left = _running(client, kind, found)
        console.print(f"{kind} {escape(found)} takes no more work; {_jobs(left)} there")
        while wait and left:
            time.sleep(LOOK_S)
            before, left = left, _running(client, kind, found)
            if left and left != before:
                console.print(f"{_jobs(left)}")
        if wait:
            console.print(f"{kind} {escape(found)} is empty")


def undrain(name: Name) -> None:
    """Let a drained or paused device, or a drained agent, take work again."""
    with QrtxClient() as client:
        kind, found = _find(client, name)
        (client.resume_device if kind == "device" else client.resume_agent)(found)
    console.print(f"{kind} {escape(found)} takes work")


def agents(as_json: Annotated[bool, typer.Option("--json", help="The whole answer, as JSON.")] = False) -> None:
    """The device agents: what they serve, what they hold, and whether they take work."""
    with QrtxClient() as client:
        found = client.agents()
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    if not found:
        console.print("[dim]no agents[/]")
        return
    rows = [
        (
            escape(one["name"]),
            _state(one),
            one["running"],
            f"{seconds(one['last_heard_s'])} ago",
            _devices(one["devices"]),
        )
        for one in found
    ]
    console.print(table(("agent", "state", "running", "heard", "devices"), rows))


def _find(client: QrtxClient, name: str) -> tuple[str, str]:
    """Whether `name` means a device or an agent, and what it is called."""
    for device in client.devices():
        if name == device["name"] or name in device["aliases"]:
            return "device", device["name"]
    if name in {one["name"] for one in client.agents()}:
        return "agent", name
    raise NotFound(
        f"there is no device and no agent {name[:64]!r}; qrtx devices and qrtx agents list them", field="name"
    )


def _running(client: QrtxClient, kind: str, name: str) -> int:
    listed = client.devices() if kind == "device" else client.agents()
    return next((int(one["running"]) for one in listed if one["name"] == name), 0)


def _jobs(count: int) -> str:
    if not count:
        return "nothing runs"
    return f"{count} job still runs" if count == 1 else f"{count} jobs still run"


def _state(agent: dict[str, Any]) -> str:
    if not agent["drained"]:
        return "[green]serving[/]"
    return "[yellow]draining[/]" if agent["running"] else "[yellow]drained[/]"


def _devices(names: list[str]) -> str:
    shown = ", ".join(escape(name) for name in names[:2])
    return shown + (f" and {len(names) - 2} more" if len(names) > 2 else "") or "–"
