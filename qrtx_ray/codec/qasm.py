"""Reading OpenQASM 2 and 3: what can be bounded is bounded in the text, before a parser sees it.

The parsers open files for `include`, abort the process on absurd registers, and need seconds for deep nesting; their
messages may quote the files. So includes, registers, brackets and statements are looked at here first, and of a
parser's message only the line number survives.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

from qiskit import QuantumCircuit, qasm2, qasm3

from qrtx_ray.codec.circuit_checks import check_circuit, check_width
from qrtx_ray.codec.limits import Limits
from qrtx_ray.errors import DecodeError, PayloadTooLarge, QrtxError, ValidationError

__all__ = ["load_qasm2", "load_qasm3"]

_MAX_SIGNS = 64
_MAX_EXPANSION = 10_000  # OpenQASM 3 builds about 3,000 instructions a second
_COMMENT = re.compile(r'"[^"\n]*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_INCLUDE = re.compile(r"""\binclude\b\s*(?:"([^"\n]*)")?""")
_REGISTER = re.compile(r"\b(qubit|bit|qreg|creg)\b\s*(?:\w+\s*)?(?:\[([^\]]*)\])?")
_SIZED = re.compile(r"\b(?:int|uint|angle|float)\s*\[\s*(\d*)")
_GATE_BODY = re.compile(r"\bgate\b[^{;]*\{[^{}]*\}")
_GATE = re.compile(r"\bgate\s+(\w+)[^{;]*\{([^{}]*)\}")
_WORD = re.compile(r"\w+")
_MODIFIER = re.compile(r"\b(?:neg)?ctrl\s*\(([^()@;]*)")
_SIGNS = re.compile(rf"(?:[-~!]\s*){{{_MAX_SIGNS}}}")
_DIGITS = re.compile(r"\s*(\d[\d_]{0,11})\s*\Z")
_POSITION = re.compile(r"(\d{1,9}),\s?\d")
_LIBRARIES = frozenset({"stdgates.inc", "qelib1.inc"})
_MAX_SIZED_BITS = 64


