from __future__ import annotations

import io

import numpy as np
import pytest
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Parameter
from qiskit.circuit.classical import expr, types
from qiskit_aer import AerSimulator

from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program_builder import build_program, build_row_programs


def loaded(program):
    (circuit,) = qpy.load(io.BytesIO(program.qpy))
    return circuit


def counts(circuit):
    result = AerSimulator(max_parallel_threads=1).run(circuit, shots=200, seed_simulator=7).result()
    return result.get_counts()


def feed_forward(width=20, measured=4, corrected=17):
    circuit = QuantumCircuit(width, 2)
    circuit.x(measured)
    circuit.delay(100, 9)
    circuit.barrier()
    circuit.measure(measured, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.x(corrected)
    with otherwise:
        circuit.h(corrected)
    circuit.measure(corrected, 1)
    return circuit


def test_control_flow_stays_a_circuit_on_its_active_qubits():
    program, values = build_program(feed_forward())
    assert program.dynamic
    assert (program.width, program.active_qubits, program.num_clbits) == (20, (4, 17), 2)
    assert (program.ops.shape, values.shape) == ((0, 6), (1, 0))
    assert not program.terminal_measurements
    circuit = loaded(program)
    assert circuit.num_qubits == 2
    assert counts(circuit) == {"11": 200}


def test_idle_qubits_inside_bodies_are_cut_away():
    body = QuantumCircuit(6)
    body.x(4)
    body.barrier()
    circuit = QuantumCircuit(6, 1)
    circuit.x(1)
    circuit.measure(1, 0)
    circuit.if_test((circuit.clbits[0], 1), body, range(6), [])
    circuit.measure(4, 0)
    program, _ = build_program(circuit)
    assert program.active_qubits == (1, 4)
    assert loaded(program).num_qubits == 2
    assert counts(loaded(program)) == {"1": 200}


@pytest.mark.parametrize("kind", ["for", "while", "switch"])
def test_every_kind_of_control_flow_survives_the_cut(kind):
    circuit = QuantumCircuit(5, 2)
    if kind == "for":
        with circuit.for_loop(range(3)):
            circuit.x(3)
    elif kind == "while":
        with circuit.while_loop((circuit.clbits[0], 0)):
            circuit.x(3)
            circuit.measure(3, 0)
    else:
        with circuit.switch(circuit.cregs[0]) as case, case(0):
            circuit.x(3)
    circuit.measure(3, 1)
    program, _ = build_program(circuit)
    assert program.active_qubits == (3,)
    assert {key[0] for key in counts(loaded(program))} == {"1"}


def test_run_time_variables_stay():
    circuit = QuantumCircuit(3, 1)
    flag = circuit.add_var("flag", expr.lift(True, types.Bool()))
    with circuit.if_test(flag):
        circuit.x(2)
    circuit.measure(2, 0)
    program, _ = build_program(circuit)
    assert program.active_qubits == (2,)
    circuit = loaded(program)
    assert [variable.name for variable in circuit.iter_declared_vars()] == ["flag"]
    assert [instruction.name for instruction in circuit.data] == ["store", "if_else", "measure"]


def test_a_matrix_stays_a_circuit():
    circuit = QuantumCircuit(3, 1)
    circuit.unitary(np.array([[0, 1], [1, 0]]), [2])
    circuit.measure(2, 0)
    program, _ = build_program(circuit)
    assert program.dynamic
    assert counts(loaded(program)) == {"1": 200}


def test_each_parameter_row_has_a_bound_program():
    angle, waiting = Parameter("angle"), Parameter("waiting")
    circuit = feed_forward()
    circuit.rx(angle, 17)
    circuit.delay(waiting, 3)
    circuit.measure(17, 1)
    rows = np.array([[0.0, 10.0], [np.pi, 10.0]])
    first, values = build_program(circuit, parameter_values=rows)
    programs = build_row_programs(circuit, parameter_values=rows)
    assert values.shape == (2, 0)
    assert [counts(loaded(program)) for program in programs] == [{"11": 200}, {"01": 200}]
    assert counts(loaded(first)) == {"11": 200}


def test_the_duration_is_the_longer_branch_and_all_rounds():
    device = DeviceModel.load("fake_manila@aer")
    x_s = device.calibration.gate_duration_s["x", (0,)]
    circuit = QuantumCircuit(5, 1)
    with circuit.for_loop(range(4)):
        circuit.x(0)
    with circuit.if_test((circuit.clbits[0], 0)) as otherwise:
        circuit.x(0)
    with otherwise:
        circuit.x(0)
        circuit.x(0)
    assert build_program(circuit, device)[0].duration_s == pytest.approx(6 * x_s)
    assert build_program(circuit)[0].duration_s == 0.0
