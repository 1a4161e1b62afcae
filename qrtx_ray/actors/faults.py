"""Points at which a test makes a process die, so that recovery is tried exactly where it is hardest.

``QRTX_FAULT=<point>:<n>`` kills the process by SIGKILL when it reaches the point for the n-th time. Without the variable
a point costs one comparison.
"""

from __future__ import annotations

import os
import signal

__all__ = ["POINTS", "reached"]

POINTS = frozenset(
    {
        "scheduler.before_commit",  # the core has changed; nothing is on its way to the disk
        "scheduler.after_commit",  # the change is durable; nothing that rests on it was done
        "scheduler.before_reply",  # everything was done; the caller has not heard of it
        "agent.checkpoint_written",  # the progress of a run that made way is durable; the scheduler has not heard of it
    }
)

_POINT, _, _COUNT = os.environ.get("QRTX_FAULT", "").partition(":")
_left = int(_COUNT) if _COUNT.isdecimal() else 1


def reached(point: str) -> None:
    """The process is at `point`, one of `POINTS`."""
    if point == _POINT:
        global _left  # noqa: PLW0603 - a countdown of the process
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
