"""A template gives, for any numbers, what walking the circuit again would give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.circuit.library import n_local

from qrtx_ray.compiler.templates import ProgramTemplate
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program_builder import build_program
from qrtx_ray.errors import ValidationError

IDEAL = DeviceModel.load("fake_manila@aer_ideal")
ANGLES = st.floats(-7, 7)


def template(circuit: QuantumCircuit, rows, **more) -> ProgramTemplate:
    return ProgramTemplate(circuit, IDEAL, np.asarray(rows, dtype=float), max_operations=1000, **more)


def sweep() -> QuantumCircuit:
    """Parameters bare, in affine and in other expressions, repeated, and inside a gate of the circuit's own."""
    a, b = Parameter("a"), Parameter("b")
    inner = QuantumCircuit(2)
    inner.rz(2 * a + 0.25, 0)
    inner.cx(0, 1)
    inner.delay(100, 0)
    circuit = QuantumCircuit(3)
    circuit.rz(b, 0)
    circuit.append(inner.to_instruction(), [0, 1])
    circuit.barrier()
    circuit.rz(a * b, 1)
    circuit.u(0.5, a, -b, 2)
    circuit.measure_all()
    return circuit


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    st.lists(st.tuples(ANGLES, ANGLES), min_size=1, max_size=4),
    st.lists(st.tuples(ANGLES, ANGLES), min_size=1, max_size=4),
)
def test_new_numbers_give_what_a_new_walk_would(first, second):
    made = template(sweep(), first)
    for rows in (first, second, first):
        bound = made.bind(np.array(rows))
        program, values = build_program(sweep(), IDEAL, parameter_values=np.array(rows))
        assert bound.program.structure == program.structure
        np.testing.assert_allclose(bound.values, values, atol=1e-12)


def test_binding_does_not_walk_the_circuit_again(monkeypatch):
    circuit = n_local(4, "ry", "cx", reps=2)
    made = template(circuit, np.zeros((1, circuit.num_parameters)))
    monkeypatch.setattr("qrtx_ray.compiler.templates.build_program", None)
    rows = np.arange(2.0 * circuit.num_parameters).reshape(2, -1)
    assert sorted(made.bind(rows).values.ravel()) == sorted(rows.ravel())


def test_a_circuit_whose_numbers_cannot_be_read_off_is_walked_each_time(monkeypatch):
    monkeypatch.setattr("qrtx_ray.compiler.templates._numbers", lambda circuit: [0.0] * 6)
    made = template(sweep(), [[0.1, 0.2]])
    assert made.bind(np.array([[1.0, 2.0]])).values[0, 0] == 2.0


def test_a_circuit_without_parameters_repeats_its_numbers():
    circuit = QuantumCircuit(1)
    circuit.rz(0.5, 0)
    made = template(circuit, np.empty((1, 0)))
    assert made.bind(np.empty((3, 0))).values.tolist() == [[0.5]] * 3


def test_a_dynamic_circuit_has_a_program_for_each_row():
    circuit = QuantumCircuit(2, 1)
    circuit.rz(Parameter("a"), 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    made = template(circuit, [[0.1], [0.2]])
    bound = made.bind(np.array([[0.1], [0.2], [0.3]]))
    assert made.program.dynamic
    assert len(bound.row_programs) == 3
    assert len({program.qpy for program in bound.row_programs}) == 3
    assert bound.values.shape == (3, 0)
    assert made.size.depth == circuit.depth()


def test_kept_qubits_are_active():
    made = template(QuantumCircuit(5), np.empty((1, 0)), keep_qubits=[3, 1])
    assert made.program.active_qubits == (1, 3)


def test_numbers_that_are_not_finite_are_refused_when_they_come():
    circuit = QuantumCircuit(1)
    circuit.rz(Parameter("a"), 0)
    made = template(circuit, [[0.0]])
    with pytest.raises(ValidationError, match="finite"):
        made.bind(np.array([[np.nan]]))
    assert made.size_bytes > 0
