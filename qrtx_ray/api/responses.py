"""JSON answers, written by orjson."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.responses import Response

__all__ = ["JSON", "empty", "field_outside", "iso_time", "json_bytes", "json_response", "with_dates"]

JSON = "application/json"
_OUTSIDE = {"deadline_at": "deadline", "choices": "devices"}
_MOMENT = re.compile(r"(\d{1,15}\.\d{3})(?: s since the epoch|(?= to \d{1,15}\.\d{3} s since the epoch))")


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`content` as a JSON answer. Non-finite numbers become null, as JSON has none."""
    return Response(orjson.dumps(content), status, headers, JSON)


def json_bytes(content: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """A document that is JSON already."""
    return Response(content, 200, headers, JSON)


def empty(status: int = 204) -> Response:
    """An answer without a body."""
    return Response(status_code=status)


def with_dates(text: str) -> str:
    """`text` of the scheduler for people outside: inside, moments are seconds since the epoch; on the wire they are dates."""
    return _MOMENT.sub(_date, text)


def field_outside(field: str | None) -> str | None:
    """What requests call a field that the scheduler's refusals name as its records do."""
    return _OUTSIDE.get(field, field) if field is not None else None


def _date(moment: re.Match[str]) -> str:
    try:
        return str(iso_time(float(moment[1])))
    except (ValueError, OverflowError, OSError):
        return moment[0]  # in no calendar; the number will have to do


def iso_time(epoch_s: float | None) -> str | None:
    """Epoch seconds as ISO 8601 in UTC with a final Z, or None."""
    if epoch_s is None:
        return None
    return datetime.fromtimestamp(epoch_s, UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
