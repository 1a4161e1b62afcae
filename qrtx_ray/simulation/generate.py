"""Generated traces: a recipe and a seed say everything; the jobs are drawn anew whenever the trace is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from math import inf
from statistics import fmean

from qrtx_ray.errors import ValidationError
from qrtx_ray.simulation.arrivals import arrivals
from qrtx_ray.simulation.chance import stream
from qrtx_ray.simulation.lines import DeviceLine, Entry, Header, JobLine, LossLine
from qrtx_ray.simulation.mixes import JobMaker, Mix, run_seconds
from qrtx_ray.simulation.trace import Trace

__all__ = ["Recipe", "generate"]

_TRIAL_JOBS = 2_000


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to generate.

    Args:
        pattern: Of arrivals: ``poisson``, ``bursty`` or ``diurnal``.
        jobs: How many.
        load: Work offered over what all devices could do, if every job found one free; instead of `rate`.
        rate: Jobs per second; None follows from `load`.
        mix: What the jobs ask for.
        seed: Of everything.
        mtbf_s / repair_s: Mean time between two failures of a device's agents (None: they never fail), and until they
            are back; both exponential.
    """

    pattern: str = "poisson"
    jobs: int = 10_000
    load: float = 0.7
    rate: float | None = None
    mix: Mix = field(default_factory=Mix)
    seed: int = 7
    mtbf_s: float | None = None
    repair_s: float = 120.0


def generate(recipe: Recipe, devices: Sequence[DeviceLine]) -> Trace:
    """The trace of `recipe` on `devices`.

    Raises:
        ValidationError: There is no such pattern, or a number that makes no sense.
    """
    for name in ("jobs", "load", "rate", "mtbf_s", "repair_s"):
        value = getattr(recipe, name)
        if value is not None and not 0.0 < value < inf:
            text = f"{name} of a generated trace must be finite and greater than 0, not {value:g}"
            raise ValidationError(text, field=name, limit="greater than 0")
    rate = recipe.rate if recipe.rate is not None else _rate(recipe, devices)
    arrivals(recipe.pattern, rate, stream("none"))  # an unknown pattern is refused now, not when the trace is read
    text = f"{recipe.jobs} jobs, {recipe.pattern}, {rate:.6g} jobs/s on {len(devices)} devices, seed {recipe.seed}"
    return Trace(Header(source="generated", description=text), tuple(devices), lambda: _entries(recipe, rate, devices))


def _rate(recipe: Recipe, devices: Sequence[DeviceLine]) -> float:
    """Jobs per second that give the load: from the mean run time of some jobs drawn apart."""
    maker = JobMaker(recipe.mix, devices, stream(f"trial/{recipe.seed}"))
    by_name = {device.name: device for device in devices}
    trial = [maker.draw(0.0) for _ in range(_TRIAL_JOBS)]
    each_s = fmean(
        fmean(run_seconds(job, by_name[name]) for name in job.choices or (job.device,)) * job.slowdown for job in trial
    )
    return recipe.load * sum(device.agents for device in devices) / each_s


def _entries(recipe: Recipe, rate: float, devices: Sequence[DeviceLine]) -> Iterator[Entry]:
    # Apart from one another, so that a change of the one does not change the draws of the other.
    moments = islice(arrivals(recipe.pattern, rate, stream(f"arrivals/{recipe.seed}")), recipe.jobs)
    maker = JobMaker(recipe.mix, devices, stream(f"jobs/{recipe.seed}"))
    jobs: Iterator[Entry] = (maker.draw(at) for at in moments)
    if recipe.mtbf_s is None:
        return jobs
    return _until_last(merge(jobs, _losses(recipe.mtbf_s, recipe, devices), key=lambda entry: entry.at), recipe.jobs)


def _until_last(entries: Iterator[Entry], jobs: int) -> Iterator[Entry]:
    """`entries` up to the last of the jobs; failures would go on for ever."""
    for entry in entries:
        yield entry
        jobs -= isinstance(entry, JobLine)
        if not jobs:
            return


def _losses(mtbf_s: float, recipe: Recipe, devices: Sequence[DeviceLine]) -> Iterator[Entry]:
    chance = stream(f"losses/{recipe.seed}")
    at, rate = 0.0, len(devices) / mtbf_s
    while True:
        at += chance.expovariate(rate)
        device = devices[int(chance.random() * len(devices))]
        yield LossLine(at, device.name, 1e-3 + chance.expovariate(1.0 / recipe.repair_s))
