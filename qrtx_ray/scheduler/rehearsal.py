"""In which order the jobs of a line would go, if each were given away and counted before the next is chosen.

A group is chosen from the first of a line, all at once. What the line itself can tell is only its head, because every
choice changes the shares of tenants, and may bring one to its bound. Here the choices are made as if, one after the
other and only as far as somebody looks, and nothing of the line is touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush, heapreplace
from typing import TYPE_CHECKING

from qrtx_ray.scheduler.lanes import Age, Lane, TenantQueue
from qrtx_ray.scheduler.tenants import Account, Place, Tenants

if TYPE_CHECKING:
    from qrtx_ray.scheduler.job import Job

__all__ = ["LaneView", "Rehearsal"]


class Rehearsal:
    """What the tenants would have got so far. `full` counts those that may have no more since."""

    __slots__ = ("_given", "_places", "_tenants", "_turns", "full")

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._given: dict[Account, list[int]] = {}
        self._places: dict[Account, Place | None] = {}
        self.full = 0
        self._turns = 1 << 62  # behind all real ones

    def place(self, account: Account) -> Place | None:
        """The tenant's place among the others by now; None when it may have no more."""
        return self._places.get(account, account.place)

    def give(self, account: Account, estimated_us: int) -> None:
        """The tenant gets one job more."""
        given = self._given.get(account)
        if given is None:
            given = self._given[account] = [0, 0]
        given[0] += 1
        given[1] += estimated_us
        limit = account.policy.max_running
        if limit is not None and account.running + given[0] >= limit:
            self._places[account] = None
            self.full += 1
        else:
            self._turns += 1
            share = self._tenants.share(account, account.running_us + given[1])
            self._places[account] = (share, self._turns, account)


class LaneView:
    """A lane without the jobs that went so far. Both heaps are lazy: an entry is never above the truth."""

    __slots__ = (
        "_ages",
        "_full",
        "_lane",
        "_left",
        "_next",
        "_oldest",
        "_order",
        "_rehearsal",
        "_shares",
        "_walk",
        "_walked",
        "level",
        "weight",
    )

    def __init__(self, lane: Lane, rehearsal: Rehearsal, order: Sequence[Place]) -> None:
        self.level = lane.level
        self.weight: float | None = None
        self._lane = lane
        self._rehearsal = rehearsal
        self._order = order
        self._oldest: Age | None = None
        self._full = 0
        self._ages: list[Age] | None = None
        self._left: dict[TenantQueue, Iterator[int]] = {}
        self._next: dict[TenantQueue, int | None] = {}
        self._walk: Iterator[Place] | None = None
        self._walked: Place | None = None
        self._shares: list[Place] = []

    def oldest(self) -> Age | None:
        """As `Lane.oldest`. With another one, `weight` is forgotten: there the caller may keep what it made of it."""
        if self._oldest is not None and self._full == self._rehearsal.full:
            return self._oldest
        if self._ages is None:
            self._ages = self._lane.ages()
        ages, following, place = self._ages, self._next, self._rehearsal.place
        self._full, self.weight = self._rehearsal.full, None
        while ages:
            age = ages[0]
            queue = age[2]
            first = following[queue] if queue in following else queue.first()
            if first is None or place(queue.account) is None:
                heappop(ages)
            elif first == age[1]:
                self._oldest = age
                return age
            else:
                heapreplace(ages, (self._lane.since_us(first), first, queue))
        return None

    def fairest(self) -> TenantQueue | None:
        """As `Lane.fairest`, but None when nobody may go."""
        if self._walk is None:
            self._walk = self._lane.by_share(self._order)
            self._step(self._walk)
        shares, following = self._shares, self._next
        while shares:
            place = shares[0]
            now = self._rehearsal.place(place[2])
            queue = self._lane.queues[place[2]]
            gone = now is None or (queue in following and following[queue] is None)
            if now is place and not gone:
                return queue
            if now is None or gone:
                heappop(shares)
            else:
                heapreplace(shares, now)
            if place is self._walked:
                self._step(self._walk)
        return None

    def _step(self, walk: Iterator[Place]) -> None:
        """Have the next tenant of the walk in the heap: all after it have greater shares."""
        self._walked = next(walk, None)
        if self._walked is not None:
            heappush(self._shares, self._walked)

    def take(self, queue: TenantQueue) -> Job:
        """Give away the first job of the queue."""
        following = self._next
        first = following[queue] if queue in following else queue.first()
        assert first is not None
        if len(queue) == 1:
            following[queue] = None
        else:
            left = self._left.get(queue)
            if left is None:
                left = self._left[queue] = iter(queue)
                next(left)
            following[queue] = next(left, None)
        self._oldest = None
        job = self._lane.job_at(first)
        self._rehearsal.give(queue.account, job.committed_us)
        return job
