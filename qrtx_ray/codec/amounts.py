"""Checks of the numbers a request carries: finite, of the right kind, within their bounds."""

from __future__ import annotations

import math
from typing import Any

from qrtx_ray.codec.limits import Limits
from qrtx_ray.errors import ValidationError
from qrtx_ray.model import Level

__all__ = [
    "LEVELS",
    "check_integer",
    "check_interval",
    "check_number",
    "check_precision",
    "check_priority",
    "check_seed",
    "check_shots",
    "precision_of_shots",
    "shots_of_precision",
]

LEVELS = {level.name.lower(): level.priority for level in Level}  #: what the name of a level means as a priority
LEAST_INTERVAL_S = 1.0
LONGEST_INTERVAL_S = 86_400.0
_MAX_SEED = 2**64 - 1
_MAX_INTEGER = 2**63 - 1


def check_integer(value: Any, low: int, high: int, *, field: str) -> int:
    """`value` if it is an int (not a bool) in ``low..high``.

    Raises:
        ValidationError: It is not.
    """
    if type(value) is not int or not low <= value <= high:
        raise ValidationError(
            f"{field} must be a whole number from {low} to {high}", field=field, limit=f"{low}..{high}"
        )
    return value


def check_number(value: Any, low: float, high: float, *, field: str) -> float:
    """`value` as a float if it is a finite number (not a bool) in ``low..high``.

    Raises:
        ValidationError: It is not.
    """
    if type(value) not in {int, float} or not low <= value <= high or not math.isfinite(value):
        raise ValidationError(
            f"{field} must be a finite number from {low:g} to {high:g}", field=field, limit=f"{low:g}..{high:g}"
        )
    return float(value)


def check_interval(value: Any, *, field: str) -> float:
    """Seconds between two checkpoints: 0 for none, or 1 s to a day.

    Raises:
        ValidationError: Anything else.
    """
    if type(value) not in {int, float} or not (value == 0 or LEAST_INTERVAL_S <= value <= LONGEST_INTERVAL_S):
        limit = f"0, {LEAST_INTERVAL_S:g}..{LONGEST_INTERVAL_S:g} s"
        text = f"{field} must be 0 for no checkpoints, or a number from {LEAST_INTERVAL_S:g} to {LONGEST_INTERVAL_S:g}"
        raise ValidationError(text, field=field, limit=limit)
    return float(value)


def check_shots(value: Any, limits: Limits, *, field: str) -> int:
    """A number of shots: 1 to `limits.shots`.

    Raises:
        ValidationError: Anything else.
    """
    return check_integer(value, 1, limits.shots, field=field)


def check_precision(value: Any, limits: Limits, *, field: str) -> float:
    """A target standard error: finite, positive, and asking for no more than `limits.shots` shots.

    0 (exact values) passes only with `limits.allow_exact_precision`.

    Raises:
        ValidationError: Anything else.
    """
    if type(value) in {int, float} and value == 0 and limits.allow_exact_precision:
        return 0.0
    if type(value) not in {int, float} or not math.isfinite(value) or value <= 0:
        raise ValidationError(f"{field} must be a finite number above 0", field=field, limit="> 0")
    smallest = precision_of_shots(limits.shots)
    if value < smallest * (1 - 1e-9):
        raise ValidationError(
            f"{field} {value:g} needs more than the {limits.shots} shots accepted; the smallest is {smallest:.3g}",
            field=field,
            limit=f"{limits.shots} shots",
        )
    return float(value)


def check_seed(value: Any, *, field: str) -> int:
    """A seed: 0 to 2**64 - 1.

    Raises:
        ValidationError: Anything else.
    """
    return check_integer(value, 0, _MAX_SEED, field=field)


def check_priority(value: Any, *, field: str) -> int:
    """A priority: 0 to 100, or the name of a level, which is returned as its number.

    Raises:
        ValidationError: Anything else.
    """
    if isinstance(value, str):
        level = LEVELS.get(value)
        if level is None:
            limit = f"0..100, {', '.join(LEVELS)}"
            raise ValidationError(
                f"{field} must be a whole number or a level; known are {limit}", field=field, limit=limit
            )
        return level
    return check_integer(value, 0, 100, field=field)


def precision_of_shots(shots: int) -> float:
    """The standard error that `shots` shots stand for: 1 / √shots."""
    return 1.0 / math.sqrt(shots)


def shots_of_precision(precision: float) -> int:
    """The shots that reach a standard error of `precision` > 0: ⌈1 / precision²⌉, 0 for 0."""
    if precision == 0:
        return 0
    # A precision made from a whole number of shots must lead back to it, so the last bits are rounded away first.
    return max(1, math.ceil(round(1.0 / (precision * precision), 6)))
