"""Circuits whose shots Aer draws itself: mid-circuit measurements, resets, control flow, wide or noisy-and-wide ones.

Each parameter row is a call of its own, with a seed derived from the job's seed and the row, because Aer seeds circuit i
of a call by its place. Long rows are cut into slices of shots, each with its own derived seed; how many slices is decided
by the cost law alone, so that the shots do not depend on how a run was interrupted.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, pi
from typing import Any

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.cost import Method, RowCost
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.engines.channels import relaxation_kraus
from qrtx_ray.engines.gates import fixed_unitary, unitaries
from qrtx_ray.engines.native import NativeCircuit, execute
from qrtx_ray.engines.sampling import derived_seed
from qrtx_ray.engines.stages import Stage
from qrtx_ray.errors import ExecuteError

__all__ = ["AER_METHOD", "ShotRun", "append_basis", "draw", "native_program", "slices_of"]

Float = npt.NDArray[np.float64]
Bits = npt.NDArray[np.uint8]

AER_METHOD = {
    Method.STATEVECTOR: "statevector",
    Method.DENSITY_MATRIX: "density_matrix",
    Method.STATEVECTOR_SHOTS: "statevector",
    Method.TRAJECTORIES: "statevector",
    Method.STABILIZER: "stabilizer",
}
SLICE_S = 1.0
MAX_SLICES = 256

_NAMED = frozenset(
    "ccx ccz cp cswap csx cx cy cz ecr h id p r rx rxx ry ryy rz rzx rzz s sdg swap sx sxdg t tdg u x y z u1 u2 u3 cu cu1"  # noqa: SIM905
    " cu3 crx cry crz".split()
)
_QUARTER_TURNS = ((), ("s",), ("z",), ("sdg",))


@dataclass(frozen=True, slots=True)
class ShotRun:
    """How to draw: the seed's key (job seed, then PUB, row, …), shots, cost of the row, noise, threads."""

    seed: int
    key: tuple[int, ...]
    shots: int
    cost: RowCost
    noise: dict[str, Any] | None
    threads: int


def slices_of(seconds: float, shots: int) -> int:
    """Into how many slices `shots` that take about `seconds` are cut."""
    return min(MAX_SLICES, shots, max(1, ceil(seconds / SLICE_S)))


def draw(
    circuit: NativeCircuit,
    run: ShotRun,
    clbits: Sequence[int],
    on_slice: Callable[[float], None],
    stage: Stage | None = None,
) -> Bits:
    """Values of classical bits `clbits`, shape ``(len(clbits), shots)``.

    Args:
        on_slice: Gets the fraction done after each slice but the last: after that the caller has more to say.
        stage: How far an earlier run came, and where the slices are kept.
    """
    stage = stage or Stage()
    slices = slices_of(run.cost.seconds, run.shots)
    (bits,) = stage.begin(slices, ((len(clbits), run.shots), np.uint8))
    while stage.done < slices:
        part = stage.done
        first, last = run.shots * part // slices, run.shots * (part + 1) // slices
        data = execute(
            [circuit],
            method=AER_METHOD[run.cost.method],
            shots=last - first,
            seed=derived_seed(run.seed, *run.key, part),
            noise=run.noise,
            threads=run.threads,
            memory=True,
        )[0]
        bits[:, first:last] = _columns(data["memory"], clbits)
        stage.advance()
        if stage.done < slices:
            on_slice(stage.done / slices)
    return bits


