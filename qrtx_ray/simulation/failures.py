"""Errors of simulated compilations and runs: the trace names the code, the tree of errors says what it means."""

from __future__ import annotations

from functools import cache

from qrtx_ray.errors import CompileError, ErrorInfo, ExecuteError, QrtxError
from qrtx_ray.simulation.lines import JobLine

__all__ = ["compile_failure", "run_failure"]


def run_failure(job: JobLine, runs: int) -> ErrorInfo | None:
    """How run number `runs` (1 is the first) of `job` fails, or None: it completes."""
    if job.fails is None or runs > job.fails_attempts:
        return None
    return _info(job.fails, ExecuteError.category)


def compile_failure(job: JobLine) -> ErrorInfo | None:
    """How compiling `job` fails, or None."""
    return None if job.compile_fails is None else _info(job.compile_fails, CompileError.category)


def _info(code: str, category: str) -> ErrorInfo:
    kind = _kinds().get(code)
    text = f"it ended with {code}, as the trace says"
    return ErrorInfo(code, text, category) if kind is None else kind(text).info()


@cache
def _kinds() -> dict[str, type[QrtxError]]:
    kinds, todo = {}, [QrtxError]
    while todo:
        kind = todo.pop()
        kinds[kind.code] = kind
        todo += kind.__subclasses__()
    return kinds
