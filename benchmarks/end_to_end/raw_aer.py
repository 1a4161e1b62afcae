"""The floor to compare with: one process that calls `AerSimulator.run` for circuit after circuit, and reads the counts.

Circuits are read and Aer is warm before the clock starts. One thread for each simulation: with two processes on two cores,
Aer's own threads make it several times slower.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.circuits import from_qpy
from benchmarks.side import serve

__all__ = ["prepare"]


def prepare(plan: dict[str, Any]) -> Callable[[], Any]:
    from qiskit_aer import AerSimulator

    simulator = AerSimulator(max_parallel_threads=1)
    circuits = [from_qpy(text) for text in plan["circuits"]]

    def work(chosen: list[Any]) -> None:
        for circuit in chosen:
            simulator.run(circuit, shots=plan["shots"], seed_simulator=plan["seed"]).result().get_counts()

    def run() -> dict[str, float]:
        started = time.perf_counter()
        work(circuits)
        return {"seconds": time.perf_counter() - started}

    work(circuits[:8])
    return run


if __name__ == "__main__":
    serve(prepare)
