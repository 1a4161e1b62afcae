from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import ClassicalRegister, Gate, Instruction, Parameter, ParameterVector, QuantumRegister
from qiskit.circuit.library import HGate, get_standard_gate_name_mapping
from qiskit.quantum_info import Clifford, Operator

from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program import Register
from qrtx_ray.devices.program_builder import CLIFFORD_NAMES, MAX_OPERATIONS, build_program, strip_measurements
from qrtx_ray.errors import ValidationError

from .circuits import rebuilt, small_circuits

GATES = get_standard_gate_name_mapping()
QUICK = settings(deadline=None, derandomize=True, max_examples=60)


@QUICK
@given(small_circuits())
def test_a_program_says_what_its_circuit_says(circuit):
    program, values = build_program(circuit, keep_qubits=range(circuit.num_qubits))
    assert values.shape == (1, program.num_slots)
    assert program.active_qubits == tuple(range(circuit.num_qubits))
    assert Operator(rebuilt(program, values[0])).equiv(Operator(circuit))


@QUICK
@given(small_circuits(parameters=True), st.integers(0, 2**32 - 1))
def test_slot_values_are_those_of_assign_parameters(circuit, seed):
    rows = np.random.default_rng(seed).uniform(-4, 4, size=(3, circuit.num_parameters))
    program, values = build_program(circuit, parameter_values=rows)
    assert values.shape == (3, program.num_slots)
    for row, slots in zip(rows, values, strict=True):
        bound_program, bound = build_program(circuit.assign_parameters(row))
        assert bound_program.structure == program.structure
        np.testing.assert_allclose(slots, bound[0], atol=1e-12)


@QUICK
@given(small_circuits(clifford=True))
def test_the_clifford_flag_is_never_wrong(circuit):
    program, _ = build_program(circuit)
    assert program.clifford == (set(program.names) <= CLIFFORD_NAMES)
    if program.clifford:
        Clifford(circuit)


@pytest.mark.parametrize("name", sorted(CLIFFORD_NAMES - {"measure", "reset"}))
def test_every_name_called_clifford_is_one(name):
    Clifford.from_operator(Operator(GATES[name]))


@pytest.mark.parametrize(
    "name", sorted(name for name, gate in GATES.items() if isinstance(gate, Gate) and 1 <= gate.num_qubits <= 4)
)
def test_every_standard_gate_has_its_meaning(name):
    gate = GATES[name]
    circuit = QuantumCircuit(gate.num_qubits)
    circuit.append(type(gate)(*(0.3 + 0.4 * i for i in range(len(gate.params)))), range(gate.num_qubits))
    program, values = build_program(circuit, keep_qubits=range(gate.num_qubits))
    assert not program.dynamic
    assert Operator(rebuilt(program, values[0])).equiv(Operator(circuit))


@pytest.mark.parametrize("qubits", [(0, 1, 2), (2, 0, 1), (4, 17, 3)])
def test_only_active_qubits_are_kept_and_in_ascending_order(qubits):
    circuit = QuantumCircuit(20, 1)
    circuit.ccx(*qubits)
    circuit.barrier()
    circuit.delay(100, 9)
    circuit.measure(qubits[0], 0)
    program, _ = build_program(circuit)
    assert program.width == 20
    assert program.active_qubits == tuple(sorted(qubits))
    first, last = program.operations()
    assert tuple(program.active_qubits[q] for q in first.qubits) == qubits
    assert (last.name, program.active_qubits[last.qubits[0]], last.clbit) == ("measure", qubits[0], 0)


def test_qubits_can_be_kept_though_nothing_happens_on_them():
    circuit = QuantumCircuit(5)
    circuit.h(3)
    assert build_program(circuit, keep_qubits=[1, 3])[0].active_qubits == (1, 3)


def test_an_empty_circuit_is_a_program():
    program, values = build_program(QuantumCircuit(3))
    assert (program.num_qubits, program.ops.shape, values.shape) == (0, (0, 6), (1, 0))
    assert program.operations() == []
    assert program.clifford


def test_registers_keep_their_names_their_order_and_their_bits():
    a, b = ClassicalRegister(2, "a"), ClassicalRegister(3, "b")
    overlapping = ClassicalRegister(name="c", bits=[b[0], a[1]])
    circuit = QuantumCircuit(QuantumRegister(3), a, b, overlapping)
    circuit.measure([0, 1], [b[2], a[0]])
    program, _ = build_program(circuit)
    assert program.registers == (Register("a", (0, 1)), Register("b", (2, 3, 4)), Register("c", (2, 1)))
    assert program.num_clbits == 5
    assert [operation.clbit for operation in program.operations()] == [4, 0]


