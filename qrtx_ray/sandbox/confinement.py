"""The Linux calls that confine a child and tie its life to its parent's."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path

__all__ = ["confine", "die_with_parent", "leave_network"]

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Be killed by the kernel when the process `parent` dies; end now when it is already gone.

    The kernel sends the signal when the *thread* ends that forked; use it only below a process with one thread.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def confine() -> None:
    """No privileges by exec, no core dump, not readable by other processes of the user; first to go without memory."""
    with contextlib.suppress(OSError):
        # Better the child than the actor; raising the score is always allowed, but not once we are not dumpable.
        Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)


def leave_network() -> bool:
    """Move to an empty network namespace where that is permitted; says whether it was.

    A privileged process just does it; another one needs user namespaces, which some systems forbid. Without it the
    child still has no reason to open a connection: it runs our code only, and nothing of a tenant is executed by it.
    """
    if _libc.unshare(_CLONE_NEWNET) == 0:
        return True
    user, group = os.getuid(), os.getgid()
    if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    with contextlib.suppress(OSError):
        # The same ids inside as outside, or no file could be made at all.
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    return True


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
