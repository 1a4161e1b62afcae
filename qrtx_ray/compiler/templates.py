"""Program templates: a walked circuit that takes new parameter values without being walked again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from qiskit.circuit import Barrier, Delay, QuantumCircuit

from qrtx_ray.compiler.profile import Measured, measure_program
from qrtx_ray.devices.circuit_fidelity import circuit_fidelity
from qrtx_ray.devices.fidelity import predicted_fidelity
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.parameters import check_rows, slot_table
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.devices.program_builder import build_program, build_row_programs

__all__ = ["BoundProgram", "ProgramTemplate"]

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class BoundProgram:
    """A program and the slot values of its rows, shape ``(rows, num_slots)``; a dynamic one has a program for each row."""

    program: CircuitProgram
    values: Float64
    row_programs: tuple[CircuitProgram, ...] = ()


class ProgramTemplate:
    """A circuit of the device's instructions, made into a program once.

    Args:
        circuit: In the device's instructions; qubit i is the device's qubit i.
        device: Gives durations.
        rows: Parameter values it is first wanted for, shape ``(rows, parameters)``.
        keep_qubits: Qubits that stay active though nothing happens on them.
        max_operations: Most instructions after expansion.

    Raises:
        ValidationError: Not finite, or too many instructions.
    """

    def __init__(
        self,
        circuit: QuantumCircuit,
        device: DeviceModel,
        rows: Float64,
        *,
        keep_qubits: Iterable[int] = (),
        max_operations: int,
    ) -> None:
        self._device = device
        self._keep_qubits = tuple(keep_qubits)
        self._max_operations = max_operations
        self._parameters = list(circuit.parameters) if circuit.num_parameters else []
        self.program, values = build_program(
            circuit,
            device,
            parameter_values=rows if self._parameters else None,
            keep_qubits=self._keep_qubits,
            max_operations=max_operations,
        )
        self.size = _measure(circuit, self.program, values, device, self._keep_qubits)
        self._constant = values if not self._parameters else None
        self._numbers = self._slot_numbers(circuit, rows, values)
        # The circuit itself is only needed again where the numbers alone do not say it.
        self._circuit = circuit if self._parameters and self._numbers is None else None

    @property
    def size_bytes(self) -> int:
        """Bytes it takes in a cache, about."""
        held = self.program.ops.nbytes + len(self.program.qpy) + 64 * self.program.num_slots + 4096
        return held if self._circuit is None else held + 2048 * len(self._circuit.data)

    def bind(self, rows: Float64) -> BoundProgram:
        """The program with the numbers of `rows`, shape ``(rows, parameters)``.

        Raises:
            ValidationError: A parameter value or an angle computed from them is not finite.
        """
        if self._constant is not None:
            if len(rows) == 1:
                return BoundProgram(self.program, self._constant)
            return BoundProgram(self.program, np.repeat(self._constant, len(rows), axis=0))
        if self._numbers is not None:
            rows = check_rows(self._parameters, rows)
            return BoundProgram(self.program, slot_table(self._numbers, self._parameters, rows))
        if self.program.dynamic:
            programs = build_row_programs(
                self._circuit, self._device, parameter_values=rows, keep_qubits=self._keep_qubits
            )
            return BoundProgram(programs[0], np.empty((len(rows), 0)), programs)
        return BoundProgram(
            *build_program(
                self._circuit,
                self._device,
                parameter_values=rows,
                keep_qubits=self._keep_qubits,
                max_operations=self._max_operations,
            )
        )

    def _slot_numbers(self, circuit: QuantumCircuit, rows: Float64, values: Float64) -> list[Any] | None:
        """The circuit's numbers in slot order, or None where they cannot be had, or do not give the builder's values."""
        if not self._parameters or self.program.dynamic:
            return None
        numbers = list(_numbers(circuit))
        if len(numbers) != self.program.num_slots:
            return None
        same = np.array_equal(slot_table(numbers, self._parameters, rows), values)
        return numbers if same else None


def _numbers(circuit: QuantumCircuit) -> Iterable[Any]:
    """Gate numbers in the order in which operations happen, definitions expanded."""
    for instruction in circuit.data:
        if instruction.is_standard_gate():
            yield from _of_standard_gate(instruction)
        elif not isinstance(instruction.operation, (Barrier, Delay)):
            definition = getattr(instruction.operation, "definition", None)
            if definition is not None:
                yield from _numbers(definition)


def _of_standard_gate(instruction: Any) -> Sequence[Any]:
    if 0 < len(instruction.qubits) <= 3:
        return list(instruction.params)
    definition = instruction.operation.definition
    return list(_numbers(definition)) if instruction.qubits and definition is not None else []


def _measure(
    circuit: QuantumCircuit, program: CircuitProgram, values: Float64, device: DeviceModel, read_qubits: tuple[int, ...]
) -> Measured:
    structure, calibration = program.structure, device.calibration
    if program.dynamic:
        fidelity = circuit_fidelity(circuit, calibration) if device.noisy else None
        return Measured(circuit.depth(), circuit.num_nonlocal_gates(), structure, fidelity)
    size = measure_program(program)
    if not device.noisy:
        return replace(size, structure=structure)
    fidelity = predicted_fidelity(
        program, calibration, structure=structure, delays_row=values[0], read_qubits=read_qubits
    )
    return replace(size, structure=structure, fidelity=fidelity)
