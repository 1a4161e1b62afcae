"""`qrtx demo`: the whole house in a minute, with real work and the figures that came out."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from rich.markup import escape

from qrtx_ray.cli.show import console, seconds, state_text, table
from qrtx_ray.client import JobStatus, QrtxClient
from qrtx_ray.client.connection import Connection
from qrtx_ray.config import load_settings
from qrtx_ray.launch import LocalRuntime

__all__ = ["run_demo"]

NOISY = "fake_sherbrooke@aer"
IDEAL = "fake_manila@aer_ideal"
JOB_PATIENCE_S = 60.0

# Electronic Hamiltonian of H2 at 0.735 Å in STO-3G, parity mapping with two qubits removed, in Hartree: the textbook
# example of Qiskit Nature. Its ground state lies at -1.857275 Ha; nuclear repulsion adds 0.719969 Ha.
HYDROGEN = {
    "II": -1.052373245772859,
    "IZ": 0.39793742484318045,
    "ZI": -0.39793742484318045,
    "ZZ": -0.01128010425623538,
    "XX": 0.18093119978423156,
}
NUCLEAR_REPULSION = 0.7199689944489797
EXACT_ENERGY = -1.137306

BELL_QASM3 = """OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
h q[0];
cx q[0], q[1];
c = measure q;
"""
TOO_WIDE_QASM3 = BELL_QASM3.replace("qubit[2]", "qubit[6]")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. `good` is whether the figure is what it should be."""

    job: str
    status: JobStatus
    obtained: str
    expected: str
    good: bool


def run_demo() -> int:
    """Run it. Returns the exit status: 0 when every figure is what it should be."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qrtx-demo-") as folder:
        overrides = {"storage.path": folder, "server.port": 0}
        settings = load_settings(
            env={key: value for key, value in os.environ.items() if key == "HOME"}, overrides=overrides
        )
        with LocalRuntime(settings, say=lambda text: console.print(f"[dim]·[/dim] {escape(text)}")) as runtime:
            connection = Connection(runtime.url, runtime.token)
            console.print(f"[dim]·[/dim] ready after {time.monotonic() - started:.1f} s at {runtime.url}")
            rows = _work(connection)
        columns = ("job", "device", "state", "waiting", "QPU", "figure obtained", "figure expected")
        shown = [
            (
                row.job,
                row.status.device,
                state_text(row.status.state),
                seconds(row.status.waiting_s),
                seconds(row.status.qpu_s),
                f"[{'green' if row.good else 'red'}]{escape(row.obtained)}[/]",
                escape(row.expected),
            )
            for row in rows
        ]
        console.print()
        console.print(table(columns, shown))
    good = all(row.good for row in rows)
    verdict = "[green]all as expected[/]" if good else "[red]not all as expected[/]"
    console.print(f"\n{verdict}, everything shut down, {time.monotonic() - started:.1f} s in all")
    return 0 if good else 1


def _work(connection: Connection) -> list[Row]:
    with QrtxClient(connection.url, connection.token) as client:
        return [*_official_client(connection, client), _plain_http(connection, client), _bad_job(client)]


def _official_client(connection: Connection, client: QrtxClient) -> list[Row]:
    """What a researcher's script does, with the unmodified client and nothing but environment variables."""
    os.environ.update(connection.runtime_environment())
    console.print("[dim]·[/dim] connecting with the official qiskit-ibm-runtime client")
    from qiskit_ibm_runtime import QiskitRuntimeService

    service = QiskitRuntimeService()
    noisy, ideal = service.backend(NOISY), service.backend(IDEAL)
    rows = []
    for name, job, figure in (_ghz(noisy), _fourier(noisy)):
        console.print(f"[dim]·[/dim] {escape(name)}: job {job.job_id()}")
        share, expected, least = figure(job.result())
        rows.append(Row(name, client.get(job.job_id()), f"{share:.3f}", expected, share >= least))
    rows.append(_hydrogen(ideal, client))
    return rows


def _ghz(backend: Any) -> tuple[str, Any, Callable[[Any], tuple[float, str, float]]]:
    from qiskit import QuantumCircuit
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_ibm_runtime import SamplerV2

    circuit = QuantumCircuit(8)
    circuit.h(0)
    for qubit in range(7):
        circuit.cx(qubit, qubit + 1)
    circuit.measure_all()
    isa = generate_preset_pass_manager(optimization_level=2, backend=backend, seed_transpiler=7).run(circuit)
    job = SamplerV2(mode=backend, options={"simulator": {"seed_simulator": 7}}).run([isa], shots=2000)

    def figure(result: Any) -> tuple[float, str, float]:
        counts = result[0].data.meas.get_counts()
        share = (counts.get("0" * 8, 0) + counts.get("1" * 8, 0)) / sum(counts.values())
        return share, "P(0…0)+P(1…1): 1 without noise", 0.5

    return "GHZ, 8 qubits", job, figure


