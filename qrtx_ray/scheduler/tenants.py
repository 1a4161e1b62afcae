"""What tenants are due and what they have had: weights, quotas, and a ledger of QPU time in which old use fades.

Use fades by half in every half-life, for all tenants alike, so their order never changes by time alone. The ledger
therefore keeps *static* figures: a charge at time t counts for ``qpu_s · 2^((t - origin) / half_life)`` and is never
touched again. When the exponent grows large the origin moves on and all figures are scaled down once.

What a tenant has running counts as used from the moment it was given away, by its estimate, and by what it did use once
that is known. Without this, a tenant that has used little would be given everything until its first job ends.
"""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qrtx_ray.scheduler.lanes import Lane, TenantQueue

__all__ = ["FACT", "Account", "Place", "TenantPolicy", "Tenants"]

FACT = "usage/"  #: what the keys of the ledger's facts begin with
_WRITE_EVERY_S = 60.0
_REBASE_AT = 256.0  #: half-lives after which the origin moves on; 2**256 is far from both ends of a float


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """What one tenant may have.

    Args:
        weight: Its share among tenants whose jobs are equally urgent, relative to the others' weights; above 0.
        max_queued: Unfinished jobs at once; more are refused. None: no bound.
        max_running: Jobs with agents at once; more wait. None: no bound.
        max_qpu_s: QPU time charged in one period, in seconds; jobs that would exceed it are refused. None: no bound.
        period_s: Length of those periods; they begin at whole multiples of it since the epoch.
    """

    weight: float = 1.0
    max_queued: int | None = None
    max_running: int | None = None
    max_qpu_s: float | None = None
    period_s: float = 28 * 86_400.0


class Account:
    """One tenant. Changed by `Tenants`, and `waiting` and `skipped_in` by the lines.

    Attributes:
        live: Jobs that have not ended.
        waiting: Jobs in the lines of devices.
        running: Jobs with agents.
        running_us: Estimated QPU time of those, in microseconds (integers: such a sum returns to zero).
        committed_us: The same of all compiled jobs that have not ended.
        usage: Static figure of what was charged.
        period: Number of the quota's period that `period_qpu_s` counts.
        turn: Among tenants that have used the same, the smallest goes first.
        place: Its entry in `Tenants.order` while it stands there.
        skipped: Queues that were passed over because the tenant has all running that it may: those of overdue jobs, then
            those of each level.
    """

    __slots__ = (
        "committed_us",
        "live",
        "name",
        "period",
        "period_qpu_s",
        "place",
        "policy",
        "running",
        "running_us",
        "skipped",
        "turn",
        "usage",
        "waiting",
    )

    def __init__(self, name: str, policy: TenantPolicy, turn: int) -> None:
        self.name = name
        self.policy = policy
        self.live = self.waiting = self.running = 0
        self.running_us = self.committed_us = 0
        self.usage = 0.0
        self.period = 0
        self.period_qpu_s = 0.0
        self.turn = turn
        self.place: Place | None = None
        self.skipped: tuple[dict[TenantQueue, Lane], ...] = ({}, {}, {}, {}, {})

    @property
    def full(self) -> bool:
        """Whether it has all running that it may."""
        limit = self.policy.max_running
        return limit is not None and self.running >= limit


Place = tuple[float, int, Account]  #: share (static use over weight), turn, account; unique by the turn


