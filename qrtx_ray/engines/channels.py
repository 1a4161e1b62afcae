"""Noisy gates of a calibration as superoperators, in closed form.

The noise is that of Aer's `NoiseModel.from_backend`, which Qiskit's own local mode uses: after each gate a depolarising
channel and then, on each of its qubits, relaxation for the gate's duration at zero temperature, with the depolarising
strength chosen so that both together have the average error of the calibration. Aer builds these from Kraus operators
at 4 ms a gate, 2 s for a 127-qubit device; the closed form costs some 50 µs, and only gates that are used are made.

Readout errors are symmetric, as there: the calibration's mean readout error flips either outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.engines.gates import unitaries

__all__ = ["NoisySource", "aer_order", "flip_probabilities", "gate_noise", "relaxation_kraus", "relaxations"]

Complex = npt.NDArray[np.complex128]
Float = npt.NDArray[np.float64]

# Position in Aer's order (row bits of both qubits, then column bits) of each index kept qubit by qubit; an involution.
_QUBIT_BY_QUBIT = np.array([a + 4 * b + 2 * c + 8 * d for d in (0, 1) for c in (0, 1) for b in (0, 1) for a in (0, 1)])


def aer_order(pairs: Complex) -> Complex:
    """Superoperators on two qubits, index from qubit by qubit to Aer's order."""
    # Contiguous, because Aer reads the memory of a matrix and not its strides.
    return np.ascontiguousarray(pairs[..., _QUBIT_BY_QUBIT[:, None], _QUBIT_BY_QUBIT])


def flip_probabilities(calibration: Calibration, qubits: Sequence[int]) -> Float:
    """Probability that the outcome of each physical qubit is reported inverted, ``(2, len(qubits))``: of 0, of 1."""
    out = np.empty((2, len(qubits)))
    for position, qubit in enumerate(qubits):
        mean = calibration.gate_error.get(("measure", (qubit,)))
        if mean is None:
            out[:, position] = calibration.p01[qubit], calibration.p10[qubit]
        else:
            out[:, position] = mean
    return out


def gate_noise(calibration: Calibration, name: str, qubits: tuple[int, ...]) -> Complex | None:
    """The channel that follows gate `name` on physical `qubits`, index qubit by qubit; None when there is no error."""
    duration_s = calibration.gate_duration_s.get((name, qubits))
    error = calibration.gate_error.get((name, qubits))
    dim = 2 ** len(qubits)
    relaxation: Any = None
    fidelity = 1.0
    if duration_s:
        relaxation = np.ones((1, 1), dtype=np.complex128)
        for qubit in qubits:
            relaxation = np.kron(_relaxation(calibration, qubit, duration_s), relaxation)
        fidelity = (float(np.trace(relaxation).real) / dim + 1.0) / (dim + 1.0)
    if not error or error <= 1.0 - fidelity:
        return cast("Complex | None", relaxation)
    # Average fidelity is affine in the depolarising strength; solve for it, within what is physical.
    error = min(error, dim / (dim + 1.0))
    strength = min(dim * (error - (1.0 - fidelity)) / (dim * fidelity - 1.0), dim**2 / (dim**2 - 1.0))
    mixed = np.ones(1)
    for _ in qubits:
        mixed = np.kron(np.array([1.0, 0.0, 0.0, 1.0]), mixed)
    depolarising = (1.0 - strength) * np.eye(dim * dim) + strength / dim * np.outer(mixed, mixed)
    return cast("Complex", depolarising.astype(np.complex128) if relaxation is None else relaxation @ depolarising)


def _relaxation(calibration: Calibration, qubit: int, duration_s: float) -> Complex:
    return cast("Complex", relaxations(calibration, [qubit], np.array([duration_s]))[0])


