"""Units in the configuration: durations become float seconds, sizes become int bytes, counts refuse booleans."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

__all__ = [
    "Count",
    "Duration",
    "PositiveCount",
    "PositiveDuration",
    "Size",
    "SizeOrNone",
    "parse_duration",
    "parse_size",
]

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*\Z")


def parse_duration(value: Any) -> float:
    """Seconds of `value`: a number of seconds, or text such as ``"250ms"``, ``"30s"``, ``"5m"``, ``"24h"``, ``"7d"``.

    Raises:
        ValueError: Not a duration, negative, or not finite.
    """
    seconds = _number(value)
    if seconds is None and (match := _QUANTITY.match(str(value))) and match[2] in _SECONDS:
        seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        msg = f"{value!r} is not a duration; write seconds or a number with one of {', '.join(_SECONDS)}, e.g. 5m"
        raise ValueError(msg)
    return seconds


def parse_size(value: Any) -> int:
    """Bytes of `value`: an integer, or text such as ``"4MiB"`` (2**20) or ``"2GB"`` (10**9).

    Raises:
        ValueError: Not a size, negative, or not a whole number of bytes.
    """
    size = _number(value)
    if size is None and (match := _QUANTITY.match(str(value))) and match[2].lower() in _BYTES:
        size = float(match[1]) * _BYTES[match[2].lower()]
    if size is None or not math.isfinite(size) or size < 0 or size != int(size):
        msg = f"{value!r} is not a size; write bytes or a number with one of kB, MB, GB, KiB, MiB, GiB, e.g. 4MiB"
        raise ValueError(msg)
    return int(size)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    # Environment variables are text; a bare number means the same there as in the file.
    match = _QUANTITY.match(value) if isinstance(value, str) else None
    return float(match[1]) if match and not match[2] else None


def _no_boolean(value: Any) -> Any:
    # pydantic reads true as 1; `max_retries: yes` is a mistake, not a number.
    if isinstance(value, bool):
        msg = "a whole number is wanted, not true or false"
        raise ValueError(msg)  # noqa: TRY004  # pydantic turns ValueError, not TypeError, into a validation error
    return value


Duration = Annotated[float, BeforeValidator(parse_duration)]
PositiveDuration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
Size = Annotated[int, BeforeValidator(parse_size), Field(ge=1)]
SizeOrNone = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]
Count = Annotated[int, BeforeValidator(_no_boolean), Field(ge=0)]
PositiveCount = Annotated[int, BeforeValidator(_no_boolean), Field(ge=1)]