class Tenants:
    """The ledger of all tenants that this process has seen, or that the facts name.

    Attributes:
        order: Tenants with a job in some device's line and not `full`, least share first.
        thawing: Tenants that are not `full` any more and have queues that were passed over: see `thaw`.
    """

    def __init__(self, half_life_s: float, policies: Mapping[str, TenantPolicy], default: TenantPolicy) -> None:
        self.accounts: dict[str, Account] = {}
        self.order: list[Place] = []
        self.thawing: dict[Account, None] = {}
        self._half_life_s = half_life_s
        self._policies = policies
        self._default = default
        self._now = self._origin = 0.0
        self._scale = 1.0
        self._turns = 0
        self._unwritten: dict[str, float] = {}
        self._urgent: dict[str, float] = {}
        self._next_write = 0.0

    def account(self, name: str) -> Account:
        """The tenant's account, opened when there is none."""
        account = self.accounts.get(name)
        if account is None:
            account = Account(name, self._policies.get(name, self._default), self.next_turn())
            self.accounts[name] = account
        return account

    def next_turn(self) -> int:
        """A turn behind all others."""
        self._turns += 1
        return self._turns

    # -- what runs and what waits --------------------------------------------------------------------------------

    def begin(self, account: Account, estimated_us: int, now: float) -> None:
        """A job of the tenant went to an agent."""
        self._advance(now)
        account.running += 1
        account.running_us += estimated_us
        account.turn = self.next_turn()
        if self.thawing and account.full:
            self.thawing.pop(account, None)
        self._move(account)

    def end(self, account: Account, estimated_us: int, now: float) -> None:
        """A job came back from its agent, whatever became of it."""
        self._advance(now)
        was_full = account.full
        account.running -= 1
        account.running_us -= estimated_us
        self._move(account)
        if was_full and not account.full and any(account.skipped):
            self.thawing[account] = None

    def thaw(self, limit: int) -> list[str]:
        """Take queues that were passed over into account again, the most urgent first, those of `limit` devices at most.

        A tenant may have been passed over at a thousand devices, and have place for one job: so it is done in steps, and
        no more of them once that place is taken. Returns the devices where others may go now.
        """
        devices: list[str] = []
        for account in list(self.thawing):
            for skipped in account.skipped:
                while skipped and len(devices) < limit:
                    queue = next(iter(skipped))
                    lane = skipped.pop(queue)
                    if lane.restore(queue):
                        devices.append(lane.device)
            if not any(account.skipped):
                del self.thawing[account]
            if len(devices) >= limit:
                break
        return devices

    def arrived(self, account: Account) -> None:
        """A job of the tenant entered a device's line."""
        account.waiting += 1
        if account.waiting == 1:
            self._move(account)

    def left(self, account: Account) -> None:
        """A job of the tenant left a device's line."""
        account.waiting -= 1
        if not account.waiting:
            self._move(account)

    def _move(self, account: Account) -> None:
        place = account.place
        if place is not None:
            del self.order[bisect_left(self.order, place)]
            account.place = None
        if account.waiting and not account.full:
            account.place = (self.share(account, account.running_us), account.turn, account)
            insort(self.order, account.place)

    def share(self, account: Account, running_us: int) -> float:
        """Static use over weight, as if the tenant had `running_us` with agents."""
        return (account.usage + running_us * 1e-6 * self._scale) / account.policy.weight

    # -- what was used -------------------------------------------------------------------------------------------

    def charge(self, account: Account, qpu_s: float, now: float) -> None:
        """The tenant used `qpu_s` seconds of QPU time."""
        if qpu_s <= 0.0:
            return
        self._advance(now)
        account.usage += qpu_s * self._scale
        period = _period(account, now)
        if account.period != period:
            account.period, account.period_qpu_s = period, 0.0
        account.period_qpu_s += qpu_s
        (self._unwritten if account.policy.max_qpu_s is None else self._urgent).setdefault(account.name, now)
        self._move(account)

    def usage_s(self, account: Account, now: float) -> float:
        """Seconds of QPU time the tenant has used, the old ones faded."""
        faded: float = 2.0 ** (-(now - self._now) / self._half_life_s)
        return account.usage / self._scale * faded

    def used_in_period_s(self, account: Account, now: float) -> float:
        """Seconds of QPU time charged in the present period of the tenant's quota."""
        return account.period_qpu_s if account.period == _period(account, now) else 0.0

    def _advance(self, now: float) -> None:
        if now == self._now:
            return
        if not self._origin:
            self._origin = now
        self._now = now
        half_lives = (now - self._origin) / self._half_life_s
        if half_lives <= _REBASE_AT:
            self._scale = 2.0**half_lives
        else:
            self._rebase(2.0 ** -min(half_lives, 1_000.0))

    def _rebase(self, factor: float) -> None:
        self._origin, self._scale = self._now, 1.0
        for account in self.accounts.values():
            account.usage *= factor
        waiting = [place[2] for place in self.order]
        self.order = []
        for account in waiting:
            account.place = None
            self._move(account)

    # -- facts ---------------------------------------------------------------------------------------------------

    def facts(self, now: float, limit: int = 8) -> list[tuple[str, str]]:
        """What is to be written now: at once for a tenant with a quota of QPU time, for others once a minute, for it is a
        share and not money. At most `limit`; the others come with a later event.
        """
        if not self._urgent and now < self._next_write:
            return []
        due = list(self._urgent)[:limit]
        for name, since in self._unwritten.items():
            if len(due) >= limit or since + _WRITE_EVERY_S > now:
                break
            due.append(name)
        written = [(FACT + name, self._fact(name, now)) for name in due]
        self._next_write = next(iter(self._unwritten.values()), now) + _WRITE_EVERY_S
        return written

    def _fact(self, name: str, now: float) -> str:
        account = self.accounts[name]
        self._unwritten.pop(name, None)
        self._urgent.pop(name, None)
        body = {
            "at": now,
            "usage_s": self.usage_s(account, now),
            "period_s": account.policy.period_s,
            "period": account.period,
            "period_qpu_s": account.period_qpu_s,
        }
        return json.dumps(body)

    def restore(self, facts: Mapping[str, str], now: float) -> None:
        """Take up what was written before; what cannot be read is passed over, for it is only a share."""
        self._advance(now)
        for key in sorted(facts):
            if not key.startswith(FACT):
                continue
            numbers = _numbers(facts[key])
            if numbers is None:
                continue
            account = self.account(key.removeprefix(FACT))
            fading = 2.0 ** (-max(now - numbers["at"], 0.0) / self._half_life_s)
            account.usage = numbers["usage_s"] * fading * self._scale
            self._move(account)
            if numbers["period_s"] == account.policy.period_s:
                account.period, account.period_qpu_s = int(numbers["period"]), numbers["period_qpu_s"]


def _period(account: Account, now: float) -> int:
    return int(now // account.policy.period_s)


def _numbers(text: str) -> dict[str, float] | None:
    try:
        body: Any = json.loads(text)
        found = {name: float(body[name]) for name in ("at", "usage_s", "period_s", "period", "period_qpu_s")}
    except (ValueError, TypeError, KeyError):
        return None
    return found if all(isfinite(number) and number >= 0.0 for number in found.values()) else None
