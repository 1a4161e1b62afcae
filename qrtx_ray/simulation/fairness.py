"""Who got how much, and how much was due to whom.

Work is due to those who wait for it. Whenever a job begins, its seconds are due to all tenants that have a job of its
level waiting at that moment (its own included), in the proportion of their weights. Summed over a run that gives each
tenant what was due to it, and as much in all as all got. A virtual time per level, the seconds due to a weight of one,
makes a job cost O(1) however many tenants wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["Shares", "jain"]


def jain(values: Iterable[float]) -> float:
    """Jain's index of fairness: 1 when all values are equal, ``1 / n`` when one has all; 1 when there is nothing."""
    known = list(values)
    squares = sum(value * value for value in known)
    return sum(known) ** 2 / (len(known) * squares) if squares > 0.0 else 1.0


class Shares:
    """The seconds begun and due, by tenant, within one priority level.

    Args:
        weights: Of tenants; 1 for others.
    """

    __slots__ = ("_due", "_since", "_time", "_waiting", "_weight", "_weights", "got")

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._waiting: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._weight = 0.0
        self._time = 0.0
        self._due: dict[str, float] = {}
        self.got: dict[str, float] = {}

    def weight(self, tenant: str) -> float:
        """The tenant's."""
        return self._weights.get(tenant, 1.0)

    def arrive(self, tenant: str) -> None:
        """A job of the tenant waits."""
        count = self._waiting.get(tenant, 0)
        self._waiting[tenant] = count + 1
        if not count:
            self._weight += self.weight(tenant)
            self._since[tenant] = self._time

    def begin(self, tenant: str, seconds: float) -> None:
        """A waiting job of the tenant begins, and will get `seconds`."""
        self.got[tenant] = self.got.get(tenant, 0.0) + seconds
        self._time += seconds / self._weight
        self.leave(tenant)

    def leave(self, tenant: str) -> None:
        """A waiting job of the tenant waits no longer."""
        count = self._waiting[tenant] - 1
        if count:
            self._waiting[tenant] = count
            return
        del self._waiting[tenant]
        due = (self._time - self._since.pop(tenant)) * self.weight(tenant)
        self._due[tenant] = self._due.get(tenant, 0.0) + due
        self._weight = self._weight - self.weight(tenant) if self._waiting else 0.0

    def due(self) -> dict[str, float]:
        """Seconds due, by tenant."""
        out = dict(self._due)
        for tenant, since in self._since.items():
            out[tenant] = out.get(tenant, 0.0) + (self._time - since) * self.weight(tenant)
        return out

    def error(self) -> float:
        """The share of all seconds that went to others than they were due to, 0..1."""
        total = sum(self.got.values())
        due = self.due()
        apart = sum(abs(self.got.get(tenant, 0.0) - due.get(tenant, 0.0)) for tenant in {*due, *self.got})
        return apart / (2.0 * total) if total > 0.0 else 0.0
