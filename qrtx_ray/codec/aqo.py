"""AQO: the JSON text of a compiled circuit that Eigen OS keeps as ``compiled.aqo.json``.

``{"annotations", "metadata", "operations": [{"op", "q", "c", "params"}], "parameters", "qubits", "topology", "version"}``
with sorted keys, no NaN, operation names in capitals and physical qubit indices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

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
    """The list of operations as JSON text, put together by hand: a dictionary for each costs twice the time."""
    slots = [f'"p{slot}"' for slot in range(program.num_slots)] if numbers is None else [repr(n) for n in numbers]
    heads = [f'{{"c":[],"op":{orjson.dumps(name.upper()).decode()},"params":[' for name in program.names]
    measure = program.names.index("measure") if "measure" in program.names else -1
    wires = [str(qubit) for qubit in program.active_qubits]
    out = []
    for kind, q0, q1, q2, first, count in program.ops.tolist():
        where = wires[q0] if q0 >= 0 else ""
        if q1 >= 0:
            where = f"{where},{wires[q1]}" if q2 < 0 else f"{where},{wires[q1]},{wires[q2]}"
        if kind == measure:
            out.append(f'{{"c":[{first}],"op":"MEASURE","params":[],"q":[{where}]}}')
        else:
            params = slots[first] if count == 1 else ",".join(slots[first : first + count]) if count else ""
            out.append(f'{heads[kind]}{params}],"q":[{where}]}}')
    return f"[{','.join(out)}]"
