"""Commands about scheduling: explain, estimate, usage, reserve, reservations, release."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from qrtx_ray.cli.show import console, seconds, state_text, table
from qrtx_ray.cli.words import MOMENTS, priority_of
from qrtx_ray.client import QrtxClient
from qrtx_ray.errors import ValidationError

__all__ = ["register"]

_BEGUN = frozenset({"Executing", "Completing"})
AsJson = Annotated[bool, typer.Option("--json", help="The whole answer, as JSON.")]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    for command in (explain, estimate, usage, reserve, reservations, release):
        application.command()(command)


def explain(
    job_id: Annotated[str, typer.Argument(help="The job's identifier.")],
    as_json: AsJson = False,
) -> None:
    """Why a job is where it is, when it should start, and what would change that."""
    with QrtxClient() as client:
        told = client.explain(job_id)
    if as_json:
        typer.echo(json.dumps(told, indent=1))
        return
    console.print(f"{told['job_id']}  {state_text(told['state'])}: {escape(told['reason'])}", soft_wrap=True)
    if told.get("ahead"):
        console.print("ahead of it: " + ", ".join(f"{one['count']} {one['level']}" for one in told["ahead"]))
    start = told.get("estimated_start")
    if start and told["state"] in _BEGUN:
        console.print(f"started {start['at']}")
    elif start:
        console.print(f"should start {start['at']}  [dim](between {start['low']} and {start['high']})[/]")
    if told.get("candidates"):
        console.print(table(("device", "score", "because", ""), [_candidate(one) for one in told["candidates"]]))
    for change in told.get("changes", ()):
        console.print(f"[dim]·[/dim] {escape(change)}", soft_wrap=True)


def _candidate(candidate: dict[str, Any]) -> tuple[str, str, str, str]:
    if candidate.get("refusal"):
        return candidate["device"], "–", escape(candidate["refusal"]), "[red]refused[/]"
    parts = " ".join(f"{name} {value:+.4g}" for name, value in candidate["contributions"].items())
    score = f"{candidate['score']:.4g}"
    return candidate["device"], score, escape(parts), "[green]chosen[/]" if candidate["chosen"] else ""


def estimate(
    file: Annotated[Path, typer.Argument(help=".qasm (2 or 3), .qpy, or a JobSpec .yaml.")],
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="Device or alias; left out: every device with noise.")
    ] = None,
    shots: Annotated[int | None, typer.Option(help="Shots.")] = None,
    priority: Annotated[
        str | None, typer.Option(help="0 to 100, 50 is normal; or critical, high, normal, low.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a job would be on each device: QPU time, waiting time, expected fidelity. Nothing is submitted."""
    if not file.is_file():
        raise ValidationError(f"{file} is not a file", field="file")
    given = {"shots": shots, "priority": priority_of(priority)}
    with QrtxClient() as client:
        chosen = {name: value for name, value in given.items() if value is not None}
        told = client.estimate_file(file, device=device, **chosen)
    if as_json:
        typer.echo(json.dumps(told, indent=1))
        return
    rows = [_estimate(one) for one in sorted(told["devices"], key=_by_merit)]
    console.print(table(("device", "fidelity", "QPU", "waiting", "between", "calibration", ""), rows))
    console.print(f"[dim]as of {told['at']}, policy {escape(told['policy'])}; nothing was submitted[/]")


def _by_merit(one: dict[str, Any]) -> tuple[bool, float, str]:
    return bool(one["refusal"]), -(one["score"] or 0.0), one["device"]


def _estimate(one: dict[str, Any]) -> tuple[str, ...]:
    if one["refusal"]:
        return one["device"], "–", "–", "–", f"[red]{escape(one['refusal'])}[/]", "–", ""
    fidelity = "no noise" if one["fidelity"] is None else f"{one['fidelity']:.4f}"
    between = f"{seconds(one['wait_low_s'])} – {seconds(one['wait_high_s'])}"
    calibration = str(one["provenance"].get("calibration_id") or "–")
    chosen = "[green]chosen[/]" if one["chosen"] else ""
    return one["device"], fidelity, seconds(one["qpu_s"]), seconds(one["wait_s"]), between, escape(calibration), chosen


def usage(as_json: AsJson = False) -> None:
    """Your share, and what is used of your quotas."""
    with QrtxClient() as client:
        told = client.usage()
    if as_json:
        typer.echo(json.dumps(told, indent=1))
        return
    console.print(f"{told['tenant']}: weight {told['weight']:g}, QPU time used lately {seconds(told['decayed_qpu_s'])}")
    rows = [
        (name, f"{quota['used']:g}", "none" if quota["limit"] is None else f"{quota['limit']:g}")
        for name, quota in told["quotas"].items()
    ]
    console.print(table(("quota", "used", "limit"), rows))


def reserve(
    device: Annotated[str, typer.Argument(help="Device or alias.")],
    until: Annotated[datetime, typer.Option("--to", formats=MOMENTS, help="End; local time without a zone.")],
    since: Annotated[datetime | None, typer.Option("--from", formats=MOMENTS, help="Beginning; left out: now.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Operators only: for whom.")] = None,
) -> None:
    """Hold a device; prints the name that jobs give to use it (`qrtx submit --reservation NAME`)."""
    with QrtxClient() as client:
        typer.echo(client.reserve(device, until, begins_at=since, tenant=tenant)["name"])


def reservations() -> None:
    """Reservations of all devices, yours with their names."""
    with QrtxClient() as client:
        found = client.reservations()
    if not found:
        console.print("[dim]no reservations[/]")
        return
    rows = [
        (
            one["device"],
            one["begins_at"],
            one["ends_at"],
            "[green]now[/]" if one["active"] else "",
            one["tenant"] or "[dim]another tenant[/]",
            one["name"] or "–",
        )
        for one in found
    ]
    console.print(table(("device", "from", "to", "", "tenant", "name"), rows))


def release(name: Annotated[str, typer.Argument(help="The reservation's name.")]) -> None:
    """Give a reservation back before its end."""
    with QrtxClient() as client:
        client.release(name)
    console.print("released")
