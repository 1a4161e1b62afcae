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
    "MAX_BASIS_QUBITS",
    "MAX_DISTRIBUTION_QUBITS",
    "MAX_KERNEL_QUBITS",
    "MAX_NOISY_KERNEL_QUBITS",
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
MAX_KERNEL_QUBITS = 16
"""Up to so many qubits an ideal circuit without mid-circuit measurements evolves in our own kernel, not in Aer."""
MAX_BASIS_QUBITS = 14
"""Terms of observables are read from one measurement up to this width; a wider term stands alone."""
MAX_NOISY_KERNEL_QUBITS = 12
"""The same for noisy circuits whose gates act on at most two qubits, and whose gates on two have no angles."""
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
    return _method(program, values, _counts(program), noisy=noisy, shots=shots)


def _method(
    program: CircuitProgram, values: npt.NDArray[np.float64], counts: tuple[int, int], *, noisy: bool, shots: int
) -> Method:
    gates, measured = counts
    qubits = program.num_qubits
    fused = not program.dynamic and program.terminal_measurements
    if noisy:
        if not fused and shots:
            return Method.TRAJECTORIES
        if not shots or qubits <= ALWAYS_DENSITY_MATRIX_QUBITS:
            return Method.DENSITY_MATRIX
        if qubits > MAX_DENSITY_MATRIX_QUBITS:
            return Method.TRAJECTORIES
        pays = _density_matrix_s(program, gates) < _trajectories_s(program, gates, shots)
        return Method.DENSITY_MATRIX if pays else Method.TRAJECTORIES
    if qubits > SMALL_STABILIZER_QUBITS and is_clifford(program, values):
        return Method.STABILIZER
    if not shots or (fused and measured <= MAX_DISTRIBUTION_QUBITS):
        return Method.STATEVECTOR
    return Method.STATEVECTOR_SHOTS


def row_cost(program: CircuitProgram, values: npt.NDArray[np.float64], *, noisy: bool, shots: int) -> RowCost:
    """Cost of one parameter row of `program`."""
    counts = _counts(program)
    method = _method(program, values, counts, noisy=noisy, shots=shots)
    qubits, gates = program.num_qubits, counts[0]
    amplitudes = 2**qubits
    shot_bytes = shots * (2 * program.num_clbits + 160)
    if method is Method.STABILIZER:
        return RowCost(method, 1e-3 + max(shots, 1) * (2e-6 + 16e-9 * qubits**2), 64 * qubits**2 + shot_bytes)
    if method is Method.DENSITY_MATRIX:
        if _in_noisy_kernel(program):
            seconds = 80e-6 + gates * (60e-9 + 1.3e-9 * 4**qubits) + shots * (10e-9 + 7e-9 * counts[1])
        else:
            seconds = _density_matrix_s(program, gates) + 40e-9 * shots
        return RowCost(method, seconds, 17 * amplitudes**2 + shot_bytes)
    evolution_s = _finite(1.1e-9 * gates * amplitudes)
    if method is Method.STATEVECTOR and _in_kernel(program):
        seconds = 15e-6 + gates * (60e-9 + 0.55e-9 * amplitudes) + shots * (10e-9 + 7e-9 * counts[1])
    elif method is Method.STATEVECTOR:
        seconds = 0.3e-3 + 4e-6 * gates + evolution_s + 40e-9 * shots
    elif method is Method.TRAJECTORIES:
        seconds = _trajectories_s(program, gates, shots)
    elif program.terminal_measurements and not program.dynamic:
        seconds = 0.5e-3 + 6e-6 * gates + evolution_s + 1.5e-6 * shots
    else:
        seconds = 1e-3 + max(shots, 1) * (0.5e-6 * gates + evolution_s)
    return RowCost(method, seconds, 17 * amplitudes + shot_bytes)


