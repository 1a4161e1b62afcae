"""JSON answers, written by orjson."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.responses import Response

__all__ = ["JSON", "empty", "iso_time", "json_bytes", "json_response"]

JSON = "application/json"


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`content` as a JSON answer. Non-finite numbers become null, as JSON has none."""
    return Response(orjson.dumps(content), status, headers, JSON)


def json_bytes(content: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """A document that is JSON already."""
    return Response(content, 200, headers, JSON)


def empty(status: int = 204) -> Response:
    """An answer without a body."""
    return Response(status_code=status)


def iso_time(epoch_s: float | None) -> str | None:
    """Epoch seconds as ISO 8601 in UTC with a final Z, or None."""
    if epoch_s is None:
        return None
    return datetime.fromtimestamp(epoch_s, UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
