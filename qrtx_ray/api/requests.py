"""Reading requests: bounded bodies, strict numbers, strict times. Nothing here knows what a job is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import ClientDisconnect, Request

from qrtx_ray.api.failures import RequestTimeout, UnsupportedMediaType
from qrtx_ray.errors import DecodeError, NotFound, ValidationError
from qrtx_ray.model import JobId, is_job_id

__all__ = [
    "Query",
    "content_type",
    "integer",
    "job_id_of",
    "json_object",
    "json_text",
    "moment",
    "number",
    "optional_object",
    "parse_json",
    "read_body",
    "text",
]

_PRINTABLE_LIMIT = 256


async def read_body(request: Request, timeout_s: float) -> bytes:
    """The whole body (already bounded by the middleware).

    Raises:
        RequestTimeout: It did not arrive in `timeout_s`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await request.body()
    except TimeoutError:
        limit = f"{timeout_s:g} s"
        raise RequestTimeout(f"the body did not arrive within {limit}", field="body", limit=limit) from None
    except ClientDisconnect:
        raise RequestTimeout("the client went away before the body had arrived", field="body") from None


def content_type(request: Request, default: str = "application/json") -> str:
    """The media type of the body, lower case, without its parameters."""
    return request.headers.get("content-type", default).partition(";")[0].strip().lower() or default


def parse_json(body: bytes, depth: int) -> Any:
    """`body` as strict JSON: no NaN, no infinities.

    Args:
        body: Its bytes.
        depth: Levels that are accepted. The parser itself refuses more than 1024 only; the error names the limit.

    Raises:
        DecodeError: It is not.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "depth" in error.msg:
            raise _too_deep("the body", "body", depth) from None
        # the library's message may hold the text around the fault, so only the position is told
        raise DecodeError(f"the body is not valid JSON (near character {error.pos})", field="body") from None


def json_text(value: Any, field: str, depth: int) -> bytes:
    """`value`, which came from JSON, as JSON again.

    Raises:
        DecodeError: It is nested so deeply that it cannot be written (254 levels; `depth`, fewer, is what is accepted).
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise _too_deep(field, field, depth) from None


def _too_deep(what: str, field: str, depth: int) -> DecodeError:
    limit = f"{depth} levels"
    return DecodeError(f"{what} is nested deeper than {limit}", field=field, limit=limit)


def json_object(request: Request, body: bytes, depth: int) -> dict[str, Any]:
    """The body as a JSON object; `depth` as for `parse_json`.

    Raises:
        UnsupportedMediaType: Sent as something else.
        DecodeError: Not JSON, or not an object.
    """
    if content_type(request) != "application/json":
        raise UnsupportedMediaType("the body must be application/json", field="Content-Type")
    document = parse_json(body, depth)
    if not isinstance(document, dict):
        raise DecodeError("the body must be a JSON object", field="body")
    return document


async def optional_object(request: Request, timeout_s: float, depth: int, known: Collection[str]) -> dict[str, Any]:
    """The body as a JSON object with no other keys than `known`; without a body an empty one.

    Raises:
        ValidationError: It has another key, or as for `json_object`.
    """
    body = await read_body(request, timeout_s)
    if not body.strip():
        return {}
    document = json_object(request, body, depth)
    if unknown := sorted(document.keys() - set(known)):
        text = f"the body has no other fields than {', '.join(sorted(known))}"
        raise ValidationError(text, field=unknown[0][:64])
    return document


def job_id_of(request: Request) -> JobId:
    """The job identifier of the path.

    Raises:
        NotFound: It has not the form of one, so there is no such job.
    """
    job_id = str(request.path_params["job_id"])
    if not is_job_id(job_id):
        raise NotFound("there is no such job", field="job_id")
    return job_id


def integer(value: Any, field: str, low: int, high: int) -> int:
    """`value` if it is a whole number (and no boolean) in [low, high].

    Raises:
        ValidationError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValidationError(
            f"{field} must be a whole number from {low} to {high}", field=field, limit=f"{low}..{high}"
        )
    return value


def number(value: Any, field: str, low: float, high: float) -> float:
    """`value` as a float if it is a finite number (and no boolean) in [low, high].

    Raises:
        ValidationError: It is not.
    """
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or not low <= value <= high:
        raise ValidationError(
            f"{field} must be a number from {low:g} to {high:g}", field=field, limit=f"{low:g}..{high:g}"
        )
    return float(value)


def text(value: Any, field: str, longest: int = _PRINTABLE_LIMIT) -> str:
    """`value` if it is a printable string of at most `longest` characters.

    Raises:
        ValidationError: It is not.
    """
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise ValidationError(
            f"{field} must be a printable string of at most {longest} characters",
            field=field,
            limit=f"{longest} characters",
        )
    return value


def moment(value: str, field: str) -> float:
    """An ISO 8601 time (UTC unless it says otherwise) as seconds since the epoch.

    Raises:
        ValidationError: It is none.
    """
    try:
        # a plus sign of an offset that the client did not escape arrives as a space
        parsed = datetime.fromisoformat(value.replace(" ", "+") if "T" in value else value)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValidationError(f"{field} must be an ISO 8601 time", field=field) from None


class Query:
    """The query string, read strictly.

    Raises:
        ValidationError: (the constructor) more than 100 fields.
    """

    def __init__(self, request: Request) -> None:
        raw: bytes = request.scope["query_string"]
        try:
            pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=100) if raw else []
        except ValueError:
            raise ValidationError("the query has more than 100 fields", field="query", limit="100 fields") from None
        self._pairs = pairs

    def get(self, name: str, longest: int = _PRINTABLE_LIMIT) -> str | None:
        """The last value of `name`, or None. Raises `ValidationError` when it is not printable or too long."""
        for key, value in reversed(self._pairs):
            if key == name:
                return text(value, name, longest)
        return None

    def all(self, name: str, longest: int = _PRINTABLE_LIMIT) -> tuple[str, ...]:
        """All values of `name`."""
        return tuple(text(value, name, longest) for key, value in self._pairs if key == name)

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        value = self.get(name)
        if value is None:
            return default
        small = value.removeprefix("-")
        good = small.isascii() and small.isdigit() and len(small) <= 18
        return integer(int(value) if good else None, name, low, high)

    def seconds(self, name: str, high: float) -> float | None:
        """A number of seconds in [0, high], or None."""
        value = self.get(name)
        if value is None:
            return None
        try:
            parsed = float(value)
        except ValueError:
            parsed = math.nan
        return number(parsed, name, 0.0, high)

    def flag(self, name: str) -> bool | None:
        """``true`` or ``false`` in any case (also 1 and 0), or None."""
        value = self.get(name)
        if value is None:
            return None
        known = {"true": True, "1": True, "false": False, "0": False}.get(value.lower())
        if known is None:
            raise ValidationError(f"{name} must be true or false", field=name)
        return known

    def time(self, name: str) -> float | None:
        """An ISO 8601 time (UTC unless it says otherwise) as epoch seconds, or None."""
        value = self.get(name)
        return None if value is None else moment(value, name)
