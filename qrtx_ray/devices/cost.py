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
    "is_wide",
    "job_cost",
    "method_of",
    "noisy_segments",
    "row_cost",
    "rows_of",
]

MAX_DISTRIBUTION_QUBITS = 16
"""Up to so many measured qubits the distribution of an ideal circuit is tabulated; over more, shots are drawn from its state."""
MAX_KERNEL_QUBITS = 16
"""Up to so many qubits an ideal circuit without mid-circuit measurements evolves in one call; a wider one in segments."""
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

# Of a wide state, an amplitude: what passes cost beside their gates, a gate on two or three qubits (one that only turns phases),
# a qubit with a gate of its own, turning into a basis and reading it; and looking up a shot.
_WIDE_PASS_S, _WIDE_GATE_S, _WIDE_PHASE_S, _WIDE_SINGLE_S, _WIDE_READ_S = 8e-9, 1.1e-9, 0.4e-9, 0.6e-9, 8e-9
_WIDE_SHOT_S = 1.5e-6
_NOISY_GATE_S, _NOISY_SEGMENT_S = 1.3e-9, 0.5
_PHASES = frozenset({"cz", "cp", "crz", "cu1", "rzz", "ccz"})


class Method(StrEnum):
    """How a circuit is simulated. The first two give distributions, the others shots."""

    STATEVECTOR = "statevector"  #: one evolution, then sampling by us
    DENSITY_MATRIX = "density_matrix"  #: one noisy evolution, then sampling by us
    STATEVECTOR_SHOTS = "statevector_shots"  #: ideal; mid-circuit measurements, resets or control flow
    TRAJECTORIES = "trajectories"  #: noisy state vectors, one a shot
    STABILIZER = "stabilizer"  #: Clifford, ideal


@dataclass(frozen=True, slots=True)
class RowCost:
    """One parameter row: the method, wall seconds on one core and peak bytes.

    `bulk_bytes` is the size of the state that a checkpoint taken in the middle of it carries; 0 where there is none. `bytes`
    counts the state once: whoever takes a checkpoint makes a copy only where there is room for one.
    """

    method: Method
    seconds: float
    bytes: int
    bulk_bytes: int = 0


@dataclass(frozen=True, slots=True)
class JobCost:
    """A whole job: wall seconds on one core, and peak bytes beyond the idle process (results included).

    `bulk_bytes` is the size of the largest state that a checkpoint of it carries.
    """

    seconds: float
    bytes: int
    bulk_bytes: int = 0


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
    gates = counts[0]
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
    if not shots or fused:
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
            seconds = 80e-6 + gates * (60e-9 + _NOISY_GATE_S * 4**qubits) + shots * (10e-9 + 7e-9 * counts[1])
        else:
            seconds = _density_matrix_s(program, gates) + 40e-9 * shots
        bulk_bytes = 8 * amplitudes**2 if noisy_segments(program) > 1 else 0
        return RowCost(method, seconds, 17 * amplitudes**2 + shot_bytes, bulk_bytes)
    if is_wide(program) and method is Method.STATEVECTOR:
        return RowCost(method, _wide_s(program, gates, shots), 17 * amplitudes + shot_bytes, 16 * amplitudes)
    evolution_s = _finite(1.1e-9 * gates * amplitudes)
    if method is Method.STATEVECTOR and _in_kernel(program):
        seconds = 15e-6 + gates * (60e-9 + 0.55e-9 * amplitudes) + shots * (10e-9 + 7e-9 * counts[1])
    elif method is Method.STATEVECTOR:
        seconds = 0.3e-3 + 4e-6 * gates + evolution_s + 40e-9 * shots
    elif method is Method.TRAJECTORIES:
        seconds = _trajectories_s(program, gates, shots)
    else:
        seconds = 1e-3 + max(shots, 1) * (0.5e-6 * gates + evolution_s)
    return RowCost(method, seconds, 17 * amplitudes + shot_bytes)


def job_cost(job: ExecutableJob, *, noisy: bool) -> JobCost:
    """Cost of a whole job; `noisy` is whether its device applies the calibration's noise."""
    seconds, peak, results, bulk = 0.1e-3, 0, 0, 0
    for pub in job.pubs:
        for program, values, rows in rows_of(pub):
            row = row_cost(program, values, noisy=noisy, shots=pub.shots)
            if isinstance(pub, EstimatorPub):
                terms = sum(len(observable) for observable in pub.observables)
                read_s = terms * (25e-6 + 25e-9 * pub.shots + _read_s(pub, program, row))
                again = 1 if row.method in {Method.STATEVECTOR, Method.DENSITY_MATRIX} else max(1, terms)
                seconds += rows * (row.seconds * again + read_s)
            else:
                seconds += rows * row.seconds
            peak, bulk = max(peak, row.bytes), max(bulk, row.bulk_bytes)
        if isinstance(pub, SamplerPub):
            shot_bytes = sum((register.size + 7) // 8 for register in pub.program.registers)
            results += pub.shots * len(pub.values) * shot_bytes * 4  # packed, compressed, base64, JSON
        else:
            results += len(pub.elements) * 100
    return JobCost(seconds, peak + results, bulk)


def _read_s(pub: EstimatorPub, program: CircuitProgram, row: RowCost) -> float:
    """A term that shares its measurement with no other."""
    if row.bulk_bytes and row.method is Method.STATEVECTOR:
        return _finite(_WIDE_READ_S * 2**program.num_qubits)
    return _finite(15e-9 * 2 ** _basis_qubits(pub, program))


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


def is_wide(program: CircuitProgram) -> bool:
    """Whether a circuit is evolved in segments when it is ideal, and not Clifford enough to be cheaper otherwise."""
    return program.num_qubits > MAX_KERNEL_QUBITS and program.terminal_measurements and not program.dynamic


def _wide_s(program: CircuitProgram, gates: int, shots: int) -> float:
    """Own passes over a state too large for a cache: gates on one qubit disappear in those on two."""
    larger = int(np.count_nonzero(program.ops[:, 2] >= 0))
    phases = sum(
        np.count_nonzero(program.ops[:, 0] == kind) for kind, name in enumerate(program.names) if name in _PHASES
    )
    single = min(gates - larger, program.num_qubits)
    gates_s = _WIDE_GATE_S * (larger - phases) + _WIDE_PHASE_S * phases + _WIDE_SINGLE_S * single
    drawing_s = shots * (10e-9 + 7e-9 * program.num_clbits + _WIDE_SHOT_S)
    return _finite(1e-3 + 30e-6 * gates + (_WIDE_PASS_S + gates_s) * 2**program.num_qubits + drawing_s)


def _in_kernel(program: CircuitProgram) -> bool:
    return program.num_qubits <= MAX_KERNEL_QUBITS and program.terminal_measurements and not program.dynamic


def noisy_segments(program: CircuitProgram) -> int:
    """Into how many segments a noisy circuit is cut when its density matrix is computed; 1: it is computed in one call."""
    if not _in_noisy_kernel(program):
        return 1
    gates = _counts(program)[0]
    wanted: float = _NOISY_GATE_S * gates * 4**program.num_qubits / _NOISY_SEGMENT_S
    return max(1, min(gates, round(wanted)))


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
