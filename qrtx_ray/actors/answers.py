"""What a child process said, taken apart with distrust.

A child has handled what tenants sent, and may be theirs by now. A figure that is no number, or a text without end, must
fail the job it speaks of and nothing else; it must never reach the scheduler, whose journal would refuse it for good.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeGuard

from qrtx_ray.errors import ErrorInfo, ExecuteError
from qrtx_ray.model import Candidate, CircuitProfile

__all__ = [
    "MadeWay",
    "RunEnd",
    "Sealed",
    "candidates_of",
    "error_of",
    "profile_of",
    "run_end_of",
    "sealed_of",
    "slices_of",
]

MAX_CODE = 64
MAX_TEXT = 2_000
MAX_FACTS = 32  # that a child says about a checkpoint
BIGGEST = 2**63  # what the journal can hold
KINDS = ("slices", "segment")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A checkpoint as the child handed it out: a body, and what lies in the shared memory at `bulk_at`."""

    body: bytes
    progress: float
    bulk_bytes: int = 0
    bulk_at: int = 0
    kind: str = "slices"
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MadeWay:
    """What a run left that made way: its checkpoint (None: it has none), the fraction done, seconds it took here."""

    checkpoint: Sealed | None
    progress: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class RunEnd:
    """What a run gave: the result document, seconds of QPU time, seconds it took here. A `partial` one was concluded on
    request, and covers the fraction `progress`.
    """

    results: bytes
    qpu_s: float
    wall_s: float
    partial: bool = False
    progress: float = 1.0


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
    for wanted in fields(kind):
        value = said.get(wanted.name)
        if not _FITS[str(wanted.type)](value):
            return None
        values[wanted.name] = value
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


def run_end_of(
    said: Mapping[str, Any], *, may_leave: bool = False, may_conclude: bool = False, area_bytes: int = 0
) -> RunEnd | MadeWay | ErrorInfo:
    """How a run ended by the outcome `said`: what it gave, or the error, which may be that nothing can be made of it.

    Args:
        may_leave: Whether it was asked to make way, and so may say that it did.
        may_conclude: Whether it was asked to conclude, and so may have results of a part.
        area_bytes: Size of the shared memory it had.
    """
    if said.get("error"):
        error = error_of(said["error"])
        if error is not None:
            return error
    results, qpu_s, wall_s = said.get("results"), said.get("qpu_s", 0.0), said.get("wall_s", 0.0)
    if said.get("preempted") is True:
        if not (may_leave and _is_amount(wall_s)):
            return _unreadable()
        progress = said.get("progress")
        if said.get("checkpoint") == b"" and _is_fraction(progress):
            return MadeWay(None, progress, float(wall_s))
        sealed = sealed_of(said, area_bytes)
        if sealed is not None:
            return MadeWay(sealed, sealed.progress, float(wall_s))
    elif isinstance(results, bytes) and results and _is_amount(qpu_s) and _is_amount(wall_s):
        if said.get("partial", False) is False:
            return RunEnd(results, float(qpu_s), float(wall_s))
        if may_conclude and said["partial"] is True and _is_fraction(said.get("progress")):
            return RunEnd(results, float(qpu_s), float(wall_s), partial=True, progress=float(said["progress"]))
    return _unreadable()


def _unreadable() -> ErrorInfo:
    return ExecuteError("the engine gave an outcome that cannot be read").info()


def sealed_of(said: Mapping[str, Any], area_bytes: int) -> Sealed | None:
    """The checkpoint that `said` hands out, or None when it is none, or lies where there is no shared memory."""
    body, progress, about = said.get("checkpoint"), said.get("progress"), said.get("about", {})
    bulk_bytes, bulk_at = said.get("bulk_bytes", 0), said.get("bulk_at", 0)
    if not (isinstance(body, bytes) and body and _is_fraction(progress) and isinstance(about, Mapping)):
        return None
    if not (_is_count(bulk_bytes) and _is_count(bulk_at)) or bulk_at + bulk_bytes > max(area_bytes, bulk_at):
        return None
    kind = about.get("kind", KINDS[0])
    if kind not in KINDS:
        return None
    return Sealed(body, progress, bulk_bytes, bulk_at, kind, _facts_of(about))


def slices_of(said: object) -> int:
    """The number of slices done that `said` is; 0 when it is none."""
    return said if _is_count(said) and said < 2**31 else 0


def _facts_of(about: Mapping[Any, Any]) -> dict[str, Any]:
    """What a child says about a checkpoint: texts and numbers, and tables of texts; the rest is left out."""
    facts: dict[str, Any] = {}
    for name, value in list(about.items())[:MAX_FACTS]:
        if not (isinstance(name, str) and len(name) <= MAX_CODE):
            continue
        if isinstance(value, Mapping):
            rows = list(value.items())[:MAX_FACTS]
            facts[name] = {
                key: text for key, text in rows if _is_text(text) and isinstance(key, str) and len(key) <= MAX_CODE
            }
        elif _is_text(value) or _is_count(value):
            facts[name] = value
    return facts


def _text(value: object) -> str | None:
    return value[:MAX_TEXT] if isinstance(value, str) else None


def _is_amount(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value < BIGGEST
    )


def _is_fraction(value: object) -> TypeGuard[float]:
    return isinstance(value, float) and 0.0 <= value <= 1.0


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and _is_amount(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT


_FITS: dict[str, Callable[[object], bool]] = {
    "int": _is_count,
    "float": _is_amount,
    "float | None": lambda value: value is None or _is_amount(value),
    "str": _is_text,
}
