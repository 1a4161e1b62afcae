"""The base of every section, and how a key is declared: default, unit and description in one place."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Section", "key"]


class Section(BaseModel):
    """A frozen section that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)


def key(default: Any, description: str, *, unit: str = "", **bounds: Any) -> Any:
    """A documented key: `unit` is shown in the reference beside `description`; `bounds` are pydantic's."""
    return Field(default=default, description=description, json_schema_extra={"unit": unit}, **bounds)
