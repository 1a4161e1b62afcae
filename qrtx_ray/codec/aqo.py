"""AQO: the JSON text of a compiled circuit that Eigen OS keeps as ``compiled.aqo.json``.

``{"annotations", "metadata", "operations": [{"op", "q", "c", "params"}], "parameters", "qubits", "topology", "version"}``
with sorted keys, no NaN, operation names in capitals and physical qubit indices.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from qrtx_ray.codec.fillable import MOST_KEPT, Fillable
from qrtx_ray.devices.program import CircuitProgram

__all__ = ["aqo_text"]

_VERSION = "1.0"


def aqo_text(
    program: CircuitProgram,
    values: npt.NDArray[np.float64] | None = None,
    *,
    metadata: dict[str, Any] | None = None,
) -> str:
    """The AQO document of `program`.

    Args:
        program: The compiled circuit. Of a dynamic one only the frame is written: its operations cannot be said in AQO.
        values: One row of slot values; without it, parameters are named ``p0``, ``p1``… by slot.
        metadata: Plain JSON to put under ``metadata``.
    """
    numbers = None if values is None else np.asarray(values, dtype=float).ravel().tolist()
    document = {
        "version": _VERSION,
        "qubits": program.width,
        "operations": orjson.Fragment(_operations(program, numbers)),
        "parameters": [f"p{slot}" for slot in range(program.num_slots)] if numbers is None else [],
        "metadata": {
            "clbits": program.num_clbits,
            "duration_s": program.duration_s,
            "dynamic": program.dynamic,
            "registers": [{"name": register.name, "bits": list(register.bits)} for register in program.registers],
            **(metadata or {}),
        },
        "topology": {"active_qubits": list(program.active_qubits)},
        "annotations": {},
        "checksums": {"structure": program.structure},
    }
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()


def _operations(program: CircuitProgram, numbers: list[float] | None) -> str:
    """The list of operations as JSON text."""
    words = [f'"p{slot}"' for slot in range(program.num_slots)] if numbers is None else [repr(n) for n in numbers]
    make = _frame if len(program.ops) <= MOST_KEPT else _frame.__wrapped__
    return make(program.names, program.ops.tobytes(), program.active_qubits).fill(words)


@lru_cache(maxsize=256)
def _frame(names: tuple[str, ...], ops: bytes, active_qubits: tuple[int, ...]) -> Fillable:
    """Put together by hand: a dictionary for each operation costs twice the time."""
    heads = [f'{{"c":[],"op":{orjson.dumps(name.upper()).decode()},"params":[' for name in names]
    measure = names.index("measure") if "measure" in names else -1
    wires = [str(qubit) for qubit in active_qubits]
    parts: list[str | int] = ["["]
    for kind, q0, q1, q2, first, count in np.frombuffer(ops, dtype=np.int32).reshape(-1, 6).tolist():
        where = ",".join(wires[q] for q in (q0, q1, q2) if q >= 0)
        if len(parts) > 1:
            parts.append(",")
        if kind == measure:
            parts.append(f'{{"c":[{first}],"op":"MEASURE","params":[],"q":[{where}]}}')
            continue
        parts.append(heads[kind])
        for place in range(count):
            parts += [","] * (place > 0)
            parts.append(first + place)
        parts.append(f'],"q":[{where}]}}')
    parts.append("]")
    return Fillable(parts)
