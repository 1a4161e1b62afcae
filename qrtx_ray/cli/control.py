"""Commands to jobs on their way: pause, resume, checkpoint, checkpoints, migrate, restore."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

import typer

from qrtx_ray.cli.following import follow
from qrtx_ray.cli.show import console, results_view, size, state_text, table
from qrtx_ray.client import JobStatus, QrtxClient

__all__ = ["register"]

JobId = Annotated[str, typer.Argument(help="The job's identifier.")]
AsJson = Annotated[bool, typer.Option("--json", help="The whole answer, as JSON.")]
STANDS_S = 60.0  # longest time that a checkpoint is waited for in one request


def register(application: typer.Typer) -> None:
    """Add the commands."""
    for command in (pause, resume, checkpoint, checkpoints, migrate, restore):
        application.command()(command)


def pause(job_id: JobId) -> None:
    """Let a job wait until it is resumed; one that runs pauses after its slice, and keeps what it has done."""
    with QrtxClient() as client:
        job = client.pause(job_id)
    _tell(job, "pauses after its slice" if job.view["pause_requested"] else "")


def resume(job_id: JobId) -> None:
    """Let a paused job go on from its last checkpoint."""
    with QrtxClient() as client:
        _tell(client.resume(job_id))


def checkpoint(
    job_id: JobId,
    wait: Annotated[bool, typer.Option(help="Wait up to a minute until it stands.")] = True,
) -> None:
    """Have a running job keep what it has done, and run on. Exit status 1: waited for, and it does not stand."""
    with QrtxClient() as client:
        before = _newest(client.get(job_id))
        job = client.checkpoint(job_id, STANDS_S if wait else 0.0)
    if _newest(job) > before:
        kept = job.view["checkpoints"][0]
        _tell(job, f"checkpoint {kept['sequence']} at {kept['progress']:.0%}, {size(kept['size_bytes'])}")
    elif not wait:
        _tell(job, "takes a checkpoint after its slice")
    else:
        _tell(job, "no new checkpoint")
        raise typer.Exit(1)


def checkpoints(job_id: JobId, as_json: AsJson = False) -> None:
    """The valid checkpoints of a job, newest first."""
    with QrtxClient() as client:
        found = client.checkpoints(job_id)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    if not found:
        console.print("[dim]no checkpoints[/]")
        return
    rows = [
        (
            one["sequence"],
            f"{one['progress']:.1%}",
            datetime.fromisoformat(one["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            size(one["size_bytes"]),
            one["kind"],
            one["attempt"],
        )
        for one in found
    ]
    console.print(table(("checkpoint", "progress", "taken", "size", "kind", "attempt"), rows))


def migrate(
    job_id: JobId,
    agent: Annotated[str | None, typer.Option(help="Agent that goes on with it; left out: any other.")] = None,
) -> None:
    """Let a running job go on with another agent, from where it is."""
    with QrtxClient() as client:
        job = client.migrate(job_id, agent)
    _tell(job, f"moves to {agent or 'another agent'} after its slice" if job.state == "Executing" else "")


def restore(
    job_id: JobId,
    sequence: Annotated[int | None, typer.Option(help="Checkpoint to begin with; left out: the newest.")] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Follow the new job and print its results.")] = False,
) -> None:
    """Make a new job of one that has ended, beginning with its checkpoint; prints the new job's identifier."""
    with QrtxClient() as client:
        job = client.restore(job_id, sequence)
        if not wait:
            typer.echo(job.id)
            return
        if follow(client, job.id).state != "Completed":
            raise typer.Exit(1)
        console.print(results_view(client.results(job.id)))


def _tell(job: JobStatus, what: str = "") -> None:
    console.print(f"{job.id}  {state_text(job.state)}{', ' + what if what else ''}")


def _newest(job: JobStatus) -> int:
    return max((one["sequence"] for one in job.view["checkpoints"]), default=0)
