"""The line before a device: who goes next.

The rule, in this order:

1. Jobs that have waited longer than their level allows (they were *promoted*, and stay so): the lowest level first, then
   who has waited longest.
2. By rank: the highest level; in it the tenant that has used least for its weight; of its jobs the oldest.
3. Unless the oldest job of a lower level has *aged* past that: waiting brings the weight of a job nearer to that of
   critical, and where it has passed the aged weight of the oldest job of the highest level, that job goes.

A tenant with all running that it may is passed over. What is oldest is asked of the first jobs of the tenants' queues.

Every operation costs O(log n) of the jobs and looks at a bounded part of the tenants in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from math import inf
from typing import TYPE_CHECKING

from qrtx_ray.model import Level
from qrtx_ray.scheduler.lanes import Lane, TenantQueue
from qrtx_ray.scheduler.levels import LevelPolicy, aged_weight
from qrtx_ray.scheduler.rehearsal import LaneView, Rehearsal
from qrtx_ray.scheduler.tenants import Account, Tenants

if TYPE_CHECKING:
    from qrtx_ray.scheduler.job import Job

__all__ = ["DeviceLine", "Urgency"]

Urgency = tuple[float, ...]  #: smaller goes first; comparable between the lines of all devices

_SAMPLE = 64  # tenants looked at for an estimate of the place in line
_SINCE = 1e-6


class DeviceLine:
    """All compiled jobs that wait for one device (or for one reserved window of it).

    Args:
        device: Its name.
        levels: What holds for each level.
        aging: Whether rule 3 applies.
        tenants: The ledger; knows who has used what.
        jobs: All jobs by key.
    """

    __slots__ = ("_aging", "_lanes", "_levels", "_overdue", "_size", "_tenants", "device")

    def __init__(
        self, device: str, levels: tuple[LevelPolicy, ...], tenants: Tenants, jobs: Mapping[int, Job], *, aging: bool
    ) -> None:
        self.device = device
        self._levels = levels
        self._aging = aging
        self._tenants = tenants
        self._size = 0
        self._lanes = [Lane(device, level, jobs) for level in Level]
        self._overdue = [Lane(device, level, jobs, overdue=True) for level in reversed(Level)]

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Job]:
        """All jobs, in no order that means anything."""
        for lane in (*self._overdue, *self._lanes):
            yield from lane

    def add(self, job: Job) -> None:
        """Put the job in its place: among the overdue if it was promoted.

        Raises:
            ValueError: It is in the line already.
        """
        self._lane_of(job).add(job)
        self._size += 1
        self._tenants.arrived(job.account)

    def discard(self, job: Job) -> None:
        """Take the job out.

        Raises:
            InternalError: It is not in the line.
        """
        self._lane_of(job).discard(job)
        self._size -= 1
        self._tenants.left(job.account)

    def _lane_of(self, job: Job) -> Lane:
        return self._overdue[Level.LOW - job.level] if job.record.promoted_at is not None else self._lanes[job.level]

    # -- who goes next -------------------------------------------------------------------------------------------

    def head(self, now: float) -> Job | None:
        """The job that goes next, or None when the line is empty or nobody in it may go."""
        found = self._next(now)
        if found is None:
            return None
        lane, queue, _ = found
        place = queue.first()
        assert place is not None
        return lane.job_at(place)

    def urgency(self, now: float) -> Urgency:
        """How the head compares with the heads of other lines: smaller goes first, and infinite is a line where nobody may
        go. An aged job counts as of the level that it passed in its own line.
        """
        found = self._next(now)
        if found is None:
            return (inf,)
        lane, queue, rank = found
        place = queue.first()
        assert place is not None
        job, since_us = lane.job_at(place), lane.since_us(place)
        if rank is None:
            return (0.0, Level.LOW - lane.level, since_us, job.record.number)
        share = queue.account.place[0] if queue.account.place is not None else 0.0
        return (1.0 + rank, -1.0 if lane.level != rank else share, since_us, job.record.number)

    def _next(self, now: float) -> tuple[Lane, TenantQueue, int | None] | None:
        """The lane and the queue whose first job goes next, and the level it ranks as (None: it is overdue)."""
        for lane in self._overdue:
            if lane.size and (age := lane.oldest()) is not None:
                return lane, age[2], None
        best: tuple[Lane, TenantQueue, int] | None = None
        weight = 0.0
        for lane in self._lanes:
            if not lane.size or (age := lane.oldest()) is None:
                continue
            aged = aged_weight(self._levels, lane.level, now - age[0] * _SINCE)
            if best is None:
                best, weight = (lane, lane.fairest(self._tenants.order), lane.level), aged
                if not self._aging:
                    break
            elif aged > weight:
                best, weight = (lane, age[2], best[2]), aged
        return best

    def in_order(self, now: float) -> Iterator[Job]:
        """The jobs in the order in which they would go if one were given away after the other, as far as tenants may have
        running; the first is the head. The line must not change meanwhile.
        """
        alone = self._only_queue()
        if alone is None:
            return self._rehearsed(now)
        lane, queue = alone
        return map(lane.job_at, islice(queue, _may_have(queue.account)))

    def _rehearsed(self, now: float) -> Iterator[Job]:
        rehearsal, order = Rehearsal(self._tenants), self._tenants.order
        for lane in self._overdue:
            if lane.size:
                view = LaneView(lane, rehearsal, order)
                while (age := view.oldest()) is not None:
                    yield view.take(age[2])
        views = [LaneView(lane, rehearsal, order) for lane in self._lanes if lane.size]
        while views:
            found = self._next_of(views, now)
            if found is None:
                views.pop(0)
            else:
                yield found[0].take(found[1])

    def _only_queue(self) -> tuple[Lane, TenantQueue] | None:
        """The only queue of the line, where one tenant waits with jobs of one level: the usual small case, told quickly."""
        for lane in (*self._lanes, *self._overdue):
            if lane.size:
                alone = lane.size == self._size and len(lane.queues) == 1
                return (lane, next(iter(lane.queues.values()))) if alone else None
        return None

    def _next_of(self, views: list[LaneView], now: float) -> tuple[LaneView, TenantQueue] | None:
        """The same choice as `_next` makes; None when nobody of the first lane may go."""
        first = views[0]
        queue = first.fairest()
        if queue is None:
            return None
        best = (first, queue)
        if self._aging and len(views) > 1:
            weight = -1.0
            for view in views:
                age = view.oldest()
                if age is None:
                    continue
                aged = view.weight
                if aged is None:
                    aged = view.weight = aged_weight(self._levels, view.level, now - age[0] * _SINCE)
                if view is first:
                    weight = aged
                elif aged > weight:
                    best, weight = (view, age[2]), aged
        return best

    # -- estimates -----------------------------------------------------------------------------------------------

    def ahead_of(self, job: Job) -> int:
        """About how many jobs of the line go before `job`: exact where one tenant waits and nobody ages, otherwise as far
        as the present shares, and a sample of the tenants where there are many, can tell.
        """
        lane = self._lane_of(job)
        place = lane.place_of(job)
        ahead = 0
        if job.record.promoted_at is not None:
            ahead += sum(other.size for other in self._overdue[: Level.LOW - job.level])
            return ahead + sum(queue.ahead_of(place) for queue in _sample(lane)) * _scale(lane)
        ahead += sum(other.size for other in self._overdue) + sum(other.size for other in self._lanes[: job.level])
        own = lane.queues[job.account]
        before = own.ahead_of(place)
        return ahead + before + self._others_before(lane, job, before)

    def _others_before(self, lane: Lane, job: Job, before: int) -> int:
        """Jobs of other tenants that go before one with `before` of its own tenant's before it, if all cost the same."""
        cost_us = max(job.estimated_us, 1)
        account = job.account
        target = self._tenants.share(account, account.running_us + before * cost_us)
        count = 0
        for queue in _sample(lane):
            other = queue.account
            if other is account:
                continue
            share = self._tenants.share(other, other.running_us)
            step = self._tenants.share(other, other.running_us + cost_us) - share
            due = 0 if share > target else int((target - share) / step) + 1 if step > 0 else before + 1
            count += min(due, len(queue))
        return count * _scale(lane)

    def check(self) -> None:
        """Check every invariant; slow, for tests.

        Raises:
            InternalError: Something disagrees.
        """
        for lane in (*self._overdue, *self._lanes):
            lane.check()
        assert self._size == sum(lane.size for lane in (*self._overdue, *self._lanes))


def _may_have(account: Account) -> int | None:
    """How many more jobs of the tenant may run; None for any number."""
    limit = account.policy.max_running
    return None if limit is None else max(limit - account.running, 0)


def _sample(lane: Lane) -> Iterator[TenantQueue]:
    return islice(lane.queues.values(), _SAMPLE)


def _scale(lane: Lane) -> int:
    return max(1, round(len(lane.queues) / _SAMPLE))
