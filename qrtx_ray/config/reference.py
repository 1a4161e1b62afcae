"""Writes docs/configuration.md from the models: ``python -m qrtx_ray.config.reference > docs/configuration.md``."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from qrtx_ray.config.devices import DeviceEntry
from qrtx_ray.config.scheduling import TenantShare
from qrtx_ray.config.section import Section
from qrtx_ray.config.service import Token
from qrtx_ray.config.settings import Settings
from qrtx_ray.config.sources import SHORT_VARIABLES
from qrtx_ray.config.units import parse_duration, parse_size

__all__ = ["document"]

_HEAD = """\
# Configuration

One YAML file, `QRTX_*` variables over it, options of the command line over both. The file is named by `--config` or
`QRTX_CONFIG`; without one the defaults below hold. A top-level `qrtx:` around everything is allowed. A key that is not
listed here is refused. This page is written by `python -m qrtx_ray.config.reference`.

* **Profiles** (`QRTX_PROFILE`): `default`, and `optimized` for many small jobs and many clients; the file is laid over it.
* **Durations** are seconds, or a number with `us`, `ms`, `s`, `m`, `h` or `d`: `5m`. **Sizes** are bytes, or a number with
  `kB`, `MB`, `GB`, `KiB`, `MiB` or `GiB`: `4MiB`.
* **Variables**: each key has one, made of its path with `__` between the parts. Lists and mappings are written as YAML:
  `QRTX_DEVICES='[{name: fake_manila@aer, count: 2}]'`. An empty variable is unset.
* **Relative paths** start from the directory in which the service is started.

Short variables:

| variable | key |
|---|---|
"""


def document() -> str:
    """The whole page, ending with a newline."""
    short = "".join(f"| `{name}` | `{dotted}` |\n" for name, dotted in SHORT_VARIABLES.items())
    parts = [_HEAD, short]
    rest: list[tuple[str, FieldInfo]] = []
    for name, info in Settings.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, Section):
            parts.append(f"\n## {name}\n\n{info.description}\n\n{_table(_keys(section, name))}")
        else:
            rest.append((name, info))
    parts.append(f"\n## Top-level keys\n\n{_table(iter(rest))}")
    parts.append("\n## An entry of `devices`\n\n" + _table(_keys(DeviceEntry, ""), variables=False))
    parts.append(
        "\n## An entry of `scheduler.fair_share.tenants`\n\n" + _table(_keys(TenantShare, ""), variables=False)
    )
    parts.append("\n## An entry of `auth.tokens`\n\n" + _table(_keys(Token, ""), variables=False))
    return "".join(parts)


def _keys(section: type[Section], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    """All keys below `section` that hold a value, with their dotted paths."""
    for name, info in section.model_fields.items():
        dotted = f"{prefix}.{name}".removeprefix(".")
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            default = info.default
            for inner, inner_info in _keys(info.annotation, dotted):
                # The level's own default stands in the parent's default value, not in the class.
                value = default
                for part in inner.removeprefix(f"{dotted}.").split("."):
                    value = getattr(value, part)
                yield inner, FieldInfo.merge_field_infos(inner_info, default=value)
        else:
            yield dotted, info


def _table(keys: Iterator[tuple[str, FieldInfo]], *, variables: bool = True) -> str:
    head = "| key | type | unit | default |" + (" variable |" if variables else "") + " what it does |\n"
    lines = [head, "|---|---|---|---|" + ("---|" if variables else "") + "---|\n"]
    for dotted, info in keys:
        extra = info.json_schema_extra
        unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
        variable = f" `QRTX_{dotted.upper().replace('.', '__')}` |" if variables else ""
        bounds = _bounds(info)
        kind = _kind(info.annotation, info.metadata) + (f", {bounds}" if bounds else "")
        # A bare < would start an HTML element.
        text = (info.description or "").replace("<", "\\<")
        lines.append(f"| `{dotted}` | {kind} | {unit} | {_default(info)} |{variable} {text} |\n")
    return "".join(lines)


def _bounds(info: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found: dict[str, float] = {}
    for rule in info.metadata:
        for name, sign in signs.items():
            if (limit := getattr(rule, name, None)) is not None:
                found[sign] = max(found.get(sign, limit), limit)
    return ", ".join(f"{sign} {found[sign]:g}" for sign in signs.values() if sign in found)


def _kind(annotation: Any, rules: Sequence[Any] = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    parsers = [getattr(rule, "func", None) for rule in rules]
    if parse_duration in parsers or parse_size in parsers:
        return "duration" if parse_duration in parsers else "size"
    if origin is Annotated:
        return _kind(arguments[0], arguments[1:])
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if origin in {Union, types.UnionType}:
        return " or ".join(_kind(argument) for argument in arguments)
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return f"mapping of names to {_kind(arguments[1])}"
    names = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}
    return names.get(annotation) or "entry"


def _default(info: FieldInfo) -> str:
    if info.default is PydanticUndefined or info.default is ...:
        return "required"
    return f"`{_plain(info.default)}`"


def _plain(value: Any) -> str:
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case float():
            return f"{value:g}"
        case tuple():
            return f"[{', '.join(_plain(item) for item in value)}]"
        case dict():
            return "{" + ", ".join(f"{name}: {_plain(item)}" for name, item in value.items()) + "}"
        case Section():
            return "{" + ", ".join(f"{name}: {_plain(item)}" for name, item in value) + "}"
        case "":
            return '""'
        case _:
            return '"*"' if value == "*" else str(value)


if __name__ == "__main__":
    sys.stdout.write(document())
