"""Commands about jobs: submit, watch, results, cancel, jobs, history."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from qrtx_ray.cli.following import follow
from qrtx_ray.cli.show import console, job_table, results_view, state_text, table
from qrtx_ray.cli.words import MOMENTS, priority_of
from qrtx_ray.client import QrtxClient
from qrtx_ray.errors import ValidationError

__all__ = ["register"]

JobId = Annotated[str, typer.Argument(help="The job's identifier.")]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    for command in (submit, watch, results, cancel, jobs, history):
        application.command()(command)


def submit(
    file: Annotated[Path, typer.Argument(help=".qasm (2 or 3), .qpy, or a JobSpec .yaml.")],
    device: Annotated[str | None, typer.Option("--device", "-d", help="Device name, alias, or auto.")] = None,
    shots: Annotated[int | None, typer.Option(help="Shots.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed; the same seed gives the same samples.")] = None,
    priority: Annotated[
        str | None, typer.Option(help="0 to 100, 50 is normal; or critical, high, normal, low.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name for the job.")] = None,
    deadline: Annotated[datetime | None, typer.Option(formats=MOMENTS, help="When it must have ended.")] = None,
    fidelity_floor: Annotated[float | None, typer.Option(help="Least predicted fidelity, above 0 to 1.")] = None,
    reservation: Annotated[str | None, typer.Option(help="Reservation that the job may use.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compile and estimate only.")] = False,
    checkpoint_interval: Annotated[
        float | None, typer.Option(help="Seconds of run between two checkpoints; 0: none.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Follow the job and print its results.")] = False,
) -> None:
    """Send a file; prints the job's identifier."""
    if not file.is_file():
        raise ValidationError(f"{file} is not a file", field="file")
    given: dict[str, Any] = {
        "shots": shots,
        "seed": seed,
        "priority": priority_of(priority),
        "name": name,
        "deadline": None if deadline is None else deadline.astimezone(UTC).isoformat(),
        "fidelity_floor": fidelity_floor,
        "reservation": reservation,
        "dry_run": dry_run or None,
        "checkpoint_interval_s": checkpoint_interval,
    }
    with QrtxClient() as client:
        chosen = {key: value for key, value in given.items() if value is not None}
        job = client.submit_file(file, device=device, **chosen)
        if not wait:
            typer.echo(job.id)
            return
        if follow(client, job.id).state != "Completed":
            raise typer.Exit(1)
        console.print(results_view(client.results(job.id)))


def watch(job_id: JobId) -> None:
    """Follow a job until it has ended. Exit status 0: it completed; 1: it did not."""
    with QrtxClient() as client:
        ended = follow(client, job_id)
    raise typer.Exit(0 if ended.state == "Completed" else 1)


def results(
    job_id: JobId,
    memory: Annotated[bool, typer.Option("--memory", help="Every shot instead of counts alone, as JSON.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The whole document.")] = False,
) -> None:
    """Print the results of a job."""
    with QrtxClient() as client:
        document = client.results(job_id, memory=memory)
    if as_json or memory:
        typer.echo(json.dumps(document, indent=1))
    else:
        console.print(results_view(document))


def cancel(
    job_id: JobId,
    partial: Annotated[bool, typer.Option("--partial", help="Keep the results of what was done until then.")] = False,
) -> None:
    """Cancel a job, wherever it is on its way."""
    with QrtxClient() as client:
        job = client.cancel(job_id, partial=partial)
    console.print(f"{job.id}  {state_text(job.state)}{'' if job.terminal else ', is being cancelled'}")


def jobs(
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many.")] = 20,
    state: Annotated[str | None, typer.Option(help="Only jobs in this state, e.g. Queued.")] = None,
    device: Annotated[str | None, typer.Option("--device", "-d", help="Only jobs of this device or alias.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only jobs with this tag.")] = None,
) -> None:
    """List jobs, newest first."""
    with QrtxClient() as client:
        found = client.jobs(limit=limit, state=state, device=device, tag=tag)
    console.print(job_table(found) if found else "[dim]no jobs[/]")


def history(job_id: JobId) -> None:
    """All changes of a job's state."""
    with QrtxClient() as client:
        rows = [
            (change["at"], change["from_state"] or "–", state_text(change["to_state"]), escape(change["reason"]))
            for change in client.history(job_id)
        ]
    console.print(table(("when", "from", "to", "why"), rows))
