"""How things look on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from qrtx_ray.client.messages import JobStatus
from qrtx_ray.errors import QrtxError

__all__ = ["STATE_STYLES", "complain", "console", "job_table", "seconds", "state_text", "table"]

PLAIN_WIDTH = 160  # where nobody looks at a terminal, a table must not be squeezed into 80 columns


def _console(*, stderr: bool = False) -> Console:
    terminal = Console(stderr=stderr).is_terminal
    return Console(stderr=stderr, highlight=False, width=None if terminal else PLAIN_WIDTH)


console = _console()
errors = _console(stderr=True)

STATE_STYLES = {
    "Completed": "green",
    "Failed": "red",
    "Timeout": "red",
    "Cancelled": "yellow",
    "Executing": "cyan",
    "Queued": "blue",
}


def complain(error: QrtxError) -> None:
    """Say what went wrong, on standard error."""
    errors.print(f"[red]error[/red] ({error.code}): {escape(error.message)}", soft_wrap=True)


def state_text(state: str) -> str:
    """The state with its colour."""
    return f"[{STATE_STYLES.get(state, 'default')}]{escape(state)}[/]"


def seconds(value: float | None) -> str:
    """A duration for a reader: three digits."""
    if value is None:
        return "–"
    if value < 1.0:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 100 else f"{value:.0f} s"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> Table:
    """A table of text; cells may hold markup."""
    out = Table(*columns, title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for row in rows:
        out.add_row(*(str(cell) for cell in row))
    return out


def job_table(jobs: Iterable[JobStatus]) -> Table:
    """Jobs, one a line."""
    rows = [
        (
            job.id,
            escape(job.view["name"] or "–"),
            job.program,
            job.device,
            state_text(job.state),
            f"{job.progress:.0%}",
            seconds(job.waiting_s),
            seconds(job.qpu_s),
        )
        for job in jobs
    ]
    return table(("id", "name", "program", "device", "state", "progress", "waited", "QPU"), rows)
