"""The scheduling core alone: how long one decision takes, with up to a million jobs in line.

A decision is one call of `Core.handle`: one event in, the commands out. The events come in the mix that a job causes on
its way: a submit, its part of a compile report, its part of a group's lease, start and report, a heartbeat, a tick, now
and then a cancel. Jobs go as fast as they come, so the line stays as long as it was filled. Groups are of eight jobs, so
the dearest decisions are about eight jobs at once; groups of 32, the most that is configured, are shown apart, and so
are tenants that wait for their quota of running jobs at many devices.

What counts is processor time: on a shared machine the wall clock mostly tells what others did; its p99 is shown too.
Every size runs in a fresh process under the garbage collector's settings of the scheduler actor; a collection that falls
into a decision counts with it, and the longest is shown apart.
"""

from __future__ import annotations

import gc
import random
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from typing import Any

from benchmarks.report import Figure, Options, main, median, percentile
from qrtx_ray.model import (
    AgentInfo,
    CircuitProfile,
    CompileReport,
    DeviceInfo,
    Heartbeat,
    JobRequest,
    PayloadFormat,
    Program,
    RunReport,
)
from qrtx_ray.scheduler import Core, CoreSettings, events
from qrtx_ray.scheduler.commands import Command, Compile, RunGroup
from qrtx_ray.scheduler.tenants import TenantPolicy

SIZES = (1_000, 10_000, 100_000, 1_000_000)
TENANTS = (1, 100, 5_000)
DEVICES = (10, 1_000)
PRIORITIES = (95, 80, 80, 80, 50, 50, 50, 50, 50, 50, 50, 50, 50, 10, 10, 10, 10, 10, 10, 10)
FILL = 1_000  #: jobs of one submit while the line is filled
SPREAD_S = 3_600.0  #: the jobs in line came in over this time: many critical and high ones wait too long already
GROUP = 8
CANCEL_EVERY = 5


@dataclass(frozen=True, slots=True)
class Size:
    """One point of the measurement."""

    jobs: int
    tenants: int
    devices: int
    rounds: int
    seed: int
    group: int = GROUP
    max_running: int | None = None  # of every tenant


@dataclass(frozen=True, slots=True)
class Outcome:
    """Microseconds of every decision, of the processor by kind of event and of the wall clock; pauses of the collector;
    bytes for each job in memory.
    """

    micros: dict[str, list[float]]
    wall_us: list[float]
    pauses_ms: list[float]
    bytes_per_job: float
    fill_us_per_job: float

    def all(self) -> list[float]:
        return [value for values in self.micros.values() for value in values]


