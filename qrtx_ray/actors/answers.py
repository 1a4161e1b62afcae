"""What a child process said, taken apart with distrust.

A child has handled what tenants sent, and may be theirs by now. A figure that is no number, or a text without end, must
fail the job it speaks of and nothing else; it must never reach the scheduler, whose journal would refuse it for good.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from qrtx_ray.errors import ErrorInfo, ExecuteError
from qrtx_ray.model import CircuitProfile

__all__ = ["RunEnd", "error_of", "profile_of", "run_end_of"]

MAX_CODE = 64
MAX_TEXT = 2_000
BIGGEST = 2**63  # what the journal can hold


@dataclass(frozen=True, slots=True)
class RunEnd:
    """What a run gave: the result document, seconds of QPU time, seconds it took here."""

    results: bytes
    qpu_s: float
    wall_s: float


def error_of(said: object) -> ErrorInfo | None:
    """The error that `said` describes, or None when it describes none."""
    if not isinstance(said, Mapping):
        return None
    code, message, category = (said.get(name) for name in ("code", "message", "category"))
    if not (isinstance(code, str) and isinstance(message, str) and isinstance(category, str)):
        return None
    return ErrorInfo(
        code=code[:MAX_CODE],
        message=message[:MAX_TEXT],
        category=category[:MAX_CODE],
        retryable=said.get("retryable") is True,
        field=_text(said.get("field")),
        limit=_text(said.get("limit")),
    )


def profile_of(said: object) -> CircuitProfile | None:
    """The profile that `said` describes, or None when a field is missing or is not what it must be."""
    if not isinstance(said, Mapping):
        return None
    values: dict[str, Any] = {}
    for field in fields(CircuitProfile):
        value = said.get(field.name)
        if not _FITS[str(field.type)](value):
            return None
        values[field.name] = value
    return CircuitProfile(**values)


def run_end_of(said: Mapping[str, Any]) -> RunEnd | ErrorInfo:
    """How a run ended by the outcome `said`: what it gave, or the error, which may be that nothing can be made of it."""
    if said.get("error"):
        error = error_of(said["error"])
        if error is not None:
            return error
    results, qpu_s, wall_s = said.get("results"), said.get("qpu_s", 0.0), said.get("wall_s", 0.0)
    if isinstance(results, bytes) and results and _is_amount(qpu_s) and _is_amount(wall_s):
        return RunEnd(results, float(qpu_s), float(wall_s))
    return ExecuteError("the engine gave an outcome that cannot be read").info()


def _text(value: object) -> str | None:
    return value[:MAX_TEXT] if isinstance(value, str) else None


def _is_amount(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value < BIGGEST
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and _is_amount(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT


_FITS: dict[str, Callable[[object], bool]] = {"int": _is_count, "float": _is_amount, "str": _is_text}
