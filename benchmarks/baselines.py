"""Ways of placing jobs that a scheduler should beat: next in turn, least loaded, always the best device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from qrtx_ray.model import JobRecord
from qrtx_ray.scheduler.policies import Fleet, GroupLimits, Option, Scored, choose_group

__all__ = ["BASELINES", "BEST_DEVICE_ONLY", "LEAST_LOADED", "ROUND_ROBIN", "Baseline", "Turn"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A device that is asked about: which of how many it is, in the order of their names."""

    job: JobRecord
    index: int
    count: int
    option: Option


@dataclass(frozen=True, slots=True)
class Baseline:
    """Every option gets the figure that `judge` gives it; options that cannot run the job come last."""

    name: str
    judge: Callable[[Turn], float]

    def place(self, job: JobRecord, options: Sequence[Option], fleet: Fleet) -> list[Scored]:  # noqa: ARG002
        scored = []
        for index, option in enumerate(sorted(options, key=lambda one: one.device)):
            refusal = option.refusal or ("" if option.online else "no agent serves it")
            score = self.judge(Turn(job, index, len(options), option))
            scored.append(Scored(option.device, score, ((self.name, score),), refusal, self.name))
        return sorted(scored, key=lambda one: (bool(one.refusal), -one.score, one.device))

    def choose_group(self, candidates: Iterable[JobRecord], limits: GroupLimits) -> list[JobRecord]:
        return choose_group(candidates, limits)


#: The next device in turn, by the number of the job.
ROUND_ROBIN = Baseline("round_robin", lambda turn: -float((turn.index - turn.job.number) % turn.count))
#: Where the least work stands in line, whatever the device is worth.
LEAST_LOADED = Baseline("least_loaded", lambda turn: -turn.option.wait_s)
#: The device that promises most, however long its line.
BEST_DEVICE_ONLY = Baseline(
    "best_device_only", lambda turn: 1.0 if turn.option.fidelity is None else turn.option.fidelity
)

BASELINES = (ROUND_ROBIN, LEAST_LOADED, BEST_DEVICE_ONLY)
