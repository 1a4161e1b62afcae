"""The official client in a process of its own, pointed at the runtime by nothing but its environment.

The baselines are the same client without a server: local mode on the ideal simulator, and the packaged fake backends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.side import serve

__all__ = ["prepare"]

SHOTS = 100
ONE = "fake_sherbrooke@aer"
IDEAL = "fake_manila@aer_ideal"


def prepare(plan: dict[str, Any]) -> Callable[[], Any]:
    from qiskit import QuantumCircuit
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_aer import AerSimulator
    from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2
    from qiskit_ibm_runtime.fake_provider import FakeProviderForBackendV2, FakeSherbrooke

    service = QiskitRuntimeService()
    backend = service.backend(IDEAL)
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    bell = generate_preset_pass_manager(optimization_level=1, backend=backend, seed_transpiler=7).run(circuit)

    def trip(sampler: Any) -> None:
        counts = sampler.run([bell], shots=SHOTS).result()[0].data.meas.get_counts()
        assert sum(counts.values()) == SHOTS

    def services(count: int) -> list[Any]:
        # A service may remember what it has seen; each measurement gets one that has seen nothing.
        return [QiskitRuntimeService() for _ in range(count)]

    def run() -> dict[str, Any]:
        hosted = SamplerV2(mode=backend)
        local = SamplerV2(mode=AerSimulator())
        trip(hosted)
        trip(local)
        return {
            "round_trip_s": [_seconds(trip, hosted) for _ in range(plan["trips"])],
            "local_round_trip_s": [_seconds(trip, local) for _ in range(plan["trips"])],
            "backend_one_s": [_seconds(fresh.backend, ONE) for fresh in services(plan["repeats"])],
            "packaged_one_s": [_seconds(FakeSherbrooke) for _ in range(plan["repeats"])],
            "backends_all_s": [_seconds(fresh.backends) for fresh in services(plan["repeats"])],
            "packaged_all_s": [_seconds(FakeProviderForBackendV2)],
            "backends_found": len(service.backends()),
        }

    return run


def _seconds(work: Callable[..., Any], *arguments: Any) -> float:
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


if __name__ == "__main__":
    serve(prepare)
