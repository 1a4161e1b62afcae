"""Estimator PUBs: expectation values and their standard errors, see `expectation.py` for what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.cost import Method, RowCost, row_cost
from qrtx_ray.devices.executable import EstimatorPub
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.engines.channels import flip_probabilities
from qrtx_ray.engines.distribution import append_bases, basis_distributions
from qrtx_ray.engines.expectation import Basis, bases_of, tally
from qrtx_ray.engines.native import execute
from qrtx_ray.engines.noise import restricted_noise
from qrtx_ray.engines.sampler import PubRun, noise_names, rows_per_slice
from qrtx_ray.engines.sampling import confuse, derived_seed, sample, uniforms
from qrtx_ray.engines.shots import AER_METHOD, ShotRun, append_basis, draw, native_program

__all__ = ["Estimate", "estimate_pub"]

Float = npt.NDArray[np.float64]

EXACT_BRANCHES = 4096
"""Runs averaged for an "exact" value of a circuit whose state itself is random (mid-circuit measurement or reset)."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Values and standard errors of a PUB's elements, shape ``(size,)``; measurement bases per row; the method."""

    evs: Float
    stds: Float
    bases: int
    method: Method


def estimate_pub(pub: EstimatorPub, run: PubRun, *, mitigated: bool) -> Estimate:
    """All elements of a PUB.

    Args:
        mitigated: Whether readout errors are mitigated (and so left out).
    """
    total = len(pub.row_programs) or len(pub.values)
    count = len(pub.observables)
    means, variances = np.zeros((total, count)), np.zeros((total, count))
    bases, constants = bases_of(pub.observables, pub.elements[:, 1].tolist())
    programs = pub.row_programs or (pub.program,)
    cost = row_cost(programs[0], pub.values, noisy=run.calibration is not None, shots=pub.shots)
    step = 1 if pub.row_programs else rows_per_slice(cost.seconds + 50e-6 * len(bases))
    for start in range(0, total, step):
        program = programs[start if pub.row_programs else 0]
        values = pub.values[start : start + step] if not pub.row_programs else np.empty((1, 0))
        weights = _weights(pub, program, values, start, bases, run, cost, mitigated=mitigated)
        for offset, row in enumerate(weights):
            for basis, distribution in zip(bases, row, strict=True):
                said = tally(basis, distribution, count)
                means[start + offset] += said.mean
                variances[start + offset] += said.variance
        run.progress(min(1.0, (start + step) / total))
    rows, observables = pub.elements[:, 0], pub.elements[:, 1]
    stds = np.sqrt(variances[rows, observables] / pub.shots) if pub.shots else np.zeros(len(rows))
    return Estimate(means[rows, observables] + constants[observables], stds, max(1, len(bases)), cost.method)


def _weights(
    pub: EstimatorPub,
    program: CircuitProgram,
    values: Float,
    start: int,
    bases: list[Basis],
    run: PubRun,
    cost: RowCost,
    *,
    mitigated: bool,
) -> list[list[Float]]:
    """For each row and basis the weights of the outcomes: probabilities, or frequencies when shots are asked for."""
    fused = not program.dynamic and program.terminal_measurements
    if cost.method in {Method.STATEVECTOR, Method.DENSITY_MATRIX}:
        if fused:
            exact = basis_distributions(program, values, bases, run.evolution)
        else:
            exact = [
                _branch_average(program, row, bases, run, cost, (run.index, start + offset))
                for offset, row in enumerate(values)
            ]
        return [
            [
                _observed(basis, probabilities, program, run, pub.shots, (start + offset, place), mitigated=mitigated)
                for place, (basis, probabilities) in enumerate(zip(bases, row, strict=True))
            ]
            for offset, row in enumerate(exact)
        ]
    if not pub.shots:
        return [[_stabilizer_weights(program, row, basis, run) for basis in bases] for row in values]
    return [
        [
            _drawn(pub, program, row, basis, run, cost, (start + offset, place), mitigated=mitigated)
            for place, basis in enumerate(bases)
        ]
        for offset, row in enumerate(values)
    ]


def _observed(
    basis: Basis,
    probabilities: Float,
    program: CircuitProgram,
    run: PubRun,
    shots: int,
    key: tuple[int, int],
    *,
    mitigated: bool,
) -> Float:
    if run.calibration is not None and not mitigated:
        physical = [program.active_qubits[qubit] for qubit in basis.qubits]
        probabilities = confuse(probabilities, flip_probabilities(run.calibration, physical))
    if not shots:
        return probabilities
    outcomes = sample(probabilities, uniforms(run.seed, run.index, *key, count=shots))
    return np.bincount(outcomes, minlength=len(probabilities)) / shots


def _branch_average(
    program: CircuitProgram, values: Float, bases: list[Basis], run: PubRun, cost: RowCost, key: tuple[int, int]
) -> list[Float]:
    circuit = native_program(program, values, calibration=run.calibration)
    append_bases(circuit, bases)
    noise = _noise(program, run, readout=True)  # of the mid-circuit measurements: nothing else is measured here
    shots = EXACT_BRANCHES if not program.terminal_measurements else 1
    data = execute(
        [circuit],
        method=AER_METHOD[cost.method],
        shots=shots,
        seed=derived_seed(run.seed, *key),
        noise=noise,
        threads=run.threads,
    )[0]
    return [np.asarray(data[f"p{index}"]) for index in range(len(bases))]


def _drawn(
    pub: EstimatorPub,
    program: CircuitProgram,
    values: Float,
    basis: Basis,
    run: PubRun,
    cost: RowCost,
    key: tuple[int, int],
    *,
    mitigated: bool,
) -> Float:
    width = len(basis.qubits)
    clifford = cost.method is Method.STABILIZER
    circuit = native_program(program, values, clifford=clifford, extra_clbits=width, calibration=run.calibration)
    append_basis(circuit, basis.letters, named=clifford)
    first = circuit.num_clbits - width
    for offset, qubit in enumerate(basis.qubits):
        circuit.measure([qubit], [first + offset])
    # Mitigation concerns the final readout; for a circuit that also measures on the way both are left out.
    noise = _noise(program, run, readout=not mitigated)
    shot_run = ShotRun(run.seed, (run.index, *key), pub.shots, cost, noise, run.threads)
    bits = draw(circuit, shot_run, range(first, first + width), lambda _: None)
    outcomes = (bits.astype(np.int64) << np.arange(width)[:, None]).sum(axis=0)
    return np.bincount(outcomes, minlength=1 << width) / pub.shots


def _stabilizer_weights(program: CircuitProgram, values: Float, basis: Basis, run: PubRun) -> Float:
    """Exact distribution of a basis for a Clifford circuit."""
    circuit = native_program(program, values, clifford=True)
    append_basis(circuit, basis.letters, named=True)
    circuit.save_probabilities(basis.qubits, "p")
    data = execute([circuit], method="stabilizer", seed=0, threads=run.threads)[0]
    return np.asarray(data["p"])


def _noise(program: CircuitProgram, run: PubRun, *, readout: bool) -> dict[str, Any] | None:
    if run.calibration is None:
        return None
    return restricted_noise(run.calibration, program.active_qubits, noise_names(program), readout=readout)