class House:
    """A core, and just enough of the world around it."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.random = random.Random(size.seed)
        self.devices = [f"fake_d{number:04}@aer" for number in range(size.devices)]
        infos = [DeviceInfo(name, name[:-4], "aer", 27) for name in self.devices]
        settings = CoreSettings(
            max_queue_size=10**8,
            max_group_jobs=size.group,
            max_group_s=60.0,
            default_tenant=TenantPolicy(max_running=size.max_running),
        )
        self.core = Core(settings, infos)
        self.now = 1.7e9
        self.born = 0
        self.micros: dict[str, list[float]] = defaultdict(list)
        self.wall_us: list[float] = []
        self.groups: dict[str, list[Any]] = {}
        self.compiles: list[Compile] = []
        self.queued: list[str] = []

    def handle(self, kind: str, event: events.Event) -> list[Command]:
        started, began = time.perf_counter_ns(), time.thread_time_ns()
        commands = self.core.handle(event, self.now)
        self.micros[kind].append((time.thread_time_ns() - began) / 1e3)
        self.wall_us.append((time.perf_counter_ns() - started) / 1e3)
        for command in commands:
            if isinstance(command, RunGroup):
                self.groups.setdefault(command.agent, []).append(command.group)
            elif isinstance(command, Compile):
                self.compiles.append(command)
        return commands

    def submit(self, count: int) -> None:
        news = []
        for _ in range(count):
            self.born += 1
            job = f"01j{self.born:023}"
            self.queued.append(job)
            request = JobRequest(
                Program.SAMPLER,
                self.random.choice(self.devices),
                b"",
                PayloadFormat.NATIVE,
                f"tenant-{self.random.randrange(self.size.tenants):04}",
                priority=self.random.choice(PRIORITIES),
            )
            news.append(events.NewJob(job, request, self.born))
        self.handle("submit", events.JobsSubmitted(tuple(news)))

    def compile(self, count: int) -> None:
        self.handle("compile lease", events.CompilerReady("c", "1", count))
        for lease in self.compiles:
            reports = [CompileReport(order.job_id, order.attempt, self.profile()) for order in lease.tasks]
            self.handle("compile report", events.JobsCompiled("c", "1", tuple(reports)))
        self.compiles.clear()

    def profile(self) -> CircuitProfile:
        seconds = self.random.choice((0.01, 0.1, 1.0))
        return CircuitProfile(5, 20, 8, 1, 4_000, seconds, 1 << 20, 2.0 + seconds, "k", "c", "aer")

    def fill(self) -> None:
        """Fill the lines; then every agent takes its first group."""
        self.handle("join", events.CompilerJoined("c", "1"))
        batch = min(FILL, self.size.jobs)
        for _ in range(self.size.jobs // batch):
            self.now += SPREAD_S * batch / self.size.jobs
            self.submit(batch)
            self.compile(batch)
            while self.core.next_wakeup(self.now) == 0.0:
                self.handle("tick", events.Ticked())
        for number, device in enumerate(self.devices):
            self.handle("join", events.AgentJoined(AgentInfo(f"a{number}", "1", (device,))))
            self.handle("lease", events.AgentReady(f"a{number}", "1", self.size.group))

    def round(self, number: int) -> None:
        """One agent ends its group and takes the next; as many new jobs come as went."""
        agent = f"a{self.random.randrange(self.size.devices)}"
        self.now += 0.01
        gone = 0
        if self.groups.get(agent):
            group = self.groups[agent].pop(0)
            attempts = tuple([(member.job_id, member.attempt) for member in group.members])
            gone = len(attempts)
            self.handle("start", events.RunsStarted(agent, "1", attempts))
            beat = Heartbeat(agent, "1", attempts, tuple([(*attempt, 0.5, 1) for attempt in attempts]))
            self.handle("heartbeat", events.AgentHeard(beat))
            reports = [RunReport(job, attempt, "ab" * 32, 100, 2.5, 0.1) for job, attempt in attempts]
            self.handle("report", events.RunsReported(agent, "1", tuple(reports)))
            self.handle("metadata", events.MetadataRecorded(tuple([job for job, _ in attempts])))
        self.handle("lease", events.AgentReady(agent, "1", self.size.group))
        if number % CANCEL_EVERY == 0:
            gone += self.cancel()
        for _ in range(gone):
            self.submit(1)
        if gone:
            self.compile(gone)
        if self.core.next_wakeup(self.now) == 0.0:
            self.handle("tick", events.Ticked())

    def cancel(self) -> int:
        job = self.queued[self.random.randrange(len(self.queued))]
        if not self.core.knows_job(job) or self.core.record(job).state.value != "Queued":
            return 0
        self.handle("cancel", events.CancelRequested(job, None, "operator"))
        self.handle("metadata", events.MetadataRecorded((job,)))
        return 1


class Pauses:
    """How long each collection of the garbage collector took, in milliseconds."""

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self._began = 0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter_ns()
        else:
            self.milliseconds.append((time.perf_counter_ns() - self._began) / 1e6)


def measure_size(size: Size) -> Outcome:
    """Fill the lines, then measure; to be run in a process of its own."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # as the scheduler actor has it
    before = _resident_bytes()
    house = House(size)
    gc.disable()  # while the line is filled; what lives then is moved to the oldest generation, as hours would have done
    started = time.perf_counter()
    house.fill()
    filled_s = time.perf_counter() - started
    gc.enable()
    gc.collect()
    grown = _resident_bytes() - before
    for number in range(size.rounds // 10):
        house.round(number)
    house.micros.clear()
    house.wall_us.clear()
    pauses = Pauses()
    for number in range(size.rounds):
        house.round(number)
    per_job = (grown / size.jobs, 1e6 * filled_s / size.jobs)
    return Outcome(dict(house.micros), house.wall_us, pauses.milliseconds, *per_job)


def _resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class SortingScheduler:
    """What comes to mind first: keep the jobs in a list and sort it for every decision."""

    def __init__(self, jobs: int, tenants: int, seed: int) -> None:
        draw = random.Random(seed)
        self.used = [draw.random() for _ in range(tenants)]
        self.jobs = [
            (draw.choice(PRIORITIES), draw.randrange(tenants), float(number), number) for number in range(jobs)
        ]

    def decide(self) -> None:
        self.jobs.sort(key=lambda job: (-job[0], self.used[job[1]], job[2]))
        for job in self.jobs[:GROUP]:
            self.used[job[1]] += 2.0
        del self.jobs[:GROUP]


def measure(options: Options) -> Iterator[Figure]:
    """Microseconds of one decision, the worst over tenants and devices; then the parts of it."""
    largest = 10_000 if options.quick else 1_000_000
    worst: dict[int, float] = {}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for jobs, tenants, devices in product((size for size in SIZES if size <= largest), TENANTS, DEVICES):
            if options.quick and jobs > SIZES[0] and tenants == TENANTS[1]:
                continue
            size = Size(jobs, tenants, devices, options.pick(3_000, 400), options.seed)
            outcome = pool.submit(measure_size, size).result()
            name = f"{jobs:.0e}".replace("e+0", "e") + f"_{tenants}_tenants_{devices}_devices"
            yield from _figures(name, outcome)
            worst[jobs] = max(worst.get(jobs, 0.0), percentile(outcome.all(), 99))
        groups = Size(largest // 10, 100, 10, options.pick(1_000, 200), options.seed, group=32)
        outcome = pool.submit(measure_size, groups).result()
        for kind in ("lease", "report"):
            yield Figure(f"{kind}_of_32_jobs_p99_us", percentile(outcome.micros[kind], 99), "us")
        quotas = Size(largest // 10, 100, 1_000, options.pick(3_000, 400), options.seed, max_running=3)
        outcome = pool.submit(measure_size, quotas).result()
        yield Figure("decision_p99_us_at_running_quotas", percentile(outcome.all(), 99), "us", 1_000.0)
    for jobs, value in worst.items():
        yield Figure(f"decision_p99_us_{jobs:.0e}".replace("e+0", "e"), value, "us", 1_000.0)
    yield Figure("decision_p99_growth", worst[largest] / worst[SIZES[0]], "1", 2.0)
    for jobs, repeats in ((1_000, 200), (10_000, 50), (100_000, 5)):
        if jobs <= largest:
            naive = SortingScheduler(jobs, 100, options.seed)
            times = _micros(naive, repeats)
            yield Figure(f"sorting_decision_p50_us_{jobs:.0e}".replace("e+0", "e"), median(times), "us")


def _figures(name: str, outcome: Outcome) -> Iterator[Figure]:
    times = outcome.all()
    yield Figure(f"decision_p50_us_{name}", median(times), "us")
    yield Figure(f"decision_p99_us_{name}", percentile(times, 99), "us", 1_000.0)
    yield Figure(f"decision_max_us_{name}", max(times), "us")
    yield Figure(f"decision_p99_wall_us_{name}", percentile(outcome.wall_us, 99), "us")
    yield Figure(f"gc_longest_ms_{name}", max(outcome.pauses_ms, default=0.0), "ms")
    yield Figure(f"memory_bytes_per_job_{name}", outcome.bytes_per_job, "B")
    yield Figure(f"fill_us_per_job_{name}", outcome.fill_us_per_job, "us")


def _micros(scheduler: SortingScheduler, repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        started = time.perf_counter_ns()
        scheduler.decide()
        times.append((time.perf_counter_ns() - started) / 1e3)
    return times


if __name__ == "__main__":
    raise SystemExit(main(__doc__ or "", measure))
