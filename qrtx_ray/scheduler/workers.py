"""Those that work for the scheduler, as it sees them: what they offered and what they hold.

An agent occupies a place for every group until it has spoken about each member, whatever became of the jobs in
between: a job that was timed out or cancelled here may well still run there, and only the agent knows.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from qrtx_ray.model import DeviceInfo, GroupId, JobId, JobRecord, Reservation
from qrtx_ray.scheduler.accuracy import Accuracy
from qrtx_ray.scheduler.calibration import DeviceCalibration, Phase
from qrtx_ray.scheduler.lines import DeviceLine

if TYPE_CHECKING:
    from qrtx_ray.scheduler.job import Job
    from qrtx_ray.scheduler.world import World

__all__ = [
    "EVERYBODY",
    "Agent",
    "Attempt",
    "Compiler",
    "Device",
    "Pool",
    "Window",
    "belongs",
    "claims_of",
    "estimated_us",
]

Attempt = tuple[JobId, int]

EVERYBODY = "*"  #: in `World.drained` in place of a name: all agents, also those still to come


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
    is the estimated run time of the group it was given last, `free_at` when it should have done all it was given,
    `offer` the number of its last offer. `making_way` are the attempts it was asked to end, and when. `pool` is the one it
    works in. `drained` says that it is to take no work.
    """

    __slots__ = (
        "capacity",
        "devices",
        "drained",
        "free_at",
        "held",
        "incarnation",
        "latest_s",
        "making_way",
        "name",
        "offer",
        "open",
        "pool",
        "seen",
    )

    def __init__(self, name: str, incarnation: str, pool: Pool) -> None:
        self.name = name
        self.incarnation = incarnation
        self.pool = pool
        self.devices = pool.devices
        self.capacity = 0
        self.drained = False
        self.held: dict[Attempt, GroupId] = {}
        self.open: dict[GroupId, int] = {}
        self.seen: dict[Attempt, float] = {}
        self.latest_s = 0.0
        self.free_at = 0.0
        self.offer = 0
        self.making_way: dict[Attempt, float] = {}

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
        self.making_way.pop(attempt, None)
        self.open[group] -= 1
        if not self.open[group]:
            del self.open[group]
        return True


class Pool:
    """The agents that serve the same devices, and what waits for any of them.

    An agent of many devices must not look at each to find its next work, nor an estimate add up what stands before all
    of them: both are kept here, and change with every job that enters or leaves a line.

    Attributes:
        takers: How many of the agents take work: all that are not drained.
        waiting / waiting_us: Jobs in the lines and their estimated run time in microseconds, by level.
        coming / coming_us: The same of jobs that were placed but are still being compiled.
        standing: By level, the devices that have such a job in line, the one that was served last at the end.
    """

    __slots__ = ("agents", "coming", "coming_us", "devices", "standing", "takers", "waiting", "waiting_us")

    def __init__(self, devices: tuple[str, ...]) -> None:
        self.devices = devices
        self.agents: dict[str, Agent] = {}
        self.takers = 0
        self.waiting = [0, 0, 0, 0]
        self.waiting_us = [0, 0, 0, 0]
        self.coming = [0, 0, 0, 0]
        self.coming_us = [0, 0, 0, 0]
        self.standing: tuple[dict[str, Device], ...] = ({}, {}, {}, {})

    def serve(self, device: Device) -> None:
        """Count in what waits for `device`, one of `devices`."""
        for level, count in enumerate(device.waiting):
            self.waiting[level] += count
            self.waiting_us[level] += device.waiting_us[level]
            self.coming[level] += device.coming[level]
            self.coming_us[level] += device.coming_us[level]
            if count:
                self.standing[level][device.info.name] = device

    def turn(self, device: Device) -> None:
        """The device was served: others of the same level come first now."""
        name = device.info.name
        for devices in self.standing:
            if name in devices:
                del devices[name]
                devices[name] = device


class Window:
    """A reservation whose time has come: while it stands, its device runs only the jobs in `line`."""

    __slots__ = ("line", "reservation")

    def __init__(self, reservation: Reservation, line: DeviceLine) -> None:
        self.reservation = reservation
        self.line = line

    def admits(self, record: JobRecord) -> bool:
        """Whether it is for this job."""
        return belongs(record, self.reservation)


