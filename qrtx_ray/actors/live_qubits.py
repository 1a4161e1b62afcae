"""Level 1 of quantum state: which qubits are alive, on which device, for whom.

An agent runs one group at a time, so it holds one lease at most: asking for the next ends the last, even where the word that
gave it back was lost. A lease belongs to one incarnation of the agent; what a dead process held, or still asks for, is
recognised as soon as its successor speaks or the scheduler gives it up.

Three numbers fence. An incarnation that has a successor is over for good, however late its words arrive. An incarnation that
was given up may come back (it was only silent), but each lease has a number that grows with every one granted, also over
restarts of this table. And what a scheduler says that was replaced meanwhile, recognised by its epoch, changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from qrtx_ray.model import GroupId, JobId

__all__ = ["LiveQubits", "QubitLease"]


REMEMBERED = 32  # superseded incarnations of each agent; one lasts seconds at least


@dataclass(frozen=True, slots=True)
class QubitLease:
    """Qubits alive for one group on one agent's copy of a device. `qubits` maps each member to how many it occupies.

    `fence` grows with every lease granted.
    """

    device: str
    agent: str
    incarnation: str
    group: GroupId
    qubits: Mapping[JobId, int]
    since: float
    fence: int = 0

    @property
    def total(self) -> int:
        return sum(self.qubits.values())


class LiveQubits:
    """The table of leases.

    Args:
        capacity: Live qubits at once, over all devices. A single group that is larger than that is admitted when nothing
            else is alive, so that it can run at all.
        first_fence: Smaller than every number given from now on, and larger than those of tables before this one.
    """

    def __init__(self, capacity: int, first_fence: int = 0) -> None:
        self._capacity = capacity
        self._fence = first_fence
        self._epoch = 0
        self._superseded: dict[str, deque[str]] = {}
        self._leases: dict[str, QubitLease] = {}
        self._incarnations: dict[str, str] = {}

    @property
    def alive(self) -> int:
        """Qubits leased now."""
        return sum(lease.total for lease in self._leases.values())

    def greet(self, agent: str, incarnation: str) -> bool:
        """The agent asks for a lease: what it held before is over. Returns whether that set qubits free.

        A superseded incarnation is not heard: nothing changes, and it is not expected.
        """
        over = self._superseded.setdefault(agent, deque(maxlen=REMEMBERED))
        if incarnation in over:
            return False
        before = self._incarnations.get(agent, incarnation)
        if before != incarnation:
            over.append(before)
        self._incarnations[agent] = incarnation
        return self._leases.pop(agent, None) is not None

    def expects(self, agent: str, incarnation: str) -> bool:
        """Whether this incarnation is the one that spoke last, and was not given up."""
        return self._incarnations.get(agent) == incarnation

    def fits(self, total: int) -> bool:
        """Whether `total` more qubits may come alive."""
        return not self._leases or self.alive + total <= self._capacity

    def occupy(self, lease: QubitLease) -> int:
        """Enter a lease; its number."""
        self._fence += 1
        self._leases[lease.agent] = replace(lease, fence=self._fence)
        return self._fence

    def vacate(self, agent: str, incarnation: str, group: GroupId) -> bool:
        """Give a lease back. A late call, or one of an earlier incarnation, changes nothing and returns False."""
        lease = self._leases.get(agent)
        if lease is None or (lease.incarnation, lease.group) != (incarnation, group):
            return False
        del self._leases[agent]
        return True

    def give_up(self, agent: str, incarnation: str, epoch: int | None = None) -> bool:
        """The incarnation is gone, with what it held and what it still waits for. Returns whether it was the present one.

        Args:
            epoch: Of the scheduler that says so; an earlier one than was heard before is not believed.
        """
        if epoch is not None:
            if epoch < self._epoch:
                return False
            self._epoch = epoch
        if not self.expects(agent, incarnation):
            return False
        del self._incarnations[agent]
        self._leases.pop(agent, None)
        return True

    def by_device(self) -> dict[str, int]:
        """Qubits alive on each device that has any."""
        alive: dict[str, int] = {}
        for lease in self._leases.values():
            alive[lease.device] = alive.get(lease.device, 0) + lease.total
        return alive

    def leases(self, device: str | None = None) -> list[QubitLease]:
        """All leases, or those of one device."""
        return [lease for lease in self._leases.values() if device is None or lease.device == device]
