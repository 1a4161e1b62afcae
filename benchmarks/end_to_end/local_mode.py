"""The official client's local mode: the same noisy jobs on the packaged fake backend, one after the other.

One after the other because local mode gains nothing from threads: the simulator holds the interpreter's lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.circuits import hardware_efficient
from benchmarks.side import serve

__all__ = ["prepare"]

SHOTS = 1024


def prepare(plan: dict[str, Any]) -> Callable[[], Any]:
    from qiskit_ibm_runtime import SamplerV2
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    sampler = SamplerV2(mode=FakeManilaV2(), options={"simulator": {"seed_simulator": plan["seed"]}})
    circuits = [hardware_efficient(plan["seed"] + index) for index in range(plan["jobs"])]

    def work(chosen: list[Any]) -> None:
        for circuit in chosen:
            counts = sampler.run([circuit], shots=SHOTS).result()[0].data.c.get_counts()
            assert sum(counts.values()) == SHOTS

    def run() -> dict[str, float]:
        started = time.perf_counter()
        work(circuits)
        return {"jobs": len(circuits), "seconds": time.perf_counter() - started}

    work(circuits[:2])
    return run


if __name__ == "__main__":
    serve(prepare)
