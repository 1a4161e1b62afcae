"""Records from their JSON form, quickly: a journal of 100,000 waiting jobs is read in little more than the parser's time.

What a frozen dataclass does to be made, one guarded assignment for each field through `object.__setattr__`, costs several
times as much as parsing its text. Here a draft with the same slots is filled by plain assignments, written out and compiled
once, and then frozen by taking its class; nobody has seen it before.

A text that is not of the expected form is left to the careful way in `record_json`, which also says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, make_dataclass
from typing import Any, TypeVar, cast

__all__ = ["quick_reader"]

ValueT = TypeVar("ValueT")


def quick_reader(
    kind: type[ValueT], rare: Mapping[str, Any], made: Mapping[str, Callable[[Any], Any]]
) -> Callable[[dict[str, Any]], ValueT | None]:
    """A function that makes a `kind`, a frozen dataclass with slots, of parsed JSON.

    It gives None when a field is missing that is not rare, when there is a key that is no field, or when a value cannot be
    made what it should be.

    Args:
        rare: Fields that a text may leave out, with what they are then.
        made: What to make of the parsed value, by field. May raise LookupError, TypeError or ValueError.
    """
    names = tuple(item.name for item in fields(kind))  # type: ignore[arg-type]
    common = [name for name in names if name not in rare]
    text = f"""
def read(data):
    draft = new(draft_kind)
    try:
        {_lines(common, made, 8)}
        if len(data) == {len(common)}:
            {"; ".join(f"draft.{name} = rare_{name}" for name in rare) or "pass"}
        else:
            seen = {len(common)}
            {_rare_lines(rare, made, 12)}
            if seen != len(data):
                return None
    except (LookupError, TypeError, ValueError):
        return None
    draft.__class__ = kind
    return draft
"""
    known: dict[str, Any] = {"new": object.__new__, "kind": kind}
    known["draft_kind"] = make_dataclass("_Draft", names, slots=True)  # the same slots, not frozen yet
    known |= {f"made_{name}": function for name, function in made.items()}
    known |= {f"rare_{name}": value for name, value in rare.items()}
    exec(text, known)  # noqa: S102 - made of our own field names only
    return cast("Callable[[dict[str, Any]], ValueT | None]", known["read"])


def _lines(names: list[str], made: Mapping[str, Any], indent: int) -> str:
    lines = []
    for name in names:
        value = f"data[{name!r}]"
        lines.append(f"draft.{name} = made_{name}({value})" if name in made else f"draft.{name} = {value}")
    return ("\n" + " " * indent).join(lines)


def _rare_lines(rare: Mapping[str, Any], made: Mapping[str, Any], indent: int) -> str:
    blocks = []
    for name in rare:
        blocks += [f"if {name!r} in data:", *(f"    {line}" for line in _lines([name], made, 0).split("\n"))]
        blocks += ["    seen += 1", "else:", f"    draft.{name} = rare_{name}"]
    return ("\n" + " " * indent).join(blocks)
