"""The simulation of the scheduler: its own speed, and what it shows of preemption, starvation and placement.

`simulate_1e6_jobs_s` is the time of one million generated jobs on 1,000 devices in this process (full size only;
`simulation_us_per_job` is measured in either size). Memory is the growth of the process over the run: by all its jobs
(`memory_per_job_bytes`), and by those that were on their way at once at the worst moment (`memory_per_live_job_bytes`).

Preemption: all agents (four on each device) are at work on long jobs of low level when a critical one comes.
`critical_start_slices` is the longest time that one had to wait, in slices; `preempt_penalty` what making way cost, over
the work of those that had to; `preempt_slowdown` by how much all work took longer than without any preemption. Where a
device has one agent alone (`critical_start_single_slices`), a critical job also waits for a run that is so nearly done that
stopping it would cost more than a fifth of what is left of it.

Starvation: more high work than the machine can do, for ever, and a little low work of several tenants.
`starvation_excess_s` is by how much the longest wait of a low job passed the longest that its level allows; the
scheduler owes at most what is already under way, a group and the one held ready behind it. The same without promotion
and aging is the baseline.

Placement: the same jobs, free to choose among eight real devices that drift, under `noise_aware` and three simple
policies. A policy dominates another when it is no worse in mean fidelity, in mean waiting and in deadlines missed.
`front_<weight>_<scale>` are noise-aware policies with other waiting terms: the front between fidelity and waiting.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.baselines import BASELINES
from benchmarks.report import Figure, Options, main
from qrtx_ray.model import Level
from qrtx_ray.scheduler.policies import NoiseAwarePolicy, Policy, PriorityPolicy
from qrtx_ray.simulation import (
    Parameters,
    Recipe,
    Simulation,
    Variant,
    fleet,
    generate,
    mean_waiting_s,
    mix_called,
    simulate,
)
from qrtx_ray.simulation.lines import DeviceLine, Entry, Header, JobLine
from qrtx_ray.simulation.trace import Trace

EIGHT = (
    "fake_kolkata@aer,fake_auckland@aer,fake_brooklyn@aer,fake_sherbrooke@aer,"
    "fake_brisbane@aer,fake_kyiv@aer,fake_torino@aer,fake_marrakesh@aer"
)
FRONT = (
    (0.2, 600.0),
    (1.0, 60.0),
    (2.0, 30.0),
    (5.0, 10.0),
    (50.0, 10.0),
)  # weight and scale (seconds) of the waiting term
DRIFT = 0.1
LONG_S = 120.0
SLICE_S = 1.0
LOW_LIMIT_S = 300.0


def measure(options: Options) -> Iterator[Figure]:
    """The speed first: memory is measured by how much the process grows."""
    yield from _speed(options)
    yield from _preemption(options)
    yield from _starvation(options)
    yield from _placement(options)


# -- speed and memory ------------------------------------------------------------------------------------------------


def _speed(options: Options) -> Iterator[Figure]:
    jobs, devices = options.pick(1_000_000, 12_000), options.pick(1_000, 100)
    machines = fleet(f"synthetic:{devices}", seed=options.seed)
    mix = replace(mix_called("mixed"), tenants=options.pick(5_000, 500))
    trace = generate(Recipe(jobs=jobs, load=0.7, mix=mix, seed=options.seed, mtbf_s=86_400.0), machines)
    parameters = Parameters()
    simulation = Simulation(trace, parameters.core_for(machines), PriorityPolicy(), parameters.world)
    gc.collect()
    before, begun, cpu = _resident_bytes(), time.perf_counter(), time.process_time()
    simulation.run()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    grown = _peak_bytes() - before
    ended = sum(sum(account.ends.values()) for account in simulation.ledger.levels.values())
    if ended + sum(simulation.ledger.refused.values()) != jobs or simulation.unfinished:
        raise RuntimeError(f"{ended} of {jobs} jobs ended")
    if not options.quick:
        yield Figure("simulate_1e6_jobs_s", seconds, "s", 1_200)
    yield Figure("simulation_us_per_job", 1e6 * seconds / jobs, "us")
    yield Figure("simulation_cpu_us_per_job", 1e6 * cpu / jobs, "us")
    yield Figure("simulation_events_per_job", simulation.handled / jobs, "1")
    yield Figure("simulated_s_per_s", simulation.elapsed_s / seconds, "1", better="higher")
    yield Figure("memory_per_job_bytes", max(0, grown) / jobs, "bytes")
    yield Figure("memory_per_live_job_bytes", max(0, grown) / simulation.most_live, "bytes")
    yield Figure("most_live_jobs", simulation.most_live, "jobs")


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# -- preemption ------------------------------------------------------------------------------------------------------


def _preemption(options: Options) -> Iterator[Figure]:
    critical = options.pick(600, 60)
    # Compilation comes before the wait that is asked about.
    instant = Parameters().with_values(["world.compile_call_s=0", "world.compile_job_s=0"])
    for agents, name in ((4, "critical_start"), (1, "critical_start_single")):
        devices = tuple(DeviceLine(f"device_{i}@aer", agents=agents, pace="qpu") for i in range(4))
        trace = Trace(Header(), devices, partial(_full_system, devices, critical))
        with_it, _ = simulate(trace, Variant("with", PriorityPolicy(), instant))
        waited = with_it["levels"]["critical"]["waiting_s"]
        yield Figure(f"{name}_slices", waited["max"] / SLICE_S, "slices", 2.0 if agents > 1 else None)
        yield Figure(f"{name}_p50_slices", waited["p50"] / SLICE_S, "slices")
        if agents == 1:
            continue
        none = instant.with_values(["preemption.enabled=false"])
        without, _ = simulate(trace, Variant("without", PriorityPolicy(), none))
        yield Figure(f"{name}_without_p50_slices", _waiting(without, "critical")["p50"] / SLICE_S, "slices")
        yield Figure("preempt_penalty", with_it["preemption"]["penalty"], "1", 0.2)
        yield Figure("preemptions", with_it["preemption"]["preemptions"], "1")
        slower = with_it["attempts"]["busy_s"] / without["attempts"]["busy_s"] - 1.0
        yield Figure("preempt_slowdown", slower, "1", 0.2)


def _full_system(devices: tuple[DeviceLine, ...], critical: int) -> Iterator[Entry]:
    """Long jobs of low level on every agent for the whole time; a critical one every 20 s, now here, now there."""
    agents = devices[0].agents
    low = int(critical * 20.0 / LONG_S + 3) * agents
    for number in range(low * len(devices)):
        device = devices[number % len(devices)]
        seconds = LONG_S * (0.5 + number * 0.618 % 1.0)  # so that agents do not end in step
        yield JobLine(0.0, tenant="low", priority=10, device=device.name, qpu_s=seconds)
    for number in range(critical):
        # The moment within a slice is another one every time.
        at = 30.0 + 20.0 * number + 0.137 * (number % 7)
        yield JobLine(at, tenant="urgent", priority=95, device=devices[number % len(devices)].name, qpu_s=1.0)


def _waiting(report: dict[str, Any], level: str) -> dict[str, float]:
    known: dict[str, float] = report["levels"][level]["waiting_s"]
    return known


# -- starvation ------------------------------------------------------------------------------------------------------


def _starvation(options: Options) -> Iterator[Figure]:
    seconds = options.pick(7_200, 1_500)
    device = DeviceLine("device@aer", pace="qpu")
    trace = Trace(Header(), (device,), lambda: _saturated(seconds))
    base = [f"levels.low.max_wait_s={LOW_LIMIT_S}", "max_queue_size=10000000", f"world.until_s={seconds}"]
    report = _unless_over(trace, base)
    yield Figure("starvation_excess_s", max(0.0, report["max"] - LOW_LIMIT_S), "s", 2 * SLICE_S)
    yield Figure("low_jobs_begun", report["count"], "jobs")
    baseline = _unless_over(trace, [*base, "levels.low.max_wait_s=none", "aging=false"])
    yield Figure("low_jobs_begun_without", baseline["count"], "jobs")


def _saturated(seconds: int) -> Iterator[Entry]:
    """Two jobs of high level arrive in the time of one; one of low level every 10 s, of five tenants in turn."""
    for tick in range(seconds * 4):
        at = tick * 0.25
        yield JobLine(at, tenant=f"high-{tick % 3}", priority=80, device="device@aer", qpu_s=0.5)
        if tick % 40 == 0:
            yield JobLine(at, tenant=f"low-{tick // 40 % 5}", priority=10, device="device@aer", qpu_s=0.5)


def _unless_over(trace: Trace, assignments: list[str]) -> dict[str, float]:
    """How long low jobs waited, those included that still wait when the time is over."""
    parameters = Parameters().with_values(assignments)
    simulation = Simulation(trace, parameters.core_for(trace.devices), PriorityPolicy(), parameters.world)
    ledger = simulation.run()
    waiting = ledger.levels[Level.LOW].waiting
    oldest = max((simulation.elapsed_s - line.at for line in simulation.waiting() if line.priority < 30), default=0.0)
    return {"max": max(waiting.most, oldest), "count": float(waiting.count)}


# -- placement -------------------------------------------------------------------------------------------------------


def _placement(options: Options) -> Iterator[Figure]:
    machines = fleet(EIGHT, seed=options.seed, drift=DRIFT)
    mix = replace(mix_called("free"), deadlines=0.3, slack=(3.0, 30.0), cancels=0.0)
    recipe = Recipe("poisson", options.pick(20_000, 2_000), 0.7, mix=mix, seed=options.seed)
    trace = generate(recipe, machines)
    policies: list[tuple[str, Policy]] = [(policy.name, policy) for policy in BASELINES]
    policies.append(("noise_aware", NoiseAwarePolicy()))
    for weight, scale_s in FRONT:
        policy = NoiseAwarePolicy(waiting_weight=weight, waiting_scale_s=scale_s)
        policies.append((f"front_{weight:g}_{scale_s:g}", policy))
    seen: dict[str, tuple[float, float, float]] = {}
    for name, policy in policies:
        report, _ = simulate(trace, Variant(name, policy, Parameters()))
        deadlines = report["deadlines"]
        missed = (deadlines["missed"] + deadlines["refused"]) / max(1, sum(deadlines.values()))
        seen[name] = (report["fidelity"]["mean"], mean_waiting_s(report), missed)
        yield Figure(f"{name}_fidelity", seen[name][0], "1", better="higher")
        yield Figure(f"{name}_waiting_s", seen[name][1], "s")
        yield Figure(f"{name}_deadlines_missed", seen[name][2], "1")
    ours = [name for name, _ in policies[len(BASELINES) :]]
    for policy in BASELINES:
        theirs = seen[policy.name]
        yield Figure(
            f"noise_aware_dominates_{policy.name}", float(_dominates(seen["noise_aware"], theirs)), "1", better="higher"
        )
        yield Figure(
            f"front_dominates_{policy.name}",
            float(any(_dominates(seen[name], theirs) for name in ours)),
            "1",
            better="higher",
        )
    dominated = sum(_dominates(seen[policy.name], seen[name]) for policy in BASELINES for name in ours)
    yield Figure("dominated_by_baselines", dominated, "1", 0.0)


def _dominates(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    return one[0] >= other[0] and one[1] <= other[1] and one[2] <= other[2]


if __name__ == "__main__":
    raise SystemExit(main(__doc__ or "", measure))
