"""What pydantic found wrong in a body, in our words: its own may quote the input and name inner types."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError as SchemaError

from qrtx_ray.codec.json_text import nearest_name
from qrtx_ray.codec.native_schema import NativeCircuit, NativeJob
from qrtx_ray.errors import DecodeError, ValidationError

__all__ = ["explain"]

_KINDS = {
    "bool_type": "true or false",
    "dict_type": "an object",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "an object",
    "string_type": "a string",
}
_UNIONS = frozenset({"dict", "float"})  # parts of a path that name a branch of a union, not a field


def explain(error: SchemaError, *, json_depth: int) -> ValidationError:
    """The first complaint; names the field, and the limit where one was crossed.

    Args:
        json_depth: Nesting of JSON that is accepted.

    Returns:
        DecodeError: For a body that is not JSON, or nested beyond reading.
        ValidationError: For any other.
    """
    first = error.errors(include_input=False, include_url=False)[0]
    context: dict[str, Any] = first.get("ctx", {})
    if first["type"] == "json_invalid":
        if "recursion" in str(context.get("error")):
            limit = f"{json_depth} levels"
            return DecodeError(f"the body is nested deeper than {limit}", field="body", limit=limit)
        return DecodeError("the body is not valid JSON", field="body")
    field = _path(first["loc"])
    if first["type"] == "extra_forbidden":
        known = list((NativeCircuit if "circuits" in first["loc"][:1] else NativeJob).model_fields)
        return ValidationError(f"{field} is not known{nearest_name(str(first['loc'][-1]), known)}", field=field)
    wanted, limit_or_none = _wanted(first["type"], context)
    return ValidationError(f"{field} must be {wanted}", field=field, limit=limit_or_none)


def _path(parts: tuple[int | str, ...]) -> str:
    path = ""
    for part in parts[:6]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif "[" not in part and part not in _UNIONS:
            path += f".{part[:64]}" if path else part[:64]
    return path or "body"


def _wanted(kind: str, context: dict[str, Any]) -> tuple[str, str | None]:
    """What the value must be, and the bound it crossed. All numbers and names in `context` are the schema's."""
    match kind:
        case "missing":
            return "given", None
        case "literal_error":
            return f"one of {context['expected']}", str(context["expected"])
        case "string_too_short" | "string_too_long":
            bound = _bound(context, "min_length", "max_length")
            return f"a string of {bound} characters", f"{bound} characters"
        case "too_short" | "too_long":
            bound = _bound(context, "min_length", "max_length")
            return f"a list of {bound} items", f"{bound} items"
        case "greater_than_equal" | "less_than_equal" | "greater_than" | "less_than":
            sign, bound = next((_SIGNS[name], _exact(context[name])) for name in _SIGNS if name in context)
            return f"{sign} {bound}", f"{sign} {bound}"
        case "string_pattern_mismatch":
            return "of letters, digits, '.', '_', '-' and spaces only", None
        case _:
            return _KINDS.get(kind, "of the documented form"), None


def _exact(bound: float) -> str:
    return str(int(bound)) if float(bound).is_integer() else f"{bound:g}"


_SIGNS = {"ge": "at least", "le": "at most", "gt": "above", "lt": "below"}


def _bound(context: dict[str, Any], low: str, high: str) -> str:
    return f"at least {context[low]}" if low in context else f"at most {context[high]}"
