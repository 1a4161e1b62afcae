"""What a circuit must satisfy after it was read, whatever format it came in.

The number of instructions is counted *after* full expansion without expanding: definitions and loop bodies are counted
once and multiplied. The walk itself never visits more instructions than the limit allows to exist, so a chain of gates
that doubles at each level is refused as quickly as an honest circuit is accepted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from qiskit.circuit import (
    AnnotatedOperation,
    Barrier,
    ControlFlowOp,
    ControlledGate,
    Delay,
    Gate,
    Instruction,
    Measure,
    ParameterExpression,
    PowerModifier,
    QuantumCircuit,
    Reset,
)
from qiskit.circuit.classical import expr
from qiskit.circuit.library import Initialize, PauliEvolutionGate, StatePreparation, UnitaryGate

from qrtx_ray.codec.limits import Limits
from qrtx_ray.errors import ValidationError

__all__ = ["check_circuit", "check_width"]

_ATOMIC = (Measure, Reset, Barrier)
_JUMPS = frozenset({"break_loop", "continue_loop", "store"})
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12}


def check_width(num_qubits: int, num_clbits: int, limits: Limits, *, field: str, device_qubits: int | None) -> None:
    """Refuse a circuit wider than the device or the limits; callable before the circuit exists.

    Raises:
        ValidationError: No qubits, or too many bits of either kind.
    """
    bound = limits.qubits if device_qubits is None else min(limits.qubits, device_qubits)
    if num_qubits > bound:
        raise ValidationError(
            f"{field} has {num_qubits} qubits, at most {bound} are accepted here", field=field, limit=f"{bound} qubits"
        )
    if num_qubits < 1:
        raise ValidationError(f"{field} has no qubits", field=field, limit="at least 1 qubit")
    if num_clbits > limits.clbits:
        raise ValidationError(
            f"{field} has {num_clbits} classical bits, at most {limits.clbits} are accepted",
            field=field,
            limit=f"{limits.clbits} classical bits",
        )


def check_circuit(circuit: QuantumCircuit, limits: Limits, *, field: str, device_qubits: int | None = None) -> int:
    """Check widths, numbers, delays, control flow and the expanded size of `circuit`.

    Args:
        field: What to call the circuit in messages, e.g. ``"pubs[0].circuit"``.
        device_qubits: Width of the device, or None.

    Returns:
        Instructions after full expansion (an upper bound where a library gate has several syntheses).

    Raises:
        ValidationError: Some bound is crossed; the text names the field and the limit.
    """
    check_width(circuit.num_qubits, circuit.num_clbits, limits, field=field, device_qubits=device_qubits)
    walk = _Walk(limits, field)
    walk.check_numbers((circuit.global_phase,))
    return walk.count(circuit, flow=0, nesting=0)


@dataclass(slots=True)
class _Walk:
    limits: Limits
    where: str
    visited: int = 0
    # QASM 2 gates of one name have one body, whatever their angles; every call makes a new definition object.
    known: dict[tuple[type, str], int] = field(default_factory=dict)

    def count(self, circuit: QuantumCircuit, *, flow: int, nesting: int) -> int:
        """Expanded size of a circuit or body, refused as soon as it crosses the limit."""
        if nesting > self.limits.definition_depth:
            self.refuse("defines gates by gates too deeply", f"{self.limits.definition_depth} levels")
        total = 0
        bound = self.limits.instructions
        isfinite = math.isfinite
        for instruction in circuit.data:
            if instruction.is_standard_gate():
                total += 1
                for value in instruction.params:
                    if type(value) is float:
                        if not isfinite(value):
                            self.refuse("has a parameter that is not finite", "finite numbers")
                    else:
                        self.check_number(value)
            else:
                total += self.weigh(instruction.operation, flow=flow, nesting=nesting)
            if total > bound:
                self.refuse("has too many instructions after expansion", f"{bound} instructions")
        self.visited += len(circuit.data)
        if self.visited > bound:
            self.refuse("has too many instructions after expansion", f"{bound} instructions")
        return total

    def weigh(self, operation: Any, *, flow: int, nesting: int) -> int:
        """Expanded size of one operation that is not a standard gate."""
        if isinstance(operation, _ATOMIC):
            return 1
        if isinstance(operation, Delay):
            return self.check_delay(operation)
        if isinstance(operation, ControlFlowOp):
            return self.weigh_flow(operation, flow=flow + 1, nesting=nesting)
        if isinstance(operation, AnnotatedOperation):
            return self.weigh_annotated(operation, flow=flow, nesting=nesting)
        name = operation.name
        if name in _JUMPS:
            return 1
        if not isinstance(operation, Instruction):
            # Clifford and the like: tables of n² bits, synthesised in O(n²) gates.
            return 16 * int(operation.num_qubits) ** 2
        self.check_numbers(operation.params)
        if isinstance(operation, (UnitaryGate, StatePreparation, Initialize)):
            return self.weigh_matrix(operation)
        if isinstance(operation, PauliEvolutionGate):
            return self.weigh_evolution(operation)
        return self.weigh_definition(operation, flow=flow, nesting=nesting)

    def weigh_definition(self, operation: Instruction, *, flow: int, nesting: int) -> int:
        kind = type(operation)
        if kind.__name__ == "_DefinedGate":
            key = (kind, operation.name)
            if key not in self.known:
                self.known[key] = self.count(operation.definition, flow=flow, nesting=nesting + 1)
            return self.known[key]
        # Only a definition that came with the request is walked: the lazy ones of library gates may be costly to make.
        definition = getattr(operation, "_definition", None)
        if definition is not None and kind in {Gate, Instruction, ControlledGate}:
            size = self.count(definition, flow=flow, nesting=nesting + 1)
            return size * 16 if kind is ControlledGate else max(1, size)
        if kind in {Gate, Instruction}:
            return 1
        return 16 * max(1, int(operation.num_qubits)) ** 2

    def weigh_matrix(self, operation: Instruction) -> int:
        width = operation.num_qubits
        if width > self.limits.unitary_qubits:
            self.refuse(
                f"has a gate given by numbers on {width} qubits", f"{self.limits.unitary_qubits} qubits for such a gate"
            )
        return int(4**width if isinstance(operation, UnitaryGate) else 4 * 2**width)

    def weigh_evolution(self, operation: PauliEvolutionGate) -> int:
        operators = operation.operator if isinstance(operation.operator, list) else [operation.operator]
        repeats = max(1, int(getattr(operation.synthesis, "reps", 1) or 1))
        order = max(1, int(getattr(operation.synthesis, "order", 1) or 1))
        if order > 8:
            self.refuse("has an evolution gate of high order", "order 8")
        terms = sum(len(operator) for operator in operators)
        return int(terms * (2 * operation.num_qubits + 3) * repeats * 5 ** (order // 2))

    def weigh_annotated(self, operation: AnnotatedOperation, *, flow: int, nesting: int) -> int:
        if nesting > self.limits.definition_depth:
            self.refuse("defines gates by gates too deeply", f"{self.limits.definition_depth} levels")
        size = self.weigh(operation.base_op, flow=flow, nesting=nesting + 1)
        for modifier in operation.modifiers:
            if isinstance(modifier, PowerModifier):
                self.check_number(modifier.power)
                size = math.ceil(min(size * max(1.0, abs(modifier.power)), self.limits.instructions + 1))
            else:
                size *= 16
        return int(size)

    def weigh_flow(self, operation: ControlFlowOp, *, flow: int, nesting: int) -> int:
        name = operation.name
        if flow > self.limits.control_flow_depth:
            self.refuse("nests control flow too deeply", f"{self.limits.control_flow_depth} levels")
        if name == "while_loop" and not self.limits.allow_while_loops:
            raise ValidationError(
                f"{self.where} has a while loop; loops without a fixed number of iterations are not accepted",
                field=self.where,
                limit="no while_loop",
            )
        repeats = 1
        if name == "for_loop":
            indices = operation.params[0]
            try:
                repeats = len(indices)
            except (TypeError, OverflowError):
                self.refuse("has a for loop whose range is not fixed", f"{self.limits.loop_iterations} iterations")
            if repeats > self.limits.loop_iterations:
                self.refuse("has a for loop of too many iterations", f"{self.limits.loop_iterations} iterations")
        bodies = sum(self.count(body, flow=flow, nesting=nesting + 1) for body in operation.blocks)
        return 1 + repeats * bodies

    def check_delay(self, operation: Delay) -> int:
        duration, unit = operation.duration, operation.unit
        if isinstance(duration, expr.Expr):
            self.refuse("has a delay given by an expression", "fixed durations")
        if isinstance(duration, ParameterExpression):
            return 1
        self.check_number(duration)
        if unit == "dt":
            fits, bound = 0 <= duration <= self.limits.delay_dt, f"{self.limits.delay_dt} dt"
        else:
            fits, bound = (
                0 <= duration * _SECONDS.get(unit, math.inf) <= self.limits.delay_s,
                f"{self.limits.delay_s} s",
            )
        if not fits:
            self.refuse("has a delay out of bounds", bound)
        return 1

    def check_numbers(self, values: Any) -> None:
        for value in values:
            self.check_number(value)

    def check_number(self, value: Any) -> None:
        """Refuse a NaN or infinity, bare or in an array; what is not a number has no say."""
        if isinstance(value, (float, complex, np.number, np.ndarray)):
            kind = np.asarray(value)
            if kind.dtype.kind in "fc" and not np.isfinite(kind).all():
                self.refuse("has a parameter that is not finite", "finite numbers")
        elif isinstance(value, int) and abs(value) > 1 << 62:
            self.refuse("has a whole number beyond 62 bits as a parameter", "2**62")
        elif isinstance(value, ParameterExpression) and not value.parameters:
            number = complex(value)
            if not (math.isfinite(number.real) and math.isfinite(number.imag)):
                self.refuse("has a parameter that is not finite", "finite numbers")

    def refuse(self, what: str, limit: str) -> None:
        raise ValidationError(f"{self.where} {what} (limit: {limit})", field=self.where, limit=limit)
