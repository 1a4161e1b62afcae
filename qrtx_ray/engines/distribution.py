"""Exact outcome distributions of fused circuits: one evolution for each parameter row, no shots drawn by Aer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.engines.channels import NoisySource, aer_order
from qrtx_ray.engines.expectation import Basis
from qrtx_ray.engines.fusion import plan_of
from qrtx_ray.engines.native import NativeCircuit, execute
from qrtx_ray.engines.products import UnitarySource, block_matrices
from qrtx_ray.engines.shots import append_basis

__all__ = ["Evolution", "basis_distributions", "measured_distributions"]

Float = npt.NDArray[np.float64]

_IDEAL = UnitarySource()


@dataclass(frozen=True, slots=True)
class Evolution:
    """How circuits evolve: with the noise of `calibration`, or ideally when it is None."""

    calibration: Calibration | None
    threads: int = 1

    @property
    def method(self) -> str:
        return "statevector" if self.calibration is None else "density_matrix"


def measured_distributions(program: CircuitProgram, values: Float, how: Evolution) -> list[Float]:
    """For each row of `values` the probabilities over the program's measurements, bit i being the i-th one.

    Gate noise is in them, readout errors are not.
    """
    qubits = [qubit for qubit, _ in plan_of(program).measured]
    if not qubits:
        return [np.ones(1) for _ in values]
    circuits = _evolved(program, values, how)
    for circuit in circuits:
        circuit.save_probabilities(qubits, "p")
    return [np.asarray(data["p"]) for data in execute(circuits, method=how.method, threads=how.threads)]


def basis_distributions(
    program: CircuitProgram, values: Float, bases: Sequence[Basis], how: Evolution
) -> list[list[Float]]:
    """For each row and each basis the probabilities over the basis' qubits; the state is evolved once a row."""
    if not bases:
        return [[] for _ in values]
    circuits = _evolved(program, values, how)
    for circuit in circuits:
        append_bases(circuit, bases)
    saved = execute(circuits, method=how.method, threads=how.threads)
    return [[np.asarray(data[f"p{index}"]) for index in range(len(bases))] for data in saved]


def append_bases(circuit: NativeCircuit, bases: Sequence[Basis]) -> None:
    """Save the distribution of each basis as ``p0``, ``p1``, …, turning there and back."""
    for index, basis in enumerate(bases):
        append_basis(circuit, basis.letters)
        circuit.save_probabilities(basis.qubits, f"p{index}")
        if index + 1 < len(bases):
            append_basis(circuit, basis.letters, inverse=True)


def _evolved(program: CircuitProgram, values: Float, how: Evolution) -> list[NativeCircuit]:
    plan = plan_of(program)
    noisy = how.calibration is not None
    source = NoisySource(how.calibration, program.active_qubits) if how.calibration is not None else _IDEAL
    matrices = block_matrices(plan, values, source)
    if noisy:
        matrices = replace(matrices, pairs=aer_order(matrices.pairs))
    circuits = []
    for row in range(len(values)):
        circuit = NativeCircuit(program.num_qubits)
        circuit.blocks(plan, matrices, row, channels=noisy)
        circuits.append(circuit)
    return circuits
