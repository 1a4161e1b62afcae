"""OpenQASM 3 text of a compiled circuit, kept as ``compiled.qasm``; physical qubits are written ``$3``."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from qiskit import qasm3
from qiskit import qpy as qiskit_qpy

from qrtx_ray.codec.fillable import MOST_KEPT, Fillable
from qrtx_ray.devices.program import CircuitProgram, Register

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
    words = [f"p{slot}" for slot in range(program.num_slots)] if numbers is None else [repr(value) for value in numbers]
    inputs = "".join(f"input float[64] {word};\n" for word in words) if numbers is None else ""
    make = _body if len(program.ops) <= MOST_KEPT else _body.__wrapped__
    body = make(program.names, program.ops.tobytes(), program.active_qubits, program.registers)
    return f"{_head(program.names)}\n{inputs}{body.fill(words)}"


@lru_cache(maxsize=256)
def _body(
    names: tuple[str, ...], ops: bytes, active_qubits: tuple[int, ...], registers: tuple[Register, ...]
) -> Fillable:
    """Registers and operations, a line each."""
    parts: list[str | int] = [f"bit[{register.size}] {register.name};\n" for register in registers if register.size]
    bits = {bit: f"{register.name}[{index}]" for register in registers for index, bit in enumerate(register.bits)}
    wires = [f"${qubit}" for qubit in active_qubits]
    for kind, q0, q1, q2, first, count in np.frombuffer(ops, dtype=np.int32).reshape(-1, 6).tolist():
        name = names[kind]
        where = ", ".join(wires[q] for q in (q0, q1, q2) if q >= 0)
        if name == "measure":
            target = bits.get(first)
            parts.append(f"{target} = measure {where};\n" if target else f"measure {where};\n")
        elif name == "delay":
            parts += ["delay[", first, f"s] {where};\n"]
        else:
            parts.append(_RENAMED.get(name, name))
            for place in range(count):
                parts += [", " if place else "(", first + place]
            parts.append(f"{')' if count else ''} {where};\n")
    return Fillable(parts)


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
