"""Gate matrices, many at once: one array of unitaries for all occurrences of a gate in all parameter rows.

Angles that come from a parameter sweep are the reason for this module: building a Qiskit gate object costs 2 µs and its
matrix 5 µs, a thousand rotations in one NumPy expression cost 30 µs together. Rotations of devices' basis sets have
a vectorised form here; every other standard gate is asked from Qiskit, once for each distinct set of angles.

Index convention, as Qiskit's: for a gate on qubits ``(a, b)`` bit 0 of a matrix index belongs to `a`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from qrtx_ray.errors import ExecuteError

__all__ = ["fixed_unitary", "unitaries"]

Complex = npt.NDArray[np.complex128]
Float = npt.NDArray[np.float64]


def unitaries(name: str, angles: Float) -> Complex:
    """Matrices of gate `name` for angles of shape ``(..., num_params)``; the result has shape ``(..., d, d)``.

    Raises:
        ExecuteError: Not a standard gate, or one with another number of parameters.
    """
    if angles.shape[-1] == 0:
        matrix = fixed_unitary(name)
        return np.broadcast_to(matrix, (*angles.shape[:-1], *matrix.shape))
    if name == "delay":  # an ideal qubit keeps its state
        return np.broadcast_to(np.eye(2, dtype=np.complex128), (*angles.shape[:-1], 2, 2))
    vectorised = _VECTORISED.get(name)
    if vectorised is not None and angles.shape[-1] == vectorised[0]:
        return vectorised[1](angles)
    flat = angles.reshape(-1, angles.shape[-1])
    matrices = np.array([_from_qiskit(name, tuple(row)) for row in flat.tolist()])
    return matrices.reshape(*angles.shape[:-1], *matrices.shape[1:])


@lru_cache(maxsize=256)
def fixed_unitary(name: str) -> Complex:
    """Matrix of a gate without parameters, read-only."""
    matrix = _from_qiskit(name, ())
    matrix.setflags(write=False)
    return matrix


def _from_qiskit(name: str, params: tuple[float, ...]) -> Complex:
    kind = _standard_gates().get(name)
    if kind is None or len(kind.params) != len(params) or not hasattr(kind, "to_matrix"):
        msg = f"gate {name!r} with {len(params)} parameters has no matrix on this engine"
        raise ExecuteError(msg, field="circuit")
    gate = kind.base_class(*params) if params else kind
    return np.array(gate.to_matrix(), dtype=np.complex128)


@lru_cache(maxsize=1)
def _standard_gates() -> dict[str, Any]:
    from qiskit.circuit.library import get_standard_gate_name_mapping

    return dict(get_standard_gate_name_mapping())


def _empty(angles: Float, dim: int) -> Complex:
    return np.zeros((*angles.shape[:-1], dim, dim), dtype=np.complex128)


def _rz(angles: Float) -> Complex:
    out = _empty(angles, 2)
    phase = np.exp(0.5j * angles[..., 0])
    out[..., 0, 0] = phase.conj()
    out[..., 1, 1] = phase
    return out


def _p(angles: Float) -> Complex:
    out = _empty(angles, 2)
    out[..., 0, 0] = 1.0
    out[..., 1, 1] = np.exp(1j * angles[..., 0])
    return out


def _rx(angles: Float) -> Complex:
    out = _empty(angles, 2)
    half = 0.5 * angles[..., 0]
    out[..., 0, 0] = out[..., 1, 1] = np.cos(half)
    out[..., 0, 1] = out[..., 1, 0] = -1j * np.sin(half)
    return out


def _ry(angles: Float) -> Complex:
    out = _empty(angles, 2)
    half = 0.5 * angles[..., 0]
    out[..., 0, 0] = out[..., 1, 1] = np.cos(half)
    out[..., 1, 0] = np.sin(half)
    out[..., 0, 1] = -out[..., 1, 0]
    return out


def _u(angles: Float) -> Complex:
    out = _empty(angles, 2)
    half, phi, lam = 0.5 * angles[..., 0], angles[..., 1], angles[..., 2]
    out[..., 0, 0] = np.cos(half)
    out[..., 0, 1] = -np.exp(1j * lam) * np.sin(half)
    out[..., 1, 0] = np.exp(1j * phi) * np.sin(half)
    out[..., 1, 1] = np.exp(1j * (phi + lam)) * np.cos(half)
    return out


def _rzz(angles: Float) -> Complex:
    out = _empty(angles, 4)
    phase = np.exp(0.5j * angles[..., 0])
    out[..., 0, 0] = out[..., 3, 3] = phase.conj()
    out[..., 1, 1] = out[..., 2, 2] = phase
    return out


_VECTORISED: dict[str, tuple[int, Callable[[Float], Complex]]] = {
    "rz": (1, _rz),
    "p": (1, _p),
    "u1": (1, _p),
    "rx": (1, _rx),
    "ry": (1, _ry),
    "u": (3, _u),
    "u3": (3, _u),
    "rzz": (1, _rzz),
}
