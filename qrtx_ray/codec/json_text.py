"""Bounded reading of JSON: size first, then syntax, then depth; nothing here recurses on input."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import orjson

from qrtx_ray.codec.limits import Limits
from qrtx_ray.errors import DecodeError, PayloadTooLarge, ValidationError

__all__ = ["check_depth", "expect_object", "nearest_name", "read_json"]


def read_json(text: bytes, limits: Limits, *, field: str = "body") -> Any:
    """The value of a JSON document.

    Strict: UTF-8 only, no NaN or Infinity, no number beyond a double; an integer beyond 64 bits reads as a float, so it
    is never accepted where an integer is due. Of duplicate keys the last counts.

    Args:
        text: The document, at most `limits.body_bytes` long.
        field: What to call the document in messages.

    Raises:
        PayloadTooLarge: Longer than the limit.
        DecodeError: Not JSON, or nested deeper than `limits.json_depth`.
    """
    if len(text) > limits.body_bytes:
        raise PayloadTooLarge(
            f"{field} is {len(text)} bytes, at most {limits.body_bytes} are accepted",
            field=field,
            limit=f"{limits.body_bytes} bytes",
        )
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # The parser's own text quotes nothing, but only the position is needed and sure to stay harmless.
        raise DecodeError(
            f"{field} is not valid JSON (line {error.lineno}, column {error.colno}); NaN, Infinity, numbers beyond a "
            f"double and nesting beyond {limits.json_depth} are refused",
            field=field,
        ) from None
    check_depth(value, limits.json_depth, field=field)
    return value


def check_depth(value: Any, depth: int, *, field: str) -> None:
    """Refuse containers nested deeper than `depth`.

    Raises:
        DecodeError: Too deep.
    """
    layer = [value]
    for _ in range(depth + 1):
        below: list[Any] = []
        for item in layer:
            if type(item) is dict:
                below.extend(child for child in item.values() if type(child) is dict or type(child) is list)
            elif type(item) is list:
                below.extend(child for child in item if type(child) is dict or type(child) is list)
        if not below:
            return
        layer = below
    raise DecodeError(f"{field} is nested deeper than {depth} levels", field=field, limit=f"{depth} levels")


def expect_object(value: Any, *, field: str) -> dict[str, Any]:
    """`value` if it is a JSON object.

    Raises:
        ValidationError: It is not.
    """
    if type(value) is not dict:
        raise ValidationError(f"{field} must be a JSON object", field=field)
    return value


def nearest_name(name: str, known: list[str]) -> str:
    """A hint at what an unknown name was meant to be: ``"; did you mean 'x'?"``, or nothing."""
    found = get_close_matches(name[:64], known, n=1, cutoff=0.6)
    return f"; did you mean '{found[0]}'?" if found else ""
