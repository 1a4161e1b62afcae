"""How errors look on the wire: one body for every API, readable by the official client as well.

The body carries our stable code under ``error`` and, under ``errors``, the list IBM documents with a number from its
error registry. Texts are always our own: what a library said about a tenant's bytes never gets here.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from qrtx_ray.api.responses import JSON, field_outside, with_dates
from qrtx_ray.errors import ErrorInfo, InternalError, NotFound, QrtxError, ValidationError

__all__ = [
    "MethodNotAllowed",
    "RequestTimeout",
    "UnsupportedMediaType",
    "error_body",
    "error_response",
    "from_http_exception",
    "ibm_code",
    "solution_for",
]

_CODES = {
    "validation_failed": 1002,
    "payload_too_large": 1002,
    "decode_failed": 1002,
    "compile_failed": 1003,
    "device_unavailable": 1004,
    "queue_full": 1202,
    "quota_queued": 1202,
    "quota_qpu_seconds": 1202,
    "deadline_unmeetable": 1004,
    "fidelity_floor_unmet": 1004,
    "no_suitable_device": 1004,
    "queue_timeout": 1011,
    "pause_timeout": 1011,
    "execution_timeout": 1305,
    "permission_denied": 1200,
    "unauthenticated": 1201,
    "not_found": 1291,
}
_OTHER = 1010

_SOLUTIONS = {
    1002: "Correct the request; sending it again unchanged will not help.",
    1003: "Transpile the circuit for the device, or simplify it.",
    1004: "Choose another device, or try again later.",
    1011: "Try again later, or allow a longer queue time.",
    1200: "Use a token that has this right.",
    1201: "Check the token.",
    1202: "Send fewer requests at a time and try again later.",
    1291: "Check the identifier and the token.",
    1305: "Ask for fewer shots, or allow a longer execution time.",
    _OTHER: "Try again; if it happens again, report it with the trace.",
}


class UnsupportedMediaType(QrtxError):
    """The body's type or encoding is not taken."""

    code = "unsupported_media_type"
    http_status = 415


class MethodNotAllowed(QrtxError):
    """The path exists, the method does not."""

    code = "method_not_allowed"
    http_status = 405


class RequestTimeout(QrtxError):
    """The body did not arrive in time."""

    code = "request_timeout"
    http_status = 408
    retryable = True


def ibm_code(code: str) -> int:
    """The number of IBM's error registry that comes nearest to one of our codes."""
    return _CODES.get(code, _OTHER)


def solution_for(number: int) -> str:
    """What to do about an error with this number."""
    return _SOLUTIONS[number]


def error_body(info: ErrorInfo, trace: str) -> dict[str, Any]:
    """The documented error document."""
    number = ibm_code(info.code)
    return {
        "error": {
            "code": info.code,
            "message": info.message,
            "field": info.field,
            "limit": info.limit,
            "retryable": info.retryable,
        },
        "errors": [{"code": number, "message": info.message, "more_info": "/docs", "solution": _SOLUTIONS[number]}],
        "trace": trace,
    }


def error_response(error: QrtxError, trace: str, retry_after_s: int = 1) -> Response:
    """The answer for `error`. A surrogate or a control character in a text never reaches a header or breaks the JSON."""
    info = error.info()
    message, limit = with_dates(_printable(info.message)), None if info.limit is None else with_dates(info.limit)
    safe = ErrorInfo(info.code, message, info.category, info.retryable, field_outside(_printable(info.field)), limit)
    headers = {"uber-trace-id": trace}
    if error.http_status in (429, 503, 507):
        headers["Retry-After"] = str(retry_after_s)
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(orjson.dumps(error_body(safe, trace)), error.http_status, headers, JSON)


def from_http_exception(failure: HTTPException) -> QrtxError:
    """What the router raises, in our words."""
    if failure.status_code == 405:
        allowed = (failure.headers or {}).get("Allow", "")
        return MethodNotAllowed(f"this path does not take that method; it takes {allowed}")
    if failure.status_code == 404:
        return NotFound("there is nothing at this path")
    if failure.status_code >= 500:
        return InternalError("the server failed to answer")
    return ValidationError("the request was refused")


def _printable(text: str | None) -> Any:
    return None if text is None else _UNPRINTABLE.sub("?", text)


_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
