"""Exact outcome distributions: one evolution for each parameter row, no shots drawn by Aer.

Circuits on few qubits go to the kernels of `small.py` and `noisy.py`, all others as fused blocks to Aer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.cost import MAX_KERNEL_QUBITS, MAX_NOISY_KERNEL_QUBITS
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.engines.channels import NoisySource, aer_order
from qrtx_ray.engines.expectation import Basis
from qrtx_ray.engines.fusion import plan_of
from qrtx_ray.engines.native import NativeCircuit, execute
from qrtx_ray.engines.noisy import noisy_table
from qrtx_ray.engines.products import UnitarySource, block_matrices
from qrtx_ray.engines.shots import append_basis
from qrtx_ray.engines.small import Reading, ideal_distributions

__all__ = ["Evolution", "append_bases", "basis_distributions", "fused_circuits", "measured_distributions"]

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
    qubits = tuple([qubit for qubit, _ in program.measurements])
    if not qubits:
        return [np.ones(1) for _ in values]
    table = _in_kernel(program, values, (("Z" * len(qubits), qubits),), how)
    if table is not None:
        return [only for (only,) in table]
    circuits = fused_circuits(program, values, how)
    for circuit in circuits:
        circuit.save_probabilities(qubits, "p")
    return [np.asarray(data["p"]) for data in execute(circuits, method=how.method, threads=how.threads)]


def basis_distributions(
    program: CircuitProgram, values: Float, bases: Sequence[Basis], how: Evolution
) -> list[list[Float]]:
    """For each row and each basis the probabilities over the basis' qubits; the state is evolved once a row."""
    if not bases:
        return [[] for _ in values]
    read = tuple([("".join([basis.letters[qubit] for qubit in basis.qubits]), basis.qubits) for basis in bases])
    table = _in_kernel(program, values, read, how)
    if table is not None:
        return table
    circuits = fused_circuits(program, values, how)
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


def _in_kernel(
    program: CircuitProgram, values: Float, bases: tuple[Reading, ...], how: Evolution
) -> list[list[Float]] | None:
    """What the kernels give, or None where the circuit is for Aer."""
    if how.calibration is None:
        return ideal_distributions(program, values, bases) if program.num_qubits <= MAX_KERNEL_QUBITS else None
    if program.num_qubits > MAX_NOISY_KERNEL_QUBITS:
        return None
    return noisy_table(program, values, bases, how.calibration)


def fused_circuits(program: CircuitProgram, values: Float, how: Evolution) -> list[NativeCircuit]:
    """For each row of `values` a circuit for Aer, of fused blocks, that nothing is read from yet."""
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