def relaxations(calibration: Calibration, qubits: Sequence[int], durations_s: Float) -> Complex:
    """Superoperators of waiting.

    Args:
        calibration: Gives T1 and T2.
        qubits: Physical qubits.
        durations_s: Seconds, shape ``(..., len(qubits))``.

    Returns:
        Shape ``(..., len(qubits), 4, 4)``.
    """
    kept, coherent = _survival(calibration, qubits, durations_s)
    out = np.zeros((*durations_s.shape, 4, 4), dtype=np.complex128)
    out[..., 0, 0] = 1.0
    out[..., 0, 3] = 1.0 - kept
    out[..., 3, 3] = kept
    out[..., 1, 1] = out[..., 2, 2] = coherent
    return out


def relaxation_kraus(calibration: Calibration, qubit: int, duration_s: float) -> list[Complex]:
    """Kraus operators of waiting on one physical qubit, for a simulator of trajectories."""
    survival = _survival(calibration, [qubit], np.array([duration_s]))
    kept, coherent = float(survival[0][0]), float(survival[1][0])
    dephased = max(0.0, kept - coherent**2)
    return [
        np.array([[1.0, 0.0], [0.0, coherent]], dtype=np.complex128),
        np.array([[0.0, 0.0], [0.0, dephased**0.5]], dtype=np.complex128),
        np.array([[0.0, (1.0 - kept) ** 0.5], [0.0, 0.0]], dtype=np.complex128),
    ]


def _survival(calibration: Calibration, qubits: Sequence[int], durations_s: Float) -> tuple[Float, Float]:
    """What is left of the excited state, and of the coherence, after waiting."""
    t1_s = calibration.t1_s[list(qubits)]
    t2_s = np.minimum(calibration.t2_s[list(qubits)], 2.0 * t1_s)
    return np.exp(-durations_s / t1_s), np.exp(-durations_s / t2_s)


class NoisySource:
    """Gates followed by their noise, as superoperators on local qubits.

    Args:
        calibration: Where the noise comes from.
        active_qubits: Physical qubit of each local one.
    """

    base = 4

    def __init__(self, calibration: Calibration, active_qubits: tuple[int, ...]) -> None:
        self._calibration = calibration
        self._active = active_qubits

    def matrices(self, name: str, qubits: Sequence[tuple[int, ...]], angles: Float) -> Complex:
        places = tuple(tuple(self._active[qubit] for qubit in pair) for pair in qubits)
        if name == "delay":
            return relaxations(self._calibration, [place for (place,) in places], angles[..., 0])
        noise = _Noises.of(self._calibration)
        if angles.shape[-1] == 0:
            return noise.fixed(name, places)
        channels = noise.after(name, places)
        ideal = _superoperators(unitaries(name, angles))
        return ideal if channels is None else channels @ ideal


class _Noises:
    """Channels of one calibration made so far. Bounded by the number of gates of the device times circuits' layouts."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self.after = lru_cache(maxsize=4096)(self._after)
        self.fixed = lru_cache(maxsize=4096)(self._fixed)
        self._one = lru_cache(maxsize=16384)(self._single)

    @staticmethod
    @lru_cache(maxsize=16)
    def of(calibration: Calibration) -> _Noises:
        return _Noises(calibration)

    def _single(self, name: str, qubits: tuple[int, ...]) -> Complex | None:
        return gate_noise(self._calibration, name, qubits)

    def _after(self, name: str, places: tuple[tuple[int, ...], ...]) -> Complex | None:
        channels = [self._one(name, qubits) for qubits in places]
        if all(channel is None for channel in channels):
            return None
        identity = np.eye(4 ** len(places[0]), dtype=np.complex128)
        return np.array([identity if channel is None else channel for channel in channels])

    def _fixed(self, name: str, places: tuple[tuple[int, ...], ...]) -> Complex:
        ideal = _superoperators(unitaries(name, np.empty((1, 1, 0))))
        channels = self.after(name, places)
        return ideal if channels is None else channels @ ideal


def _superoperators(matrices: Complex) -> Complex:
    """``conj(U) ⊗ U`` of gates ``(..., d, d)``, index qubit by qubit."""
    dim = matrices.shape[-1]
    full = (matrices.conj()[..., :, None, :, None] * matrices[..., None, :, None, :]).reshape(
        *matrices.shape[:-2], dim * dim, dim * dim
    )
    return full if dim == 2 else aer_order(full)
