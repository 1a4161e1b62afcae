"""Where random numbers come from: generators named by texts, so that each stream is drawn apart from all others."""

from __future__ import annotations

from random import Random

__all__ = ["stream"]


def stream(name: str) -> Random:
    """The generator called `name`: the same one wherever and whenever it is asked for."""
    return Random(name)  # noqa: S311  # to be repeated, not to be secret
