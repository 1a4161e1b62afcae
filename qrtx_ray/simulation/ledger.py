"""What is kept of the jobs of a simulation: every job is folded into sums and distributions as soon as it has ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from qrtx_ray.model import JobRecord, Level, TaskState
from qrtx_ray.simulation.fairness import Shares
from qrtx_ray.simulation.lines import JobLine
from qrtx_ray.simulation.live import LiveJob
from qrtx_ray.simulation.sketch import Sketch

__all__ = ["Ledger", "LevelAccount", "TenantAccount"]

_KEPT_POINTS = 400


class LevelAccount:
    """The jobs of one level: waiting from arrival to the beginning of the first run, completion from arrival to the end,
    both in seconds; waiting also of those that never ran, until they ended.
    """

    __slots__ = ("completion", "ends", "over_limit", "promoted", "waiting")

    def __init__(self) -> None:
        self.waiting = Sketch()
        self.completion = Sketch()
        self.ends: Counter[str] = Counter()
        self.promoted = 0
        self.over_limit = 0


class TenantAccount:
    """The jobs of one tenant."""

    __slots__ = ("completed", "jobs", "qpu_s", "waiting")

    def __init__(self) -> None:
        self.jobs = 0
        self.completed = 0
        self.qpu_s = 0.0
        self.waiting = Sketch()


class Ledger:
    """Sums and distributions over everything that happened.

    Args:
        weights: Of tenants, for what is due to them; 1 for others.
        wait_limits_s: The levels' longest waiting times, where the scheduler knows any.
    """

    def __init__(self, weights: Mapping[str, float], wait_limits_s: Mapping[Level, float]) -> None:
        self.levels = {level: LevelAccount() for level in Level}
        self.tenants: dict[str, TenantAccount] = {}
        self.shares = {level: Shares(weights) for level in Level}
        self._wait_limits_s = wait_limits_s
        self.refused: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.busy_s: defaultdict[str, float] = defaultdict(float)
        self.device_jobs: Counter[str] = Counter()
        self.device_qpu_s: defaultdict[str, float] = defaultdict(float)
        self.calibrations: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.fidelity = Sketch()
        self.predicted_error = Sketch()
        self.fidelity_by_level = {level: Sketch() for level in Level}
        self.last_end = 0.0
        self.samples: list[tuple[float, int, int]] = []
        self._every_s = 1.0
        self._next_sample = 0.0
        self.recorded = Sketch()
        self.against_recorded = Sketch()

    # -- as it happens -------------------------------------------------------------------------------------------

    def arrived(self, line: JobLine) -> None:
        """A job was accepted."""
        account = self.tenants.get(line.tenant)
        if account is None:
            account = self.tenants[line.tenant] = TenantAccount()
        account.jobs += 1
        self.shares[Level.of(line.priority)].arrive(line.tenant)

    def refuse(self, line: JobLine, code: str) -> None:
        """The job that had just arrived was not accepted."""
        self.refused[code] += 1
        self.tenants[line.tenant].jobs -= 1
        self.shares[Level.of(line.priority)].leave(line.tenant)
        if line.deadline_at is not None:
            self.counts["deadline_refused"] += 1

    def begun(self, line: JobLine, seconds: float) -> None:
        """The job's first run begins and will take `seconds`."""
        self.shares[Level.of(line.priority)].begin(line.tenant, seconds)

    def sample(self, at: float, live: int, running: int) -> None:
        """Jobs that have not ended and agents that run, now; kept at growing distances, so that there are never many."""
        if at < self._next_sample:
            return
        self.samples.append((at, live, running))
        if len(self.samples) >= _KEPT_POINTS:
            self.samples = self.samples[::2]
            self._every_s *= 2.0
        self._next_sample = at + self._every_s

    def ended(self, record: JobRecord, job: LiveJob, origin: float) -> None:
        """The job has ended, whatever way."""
        line, level = job.line, record.level
        account, tenant = self.levels[level], self.tenants[record.tenant]
        finished_at = record.finished_at or record.created_at
        account.ends[record.state.value] += 1
        self.last_end = max(self.last_end, finished_at - origin)
        if job.begun_at is None:
            self.shares[level].leave(record.tenant)
        waited_s = (finished_at if job.begun_at is None else job.begun_at) - record.created_at
        account.waiting.add(waited_s)
        tenant.waiting.add(waited_s)
        limit = self._wait_limits_s.get(level)
        account.over_limit += limit is not None and waited_s > limit
        account.promoted += record.promoted_at is not None
        self._spent(record, job)
        tenant.qpu_s += record.qpu_s or 0.0
        self.device_qpu_s[record.device] += record.qpu_s or 0.0
        if record.state is TaskState.COMPLETED and not record.dry_run:
            tenant.completed += 1
            account.completion.add(finished_at - record.created_at)
            self.device_jobs[record.device] += 1
            self._worth(level, job)
        elif record.error is not None:
            self.failures[record.error.code] += 1
        if line.deadline_at is not None:
            kept = record.state is TaskState.COMPLETED and finished_at <= origin + line.deadline_at
            self.counts["deadline_kept" if kept else "deadline_missed"] += 1
        self._compare(line, waited_s)

    def _spent(self, record: JobRecord, job: LiveJob) -> None:
        counts, seconds = self.counts, self.seconds
        counts["runs"] += job.runs
        counts["retries"] += record.retries
        counts["losses"] += record.losses
        seconds["busy"] += job.busy_s
        seconds["lost"] += job.lost_s
        if record.preemptions:
            counts["preempted_jobs"] += 1
            counts["preemptions"] += record.preemptions
            seconds["preempted_work"] += job.busy_s - job.paid_s
            seconds["preemption_cost"] += job.paid_s

    def _worth(self, level: Level, job: LiveJob) -> None:
        if job.fidelity is not None:
            self.fidelity.add(job.fidelity)
            self.fidelity_by_level[level].add(job.fidelity)
            if job.predicted is not None:
                self.predicted_error.add(abs(job.fidelity - job.predicted))

    def _compare(self, line: JobLine, waited_s: float) -> None:
        known: Mapping[str, Any] = line.recorded or {}
        started_at = known.get("started_at")
        if isinstance(started_at, int | float):
            self.recorded.add(max(0.0, started_at - line.at))
            self.against_recorded.add(abs(waited_s - max(0.0, started_at - line.at)))
