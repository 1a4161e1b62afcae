"""`qrtx`: the commands, and how errors are shown."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from qrtx_ray import __version__
from qrtx_ray.cli import control, draining, jobs, planning, service, simulate, traces
from qrtx_ray.cli.show import complain
from qrtx_ray.errors import QrtxError

__all__ = ["application", "main"]

application = typer.Typer(
    name="qrtx",
    help="A quantum runtime on Ray: start it, send jobs to it, watch them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
service.register(application)
jobs.register(application)
control.register(application)
draining.register(application)
planning.register(application)
traces.register(application)
simulate.register(application)


@application.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `qrtx` script; always ends in `SystemExit`.

    Exit status 1: the runtime refused, or the job did not complete; 2: the command line is wrong; 130: interrupted.

    Args:
        arguments: The command line without the program's name; by default the process's own.
    """
    try:
        application(None if arguments is None else list(arguments))
    except QrtxError as error:
        complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