@pytest.mark.parametrize(
    ("build", "terminal"),
    [
        (lambda c: (c.h(0), c.measure(0, 0)), True),
        (lambda c: (c.measure(0, 0), c.h(0)), False),
        (lambda c: (c.measure(0, 0), c.h(1), c.measure(1, 1)), True),
        (lambda c: (c.measure(0, 0), c.cx(0, 1)), False),
        (lambda c: (c.measure(0, 0), c.measure(0, 1)), False),
        (lambda c: (c.measure(0, 0), c.barrier(), c.h(1)), True),
        (lambda c: (c.h(0), c.reset(0), c.measure(0, 0)), False),
        (lambda c: (c.reset(0), c.h(0), c.measure(0, 0)), True),
        (lambda c: (c.measure(0, 0), c.reset(0)), False),
    ],
)
def test_measurements_are_terminal_if_nothing_follows_and_nothing_is_reset(build, terminal):
    circuit = QuantumCircuit(2, 2)
    build(circuit)
    assert build_program(circuit)[0].terminal_measurements is terminal


def test_a_reset_of_a_fresh_qubit_is_no_operation_but_makes_it_active():
    circuit = QuantumCircuit(3)
    circuit.reset([0, 0, 2])
    circuit.x(0)
    program, _ = build_program(circuit)
    assert program.active_qubits == (0, 2)
    assert [operation.name for operation in program.operations()] == ["x"]


def test_gates_of_the_circuits_own_are_expanded_with_their_parameters():
    theta = Parameter("theta")
    inner = QuantumCircuit(2, name="inner")
    inner.rx(2 * theta, 1)
    inner.cx(1, 0)
    outer = QuantumCircuit(2, name="outer")
    outer.append(inner.to_gate(), [1, 0])
    circuit = QuantumCircuit(3)
    circuit.append(outer.to_gate(), [2, 1])
    program, values = build_program(circuit, parameter_values=np.array([[0.25], [0.5]]))
    assert program.active_qubits == (1, 2)
    assert [(op.name, op.qubits) for op in program.operations()] == [("rx", (1,)), ("cx", (1, 0))]
    assert values.tolist() == [[0.5], [1.0]]


def test_a_gate_that_only_has_a_standard_name_keeps_its_own_meaning():
    impostor = Gate("x", 1, [])
    impostor.definition = QuantumCircuit(1)
    impostor.definition.h(0)
    circuit = QuantumCircuit(1)
    circuit.append(impostor, [0])
    assert [op.name for op in build_program(circuit)[0].operations()] == ["h"]


def test_controlled_gates_with_another_control_state_are_expanded():
    circuit = QuantumCircuit(2)
    circuit.append(HGate().control(1, ctrl_state=0), [0, 1])
    program, values = build_program(circuit)
    assert not program.dynamic
    assert Operator(rebuilt(program, values[0])).equiv(Operator(circuit))


def test_measurements_inside_instructions_reach_the_outer_bits():
    inner = QuantumCircuit(2, 2)
    inner.measure([0, 1], [1, 0])
    circuit = QuantumCircuit(4, 4)
    circuit.append(inner.to_instruction(), [2, 3], [0, 3])
    program, _ = build_program(circuit)
    assert program.active_qubits == (2, 3)
    assert [(op.qubits, op.clbit) for op in program.operations()] == [((0,), 3), ((1,), 0)]


@pytest.mark.parametrize("empty", [True, False])
def test_doubling_definitions_are_refused_without_being_expanded(empty):
    # Shared by hand: `to_gate` copies what it nests, so the circuit would double while it is made.
    body = QuantumCircuit(1)
    if not empty:
        body.x(0)
    for level in range(40):
        gate = Gate(f"g{level}", 1, [])
        gate.definition = body
        body = QuantumCircuit(1)
        body.append(gate, [0], copy=False)
        body.append(gate, [0], copy=False)
    with pytest.raises(ValidationError) as caught:
        build_program(body, max_operations=1000)
    assert caught.value.limit == "1000 instructions"


def test_a_long_circuit_is_refused_by_its_length():
    circuit = QuantumCircuit(1)
    for _ in range(11):
        circuit.x(0)
    assert build_program(circuit, max_operations=11)[0].ops.shape == (11, 6)
    with pytest.raises(ValidationError, match="10 instructions"):
        build_program(circuit, max_operations=10)
    assert MAX_OPERATIONS == 100_000


@pytest.mark.parametrize("angle", [math.nan, math.inf, -math.inf])
def test_angles_must_be_finite(angle):
    circuit = QuantumCircuit(1)
    circuit.rx(angle, 0)
    with pytest.raises(ValidationError, match="finite"):
        build_program(circuit)
    parameterised = QuantumCircuit(1)
    parameterised.rx(Parameter("a"), 0)
    with pytest.raises(ValidationError, match="finite"):
        build_program(parameterised, parameter_values=np.array([[angle]]))


