"""One group on a simulated agent: its members one after another, and what stops and preemptions make of that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from qrtx_ray.model import Group, Member

__all__ = ["Ending", "Leg", "Run", "SliceLaw"]


class Ending(Enum):
    """How a member's part of the run ends."""

    DONE = "done"
    STOPPED = "stopped"
    PREEMPTED = "preempted"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class SliceLaw:
    """Lengths in seconds: of a slice, of keeping the progress of a preempted member, of beginning from kept progress."""

    slice_s: float = 1.0
    checkpoint_s: float = 0.05
    restart_s: float = 0.2


@dataclass(slots=True)
class Leg:
    """One member's part of a run.

    Args:
        member: Who.
        whole_s: Seconds of the whole work.
        progress: Fraction of it done; before the leg what was kept, after it what is kept.
        starts / ends: Moments; both move as long as the members before are not through.
        preparing_s: Seconds at its beginning in which nothing is done yet.
    """

    member: Member
    whole_s: float
    progress: float
    starts: float = 0.0
    ends: float = 0.0
    preparing_s: float = 0.0
    ending: Ending = Ending.DONE

    @property
    def runs(self) -> bool:
        """Whether nobody has ended it: it runs until it is done, or for as long as it may."""
        return self.ending in {Ending.DONE, Ending.TIMED_OUT}

    @property
    def length_s(self) -> float:
        """From beginning to end."""
        return self.ends - self.starts


class Run:
    """The legs of a group, laid out from `now` on. Changes tell whether there was anything to change.

    Attributes:
        version: Grows with every change: what was planned for an older one is void.
    """

    __slots__ = ("_at", "group", "legs", "version")

    def __init__(self, group: Group, works: Sequence[tuple[Member, float, float]], law: SliceLaw, now: float) -> None:
        self.group = group
        self.version = 0
        self._at = -1
        self.legs: list[Leg] = []
        for member, whole_s, progress in works:
            preparing_s = law.restart_s if progress > 0.0 else 0.0
            seconds = preparing_s + whole_s * (1.0 - progress)
            ending = Ending.DONE if seconds <= member.timeout_s else Ending.TIMED_OUT
            ends = now + min(seconds, member.timeout_s)
            self.legs.append(Leg(member, whole_s, progress, now, ends, preparing_s, ending))
            now = ends

    @property
    def ends(self) -> float:
        """When the last leg ends."""
        return self.legs[-1].ends

    @property
    def present(self) -> Leg:
        """The leg at work."""
        return self.legs[self._at]

    def proceed(self) -> bool:
        """On to the next leg; False when there is none."""
        self._at += 1
        return self._at < len(self.legs)

    def stop(self, job_id: str, attempt: int, now: float) -> bool:
        """The member is not wanted any more: it ends now, or never begins."""
        at = self._open(job_id, attempt, now)
        if at is None:
            return False
        self._cut(at, max(now, self.legs[at].starts), Ending.STOPPED)
        return True

    def preempt(self, job_id: str, attempt: int, now: float, law: SliceLaw) -> bool:
        """The member makes way: at the end of its present slice, or before it begins. It runs on where it would be through
        by then.
        """
        at = self._open(job_id, attempt, now)
        if at is None:
            return False
        leg = self.legs[at]
        if now <= leg.starts:
            self._cut(at, leg.starts, Ending.PREEMPTED)
            return True
        works_from = leg.starts + leg.preparing_s
        slices = math.ceil(max(0.0, now - works_from) / law.slice_s - 1e-9)
        boundary = max(now, works_from + slices * law.slice_s)
        if boundary + law.checkpoint_s >= leg.ends:
            return False
        leg.progress = min(1.0, leg.progress + (boundary - works_from) / leg.whole_s)
        self._cut(at, boundary + law.checkpoint_s, Ending.PREEMPTED)
        return True

    def _open(self, job_id: str, attempt: int, now: float) -> int | None:
        for at, leg in enumerate(self.legs):
            if leg.member.job_id == job_id and leg.member.attempt == attempt:
                return at if leg.runs and leg.ends > now else None
        return None

    def _cut(self, at: int, ends: float, ending: Ending) -> None:
        leg = self.legs[at]
        earlier = leg.ends - ends
        leg.ends, leg.ending = ends, ending
        for later in self.legs[at + 1 :]:
            later.starts -= earlier
            later.ends -= earlier
        self.version += 1
