"""A job on its way, shown live."""

from __future__ import annotations

from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from qrtx_ray.cli.show import console, seconds, size, state_text
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
        TextColumn("[dim]{task.fields[slices]}[/]"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    last: JobStatus | None = None
    told = 0.0
    try:
        with bar:
            task = bar.add_task(job_id, total=1.0, state="…", slices="")
            for status in client.watch(job_id):
                bar.update(task, completed=status.progress, state=state_text(status.state), slices=_slices(status))
                for line in _news(last, status):
                    bar.console.print(f"{status.id}  {line}")
                if not console.is_terminal and status.progress >= told + STEP and not status.terminal:
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


def _news(before: JobStatus | None, now: JobStatus) -> list[str]:
    """What of a job is worth a line that stays: its state, why it changed, and what was kept."""
    lines = []
    if before is not None:
        known = {one["sequence"] for one in before.view.get("checkpoints", ())}
        lines += [
            f"[dim]checkpoint {one['sequence']} at {one['progress']:.0%}, {size(one['size_bytes'])}[/]"
            for one in reversed(now.view.get("checkpoints", ()))
            if one["sequence"] not in known
        ]
    if before is None or now.state != before.state:
        lines.append(state_text(now.state) + _why(before, now))
    elif _asked(now) and not _asked(before):
        lines.append(f"[dim]{_asked(now)} after its slice[/]")
    return lines


def _why(before: JobStatus | None, now: JobStatus) -> str:
    if before is not None and now.view.get("preemptions", 0) > before.view.get("preemptions", 0):
        return f" [dim]made way for more urgent work at {now.progress:.0%}[/]"
    if now.state == "Paused" and now.progress:
        return f" [dim]at {now.progress:.0%}[/]"
    if now.partial:
        return f" [dim]with the results of {now.progress:.0%}[/]"
    return ""


def _asked(status: JobStatus) -> str:
    if status.terminal:
        return ""
    if status.view.get("cancel_requested"):
        return "is cancelled"
    return "pauses" if status.view.get("pause_requested") else ""


def _slices(status: JobStatus) -> str:
    return f"{status.slices} slice{'' if status.slices == 1 else 's'}" if status.slices else ""
