"""From a `QuantumCircuit` to a `CircuitProgram` and the numbers for its slots, in one walk.

Most circuits become flat arrays. What arrays cannot say (control flow, run-time variables, matrices, instructions
without a definition) stays a circuit, cut down to its active qubits: see `dynamic`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from qiskit.circuit import Barrier, Delay, Measure, ParameterExpression, QuantumCircuit, Reset
from qiskit.transpiler import Target

from qrtx_ray.devices import dynamic
from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.parameters import check_rows, slot_table
from qrtx_ray.devices.program import CircuitProgram, Register
from qrtx_ray.devices.timing import Timetable, delay_s, operation_duration_s
from qrtx_ray.errors import ValidationError

__all__ = ["CLIFFORD_NAMES", "MAX_OPERATIONS", "build_program", "build_row_programs", "strip_measurements"]

Float64 = npt.NDArray[np.float64]
Timing: TypeAlias = DeviceModel | Calibration | Target

MAX_OPERATIONS = 100_000
"""Instructions a circuit may have when its own gates are expanded."""

_MAX_DEPTH = 64

CLIFFORD_NAMES = frozenset(
    "id x y z h s sdg sx sxdg cx cy cz dcx ecr swap iswap measure reset delay".split()  # noqa: SIM905 - reads better
)

# Their definitions are the outcome of a synthesis: slow to make and no easier to run than the matrix itself.
_OPAQUE = frozenset({"unitary", "initialize", "state_preparation", "isometry", "diagonal", "multiplexer", "kraus"})


def build_program(
    circuit: QuantumCircuit,
    device: Timing | None = None,
    *,
    parameter_values: npt.NDArray[Any] | None = None,
    keep_qubits: Iterable[int] = (),
    max_operations: int = MAX_OPERATIONS,
) -> tuple[CircuitProgram, Float64]:
    """`circuit` as a program, and the slot values of every parameter row.

    Qubit i of the circuit is physical qubit i. Barriers are dropped (they count for `duration_s`), and so are resets of
    qubits on which nothing has happened yet. A delay stays, in seconds, where a noisy device relaxes during it: on a
    qubit that is active and not yet measured. Gates that the circuit defines are expanded.

    Args:
        circuit: The circuit; it is not changed.
        device: Gives durations. Without it `duration_s` is 0.0. A `Calibration` knows no sample length, so delays in
            ``dt`` then count nothing.
        parameter_values: Shape ``(rows, circuit.num_parameters)``, columns in the order of `circuit.parameters`. None
            only for a circuit without parameters.
        keep_qubits: Physical qubits that are active even if nothing happens on them (an observable reads them).
        max_operations: Most instructions after expansion.

    Returns:
        The program and its slot values, float64, shape ``(rows, num_slots)``; one row for a circuit without parameters.
        A dynamic program has no slots, and its parameters are bound to the first row: see `build_row_programs`.

    Raises:
        ValidationError: Parameter values missing, of the wrong shape or not finite; more than `max_operations`.
    """
    parameters = list(circuit.parameters) if circuit.num_parameters else []
    rows = check_rows(parameters, parameter_values)
    timetable = Timetable.of(device)
    relaxes = isinstance(device, DeviceModel) and device.noisy
    walk = _Walk(circuit, timetable, max_operations, relaxes=relaxes)
    try:
        walk.run(circuit)
    except _NotFlatError:
        program = dynamic.build(circuit, rows[:1], timetable, keep_qubits)[0]
        return program, np.empty((len(rows), 0))
    program = walk.program(circuit, keep_qubits)
    return program, slot_table(walk.numbers, parameters, rows)


def build_row_programs(
    circuit: QuantumCircuit,
    device: Timing | None = None,
    *,
    parameter_values: npt.NDArray[Any] | None = None,
    keep_qubits: Iterable[int] = (),
) -> tuple[CircuitProgram, ...]:
    """One dynamic program for each parameter row, for a circuit that `build_program` found to be dynamic.

    Raises:
        ValidationError: As `build_program`.
    """
    parameters = list(circuit.parameters)
    rows = check_rows(parameters, parameter_values)
    return dynamic.build(circuit, rows, Timetable.of(device), keep_qubits)


def strip_measurements(circuit: QuantumCircuit) -> QuantumCircuit:
    """A copy of `circuit` without its final measurements: those after which nothing happens on their qubit.

    Classical registers stay as they are, and so do measurements in the middle. Barriers that stand after a qubit's last
    operation are dropped.
    """
    busy: set[Any] = set()
    kept: list[Any] = []
    for instruction in reversed(circuit.data):
        qubits = instruction.qubits
        if instruction.name == "barrier":
            qubits = tuple(qubit for qubit in qubits if qubit in busy)
            if qubits:
                kept.append(instruction.replace(operation=Barrier(len(qubits)), qubits=qubits))
            continue
        if instruction.name == "measure" and qubits[0] not in busy:
            continue
        busy.update(qubits)
        kept.append(instruction)
    stripped = circuit.copy_empty_like()
    for instruction in reversed(kept):
        stripped._append(instruction)  # noqa: SLF001 - checked when the circuit was made
    return stripped


class _NotFlatError(Exception):
    """The circuit has something that arrays cannot say."""


class _Walk:
    """The walk over a circuit: operations on physical qubits, numbers of their slots, and a clock for each qubit."""

    def __init__(
        self, circuit: QuantumCircuit, timetable: Timetable | None, max_operations: int, *, relaxes: bool
    ) -> None:
        self._relaxes = relaxes
        self.numbers: list[Any] = []
        self._ops: list[int] = []
        self._codes: dict[str, int] = {}
        self._used: set[int] = set()
        self._acted: set[int] = set()
        self._measured: set[int] = set()
        self._terminal = True
        self._free_at = [0.0] * circuit.num_qubits
        self._durations: Mapping[tuple[str, tuple[int, ...]], float] = timetable.durations if timetable else {}
        self._timed = timetable is not None
        self._dt_s = timetable.dt_s if timetable else None
        self._visited = 0
        self._max = max_operations

    def run(self, circuit: QuantumCircuit) -> None:
        """Walk the whole circuit.

        Raises:
            _NotFlatError: It has to stay a circuit.
            ValidationError: Too many operations.
        """
        if circuit.num_vars or circuit.num_stretches:
            raise _NotFlatError
        self._clbits = {bit: index for index, bit in enumerate(circuit.clbits)}
        self._block(circuit, {bit: index for index, bit in enumerate(circuit.qubits)}, self._clbits, 0)

    def _block(self, circuit: QuantumCircuit, index: Mapping[Any, int], clbits: Mapping[Any, int], depth: int) -> None:
        data = circuit._data  # noqa: SLF001 - the public view is as long again to walk
        self._visited += len(data)
        if self._visited > self._max or depth > _MAX_DEPTH:
            msg = f"the circuit has more than {self._max} instructions, or gates nested deeper than {_MAX_DEPTH}"
            raise ValidationError(msg, field="circuit", limit=f"{self._max} instructions")
        codes, ops, numbers, acted, measured = self._codes, self._ops, self.numbers, self._acted, self._measured
        free_at, durations, timed = self._free_at, self._durations, self._timed
        for instruction in data:
            if not instruction.is_standard_gate():
                self._other(instruction, index, clbits, depth)
                continue
            qubits = instruction.qubits
            name = instruction.name
            params = instruction.params
            count = len(params)
            code = codes.get(name)
            if len(qubits) == 1:
                a = index[qubits[0]]
                if code is None:
                    code = codes[name] = len(codes)
                ops += (code, a, -1, -1, len(numbers) if count else -1, count)
                acted.add(a)
                if timed:
                    free_at[a] += durations.get((name, (a,)), 0.0)
                if measured and a in measured:
                    self._terminal = False
            elif len(qubits) <= 3:
                if not qubits:
                    continue
                if code is None:
                    code = codes[name] = len(codes)
                places = tuple([index[qubit] for qubit in qubits])
                self._several(code, name, places, count)
            else:
                self._expand(instruction, index, clbits, depth)
                continue
            if count:
                numbers += params

    def _several(self, code: int, name: str, places: tuple[int, ...], count: int) -> None:
        third = places[2] if len(places) == 3 else -1
        self._ops += (code, places[0], places[1], third, len(self.numbers) if count else -1, count)
        self._acted.update(places)
        if self._timed:
            self._wait(places, self._durations.get((name, places), 0.0))
        if self._measured and not self._measured.isdisjoint(places):
            self._terminal = False

    def _wait(self, places: Iterable[int], duration_s: float) -> None:
        free_at = self._free_at
        end = max([free_at[place] for place in places], default=0.0) + duration_s
        for place in places:
            free_at[place] = end

    def _other(self, instruction: Any, index: Mapping[Any, int], clbits: Mapping[Any, int], depth: int) -> None:
        """One instruction that is no standard gate."""
        name = instruction.name
        operation = instruction.operation
        if isinstance(operation, Barrier):
            if self._timed:
                self._wait([index[qubit] for qubit in instruction.qubits], 0.0)
        elif isinstance(operation, Measure):
            self._measure(index[instruction.qubits[0]], clbits[instruction.clbits[0]])
        elif isinstance(operation, Reset):
            self._reset(index[instruction.qubits[0]])
        elif isinstance(operation, Delay):
            self._delay(index[instruction.qubits[0]], operation)
        elif instruction.is_control_flow() or name in _OPAQUE:
            raise _NotFlatError
        else:
            self._expand(instruction, index, clbits, depth)

    def _delay(self, place: int, operation: Delay) -> None:
        seconds = delay_s(operation.duration, operation.unit, self._dt_s)
        if self._timed and not isinstance(seconds, ParameterExpression):
            self._free_at[place] += seconds
        if self._relaxes and place not in self._measured:
            code = self._codes.setdefault("delay", len(self._codes))
            self._ops += (code, place, -1, -1, len(self.numbers), 1)
            self.numbers.append(seconds)

    def _measure(self, place: int, clbit: int) -> None:
        code = self._codes.setdefault("measure", len(self._codes))
        self._ops += (code, place, -1, -1, clbit, 0)
        self._acted.add(place)
        if place in self._measured:
            self._terminal = False
        self._measured.add(place)
        if self._timed:
            self._free_at[place] += operation_duration_s(self._durations, "measure", (place,))

    def _reset(self, place: int) -> None:
        if self._timed:
            self._free_at[place] += operation_duration_s(self._durations, "reset", (place,))
        self._used.add(place)
        # A qubit starts in |0>: a reset before anything else says nothing, and without it the circuit has none.
        if place not in self._acted:
            return
        code = self._codes.setdefault("reset", len(self._codes))
        self._ops += (code, place, -1, -1, -1, 0)
        self._terminal = False

    def _expand(self, instruction: Any, index: Mapping[Any, int], clbits: Mapping[Any, int], depth: int) -> None:
        definition = getattr(instruction.operation, "definition", None)
        if definition is None:
            raise _NotFlatError
        inner = dict(zip(definition.qubits, [index[qubit] for qubit in instruction.qubits], strict=True))
        inner_clbits = dict(zip(definition.clbits, [clbits[bit] for bit in instruction.clbits], strict=True))
        self._block(definition, inner, inner_clbits, depth + 1)

    def program(self, circuit: QuantumCircuit, keep_qubits: Iterable[int]) -> CircuitProgram:
        """What the walk found, on its active qubits."""
        width = circuit.num_qubits
        active = sorted(self._acted | self._used | set(keep_qubits))
        # `array` reads a list of ints three times as fast as NumPy does.
        ops = np.frombuffer(array("i", self._ops), dtype=np.int32).reshape(-1, 6)
        if "delay" in self._codes:
            # Waiting alone makes no qubit active: one that starts in |0> and only waits stays there.
            ops = ops[np.isin(ops[:, 1], active)]
        if active[-1:] != [len(active) - 1]:
            local = np.full(width + 1, -1, dtype=np.int32)
            local[active] = np.arange(len(active), dtype=np.int32)
            ops[:, 1:4] = local[ops[:, 1:4]]
        clbits = self._clbits
        return CircuitProgram(
            width=width,
            active_qubits=tuple(active),
            names=tuple(self._codes),
            ops=ops,
            num_slots=len(self.numbers),
            num_clbits=len(clbits),
            registers=tuple([Register(r.name, tuple([clbits[bit] for bit in r])) for r in circuit.cregs]),
            duration_s=max(self._free_at, default=0.0),
            clifford=CLIFFORD_NAMES.issuperset(self._codes),
            terminal_measurements=self._terminal,
        )