@pytest.mark.parametrize("values", [None, np.empty((0, 2)), np.zeros((1, 1)), np.zeros((1, 3)), np.zeros(2)])
def test_parameter_values_must_fit_the_circuit(values):
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("a"), 0)
    circuit.rx(Parameter("b"), 0)
    with pytest.raises(ValidationError) as caught:
        build_program(circuit, parameter_values=values)
    assert caught.value.field == "parameter_values"


def test_an_expression_that_has_no_value_is_refused_in_our_own_words():
    a = Parameter("a")
    circuit = QuantumCircuit(1)
    circuit.rx(1 / a, 0)
    with pytest.raises(ValidationError, match="finite real"):
        build_program(circuit, parameter_values=np.array([[0.0]]))
    imaginary = QuantumCircuit(1)
    imaginary.rx(a.log(), 0)
    with pytest.raises(ValidationError, match="finite"):
        build_program(imaginary, parameter_values=np.array([[-1.0]]))


def test_columns_are_in_the_order_of_the_circuits_parameters():
    vector, z, b = ParameterVector("a", 11), Parameter("z"), Parameter("b")
    circuit = QuantumCircuit(1)
    for number in (z, vector[10], b, vector[2]):
        circuit.rz(number, 0)
    order = [parameter.name for parameter in circuit.parameters]
    rows = np.arange(4.0)[None, :]
    _, values = build_program(circuit, parameter_values=rows)
    assert [order[int(value)] for value in values[0]] == ["z", "a[10]", "b", "a[2]"]


def test_circuits_that_differ_only_in_numbers_have_one_structure():
    def made(angle):
        circuit = QuantumCircuit(2)
        circuit.rx(angle, 0)
        circuit.cx(0, 1)
        return circuit

    one = build_program(made(0.1))[0]
    assert one.structure == build_program(made(0.2))[0].structure
    assert one.structure == build_program(made(Parameter("a")), parameter_values=np.array([[1.0]]))[0].structure
    other = QuantumCircuit(2)
    other.rx(0.1, 1)
    other.cx(0, 1)
    assert one.structure != build_program(other)[0].structure


def test_the_circuit_itself_is_not_changed():
    circuit = QuantumCircuit(2, 1)
    circuit.rx(Parameter("a"), 0)
    circuit.measure(0, 0)
    copy = circuit.copy()
    build_program(circuit, parameter_values=np.array([[1.0]]))
    strip_measurements(circuit)
    assert circuit == copy


def test_the_duration_of_a_transpiled_circuit_is_that_of_qiskits_scheduler():
    device = DeviceModel.load("fake_sherbrooke@aer")
    circuit = QuantumCircuit(4)
    circuit.h(0)
    for i in range(3):
        circuit.cx(i, i + 1)
    circuit.measure_all()
    isa = transpile(circuit, device.target(), seed_transpiler=3)
    expected = isa.estimate_duration(device.target(), unit="s")
    for source in (device, device.calibration, device.target()):
        assert build_program(isa, source)[0].duration_s == pytest.approx(expected)
    assert build_program(isa)[0].duration_s == 0.0


@pytest.mark.parametrize(
    ("duration", "unit", "seconds"), [(100, "ns", 1e-7), (2, "us", 2e-6), (900, "dt", 900 / 4.5e9), (1, "ms", 1e-3)]
)
def test_a_delay_takes_time_and_is_no_operation(duration, unit, seconds):
    device = DeviceModel.load("fake_manila@aer")
    circuit = QuantumCircuit(5)
    circuit.delay(duration, 0, unit=unit)
    circuit.barrier()
    circuit.sx(1)
    program, _ = build_program(circuit, device)
    assert program.active_qubits == (1,)
    assert program.duration_s == pytest.approx(seconds + device.calibration.gate_duration_s["sx", (1,)])


def test_final_measurements_are_stripped_and_others_stay():
    circuit = QuantumCircuit(3, 3)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.x(0)
    circuit.measure([0, 1], [1, 2])
    circuit.barrier()
    stripped = strip_measurements(circuit)
    assert [instruction.name for instruction in stripped.data] == ["h", "measure", "x"]
    assert stripped.num_clbits == 3
    assert [instruction.name for instruction in strip_measurements(stripped).data] == ["h", "measure", "x"]


def test_stripping_keeps_a_barrier_before_work():
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.barrier()
    circuit.h(0)
    circuit.measure_all()
    stripped = strip_measurements(circuit)
    assert [(i.name, len(i.qubits)) for i in stripped.data] == [("h", 1), ("barrier", 1), ("h", 1)]


@pytest.mark.parametrize("opaque", [Instruction("mystery", 1, 0, []), Gate("unknown", 1, [0.5])])
def test_an_instruction_without_a_definition_stays_a_circuit(opaque):
    circuit = QuantumCircuit(3)
    circuit.append(opaque, [1])
    program, values = build_program(circuit)
    assert program.dynamic
    assert program.active_qubits == (1,)
    assert values.shape == (1, 0)
