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
        # Around every append to the journal.
        "scheduler.before_commit",  # the core has changed; nothing is on its way to the disk
        "scheduler.after_append",  # the change is durable; the scheduler's loop has not heard of it
        "scheduler.after_commit",  # the loop has; nothing that rests on the change was done
        # Around every effect.
        "scheduler.before_grant",  # a group is to be put where its agent fetches it
        "scheduler.after_grant",
        "scheduler.before_stop",
        "scheduler.after_stop",
        "scheduler.before_preempt",
        "scheduler.after_preempt",
        "scheduler.before_conclude",
        "scheduler.after_conclude",
        "scheduler.before_checkpoint",
        "scheduler.after_checkpoint",
        "scheduler.before_record",  # the metadata of ended jobs is to be written
        "scheduler.after_record",
        # Answers.
        "scheduler.before_reply",  # everything was done; the caller has not heard of it
        "scheduler.before_checkpoint_ack",  # a checkpoint is valid; its agent has not heard of it
        # On the way back.
        "scheduler.recovery_taken_over",  # the journal is this process's; nothing was read
        "scheduler.recovery_read",  # the core has nothing yet
        "scheduler.recovery_restored",  # the first commit is done; nobody is served yet
        # In an agent.
        "agent.checkpoint_written",  # a checkpoint is a file; the scheduler has not heard of it
        "agent.before_report",  # results are durable; the scheduler has not heard of them
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
