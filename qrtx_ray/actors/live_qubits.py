"""Level 1 of quantum state: which qubits are alive, on which device, for whom.

An agent runs one group at a time, so it holds one lease at most: asking for the next ends the last, even where the word that
gave it back was lost. A lease belongs to one incarnation of the agent; what a dead process held, or still asks for, is
recognised as soon as its successor speaks or the scheduler gives it up.
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
        self._leases: dict[str, QubitLease] = {}
        self._incarnations: dict[str, str] = {}

    @property
    def alive(self) -> int:
        """Qubits leased now."""
        return sum(lease.total for lease in self._leases.values())

    def greet(self, agent: str, incarnation: str) -> bool:
        """The agent asks for a lease: what it held before is over. Returns whether that set qubits free."""
        self._incarnations[agent] = incarnation
        return self._leases.pop(agent, None) is not None

    def expects(self, agent: str, incarnation: str) -> bool:
        """Whether this incarnation is the one that spoke last, and was not given up."""
        return self._incarnations.get(agent) == incarnation

    def fits(self, total: int) -> bool:
        """Whether `total` more qubits may come alive."""
        return not self._leases or self.alive + total <= self._capacity

    def occupy(self, lease: QubitLease) -> None:
        """Enter a lease."""
        self._leases[lease.agent] = lease

    def vacate(self, agent: str, incarnation: str, group: GroupId) -> bool:
        """Give a lease back. A late call, or one of an earlier incarnation, changes nothing and returns False."""
        lease = self._leases.get(agent)
        if lease is None or (lease.incarnation, lease.group) != (incarnation, group):
            return False
        del self._leases[agent]
        return True

    def give_up(self, agent: str, incarnation: str) -> bool:
        """The incarnation is gone, with what it held and what it still waits for. Returns whether it was the present one."""
        if not self.expects(agent, incarnation):
            return False
        del self._incarnations[agent]
        self._leases.pop(agent, None)
        return True

    def leases(self, device: str | None = None) -> list[QubitLease]:
        """All leases, or those of one device."""
        return [lease for lease in self._leases.values() if device is None or lease.device == device]
