"""Gate names as numbers: what the state-vector kernel needs to know of a circuit's gates, looked up once for its names.

Every gate has a *shape* (how it acts: on one qubit, controlled, as a swap, as a dense matrix) and the number of a matrix,
which is a row of a table or names a formula of angles.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from qrtx_ray.engines import kernel
from qrtx_ray.engines.gates import fixed_unitary
from qrtx_ray.errors import ExecuteError

__all__ = ["form_of", "forms_of", "matrix_table"]

Complex = npt.NDArray[np.complex128]
Int64 = npt.NDArray[np.int64]

_FIXED = ("x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "iswap", "dcx", "ecr", "rccx")
_QUBITS = {
    kernel.SKIP: 0,  # nothing is read of an operation without effect, so nothing of it is checked
    kernel.ONE: 1,
    kernel.CONTROLLED: 2,
    kernel.TWICE_CONTROLLED: 3,
    kernel.SWAP: 2,
    kernel.CONTROLLED_SWAP: 3,
    kernel.TWO: 2,
    kernel.THREE: 3,
}

# Name → shape, matrix, number of angles. A delay is here because an ideal qubit keeps its state.
_GATES: dict[str, tuple[int, int, int]] = {
    **dict.fromkeys(("id", "measure", "delay"), (kernel.SKIP, 0, 0)),
    **{name: (kernel.ONE, _FIXED.index(name), 0) for name in _FIXED[:10]},
    **{name: (kernel.TWO, _FIXED.index(name), 0) for name in ("iswap", "dcx", "ecr")},
    "rccx": (kernel.THREE, _FIXED.index("rccx"), 0),
    "rz": (kernel.ONE, kernel.RZ, 1),
    "p": (kernel.ONE, kernel.P, 1),
    "u1": (kernel.ONE, kernel.P, 1),
    "rx": (kernel.ONE, kernel.RX, 1),
    "ry": (kernel.ONE, kernel.RY, 1),
    "r": (kernel.ONE, kernel.R, 2),
    "u2": (kernel.ONE, kernel.U2, 2),
    "u": (kernel.ONE, kernel.U, 3),
    "u3": (kernel.ONE, kernel.U, 3),
    **{f"c{name}": (kernel.CONTROLLED, _FIXED.index(name), 0) for name in ("x", "y", "z", "h", "s", "sdg", "sx")},
    "crz": (kernel.CONTROLLED, kernel.RZ, 1),
    "cp": (kernel.CONTROLLED, kernel.P, 1),
    "cu1": (kernel.CONTROLLED, kernel.P, 1),
    "crx": (kernel.CONTROLLED, kernel.RX, 1),
    "cry": (kernel.CONTROLLED, kernel.RY, 1),
    "cu3": (kernel.CONTROLLED, kernel.U, 3),
    "cu": (kernel.CONTROLLED, kernel.CU, 4),
    "ccx": (kernel.TWICE_CONTROLLED, _FIXED.index("x"), 0),
    "ccz": (kernel.TWICE_CONTROLLED, _FIXED.index("z"), 0),
    "swap": (kernel.SWAP, 0, 0),
    "cswap": (kernel.CONTROLLED_SWAP, 0, 0),
    "rxx": (kernel.TWO, kernel.RXX, 1),
    "ryy": (kernel.TWO, kernel.RYY, 1),
    "rzz": (kernel.TWO, kernel.RZZ, 1),
    "rzx": (kernel.TWO, kernel.RZX, 1),
    "xx_minus_yy": (kernel.TWO, kernel.XX_MINUS_YY, 2),
    "xx_plus_yy": (kernel.TWO, kernel.XX_PLUS_YY, 2),
}


def form_of(name: str) -> tuple[int, int, int]:
    """Matrix number, number of qubits and of angles of a gate or delay.

    Raises:
        ExecuteError: As `forms_of`.
    """
    _, number, width, angles = forms_of((name,))[0].tolist()
    return (0, 1, int(name == "delay")) if name in {"id", "delay"} else (number, width, angles)


@lru_cache(maxsize=1024)
def forms_of(names: tuple[str, ...]) -> Int64:
    """Shape, matrix number, number of qubits and of angles for each name, ``(len(names), 4)``; read-only.

    Raises:
        ExecuteError: Not a standard gate on at most three qubits.
    """
    forms = np.empty((len(names), 4), dtype=np.int64)
    for row, name in enumerate(names):
        if name not in _GATES:
            msg = f"gate {name!r} has no matrix on this engine"
            raise ExecuteError(msg, field="circuit")
        shape, matrix, angles = _GATES[name]
        forms[row] = shape, matrix, _QUBITS[shape], angles
    forms.setflags(write=False)
    return forms


@lru_cache(maxsize=1)
def matrix_table() -> Complex:
    """The matrices of gates without angles, flattened, ``(gates, 64)``; read-only."""
    table = np.zeros((len(_FIXED), 64), dtype=np.complex128)
    for row, name in enumerate(_FIXED):
        matrix = fixed_unitary(name)
        table[row, : matrix.size] = matrix.reshape(-1)
    table.setflags(write=False)
    return table