def _fourier(backend: Any) -> tuple[str, Any, Callable[[Any], tuple[float, str, float]]]:
    from math import pi

    from qiskit import QuantumCircuit
    from qiskit.circuit.library import QFTGate
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_ibm_runtime import SamplerV2

    hidden = 19
    circuit = QuantumCircuit(5)
    for qubit in range(5):  # the Fourier transform of |19⟩, written down directly
        circuit.h(qubit)
        circuit.p(2 * pi * hidden * 2**qubit / 32, qubit)
    circuit.append(QFTGate(5).inverse(), range(5))
    circuit.measure_all()
    isa = generate_preset_pass_manager(optimization_level=2, backend=backend, seed_transpiler=7).run(circuit)
    job = SamplerV2(mode=backend, options={"simulator": {"seed_simulator": 7}}).run([isa], shots=2000)

    def figure(result: Any) -> tuple[float, str, float]:
        counts = result[0].data.meas.get_counts()
        return counts.get(f"{hidden:05b}", 0) / sum(counts.values()), f"P({hidden:05b}): 1 without noise", 0.5

    return "QFT, 5 qubits", job, figure


def _hydrogen(backend: Any, client: QrtxClient) -> Row:
    """VQE by Rotosolve: the energy is a sinusoid of the one angle, so three values give its minimum."""
    from math import atan2, pi

    import numpy as np
    from qiskit import QuantumCircuit
    from qiskit.circuit import Parameter
    from qiskit.quantum_info import SparsePauliOp
    from qiskit.transpiler import generate_preset_pass_manager
    from qiskit_ibm_runtime import EstimatorV2

    angle = Parameter("θ")
    ansatz = QuantumCircuit(2)
    ansatz.x(0)
    ansatz.ry(angle, 1)
    ansatz.cx(1, 0)
    isa = generate_preset_pass_manager(optimization_level=1, backend=backend, seed_transpiler=7).run(ansatz)
    energy = SparsePauliOp.from_list(list(HYDROGEN.items())).apply_layout(isa.layout)
    estimator = EstimatorV2(mode=backend, options={"default_precision": 0.004, "seed_estimator": 7})
    best = 0.0
    for step in range(2):
        angles = np.array([best, best + pi / 2, best - pi / 2]).reshape(3, 1)
        middle, ahead, behind = estimator.run([(isa, energy, angles)]).result()[0].data.evs
        best -= pi / 2 + atan2(2 * middle - ahead - behind, ahead - behind)
        console.print(f"[dim]·[/dim] VQE step {step + 1}: angle {best:+.4f}")
    job = estimator.run([(isa, energy, [best])])
    found = float(np.asarray(job.result()[0].data.evs).reshape(-1)[0]) + NUCLEAR_REPULSION
    good = abs(found - EXACT_ENERGY) < 0.02
    return Row(
        "H₂ ground state, VQE", client.get(job.job_id()), f"{found:.4f} Ha", f"{EXACT_ENERGY:.4f} Ha (exact)", good
    )


def _plain_http(connection: Connection, client: QrtxClient) -> Row:
    console.print("[dim]·[/dim] an OpenQASM 3 file by plain HTTP")
    headers = {"Authorization": f"Bearer {connection.token}"}
    body = {"device": IDEAL, "shots": 1000, "seed": 7, "circuits": [{"format": "qasm3", "source": BELL_QASM3}]}
    with httpx.Client(base_url=connection.url, headers=headers, timeout=JOB_PATIENCE_S, trust_env=False) as http:
        job_id = http.post("/v1/jobs", json=body).raise_for_status().json()["id"]
        answer = http.get(f"/v1/jobs/{job_id}/results", params={"wait": 30}).raise_for_status().json()
    counts = next(iter(answer["results"]["pubs"][0]["registers"].values()))["counts"]
    share = (counts.get("00", 0) + counts.get("11", 0)) / 1000
    return Row("Bell, OpenQASM 3 by HTTP", client.get(job_id), f"{share:.3f}", "P(00)+P(11): 1", share == 1.0)


def _bad_job(client: QrtxClient) -> Row:
    console.print("[dim]·[/dim] a job that cannot run: six qubits on a device of five")
    job = client.submit(TOO_WIDE_QASM3, IDEAL, shots=100)
    ended = client.wait(job.id, JOB_PATIENCE_S)
    text = ended.error.message if ended.error is not None else "no error"
    return Row("six qubits on five", ended, text, "Failed, and says why", ended.state == "Failed" and bool(ended.error))
