"""What jobs ask for: sizes, levels, tenants, freedom of choice, deadlines, and how often something goes wrong."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any

from qrtx_ray.errors import ValidationError
from qrtx_ray.simulation.lines import DeviceLine, JobLine
from qrtx_ray.simulation.nature import fidelity, qpu_seconds, wall_seconds

__all__ = ["MIXES", "JobMaker", "Mix", "mix_called"]

_PRIORITIES = (95, 80, 50, 10)
_SHOTS = (1024, 2048, 4096, 10_000)


@dataclass(frozen=True, slots=True)
class Mix:
    """The distributions that jobs are drawn from.

    Args:
        tenants / skew: How many there are; tenant *k* sends a share proportional to ``k ** -skew``.
        levels: Shares of critical, high, normal and low jobs.
        qubits: Fewest and most; in between the logarithm is uniform. Bounded by the devices that are there.
        depth: The same for layers.
        shots: One of these, equally likely.
        long_share / long_times: This share of the jobs takes so many times the shots.
        auto: Share of the jobs that leave the choice of the device to the scheduler.
        choices: Among how many devices they leave it.
        deadlines / slack: Share of jobs with a deadline; how many times its own run the tightest and loosest allow.
        floors: Share of jobs with a fidelity floor, a little under the best they could get.
        cancels / fails / crashes: Shares of jobs that are cancelled, that fail, and whose first run kills its engine.
        jitter: Deviation of the logarithm of real over estimated run time.
    """

    tenants: int = 20
    skew: float = 1.0
    levels: tuple[float, float, float, float] = (0.02, 0.10, 0.68, 0.20)
    qubits: tuple[int, int] = (2, 20)
    depth: tuple[int, int] = (4, 100)
    shots: tuple[int, ...] = _SHOTS
    long_share: float = 0.0
    long_times: int = 10
    auto: float = 0.5
    choices: int = 8
    deadlines: float = 0.1
    slack: tuple[float, float] = (5.0, 100.0)
    floors: float = 0.0
    cancels: float = 0.01
    fails: float = 0.005
    crashes: float = 0.005
    jitter: float = 0.1


MIXES = {
    "mixed": Mix(),
    "short": Mix(depth=(4, 20), qubits=(2, 8), shots=(256, 1024), deadlines=0.0),
    "long": Mix(shots=(20_000, 100_000), long_share=0.05),
    "fixed": Mix(auto=0.0),
    "free": Mix(auto=1.0),
    "plain": Mix(levels=(0.0, 0.0, 1.0, 0.0), deadlines=0.0, cancels=0.0, fails=0.0, crashes=0.0, jitter=0.0),
}


def mix_called(name: str) -> Mix:
    """The mix of that name.

    Raises:
        ValidationError: There is none.
    """
    if name not in MIXES:
        names = ", ".join(MIXES)
        raise ValidationError(f"there is no job mix {name!r}; there are {names}", field="mix", limit=names)
    return MIXES[name]


class JobMaker:
    """Draws jobs.

    Args:
        mix: The distributions.
        devices: What jobs can be sent to.
        chance: Where the draws come from.
    """

    def __init__(self, mix: Mix, devices: Sequence[DeviceLine], chance: Random) -> None:
        self._mix = mix
        self._chance = chance
        self._by_width = sorted(devices, key=lambda device: device.num_qubits)
        self._widths = [device.num_qubits for device in self._by_width]
        self._tenants = [f"tenant-{k:04d}" for k in range(mix.tenants)]
        self._tenant_sums = list(accumulate((k + 1) ** -mix.skew for k in range(mix.tenants)))
        self._level_sums = list(accumulate(mix.levels))
        self._most_qubits = min(mix.qubits[1], self._widths[-1] or mix.qubits[1])

    def draw(self, at: float) -> JobLine:
        """A job that arrives at `at`."""
        mix, chance = self._mix, self._chance
        qubits = self._between(min(mix.qubits[0], self._most_qubits), self._most_qubits)
        depth = self._between(*mix.depth)
        shots = mix.shots[int(chance.random() * len(mix.shots))]
        if mix.long_share and chance.random() < mix.long_share:
            shots *= mix.long_times
        pairs = int(chance.random() * (qubits // 2) * depth * 0.5)
        free = chance.random() < mix.auto
        wide = bisect_left(self._widths, qubits) if self._widths[0] else 0
        able = len(self._widths) - wide
        names = {wide + int(chance.random() * able) for _ in range(mix.choices if free else 1)}
        chosen = [self._by_width[index] for index in sorted(names)]
        tenant = self._tenants[bisect_left(self._tenant_sums, chance.random() * self._tenant_sums[-1])]
        level = min(3, bisect_left(self._level_sums, chance.random() * self._level_sums[-1]))
        size: dict[str, Any] = {"qubits": qubits, "depth": depth, "two_qubit_gates": pairs, "shots": shots}
        bare = JobLine(at, **size)
        return JobLine(
            at,
            tenant=tenant,
            priority=_PRIORITIES[level],
            device="auto" if free else chosen[0].name,
            choices=tuple(device.name for device in chosen) if free else (),
            seed=chance.getrandbits(32),
            group_key=f"{qubits}",
            slowdown=chance.lognormvariate(0.0, mix.jitter) if mix.jitter else 1.0,
            **size,
            **self._bounds(bare, chosen),
            **self._mishaps(at),
        )

    def _between(self, least: int, most: int) -> int:
        return min(most, int(least * ((most + 1) / least) ** self._chance.random()))

    def _bounds(self, job: JobLine, chosen: Sequence[DeviceLine]) -> dict[str, Any]:
        mix, chance, out = self._mix, self._chance, dict[str, Any]()
        if mix.deadlines and chance.random() < mix.deadlines:
            own_s = max(run_seconds(job, device) for device in chosen)
            tight, loose = mix.slack
            out["deadline_at"] = job.at + own_s * tight * (loose / tight) ** chance.random()
        if mix.floors and chance.random() < mix.floors:
            out["fidelity_floor"] = max(fidelity(job, device) for device in chosen) * chance.uniform(0.9, 1.0)
        return out

    def _mishaps(self, at: float) -> dict[str, Any]:
        mix, draw = self._mix, self._chance.random()
        if draw < mix.cancels:
            return {"cancel_at": at + self._chance.expovariate(1.0 / 60.0)}
        if draw < mix.cancels + mix.fails:
            return {"fails": "execution_failed"}
        if draw < mix.cancels + mix.fails + mix.crashes:
            return {"fails": "attempt_lost", "fails_attempts": 1}
        return {}


def run_seconds(job: JobLine, device: DeviceLine) -> float:
    """How long the job is expected to run on the device."""
    return qpu_seconds(job, device) if device.pace == "qpu" else wall_seconds(job)
