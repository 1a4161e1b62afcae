"""Cost laws: what a compiled job takes to simulate, and by which method.

Pure arithmetic on a compiled job, shared by the compiler (which puts it in the job's profile, for the scheduler) and
the engine (which chooses its method by it and refuses what would not fit). The constants were measured on one core of
a 2-core machine with qiskit-aer 0.18; they order methods rightly and are meant to be right within a factor of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.executable import EstimatorPub, ExecutableJob, SamplerPub
from qrtx_ray.devices.program import CircuitProgram

__all__ = [
    "MAX_DISTRIBUTION_QUBITS",
    "JobCost",
    "Method",
    "RowCost",
    "group_key",
    "is_clifford",
    "job_cost",
    "method_of",
    "row_cost",
    "rows_of",
]

MAX_DISTRIBUTION_QUBITS = 16
"""Up to so many measured qubits the distribution of an ideal circuit is computed, and sampled by us."""
SMALL_STABILIZER_QUBITS = 20
"""A Clifford circuit up to this width is faster as a state vector."""
ALWAYS_DENSITY_MATRIX_QUBITS = 8
MAX_DENSITY_MATRIX_QUBITS = 12

_CLIFFORD = frozenset(
    "id x y z h s sdg sx sxdg cx cy cz ecr swap iswap dcx measure reset barrier delay".split()  # noqa: SIM905
)
_QUARTER_TURNS = frozenset({"rz", "p", "u1"})
_NOT_A_GATE = frozenset({"measure", "reset", "barrier", "delay"})


class Method(StrEnum):
    """How a circuit is simulated. The first two give distributions, the others shots."""

    STATEVECTOR = "statevector"  #: one evolution, then sampling by us
    DENSITY_MATRIX = "density_matrix"  #: one noisy evolution, then sampling by us
    STATEVECTOR_SHOTS = "statevector_shots"  #: ideal; many measured qubits, or mid-circuit measurements
    TRAJECTORIES = "trajectories"  #: noisy state vectors, one a shot
    STABILIZER = "stabilizer"  #: Clifford, ideal


@dataclass(frozen=True, slots=True)
class RowCost:
    """One parameter row: the method, wall seconds on one core and peak bytes."""

    method: Method
    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class JobCost:
    """A whole job: wall seconds on one core, and peak bytes beyond the idle process (results included)."""

    seconds: float
    bytes: int


def is_clifford(program: CircuitProgram, values: npt.NDArray[np.float64]) -> bool:
    """Whether the circuit is Clifford for all parameter rows: z rotations by quarter turns count (to 1e-9)."""
    if program.clifford:
        return True
    if program.dynamic:
        return False
    for kind, name in enumerate(program.names):
        if name in _CLIFFORD:
            continue
        slots = program.ops[program.ops[:, 0] == kind, 4]
        if slots.size and name not in _QUARTER_TURNS:
            return False
        turns = values[:, slots] / (np.pi / 2)
        if turns.size and np.abs(turns - np.rint(turns)).max() > 1e-9:
            return False
    return True


def method_of(program: CircuitProgram, values: npt.NDArray[np.float64], *, noisy: bool, shots: int) -> Method:
    """How to simulate `program`; depends on the circuit and its shots only (0 shots: exact values are asked for)."""
    qubits = program.num_qubits
    fused = not program.dynamic and program.terminal_measurements
    if noisy:
        if not fused and shots:
            return Method.TRAJECTORIES
        if not shots or qubits <= ALWAYS_DENSITY_MATRIX_QUBITS:
            return Method.DENSITY_MATRIX
        if qubits > MAX_DENSITY_MATRIX_QUBITS:
            return Method.TRAJECTORIES
        pays = _density_matrix_s(program) < _trajectories_s(program, shots)
        return Method.DENSITY_MATRIX if pays else Method.TRAJECTORIES
    if qubits > SMALL_STABILIZER_QUBITS and is_clifford(program, values):
        return Method.STABILIZER
    measured = _count(program, measurements=True)
    if not shots or (fused and measured <= MAX_DISTRIBUTION_QUBITS):
        return Method.STATEVECTOR
    return Method.STATEVECTOR_SHOTS


def row_cost(program: CircuitProgram, values: npt.NDArray[np.float64], *, noisy: bool, shots: int) -> RowCost:
    """Cost of one parameter row of `program`."""
    method = method_of(program, values, noisy=noisy, shots=shots)
    qubits, gates = program.num_qubits, _count(program)
    amplitudes = 2**qubits
    shot_bytes = shots * (2 * program.num_clbits + 160)
    if method is Method.STABILIZER:
        return RowCost(method, 1e-3 + max(shots, 1) * (2e-6 + 16e-9 * qubits**2), 64 * qubits**2 + shot_bytes)
    if method is Method.DENSITY_MATRIX:
        return RowCost(method, _density_matrix_s(program) + 40e-9 * shots, 17 * amplitudes**2 + shot_bytes)
    evolution_s = _finite(1.1e-9 * gates * amplitudes)
    if method is Method.STATEVECTOR:
        seconds = 0.3e-3 + 4e-6 * gates + evolution_s + 40e-9 * shots
    elif method is Method.TRAJECTORIES:
        seconds = _trajectories_s(program, shots)
    elif program.terminal_measurements and not program.dynamic:
        seconds = 0.5e-3 + 6e-6 * gates + evolution_s + 1.5e-6 * shots
    else:
        seconds = 1e-3 + max(shots, 1) * (0.5e-6 * gates + evolution_s)
    return RowCost(method, seconds, 17 * amplitudes + shot_bytes)


def job_cost(job: ExecutableJob, *, noisy: bool) -> JobCost:
    """Cost of a whole job; `noisy` is whether its device applies the calibration's noise."""
    seconds, peak, results = 0.2e-3, 0, 0
    for pub in job.pubs:
        for program, values, rows in rows_of(pub):
            row = row_cost(program, values, noisy=noisy, shots=pub.shots)
            if isinstance(pub, EstimatorPub):
                terms = sum(len(observable) for observable in pub.observables)
                again = 1 if row.method in {Method.STATEVECTOR, Method.DENSITY_MATRIX} else max(1, terms)
                seconds += rows * (row.seconds * again + terms * (20e-6 + _finite(2e-9 * 2**program.num_qubits)))
            else:
                seconds += rows * row.seconds
            peak = max(peak, row.bytes)
        if isinstance(pub, SamplerPub):
            shot_bytes = sum((register.size + 7) // 8 for register in pub.program.registers)
            results += pub.shots * len(pub.values) * shot_bytes * 4  # packed, compressed, base64, JSON
        else:
            results += len(pub.elements) * 100
    return JobCost(seconds, peak + results)


def rows_of(pub: SamplerPub | EstimatorPub) -> list[tuple[CircuitProgram, npt.NDArray[np.float64], int]]:
    """What is to be run: ``(program, its parameter rows, how many)``, one entry or one a row of bound programs."""
    if pub.row_programs:
        return [(program, pub.values[:0], 1) for program in pub.row_programs]
    return [(pub.program, pub.values, len(pub.values))]


def group_key(job: ExecutableJob) -> str:
    """Jobs with equal keys may run in one engine call: those of one device under one calibration."""
    return f"{job.device}|{job.calibration_id}"


def _count(program: CircuitProgram, *, measurements: bool = False) -> int:
    if program.dynamic and not measurements:
        return max(1, len(program.qpy) // 40)  # about 40 bytes an operation in QPY
    if program.dynamic:
        return program.num_clbits
    occurrences = np.bincount(program.ops[:, 0], minlength=len(program.names)).tolist()
    counted = zip(program.names, occurrences, strict=True)
    if measurements:
        return sum(number for name, number in counted if name == "measure")
    return sum(number for name, number in counted if name not in _NOT_A_GATE)


def _density_matrix_s(program: CircuitProgram) -> float:
    # Fused: a block for each two-qubit gate, and at most one for each qubit.
    blocks = int((program.ops[:, 2] >= 0).sum()) + program.num_qubits
    return 0.4e-3 + 4e-6 * _count(program) + _finite(18e-9 * blocks * 4**program.num_qubits)


def _trajectories_s(program: CircuitProgram, shots: int) -> float:
    return 10e-3 + _finite(shots * _count(program) * (1.0e-6 + 7e-9 * 2**program.num_qubits))


def _finite(seconds: float) -> float:
    return min(float(seconds), 1e12)
