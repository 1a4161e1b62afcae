"""The jobs of one level in the line of one device: by tenant, and by age.

A lane answers two questions: whose turn is it by share, and who has waited longest. Both are about the *first* job of a
tenant's queue, for inside a queue the order is fixed. Tenants with all running that they may are passed over.

Shares change all the time, on other devices too, and a tenant may stand in a thousand lanes: so lanes keep no order by
share at all. They look their tenants up in the one order that all lanes have in common, or, where few stand here, look
at each. Ages change only with the queue itself; their heap is lazy, with one entry for each queue that is never above
the truth and is corrected when it comes to the top.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from itertools import islice
from typing import TYPE_CHECKING

from qrtx_ray.errors import InternalError
from qrtx_ray.scheduler.queues import NUMBER_BITS, WaitingLine
from qrtx_ray.scheduler.tenants import Account, Place

if TYPE_CHECKING:
    from qrtx_ray.scheduler.job import Job

__all__ = ["Lane", "TenantQueue"]

_NUMBER = (1 << NUMBER_BITS) - 1
_FEW = 16  # so many tenants are sooner looked at, each of them, than found in the order of all
_WALK = 4  # a step of the walk costs less than a look, but a group needs several
_SLACK = 64


class TenantQueue(WaitingLine):
    """The places of one tenant's jobs in a lane. `entry` is its entry in the lane's heap of ages, if it has one."""

    __slots__ = ("account", "entry")

    def __init__(self, account: Account) -> None:
        super().__init__()
        self.account = account
        self.entry: Age | None = None

    def __lt__(self, other: object) -> bool:
        # Only asked where a job left and came back: an old entry of a queue that is gone equals the new one but for this.
        return False


Age = tuple[int, int, TenantQueue]  #: since when its first job waits (µs), that job's place, the queue


class Lane:
    """One level of a device's line: of ordinary jobs, or of `overdue` ones.

    Ordinary jobs stand in the order of their numbers, overdue ones in the order of their waiting.

    Args:
        device: Whose line it belongs to.
        level: Its level.
        jobs: All jobs by key.
    """

    __slots__ = ("_ages", "_jobs", "_overdue", "_prefix", "_spare", "device", "level", "queues", "rank", "size")

    def __init__(self, device: str, level: int, jobs: Mapping[int, Job], *, overdue: bool = False) -> None:
        self.device = device
        self.level = level
        self.rank = 0 if overdue else 1 + level
        self.queues: dict[Account, TenantQueue] = {}
        self.size = 0
        self._jobs = jobs
        self._overdue = overdue
        self._prefix = level << NUMBER_BITS
        self._ages: list[Age] = []
        self._spare: TenantQueue | None = None

    def place_of(self, job: Job) -> int:
        """Its place in the tenant's queue."""
        return job.since_us << NUMBER_BITS | job.key & _NUMBER if self._overdue else job.key

    def job_at(self, place: int) -> Job:
        """The job that stands there."""
        return self._jobs[self._prefix | place & _NUMBER]

    def since_us(self, place: int) -> int:
        """Since when the job that stands there has waited, in microseconds since the epoch."""
        return place >> NUMBER_BITS if self._overdue else self._jobs[place].since_us

    def __iter__(self) -> Iterator[Job]:
        """All jobs, tenant by tenant."""
        for queue in self.queues.values():
            for place in queue:
                yield self.job_at(place)

    def add(self, job: Job) -> None:
        """Put the job in its place.

        Raises:
            ValueError: It is there already.
        """
        queue = self.queues.get(job.account)
        if queue is None:
            queue, self._spare = self._spare, None
            if queue is None or queue.account is not job.account:
                queue = TenantQueue(job.account)
            self.queues[job.account] = queue
        place = self.place_of(job)
        queue.add(place)
        self.size += 1
        if queue.first() == place:
            self._note_age(queue)

    def discard(self, job: Job) -> None:
        """Take the job out.

        Raises:
            InternalError: It is not there.
        """
        queue, place = self.queues.get(job.account), self.place_of(job)
        first = queue is not None and queue.first() == place
        if queue is None or not queue.discard(place):
            raise InternalError(f"job {job.record.id} is not where its line has it")
        self.size -= 1
        if not queue:
            del self.queues[job.account]
            if queue.entry is None:
                queue.account.skipped[self.rank].pop(queue, None)
            queue.entry = None
            self._spare = queue  # where one job comes as another goes, it is wanted again at once
        elif first and queue.entry is not None:
            self._note_age(queue)
        if len(self._ages) > 2 * len(self.queues) + _SLACK:
            self._ages = [age for age in self._ages if age[2].entry is age]
            heapify(self._ages)

    def restore(self, queue: TenantQueue) -> bool:
        """Take a queue that was passed over into account again; False when it is gone."""
        if self.queues.get(queue.account) is not queue:
            return False
        self._note_age(queue)
        return True

    def _note_age(self, queue: TenantQueue) -> None:
        # An entry below the truth may stay: it is corrected when it matters.
        age = self._age(queue)
        if queue.entry is None or age < queue.entry:
            queue.entry = age
            heappush(self._ages, age)

    def _age(self, queue: TenantQueue) -> Age:
        place = queue.first()
        assert place is not None
        return self.since_us(place), place, queue

    def oldest(self) -> Age | None:
        """Of the jobs that are first of their tenants, the one that has waited longest; None when nobody may go."""
        ages = self._ages
        while ages:
            age = ages[0]
            queue = age[2]
            if queue.entry is not age:
                heappop(ages)
            elif queue.account.full:
                heappop(ages)
                queue.entry = None
                queue.account.skipped[self.rank][queue] = self
            else:
                now = self._age(queue)
                if now == age:
                    return age
                queue.entry = now
                heapreplace(ages, now)
        return None

    def fairest(self, order: Sequence[Place]) -> TenantQueue:
        """The queue of the tenant with the least share; `oldest` has told that there is one."""
        queues = self.queues
        if not _are_few(len(queues), len(order)):
            for place in islice(order, len(queues)):
                queue = queues.get(place[2])
                if queue is not None:
                    return queue
        places = [account.place for account in queues if account.place is not None]
        return queues[min(places)[2]]

    def by_share(self, order: Sequence[Place]) -> Iterator[Place]:
        """The tenants here that may go, least share first."""
        if _are_few(len(self.queues), len(order)):
            return iter(sorted([account.place for account in self.queues if account.place is not None]))
        return (place for place in order if place[2] in self.queues)

    def ages(self) -> list[Age]:
        """A copy of the heap of ages, as lazy as the original below its top: also with entries of queues that are gone."""
        self.oldest()
        return self._ages.copy()

    def check(self) -> None:
        """Check every invariant; slow, for tests.

        Raises:
            InternalError: Something disagrees.
        """
        size = 0
        for account, queue in self.queues.items():
            places = list(queue)
            size += len(places)
            good = places and places == sorted(set(places)) and queue.account is account
            good = good and all(self.place_of(self.job_at(place)) == place for place in places)
            good = good and all(self.job_at(place).account is account for place in places)
            good = good and (queue.entry is None or queue.entry <= self._age(queue))
            good = good and (queue.entry is not None or account.skipped[self.rank].get(queue) is self)
            if not good:
                raise InternalError(f"the queue of a tenant at {self.device} is out of order")
        if size != self.size:
            raise InternalError(f"a lane of {self.device} is miscounted")


def _are_few(here: int, everywhere: int) -> bool:
    """Whether so many tenants are sooner looked at, each of them, than found among all: every one of `everywhere` / `here`
    that a walk passes is here.
    """
    return here <= _FEW or here * here <= _WALK * everywhere