class Device:
    """A device: its line of compiled jobs and the agents that serve it.

    Attributes:
        configured: False for a device that only restored jobs name: they wait, new ones are refused.
        line: Compiled jobs that wait for it; but see `window`.
        deserted_at: When the last of its agents went.
        paused: The operator stopped new work.
        drains: Also what ran there was to make way.
        calibration: Of a device whose noise drifts.
        reservations / window: Those to come and the present one by name; the one in force.
        claims: Waiting jobs by the reservation or the session they name.
        movable: Waiting jobs that may be placed or compiled anew, the one that was looked at last at the end.
        movers / moving: How many of them are still to be looked at, and how.
        waiting / waiting_us: Jobs in line and their estimated run time in microseconds, by level. (Integers: a sum of
            floats that come and go would not return to zero.)
        look_at: From when on it may be looked at again whether somebody must make way.
        pools: Those of its agents.
        coming / coming_us: The same of jobs that were placed here but are still being compiled.
        accuracy: How good the estimates of run times were here.
        qpu_s: What its jobs were charged since this process began.
    """

    __slots__ = (
        "accuracy",
        "agents",
        "calibration",
        "claims",
        "coming",
        "coming_us",
        "configured",
        "deserted_at",
        "drains",
        "info",
        "line",
        "look_at",
        "movable",
        "movers",
        "moving",
        "paused",
        "pools",
        "qpu_s",
        "reservations",
        "waiting",
        "waiting_us",
        "window",
    )

    def __init__(self, info: DeviceInfo, line: DeviceLine, *, configured: bool = True) -> None:
        self.info = info
        self.configured = configured
        self.line = line
        self.deserted_at = -math.inf
        self.paused = self.drains = False
        self.calibration: DeviceCalibration | None = None
        self.reservations: dict[str, Reservation] = {}
        self.window: Window | None = None
        self.claims: dict[str, dict[JobId, Job]] = {}
        self.movable: OrderedDict[JobId, Job] = OrderedDict()
        self.movers = 0
        self.moving: Callable[[World, Device, Job], None] | None = None
        self.waiting = [0, 0, 0, 0]
        self.waiting_us = [0, 0, 0, 0]
        self.coming = [0, 0, 0, 0]
        self.coming_us = [0, 0, 0, 0]
        self.look_at = 0.0
        self.pools: list[Pool] = []
        self.accuracy = Accuracy()
        self.qpu_s = 0.0
        self.agents: dict[str, Agent] = {}

    @property
    def front(self) -> DeviceLine:
        """The line that is served now."""
        return self.line if self.window is None else self.window.line

    @property
    def calibrating(self) -> bool:
        """Whether it drains for a calibration, or is at it."""
        return self.calibration is not None and self.calibration.phase is not Phase.READY

    @property
    def closed(self) -> bool:
        """Whether it takes no new work at all."""
        return self.paused or self.calibrating

    @property
    def takers(self) -> int:
        """How many of its agents take work: all that are not drained."""
        return sum(pool.takers for pool in self.pools)

    @property
    def noise_id(self) -> str:
        """The published noise: what circuits are compiled and judged against."""
        return "" if self.calibration is None else self.calibration.published

    def line_for(self, record: JobRecord) -> DeviceLine:
        """Where the job has to stand now."""
        window = self.window
        return self.line if window is None or not belongs(record, window.reservation) else window.line

    def expect(self, level: int, estimate_us: int, count: int) -> None:
        """Count `count` (1 or -1) jobs that will come when they are compiled."""
        counters: list[Device | Pool] = [self, *self.pools]
        for counts in counters:
            counts.coming[level] += count
            counts.coming_us[level] += count * estimate_us

    def entered(self, job: Job) -> None:
        """Count a job that entered one of the lines."""
        record = job.record
        level, estimate_us = job.level, estimated_us(record)
        self.waiting[level] += 1
        self.waiting_us[level] += estimate_us
        for pool in self.pools:
            pool.waiting[level] += 1
            pool.waiting_us[level] += estimate_us
            pool.standing[level].setdefault(self.info.name, self)
        if record.choices or record.fidelity_floor is not None:
            self.movable[record.id] = job
        for claim in claims_of(record):
            self.claims.setdefault(claim, {})[record.id] = job

    def left(self, job: Job) -> None:
        """The opposite of `entered`."""
        record = job.record
        level, estimate_us = job.level, estimated_us(record)
        self.waiting[level] -= 1
        self.waiting_us[level] -= estimate_us
        for pool in self.pools:
            pool.waiting[level] -= 1
            pool.waiting_us[level] -= estimate_us
            if not self.waiting[level]:
                del pool.standing[level][self.info.name]
        self.movable.pop(record.id, None)
        for claim in claims_of(record):
            del self.claims[claim][record.id]
            if not self.claims[claim]:
                del self.claims[claim]


def estimated_us(record: JobRecord) -> int:
    """Estimated run time in microseconds."""
    return round(record.profile.estimated_s * 1e6) if record.profile else 0


def claims_of(record: JobRecord) -> list[str]:
    """The keys of `Device.claims` that the job stands under."""
    claims = []
    if record.reservation is not None:
        claims.append(f"reservation/{record.reservation}")
    if record.session_id is not None:
        claims.append(f"session/{record.session_id}")
    return claims


def belongs(record: JobRecord, reservation: Reservation) -> bool:
    """Whether the reservation is for this job."""
    if record.tenant != reservation.tenant:
        return False
    by_session = reservation.session_id is not None and record.session_id == reservation.session_id
    return by_session or record.reservation == reservation.name