def load_qasm2(source: Any, limits: Limits, *, field: str, device_qubits: int | None = None) -> QuantumCircuit:
    """The circuit of an OpenQASM 2 text.

    Raises:
        PayloadTooLarge: Longer than `limits.qasm2_bytes`.
        DecodeError: Not valid OpenQASM 2.
        ValidationError: A circuit beyond the limits.
    """
    text = _read_text(source, limits.qasm2_bytes, field)
    _prescan(text, limits, field, device_qubits)
    try:
        circuit = qasm2.loads(text, include_path=(), custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the parser panics with a class that is no Exception
        raise _refusal(error, "OpenQASM 2", field) from None
    return _checked(circuit, limits, field, device_qubits)


def load_qasm3(source: Any, limits: Limits, *, field: str, device_qubits: int | None = None) -> QuantumCircuit:
    """The circuit of an OpenQASM 3 text.

    Raises:
        PayloadTooLarge: Longer than `limits.qasm3_bytes`.
        DecodeError: Not OpenQASM 3, or a feature that Qiskit's importer does not know.
        ValidationError: A circuit beyond the limits.
    """
    text = _read_text(source, limits.qasm3_bytes, field)
    bare = _prescan(text, limits, field, device_qubits)
    _check_nesting(bare, limits, field)
    _check_expansion(bare, limits, field)
    _check_controls(bare, limits, field, device_qubits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            circuit = qasm3.loads(text)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a parser in three languages may raise
        raise _refusal(error, "OpenQASM 3", field) from None
    return _checked(circuit, limits, field, device_qubits)


def _read_text(source: Any, bound: int, field: str) -> str:
    if type(source) is not str:
        raise DecodeError(f"{field} must be text", field=field)
    if len(source) > bound:
        raise PayloadTooLarge(
            f"{field} is {len(source)} characters of OpenQASM, at most {bound} are accepted; QPY has room for more",
            field=field,
            limit=f"{bound} bytes",
        )
    if "\0" in source:
        raise DecodeError(f"{field} holds a NUL character", field=field)
    return source


def _refusal(error: BaseException, language: str, field: str) -> DecodeError:
    found = _POSITION.search(str(error)[:200])
    place = f" (line {int(found[1])})" if found else ""
    return DecodeError(f"{field} is not valid {language}{place}", field=field)


def _checked(circuit: QuantumCircuit, limits: Limits, field: str, device_qubits: int | None) -> QuantumCircuit:
    try:
        check_circuit(circuit, limits, field=field, device_qubits=device_qubits)
    except QrtxError:
        raise
    except Exception:  # noqa: BLE001 - gate bodies are built when looked at, and may fail then
        raise DecodeError(f"{field} holds a gate that cannot be built", field=field) from None
    return circuit


def _prescan(text: str, limits: Limits, field: str, device_qubits: int | None) -> str:
    """Bound includes, registers and statements; returns the text without comments."""
    bare = _COMMENT.sub(lambda match: match[0] if match[0][0] == '"' else " ", text)
    for match in _INCLUDE.finditer(bare):
        if match[1] not in _LIBRARIES:
            raise ValidationError(
                f"{field} may include only {' and '.join(sorted(_LIBRARIES))}", field=field, limit="standard libraries"
            )
    qubits, clbits = _declared(bare, field)
    check_width(qubits, clbits, limits, field=field, device_qubits=device_qubits)
    outside = _GATE_BODY.sub(" ", bare)
    statements = outside.count(";")
    # A statement without an index acts on whole registers, so it may stand for as many instructions as there are bits.
    broad = sum(1 for statement in outside.split(";") if "[" not in statement and statement.strip())
    if bare.count(";") > limits.instructions or statements + max(0, broad - 16) * qubits > limits.instructions:
        raise ValidationError(
            f"{field} has too many instructions (limit: {limits.instructions})",
            field=field,
            limit=f"{limits.instructions} instructions",
        )
    return bare


def _declared(bare: str, field: str) -> tuple[int, int]:
    """Qubits and classical bits that the text declares."""
    total = {"q": 0, "c": 0}
    for match in _REGISTER.finditer(bare):
        if match[2] is None:
            size = 1
        else:
            digits = _DIGITS.match(match[2])
            if digits is None:
                raise ValidationError(f"{field} must give register sizes as plain numbers", field=field)
            size = int(digits[1].replace("_", ""))
        total["q" if match[1] in {"qubit", "qreg"} else "c"] += size
    for match in _SIZED.finditer(bare):
        if not match[1] or int(match[1][:12]) > _MAX_SIZED_BITS:
            raise ValidationError(f"{field} has a variable of more than {_MAX_SIZED_BITS} bits", field=field)
    return total["q"], total["c"]


def _check_expansion(bare: str, limits: Limits, field: str) -> None:
    """Bound what the gates defined in the text expand to: this parser builds every definition anew for every call."""
    bound = min(limits.instructions, _MAX_EXPANSION)
    sizes: dict[str, int] = {}
    for name, body in _GATE.findall(bare):
        sizes[name] = min(bound + 1, body.count(";") + _called(body, sizes))
    if sizes and (max(sizes.values()) > bound or _called(_GATE_BODY.sub(" ", bare), sizes) > bound):
        raise ValidationError(
            f"{field} has gates that expand to too many instructions (limit: {bound}); QPY has room for more",
            field=field,
            limit=f"{bound} instructions",
        )


def _called(statements: str, sizes: dict[str, int]) -> int:
    """Instructions behind the calls in `statements`; each modifier of a call builds its gate once more."""
    calls = (
        (statement.count("@") + 1) * sum(sizes.get(word, 0) for word in _WORD.findall(statement))
        for statement in statements.split(";")
    )
    return sum(calls)


def _check_controls(bare: str, limits: Limits, field: str, device_qubits: int | None) -> None:
    """Bound the number of controls of one gate, which is built in full before it is found not to fit."""
    bound = limits.qubits if device_qubits is None else min(limits.qubits, device_qubits)
    for match in _MODIFIER.finditer(bare):
        digits = _DIGITS.match(match[1])
        if digits is None or int(digits[1].replace("_", "")) > bound:
            raise ValidationError(
                f"{field} must give numbers of controls as plain numbers of at most {bound}",
                field=field,
                limit=f"{bound} qubits",
            )


def _check_nesting(bare: str, limits: Limits, field: str) -> None:
    if _SIGNS.search(bare):
        raise ValidationError(
            f"{field} has a row of {_MAX_SIGNS} or more signs", field=field, limit=f"{_MAX_SIGNS} signs"
        )
    depth = 0
    for match in re.finditer(r"[\[{()}\]]", bare):
        depth += 1 if match[0] in "[{(" else -1
        if depth > limits.qasm_nesting:
            raise ValidationError(
                f"{field} nests brackets deeper than {limits.qasm_nesting} levels",
                field=field,
                limit=f"{limits.qasm_nesting} levels",
            )
