"""`qrtx export-trace`: the journal as a trace for `qrtx simulate`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import orjson
import typer

from qrtx_ray.cli.show import writing
from qrtx_ray.cli.words import MOMENTS
from qrtx_ray.config import load_settings
from qrtx_ray.config.journal_url import is_postgresql
from qrtx_ray.errors import ValidationError

__all__ = ["register"]

SQLITE = "sqlite:///"


def register(application: typer.Typer) -> None:
    """Add the command."""
    application.command("export-trace")(export_trace)


def export_trace(
    file: Annotated[Path, typer.Argument(help="File to write; - for standard output.")],
    since: Annotated[datetime | None, typer.Option(formats=MOMENTS, help="Only jobs submitted then or later.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=MOMENTS, help="Only jobs submitted before.")] = None,
    anonymise: Annotated[bool, typer.Option("--anonymise", help="Call tenants t1, t2, ….")] = False,
    config: Annotated[Path | None, typer.Option(help="YAML file; default: $QRTX_CONFIG.")] = None,
    storage: Annotated[Path | None, typer.Option(help="Storage folder of the runtime.")] = None,
) -> None:
    """Write the journal of the runtime as a trace. The runtime may be up; nothing of it is changed."""
    from qrtx_ray.actors.settings import servings
    from qrtx_ray.store.trace_export import Crew, Span, trace_lines

    settings = load_settings(config, overrides={"storage.path": str(storage)} if storage else None)
    url = settings.paths.journal_url
    if not url.startswith(SQLITE) and not is_postgresql(url):
        raise ValidationError(
            f"the journal {url} is lost with the process; there is nothing to export", field="storage.journal_url"
        )
    crews = [
        Crew(tuple((device.name, device.num_qubits) for device in serving.devices), serving.agents)
        for serving in servings(settings)
    ]
    span = Span(*(None if moment is None else moment.timestamp() for moment in (since, until)))
    journal = url if is_postgresql(url) else Path(url.removeprefix(SQLITE))
    lines = trace_lines(journal, crews, span, anonymise=anonymise)
    if str(file) == "-":
        _write(lines, sys.stdout.buffer)
        return
    with writing(file), file.open("wb") as out:
        jobs = _write(lines, out)
    typer.echo(f"{jobs} jobs in {file}")


def _write(lines: Iterable[dict[str, Any]], out: BinaryIO) -> int:
    jobs = 0
    for line in lines:
        out.write(orjson.dumps(line) + b"\n")
        jobs += line.get("kind") == "job"
    return jobs
