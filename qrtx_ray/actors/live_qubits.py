"""Level 1 of quantum state: which qubits are alive, on which device, for whom.

A lease is held by one incarnation of one agent, so that what a dead process held is recognised and reclaimed as soon as
its successor speaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qrtx_ray.model import GroupId, JobId

__all__ = ["LiveQubits", "QubitLease"]


@dataclass(frozen=True, slots=True)
class QubitLease:
    """Qubits alive for one group on one agent's copy of a device. `qubits` maps each member to how many it occupies."""

    device: str
    agent: str
    incarnation: str
    group: GroupId
    qubits: Mapping[JobId, int]
    since: float

    @property
    def total(self) -> int:
        return sum(self.qubits.values())


class LiveQubits:
    """The table of leases.

    Args:
        capacity: Live qubits at once, over all devices. A single group that is larger than that is admitted when nothing
            else is alive, so that it can run at all.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._leases: dict[tuple[str, GroupId], QubitLease] = {}
        self._alive = 0

    @property
    def alive(self) -> int:
        """Qubits leased now."""
        return self._alive

    def fits(self, total: int) -> bool:
        """Whether `total` more qubits may come alive."""
        return not self._leases or self._alive + total <= self._capacity

    def occupy(self, lease: QubitLease) -> None:
        """Enter a lease; one that the same agent held under the same group id is replaced."""
        self.vacate(lease.agent, lease.incarnation, lease.group)
        self._leases[lease.agent, lease.group] = lease
        self._alive += lease.total

    def vacate(self, agent: str, incarnation: str, group: GroupId) -> bool:
        """Give a lease back. A late call of an earlier incarnation changes nothing and returns False."""
        lease = self._leases.get((agent, group))
        if lease is None or lease.incarnation != incarnation:
            return False
        del self._leases[agent, group]
        self._alive -= lease.total
        return True

    def reclaim(self, agent: str, incarnation: str) -> list[QubitLease]:
        """Drop what earlier incarnations of `agent` still hold; returns those leases."""
        stale = [lease for lease in self._leases.values() if lease.agent == agent and lease.incarnation != incarnation]
        for lease in stale:
            self.vacate(lease.agent, lease.incarnation, lease.group)
        return stale

    def leases(self, device: str | None = None) -> list[QubitLease]:
        """All leases, or those of one device, oldest first."""
        return [lease for lease in self._leases.values() if device is None or lease.device == device]
