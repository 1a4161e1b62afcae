"""What a child process said, taken apart with distrust.

A child has handled what tenants sent, and may be theirs by now. A figure that is no number, or a text without end, must
fail the job it speaks of and nothing else; it must never reach the scheduler, whose journal would refuse it for good.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from qrtx_ray.errors import ErrorInfo, ExecuteError
from qrtx_ray.model import Candidate, CircuitProfile

__all__ = ["MadeWay", "RunEnd", "candidates_of", "error_of", "profile_of", "run_end_of"]

MAX_CODE = 64
MAX_TEXT = 2_000
BIGGEST = 2**63  # what the journal can hold


@dataclass(frozen=True, slots=True)
class MadeWay:
    """What a run left that made way: its checkpoint (empty: none), the fraction done, seconds it took here."""

    checkpoint: bytes
    progress: float
    wall_s: float


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
    values = _fields_of(CircuitProfile, said)
    return None if values is None else CircuitProfile(**values)


def _fields_of(kind: type[CircuitProfile | Candidate], said: object) -> dict[str, Any] | None:
    """The value of every field of `kind`, or None when one is missing or is not what it must be."""
    if not isinstance(said, Mapping):
        return None
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = said.get(field.name)
        if not _FITS[str(field.type)](value):
            return None
        values[field.name] = value
    return values


def candidates_of(said: object, asked: Sequence[str]) -> tuple[Candidate, ...] | None:
    """The candidates that `said` describes, in the order of the devices `asked` for; None unless there is one for each
    and every field is what it must be.
    """
    if not isinstance(said, Sequence) or isinstance(said, str | bytes) or len(said) != len(asked):
        return None
    found: dict[str, Candidate] = {}
    for item in said:
        values = _fields_of(Candidate, item)
        if values is None:
            return None
        found[values["device"]] = Candidate(**values)
    return tuple(found[name] for name in asked) if found.keys() == set(asked) else None


def run_end_of(said: Mapping[str, Any], *, may_leave: bool = False) -> RunEnd | MadeWay | ErrorInfo:
    """How a run ended by the outcome `said`: what it gave, or the error, which may be that nothing can be made of it.

    Args:
        may_leave: Whether it was asked to make way, and so may say that it did.
    """
    if said.get("error"):
        error = error_of(said["error"])
        if error is not None:
            return error
    results, qpu_s, wall_s = said.get("results"), said.get("qpu_s", 0.0), said.get("wall_s", 0.0)
    if said.get("preempted") is True and may_leave and _is_amount(wall_s):
        checkpoint, progress = said.get("checkpoint"), said.get("progress")
        if isinstance(checkpoint, bytes) and isinstance(progress, float) and 0.0 <= progress <= 1.0:
            return MadeWay(checkpoint, progress, float(wall_s))
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


_FITS: dict[str, Callable[[object], bool]] = {
    "int": _is_count,
    "float": _is_amount,
    "float | None": lambda value: value is None or _is_amount(value),
    "str": _is_text,
}
