"""The deterministic simulation over many seeds: how fast it goes, which edges of the table of states it takes, what fails.

``python -m benchmarks.seeds --first N --count M``. A seed is a whole run: scheduler, clients, compilers and agents under its
own faults (tests/stateful). Failures are printed with their seeds, the first few in full, and end the command with status 1. One
edge, from Validating back to Pending, can only be taken from the journal of an older release; a story of the suite takes it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qrtx_ray.scheduler.states import TRANSITIONS
from tests.stateful.coverage import Edge, missing, taken
from tests.stateful.world import Failure, run

__all__ = ["Portion", "main", "run_portion"]

PORTION = 500  # seeds of one task
SHOWN = 20  # failures that are told in full


@dataclass(slots=True)
class Portion:
    """What some seeds gave."""

    seeds: int = 0
    jobs: int = 0
    deaths: int = 0
    edges: set[Edge] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Portion) -> None:
        self.seeds += other.seeds
        self.jobs += other.jobs
        self.deaths += other.deaths
        self.edges |= other.edges
        self.failures += other.failures


def run_portion(seeds: range) -> Portion:
    """Run these seeds, one after the other; one that fails does not stop the others."""
    portion = Portion()
    with taken() as portion.edges:
        for seed in seeds:
            portion.seeds += 1
            try:
                outcome = run(seed)
            except Failure as failure:
                portion.failures.append(str(failure))
            else:
                portion.jobs += outcome.jobs
                portion.deaths += outcome.crashes
    return portion


def _portions(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, PORTION):
        yield range(start, min(start + PORTION, first + count))


def measure(first: int, count: int, processes: int) -> dict[str, Any]:
    """Run `count` seeds from `first`; the summary as plain data."""
    began = time.perf_counter()
    whole = Portion()
    if processes == 1:
        for seeds in _portions(first, count):
            whole.add(run_portion(seeds))
    else:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            for portion in pool.map(run_portion, _portions(first, count)):
                whole.add(portion)
    took_s = time.perf_counter() - began
    return {
        "first": first,
        "seeds": whole.seeds,
        "seconds": round(took_s, 3),
        "seeds_per_s": round(whole.seeds / took_s, 1),
        "processes": processes,
        "jobs": whole.jobs,
        "scheduler_deaths": whole.deaths,
        "edges": len(whole.edges),
        "edges_of_the_table": len(TRANSITIONS),
        "edges_missing": missing(whole.edges),
        "failures": len(whole.failures),
        "failed": whole.failures[:SHOWN],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status is 1 when a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seeds", description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--count", type=int, default=2_000, help="how many (2000)")
    parser.add_argument("--processes", type=int, default=1, help="side by side (1)")
    parser.add_argument("--json", type=Path, help="write the summary here")
    given = parser.parse_args(arguments)
    found = measure(given.first, given.count, given.processes)
    text = json.dumps(found, indent=2)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n", "utf-8")
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
