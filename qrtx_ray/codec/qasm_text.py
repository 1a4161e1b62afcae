"""OpenQASM 3 text of a compiled circuit, kept as ``compiled.qasm``; physical qubits are written ``$3``."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from qiskit import qasm3
from qiskit import qpy as qiskit_qpy

from qrtx_ray.devices.program import CircuitProgram

__all__ = ["qasm3_text"]

# Gates of stdgates.inc under Qiskit's names, and the other names Qiskit has for them.
_STANDARD = frozenset(
    [
        "p",
        "x",
        "y",
        "z",
        "h",
        "s",
        "sdg",
        "t",
        "tdg",
        "sx",
        "rx",
        "ry",
        "rz",
        "cx",
        "cy",
        "cz",
        "cp",
        "crx",
        "cry",
        "crz",
        "ch",
        "swap",
        "ccx",
        "cswap",
        "cu",
        "id",
        "u1",
        "u2",
        "u3",
        "phase",
        "cphase",
    ]
)
_RENAMED = {"u": "U", "cu1": "cphase"}
_DEFINITIONS = {
    "sxdg": "gate sxdg a { inv @ sx a; }",
    "ecr": "gate ecr a, b { s a; sx b; cx a, b; x a; }",
    "rzz": "gate rzz(t) a, b { cx a, b; rz(t) b; cx a, b; }",
    "rxx": "gate rxx(t) a, b { h a; h b; cx a, b; rz(t) b; cx a, b; h a; h b; }",
    "ryy": "gate ryy(t) a, b { rx(pi/2) a; rx(pi/2) b; cx a, b; rz(t) b; cx a, b; rx(-pi/2) a; rx(-pi/2) b; }",
    "rzx": "gate rzx(t) a, b { h b; cx a, b; rz(t) b; cx a, b; h b; }",
    "r": "gate r(t, p) a { U(t, p - pi/2, pi/2 - p) a; }",
    "iswap": "gate iswap a, b { s a; s b; h a; cx a, b; cx b, a; h b; }",
    "dcx": "gate dcx a, b { cx a, b; cx b, a; }",
    "csx": "gate csx a, b { ctrl @ sx a, b; }",
}


def qasm3_text(program: CircuitProgram, values: npt.NDArray[np.float64] | None = None) -> str:
    """The program as OpenQASM 3.

    Gates that are neither standard nor defined here are declared opaque by a comment; the text is for reading and for
    other tools, this runtime never reads it back.

    Args:
        program: The compiled circuit; a dynamic one is written by Qiskit's exporter (on its active qubits).
        values: One row of slot values; without it, every slot becomes an input ``p0``, ``p1``…
    """
    if program.dynamic:
        return _dynamic_text(program)
    numbers = None if values is None else np.asarray(values, dtype=float).ravel().tolist()
    slots = [f"p{slot}" for slot in range(program.num_slots)] if numbers is None else [repr(value) for value in numbers]
    lines = [_head(program.names)]
    if numbers is None:
        lines += [f"input float[64] {slot};" for slot in slots]
    lines += [f"bit[{register.size}] {register.name};" for register in program.registers if register.size]
    bits = {
        bit: f"{register.name}[{index}]" for register in program.registers for index, bit in enumerate(register.bits)
    }
    names = [_RENAMED.get(name, name) for name in program.names]
    measure = program.names.index("measure") if "measure" in program.names else -1
    delay = program.names.index("delay") if "delay" in program.names else -1
    wires = [f"${qubit}" for qubit in program.active_qubits]
    for kind, q0, q1, q2, first, count in program.ops.tolist():
        if kind == measure:
            target = bits.get(first)
            lines.append(f"{target} = measure {wires[q0]};" if target else f"measure {wires[q0]};")
            continue
        where = wires[q0] if q0 >= 0 else ""
        if q1 >= 0:
            where = f"{where}, {wires[q1]}" if q2 < 0 else f"{where}, {wires[q1]}, {wires[q2]}"
        if kind == delay:
            lines.append(f"delay[{slots[first]}s] {where};")
            continue
        angles = f"({', '.join(slots[first : first + count])})" if count else ""
        lines.append(f"{names[kind]}{angles} {where};")
    lines.append("")
    return "\n".join(lines)


@lru_cache(maxsize=256)
def _head(names: tuple[str, ...]) -> str:
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";']
    special = sorted(set(names) - _STANDARD - set(_RENAMED) - {"measure", "reset", "barrier", "delay"})
    lines += [_DEFINITIONS.get(name, f"// gate {name}: as the device defines it") for name in special]
    return "\n".join(lines)


def _dynamic_text(program: CircuitProgram) -> str:
    wires = ", ".join(f"q[{local}] = ${physical}" for local, physical in enumerate(program.active_qubits))
    try:
        circuit = qiskit_qpy.load(io.BytesIO(program.qpy))[0]
        text: str = qasm3.dumps(circuit)
    except Exception:  # noqa: BLE001 - the exporter knows less than QPY; an artefact never fails a job
        text = "OPENQASM 3.0;\n// this circuit cannot be written as OpenQASM 3\n"
    return f"// qubits: {wires}\n{text}"