def job_cost(job: ExecutableJob, *, noisy: bool) -> JobCost:
    """Cost of a whole job; `noisy` is whether its device applies the calibration's noise."""
    seconds, peak, results = 0.1e-3, 0, 0
    for pub in job.pubs:
        for program, values, rows in rows_of(pub):
            row = row_cost(program, values, noisy=noisy, shots=pub.shots)
            if isinstance(pub, EstimatorPub):
                terms = sum(len(observable) for observable in pub.observables)
                read_s = terms * (25e-6 + 25e-9 * pub.shots + _finite(15e-9 * 2 ** _basis_qubits(pub, program)))
                again = 1 if row.method in {Method.STATEVECTOR, Method.DENSITY_MATRIX} else max(1, terms)
                seconds += rows * (row.seconds * again + read_s)
            else:
                seconds += rows * row.seconds
            peak = max(peak, row.bytes)
        if isinstance(pub, SamplerPub):
            shot_bytes = sum((register.size + 7) // 8 for register in pub.program.registers)
            results += pub.shots * len(pub.values) * shot_bytes * 4  # packed, compressed, base64, JSON
        else:
            results += len(pub.elements) * 100
    return JobCost(seconds, peak + results)


def _basis_qubits(pub: EstimatorPub, program: CircuitProgram) -> int:
    """Qubits of the widest measurement: terms are read together up to a width, a wider one stands alone."""
    widest = max((len(term.qubits) for observable in pub.observables for term in observable), default=0)
    return min(program.num_qubits, max(widest, MAX_BASIS_QUBITS))


def rows_of(pub: SamplerPub | EstimatorPub) -> list[tuple[CircuitProgram, npt.NDArray[np.float64], int]]:
    """What is to be run: ``(program, its parameter rows, how many)``, one entry or one a row of bound programs."""
    if pub.row_programs:
        return [(program, pub.values[:0], 1) for program in pub.row_programs]
    return [(pub.program, pub.values, len(pub.values))]


def group_key(job: ExecutableJob) -> str:
    """Jobs with equal keys may run in one engine call: those of one device under one calibration."""
    return f"{job.device}|{job.calibration_id}"


def _in_kernel(program: CircuitProgram) -> bool:
    return program.num_qubits <= MAX_KERNEL_QUBITS and program.terminal_measurements and not program.dynamic


def _in_noisy_kernel(program: CircuitProgram) -> bool:
    if program.num_qubits > MAX_NOISY_KERNEL_QUBITS or program.dynamic or not program.terminal_measurements:
        return False
    wide = program.ops[:, 2] >= 0
    return not (wide & ((program.ops[:, 3] >= 0) | (program.ops[:, 5] > 0))).any()


def _counts(program: CircuitProgram) -> tuple[int, int]:
    """Gates and measurements."""
    if program.dynamic:
        return max(1, len(program.qpy) // 40), program.num_clbits  # about 40 bytes an operation in QPY
    gates, measured = len(program.ops), 0
    for name in _NOT_A_GATE.intersection(program.names):
        occurrences = int(np.count_nonzero(program.ops[:, 0] == program.names.index(name)))
        gates -= occurrences
        measured += occurrences if name == "measure" else 0
    return gates, measured


# The next two are what Aer takes. By them a method is chosen, so another law would give old jobs other results: where our own
# kernel is faster than this, the choice stays.
def _density_matrix_s(program: CircuitProgram, gates: int) -> float:
    # Fused: a block for each two-qubit gate, and at most one for each qubit.
    blocks = int((program.ops[:, 2] >= 0).sum()) + program.num_qubits
    return 0.4e-3 + 4e-6 * gates + _finite(18e-9 * blocks * 4**program.num_qubits)


def _trajectories_s(program: CircuitProgram, gates: int, shots: int) -> float:
    return 10e-3 + _finite(shots * gates * (1.0e-6 + 7e-9 * 2**program.num_qubits))


def _finite(seconds: float) -> float:
    return min(float(seconds), 1e12)
