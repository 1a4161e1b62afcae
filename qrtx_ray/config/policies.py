"""The scheduling policies that `scheduler.algorithm` may name: those of this package, and those that others install.

Another package offers one by an entry point of the group `qrtx_ray.policies`; the name of the entry point is the name of
the policy. Here only names are looked at; the policy itself is loaded where the scheduler is built.
"""

from __future__ import annotations

import difflib
from importlib.metadata import entry_points

__all__ = ["BUILT_IN", "GROUP", "checked_policy", "policy_names"]

GROUP = "qrtx_ray.policies"  #: the entry-point group
BUILT_IN = ("priority", "noise_aware", "multiplexing", "hybrid")


def policy_names() -> tuple[str, ...]:
    """Every policy there is on this machine, the built-in ones first."""
    installed = sorted(entry.name for entry in entry_points(group=GROUP))
    return tuple(dict.fromkeys((*BUILT_IN, *installed)))


def checked_policy(name: str) -> str:
    """`name`, if there is such a policy.

    Raises:
        ValueError: There is none; the text names the nearest, or all.
    """
    known = policy_names()
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    msg = f"there is no scheduling policy {name!r}; {hint}"
    raise ValueError(msg)