def _columns(memory: list[str], clbits: Sequence[int]) -> Bits:
    """Bits of hexadecimal shot strings, whatever their length."""
    digits = max(len(word) for word in memory) - 2
    text = "".join([word[2:].rjust(digits, "0") for word in memory]).encode()
    codes = np.frombuffer(text, dtype=np.uint8).reshape(len(memory), digits)
    nibbles = np.where(codes >= ord("a"), codes - (ord("a") - 10), codes - ord("0"))
    nibbles = np.where((codes >= ord("A")) & (codes <= ord("F")), codes - (ord("A") - 10), nibbles)
    out = np.zeros((len(clbits), len(memory)), dtype=np.uint8)
    for position, clbit in enumerate(clbits):
        if clbit // 4 < digits:
            out[position] = nibbles[:, digits - 1 - clbit // 4] >> (clbit % 4) & 1
    return out


def native_program(
    program: CircuitProgram,
    row: Float,
    *,
    clifford: bool = False,
    extra_clbits: int = 0,
    calibration: Calibration | None = None,
) -> NativeCircuit:
    """A program with named gates, as a noise model and a stabilizer simulator need them.

    Args:
        program: From arrays, or from its QPY.
        row: Slot values.
        clifford: Write quarter turns about z as Clifford gates.
        extra_clbits: Classical bits added after those of the program, for measurements appended later.
        calibration: Of a noisy device: its qubits relax during delays. Gate errors are the noise model's.
    """
    if program.dynamic:
        return _from_qpy(program, extra_clbits)
    circuit = NativeCircuit(program.num_qubits, program.num_clbits + extra_clbits)
    values = row.tolist()
    for kind, q0, q1, q2, first, count in program.ops.tolist():
        name = program.names[kind]
        qubits = [q for q in (q0, q1, q2) if q >= 0]
        if name == "measure":
            circuit.measure([q0], [first])
        elif name == "reset":
            circuit.reset(q0)
        elif name == "delay":
            if calibration is not None:
                waits = relaxation_kraus(calibration, program.active_qubits[q0], values[first])
                circuit.kraus(q0, waits)
        else:
            _append_gate(circuit, name, qubits, values[first : first + count] if count else [], clifford=clifford)
    return circuit


def _append_gate(circuit: NativeCircuit, name: str, qubits: list[int], angles: list[float], *, clifford: bool) -> None:
    if clifford and name in {"rz", "p", "u1"}:
        for turn in _QUARTER_TURNS[round(angles[0] / (pi / 2)) % 4]:
            circuit.gate(turn, qubits)
    elif clifford and name in {"dcx", "iswap"}:
        a, b = qubits
        if name == "iswap":
            circuit.gate("s", [a])
            circuit.gate("s", [b])
            circuit.gate("h", [a])
        circuit.gate("cx", [a, b])
        circuit.gate("cx", [b, a])
        if name == "iswap":
            circuit.gate("h", [b])
    elif name in _NAMED:
        circuit.gate(name, qubits, angles)
    else:
        circuit.unitary(qubits, unitaries(name, np.array([angles]))[0])


def _from_qpy(program: CircuitProgram, extra_clbits: int) -> NativeCircuit:
    from qiskit import qpy
    from qiskit.circuit import Clbit
    from qiskit_aer.backends.aer_compiler import assemble_circuits, compile_circuit

    try:
        (loaded,) = qpy.load(io.BytesIO(program.qpy))
        # Before assembly: Aer puts the hidden bits of conditions behind the last bit of the circuit.
        loaded.add_bits([Clbit() for _ in range(extra_clbits)])
        circuits = compile_circuit([loaded])
        (raw,), _ = assemble_circuits(circuits)
    except Exception as error:
        msg = "the compiled circuit cannot be read by the simulator"
        raise ExecuteError(msg, field="circuit") from error
    return NativeCircuit(loaded.num_qubits, loaded.num_clbits, raw)


def append_basis(
    circuit: NativeCircuit, letters: dict[int, str], *, inverse: bool = False, named: bool = False
) -> None:
    """Turn qubits so that the Pauli basis `letters` (qubit → X, Y or Z) becomes the computational one, or back."""
    for qubit, letter in letters.items():
        names = {"X": ["h"], "Y": ["sdg", "h"], "Z": []}[letter]
        if inverse:
            names = {"X": ["h"], "Y": ["h", "s"], "Z": []}[letter]
        for name in names:
            if named:
                circuit.gate(name, [qubit])
            else:
                circuit.unitary([qubit], fixed_unitary(name))
