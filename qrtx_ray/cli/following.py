"""A job on its way, shown live."""

from __future__ import annotations

from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from qrtx_ray.cli.show import console, seconds, state_text
from qrtx_ray.client import JobStatus, QrtxClient

__all__ = ["follow"]

STEP = 0.1  # where nobody looks at a terminal, progress is told in steps of this


def follow(client: QrtxClient, job_id: str) -> JobStatus:
    """Show a job until it has ended; returns how it ended."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[state]}"),
        BarColumn(bar_width=32),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    last: JobStatus | None = None
    told = 0.0
    try:
        with bar:
            task = bar.add_task(job_id, total=1.0, state="…")
            for status in client.watch(job_id):
                bar.update(task, completed=status.progress, state=state_text(status.state))
                if last is None or status.state != last.state:
                    bar.console.print(f"{status.id}  {state_text(status.state)}")
                elif not console.is_terminal and status.progress >= told + STEP:
                    told = status.progress
                    console.print(f"{status.id}  {state_text(status.state)}  {told:.0%}")
                last = status
    except KeyboardInterrupt:
        console.print(f"\nthe job goes on; [bold]qrtx watch {job_id}[/] follows it again")
        raise
    if last is None:  # the stream of a job tells its state at least once
        return client.get(job_id)
    if last.error is not None:
        console.print(f"[red]{escape(last.error.message)}[/]", soft_wrap=True)
    else:
        console.print(f"[dim]waited {seconds(last.waiting_s)}, QPU time {seconds(last.qpu_s)}[/]")
    return last
