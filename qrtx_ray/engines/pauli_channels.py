"""A calibration's noisy gates as matrices on Pauli expectation values, made once and told to the noisy kernel by number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.engines.channels import gate_noise
from qrtx_ray.engines.gates import fixed_unitary
from qrtx_ray.engines.opcodes import form_of
from qrtx_ray.engines.pauli_kernel import CHANNEL, IDLE, PAIR, TURN, WAIT
from qrtx_ray.errors import ExecuteError

__all__ = ["Channels", "PauliChannels"]

Complex = npt.NDArray[np.complex128]
Float = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Step = tuple[int, int, int]

_MOST_GATES = 16384  # some MB; a device has a few hundred, but a program may name any gate on any qubits
_MOST_PROGRAMS = 256
_LARGEST_KEPT = 1 << 16  # bytes of operations
_ZERO = 1e-15

_PAULIS = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
# From the index ``row + 2 * column`` of a density matrix, by number of qubits; the way back is the adjoint.
_TO_PAULIS = {1: _PAULIS.reshape(4, 4), 2: np.kron(_PAULIS.reshape(4, 4), _PAULIS.reshape(4, 4))}
_OF_WIDTH = {1: _PAULIS, 2: np.array([np.kron(second, first) for second in _PAULIS for first in _PAULIS])}


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """Arguments of `noisy_distributions` with the same names."""

    singles: Float
    ends: Int64
    entries: Int64
    factors: Float


class PauliChannels:
    """The noisy gates of one calibration that were used so far.

    Args:
        calibration: Where the noise comes from.
    """

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        with np.errstate(divide="ignore"):
            t2_s = np.minimum(calibration.t2_s, 2.0 * calibration.t1_s)
            self.rates: Float = np.stack([1.0 / calibration.t1_s, 1.0 / t2_s], axis=1)
        self._known: dict[tuple[str, tuple[int, ...], int], Step | None] = {}
        self._singles: list[Float] = []
        self._pairs: list[tuple[Int64, Float]] = []
        self._channels: Channels | None = None
        self._programs: dict[tuple[int, tuple[int, ...], tuple[str, ...], bytes], Int64 | None] = {}

    @staticmethod
    @lru_cache(maxsize=16)
    def of(calibration: Calibration) -> PauliChannels:
        """The one of `calibration`."""
        return PauliChannels(calibration)

    def steps(self, program: CircuitProgram) -> Int64 | None:
        """The program for the kernel, shape ``(num_ops, 6)``; None where a gate has no form there.

        Those are gates on three qubits, and gates with angles on two.

        Raises:
            ExecuteError: An operation does not fit the program.
        """
        if len(self._known) > _MOST_GATES:
            self._known.clear()
            self._singles.clear()
            self._pairs.clear()
            self._programs.clear()
            self._channels = None
        # Jobs of one structure, which differ in their angles, come by the hundred.
        if program.ops.nbytes > _LARGEST_KEPT:
            return self._steps(program)
        key = (program.num_slots, program.active_qubits, program.names, program.ops.tobytes())
        if key not in self._programs:
            if len(self._programs) >= _MOST_PROGRAMS:
                self._programs.clear()
            self._programs[key] = self._steps(program)
        return self._programs[key]

    def channels(self) -> Channels:
        """Those that steps refer to; good until `steps` is called again."""
        if self._channels is None:
            sizes = [len(entries) for entries, _ in self._pairs]
            self._channels = Channels(
                np.array(self._singles).reshape(-1, 16),
                np.cumsum([0, *sizes], dtype=np.int64),
                np.concatenate([np.empty(0, dtype=np.int64), *(entries for entries, _ in self._pairs)]),
                np.concatenate([np.empty(0), *(factors for _, factors in self._pairs)]),
            )
        return self._channels

    def _steps(self, program: CircuitProgram) -> Int64 | None:
        ops, count = program.ops, program.num_qubits
        heads = ops[:, [0, 1, 2, 3, 5]].astype(np.int64)
        bounds = np.array([len(program.names), count, count, count, 8])
        gaps = (heads[:, 2] < 0) & (heads[:, 3] >= 0)
        if gaps.any() or (heads >= bounds).any() or (heads < [0, 0, -1, -1, 0]).any():
            msg = f"an operation does not fit the circuit's {count} qubits and its gates"
            raise ExecuteError(msg, field="circuit")
        _, firsts, where = np.unique(
            heads @ [1 << 42, 1 << 30, 1 << 18, 1 << 6, 1], return_index=True, return_inverse=True
        )
        kinds = [
            self._step(program.names[kind], tuple([program.active_qubits[q] for q in qubits if q >= 0]), angles)
            for kind, *qubits, angles in heads[firsts].tolist()
        ]
        known = [kind for kind in kinds if kind is not None]
        if len(known) < len(kinds):
            return None
        steps = np.zeros((len(ops), 6), dtype=np.int64)
        if known:
            steps[:, :3] = np.array(known, dtype=np.int64)[where]
        steps[:, 3:] = ops[:, [1, 2, 4]]
        slots = ops[(steps[:, 0] == TURN) | (steps[:, 0] == WAIT), 4:]
        if slots.size and (slots.min() < 0 or slots.sum(axis=1).max() > program.num_slots):
            msg = f"an operation does not fit the circuit's {program.num_slots} parameters"
            raise ExecuteError(msg, field="circuit")
        return steps

    def _step(self, name: str, places: tuple[int, ...], angles: int) -> Step | None:
        key = (name, places, angles)
        if key not in self._known:
            self._known[key] = self._made(name, places, angles)
        return self._known[key]

    def _made(self, name: str, places: tuple[int, ...], angles: int) -> Step | None:
        if name == "measure":
            return IDLE, 0, -1
        number, width, wanted = form_of(name)
        if len(places) != width or angles != wanted or len(set(places)) < width:
            msg = f"an operation {name!r} on {len(places)} qubits with {angles} parameters does not fit the gate"
            raise ExecuteError(msg, field="circuit")
        if name == "delay":
            return WAIT, 0, -1
        if width > 2 or (width == 2 and angles):
            return None
        noise = gate_noise(self._calibration, name, places)
        matrix = np.eye(4**width) if noise is None else _in_paulis(noise, width)
        if angles:
            return TURN, number, -1 if noise is None else self._single(matrix)
        if name != "id":
            matrix = matrix @ _ideal(fixed_unitary(name), width)
        elif noise is None:
            return IDLE, 0, -1
        if width == 1:
            return CHANNEL, 0, self._single(matrix)
        flat = matrix.reshape(-1)
        entries = np.flatnonzero(np.abs(flat) > _ZERO).astype(np.int64)
        self._pairs.append((entries, flat[entries]))
        self._channels = None
        return PAIR, 0, len(self._pairs) - 1

    def _single(self, matrix: Float) -> int:
        self._singles.append(matrix.reshape(-1))
        self._channels = None
        return len(self._singles) - 1


def _in_paulis(superoperator: Complex, width: int) -> Float:
    """A superoperator (index qubit by qubit) on Pauli expectation values."""
    turn = _TO_PAULIS[width]
    return np.asarray(np.real(turn @ superoperator @ turn.conj().T) / 2**width)


def _ideal(unitary: Complex, width: int) -> Float:
    """A unitary on Pauli expectation values: row i, column j is ``tr(P_i U P_j U†) / 2**width``."""
    paulis = _OF_WIDTH[width]
    turned = unitary @ paulis @ unitary.conj().T
    return np.asarray(np.real(np.einsum("iab,jba->ij", paulis, turned)) / 2**width)
