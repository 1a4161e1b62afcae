"""How things look on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table

from qrtx_ray.client.messages import JobStatus
from qrtx_ray.errors import QrtxError, ValidationError

__all__ = [
    "STATE_STYLES",
    "complain",
    "console",
    "job_table",
    "results_view",
    "seconds",
    "size",
    "state_text",
    "table",
    "writing",
]

TOP = 16  # outcomes shown of each register
BAR = 24  # columns of the longest bar
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
    "Paused": "magenta",
}


def complain(error: QrtxError) -> None:
    """Say what went wrong, on standard error."""
    errors.print(f"[red]error[/red] ({error.code}): {escape(error.message)}", soft_wrap=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around the writing of a file that the user named.

    Raises:
        ValidationError: It cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise ValidationError(f"{path} cannot be written: {error.strerror}", field="file") from error


def results_view(document: Mapping[str, Any]) -> Group:
    """A result document, one block for each PUB: counts with bars, or values with their errors; of a dry run its figures."""
    blocks: list[Table | str] = []
    ours = document.get("metadata", {}).get("qrtx", {})
    estimate = ours.get("estimate")
    if estimate is not None:
        return Group(*(_figures(one) for one in estimate.get("candidates", [estimate])))
    if ours.get("partial"):
        blocks.append(f"[yellow]partial[/]: {ours.get('progress', 0.0):.0%} of the job was done when it was cancelled")
    several = len(document["pubs"]) > 1
    for index, pub in enumerate(document["pubs"]):
        title = f"PUB {index}" if several else None
        if "evs" in pub:
            rows = zip(_flat(pub["evs"]), _flat(pub["stds"]), strict=True)
            blocks.append(table(("value", "±"), [(f"{ev:+.6f}", f"{std:.6f}") for ev, std in rows], title))
            continue
        for name, register in pub["registers"].items():
            blocks += _register(name, register["counts"], title)
    return Group(*blocks)


def _register(name: str, counts: Any, title: str | None) -> list[Table | str]:
    if not isinstance(counts, Mapping):  # a parameter sweep: a table for each row would be a scroll
        return [f"{escape(name)}: {escape(json.dumps(counts))}"]
    total = sum(counts.values())
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP]
    longest = top[0][1] if top else 1
    rows = [
        (bits, count, f"{count / total:.4f}", f"[cyan]{'█' * max(1, round(BAR * count / longest))}[/]")
        for bits, count in top
    ]
    shown: list[Table | str] = [table((escape(name), "counts", "share", ""), rows, title)]
    if len(counts) > TOP:
        shown.append(f"[dim]and {len(counts) - TOP} more outcomes; --json lists all[/]")
    return shown


def _figures(estimate: Mapping[str, Any]) -> Table:
    rows = [
        (name, escape(str(value))) for name, value in estimate.items() if name != "device" and value not in (None, "")
    ]
    return table(("figure", "estimate"), rows, escape(str(estimate.get("device", ""))))


def _flat(values: Any) -> list[float]:
    if isinstance(values, list):
        return [number for value in values for number in _flat(value)]
    return [float(values)]


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


def size(count: int) -> str:
    """A number of bytes for a reader."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.0f} {units[0]}" if value >= 100 or units[0] == "B" else f"{value:.1f} {units[0]}"


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
