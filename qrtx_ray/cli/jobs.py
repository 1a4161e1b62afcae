"""Commands about jobs: submit, watch, results, cancel, jobs, explain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from qrtx_ray.cli.show import console, job_table, seconds, state_text, table
from qrtx_ray.client import JobStatus, QrtxClient
from qrtx_ray.errors import ValidationError

__all__ = ["register"]

JobId = Annotated[str, typer.Argument(help="The job's identifier.")]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    for command in (submit, watch, results, cancel, jobs, history):
        application.command()(command)


def submit(
    file: Annotated[Path, typer.Argument(help=".qasm (2 or 3), .qpy, or a JobSpec .yaml.")],
    device: Annotated[str | None, typer.Option("--device", "-d", help="Device name or alias.")] = None,
    shots: Annotated[int | None, typer.Option(help="Shots.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed; the same seed gives the same samples.")] = None,
    priority: Annotated[int | None, typer.Option(help="0 to 100, 50 is normal.")] = None,
    name: Annotated[str | None, typer.Option(help="A name for the job.")] = None,
    wait: Annotated[bool, typer.Option(help="Follow the job and print its results.")] = False,
) -> None:
    """Send a file; prints the job's identifier."""
    if not file.is_file():
        raise ValidationError(f"{file} is not a file", field="file")
    given: dict[str, Any] = {"shots": shots, "seed": seed, "priority": priority, "name": name}
    with QrtxClient() as client:
        job = client.submit_file(
            file, device=device, **{key: value for key, value in given.items() if value is not None}
        )
        if not wait:
            typer.echo(job.id)
            return
        ended = _follow(client, job.id)
        _print_end(client, ended)


def watch(job_id: JobId) -> None:
    """Follow a job until it has ended."""
    with QrtxClient() as client:
        ended = _follow(client, job_id)
    raise typer.Exit(0 if ended.state == "Completed" else 1)


def _follow(client: QrtxClient, job_id: str) -> JobStatus:
    columns = (
        TextColumn("{task.fields[state]}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    last: JobStatus | None = None
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(job_id, total=1.0, state="…")
        for status in client.watch(job_id):
            progress.update(bar, completed=status.progress, state=state_text(status.state))
            if last is None or status.state != last.state:
                progress.console.print(f"{status.id}  {state_text(status.state)}")
            last = status
    assert last is not None
    facts = f"waited {seconds(last.waiting_s)}, QPU time {seconds(last.qpu_s)}"
    console.print(facts if last.error is None else f"[red]{escape(last.error.message)}[/]", soft_wrap=True)
    return last


def _print_end(client: QrtxClient, ended: JobStatus) -> None:
    if ended.state != "Completed":
        raise typer.Exit(1)
    _print_results(client.results(ended.id))


def results(
    job_id: JobId,
    memory: Annotated[bool, typer.Option(help="Every shot instead of counts alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The whole document.")] = False,
) -> None:
    """Print the results of a job."""
    with QrtxClient() as client:
        document = client.results(job_id, memory=memory)
    if as_json or memory:
        typer.echo(json.dumps(document, indent=1))
    else:
        _print_results(document)


def _print_results(document: dict[str, Any]) -> None:
    for index, pub in enumerate(document["pubs"]):
        if "evs" in pub:
            console.print(f"PUB {index}: evs {pub['evs']}  stds {pub['stds']}", soft_wrap=True)
            continue
        for name, register in pub["registers"].items():
            counts = register["counts"]
            if isinstance(counts, dict):
                total = sum(counts.values())
                top = sorted(counts.items(), key=lambda item: -item[1])[:16]
                rows = [(bits, count, f"{count / total:.4f}") for bits, count in top]
                console.print(table((name, "counts", "share"), rows, title=f"PUB {index}"))
                if len(counts) > len(top):
                    console.print(f"[dim]{len(counts) - len(top)} more outcomes; --json lists them[/dim]")
            else:
                console.print(f"PUB {index} {name}: {json.dumps(counts)}", soft_wrap=True)


def cancel(job_id: JobId) -> None:
    """Cancel a job."""
    with QrtxClient() as client:
        job = client.cancel(job_id)
    console.print(f"{job.id}  {state_text(job.state)}")


def jobs(
    limit: Annotated[int, typer.Option(help="How many.")] = 20,
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    device: Annotated[str | None, typer.Option(help="Only jobs of this device.")] = None,
) -> None:
    """List jobs, newest first."""
    filters: dict[str, Any] = {
        key: value for key, value in {"state": state, "device": device}.items() if value is not None
    }
    with QrtxClient() as client:
        console.print(job_table(client.jobs(limit=limit, **filters)))


def history(job_id: JobId) -> None:
    """All changes of a job's state."""
    with QrtxClient() as client:
        rows = [
            (change["at"], change["from_state"] or "–", state_text(change["to_state"]), escape(change["reason"]))
            for change in client.history(job_id)
        ]
    console.print(table(("when", "from", "to", "why"), rows))
