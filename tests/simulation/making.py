"""Small traces, and what came of running them."""

from __future__ import annotations

from collections import Counter

from qrtx_ray.scheduler.policies import PriorityPolicy
from qrtx_ray.simulation import Parameters, Simulation, Trace
from qrtx_ray.simulation.lines import DeviceLine, Header, JobLine

DEVICE = "one@aer"
ONE = (DeviceLine(DEVICE, pace="qpu"),)
INSTANT = ("world.compile_call_s=0", "world.compile_job_s=0")


def job(at=0.0, seconds=1.0, **fields) -> JobLine:
    """A job of `seconds` on the one device."""
    return JobLine(at, **({"device": DEVICE, "qpu_s": seconds} | fields))


def trace(*entries, devices=ONE, crews=()) -> Trace:
    return Trace(Header(), devices, lambda: iter(sorted(entries, key=lambda entry: entry.at)), crews)


class Run:
    """A finished simulation: the record and the costs of every job that ended, by name."""

    def __init__(self, source: Trace, *settings: str, policy=None) -> None:
        self.ends = Counter()
        self.records, self.lives = {}, {}
        parameters = Parameters().with_values([*INSTANT, *settings])
        core = parameters.core_for(source.devices)
        self.simulation = Simulation(source, core, policy or PriorityPolicy(), parameters.world)
        ended = self.simulation.ledger.ended

        def note(record, live, origin):
            self.ends[record.id] += 1
            self.records[record.id], self.lives[record.id] = record, live
            ended(record, live, origin)

        self.simulation.ledger.ended = note
        self.origin = source.header.origin
        self.ledger = self.simulation.run()

    def begun(self, name):
        at = self.lives[name].begun_at
        return None if at is None else round(at - self.origin, 6)

    def ended(self, name):
        return round(self.records[name].finished_at - self.origin, 6)

    def state(self, name):
        return self.records[name].state.value
