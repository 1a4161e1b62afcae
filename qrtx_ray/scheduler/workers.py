"""Those that work for the scheduler, as it sees them: what they offered and what they hold.

An agent occupies a place for every group until it has spoken about each member, whatever became of the jobs in
between: a job that was timed out or cancelled here may well still run there, and only the agent knows.
"""

from __future__ import annotations

from collections.abc import Sequence

from qrtx_ray.model import DeviceInfo, GroupId, JobId
from qrtx_ray.scheduler.queues import WaitingLine

__all__ = ["Agent", "Attempt", "Compiler", "Device"]

Attempt = tuple[JobId, int]


class Compiler:
    """A compiler process: `capacity` is its open offer (0 none), `held` its jobs and the attempt of each."""

    __slots__ = ("capacity", "held", "incarnation", "name")

    def __init__(self, name: str, incarnation: str) -> None:
        self.name = name
        self.incarnation = incarnation
        self.capacity = 0
        self.held: dict[JobId, int] = {}


class Agent:
    """A device agent: `capacity` is its open offer (0 none); `held` maps attempts to their groups, `open` groups to
    the number of members not spoken of yet, `seen` attempts to when the agent last showed that it has them. `latest_s`
    is the estimated run time of the group it was given last.
    """

    __slots__ = ("capacity", "devices", "held", "incarnation", "latest_s", "name", "open", "seen")

    def __init__(self, name: str, incarnation: str, devices: tuple[str, ...]) -> None:
        self.name = name
        self.incarnation = incarnation
        self.devices = devices
        self.capacity = 0
        self.held: dict[Attempt, GroupId] = {}
        self.open: dict[GroupId, int] = {}
        self.seen: dict[Attempt, float] = {}
        self.latest_s = 0.0

    def hold(self, group: GroupId, members: Sequence[Attempt], now: float) -> None:
        """Book a group in."""
        self.open[group] = self.open.get(group, 0) + len(members)
        for attempt in members:
            self.held[attempt] = group
            self.seen[attempt] = now

    def release(self, attempt: Attempt) -> bool:
        """Book an attempt out; False when it was not here."""
        group = self.held.pop(attempt, None)
        if group is None:
            return False
        del self.seen[attempt]
        self.open[group] -= 1
        if not self.open[group]:
            del self.open[group]
        return True


class Device:
    """A device: its line of compiled jobs and the agents that serve it.

    `configured` is False for a device that only restored jobs name: they wait, new ones are refused. `qpu_s` sums what
    its jobs were charged since this process began.
    """

    __slots__ = ("agents", "configured", "info", "line", "paused", "qpu_s")

    def __init__(self, info: DeviceInfo, *, configured: bool = True) -> None:
        self.info = info
        self.configured = configured
        self.line = WaitingLine()
        self.paused = False
        self.qpu_s = 0.0
        self.agents: dict[str, Agent] = {}
