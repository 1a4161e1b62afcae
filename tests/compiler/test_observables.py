"""Broadcasting agrees with Qiskit's containers, and everything equal is said once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import SparseObservable

from qrtx_ray.compiler.observables import broadcast_elements, localise, map_qubits, qubits_of
from qrtx_ray.devices.executable import PauliTerm
from qrtx_ray.errors import PayloadTooLarge, ValidationError


def broadcast(values, observables, max_elements=1000):
    array = ObservablesArray.coerce(observables)
    return broadcast_elements(np.asarray(values, dtype=float), array, max_elements=max_elements, field="pubs[0]")


def rebuilt(terms, num_qubits: int) -> SparseObservable:
    return SparseObservable.from_sparse_list(
        [(term.paulis, list(term.qubits), term.coefficient) for term in terms], num_qubits=num_qubits
    ).simplify()


@st.composite
def broadcastable_shapes(draw):
    """Two shapes that agree from the right, with ones and missing axes anywhere."""
    whole = draw(st.lists(st.integers(1, 3), max_size=3))

    def part():
        kept = draw(st.integers(0, len(whole)))
        return tuple(draw(st.sampled_from([1, size])) for size in whole[len(whole) - kept :])

    return part(), part()


PAULI_STRINGS = st.text("IXYZ01+-rl", min_size=3, max_size=3)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(st.data(), broadcastable_shapes())
def test_every_element_has_the_row_and_the_observable_that_qiskit_gives_it(data, shapes):
    parameter_shape, observable_shape = shapes
    # Few different values, so that equal rows and equal observables are common.
    values = np.array(
        data.draw(
            st.lists(
                st.sampled_from([0.0, 0.5]),
                min_size=2 * int(np.prod(parameter_shape)),
                max_size=2 * int(np.prod(parameter_shape)),
            )
        )
    ).reshape(*parameter_shape, 2)
    size = int(np.prod(observable_shape))
    strings = data.draw(st.lists(PAULI_STRINGS, min_size=size, max_size=size))
    observables = np.empty(observable_shape, dtype=object)
    for index, string in zip(np.ndindex(observable_shape), strings, strict=True):
        observables[index] = {string: 1.5}
    array = ObservablesArray(observables)
    found = broadcast_elements(values, array, max_elements=1000, field="pubs[0]")

    assert found.shape == np.broadcast_shapes(parameter_shape, observable_shape)
    assert found.indices.shape == (int(np.prod(found.shape)), 2)
    rows = np.broadcast_to(values, (*found.shape, 2)).reshape(-1, 2)
    wanted = np.broadcast_to(array.sparse_observables_array(), found.shape).ravel()
    for element, (row, observable) in enumerate(found.indices.tolist()):
        assert (found.rows[row] == rows[element]).all()
        assert rebuilt(found.observables[observable], 3) == wanted[element].simplify()
    assert len({row.tobytes() for row in found.rows}) == len(found.rows)
    assert len(set(found.observables)) == len(found.observables)


def test_equal_rows_and_equal_observables_are_prepared_once():
    found = broadcast([[[0.1], [0.2], [0.1]]], [["ZZ"], [{"ZZ": 1.0}]])
    assert found.shape == (2, 3)
    assert found.rows.tolist() == [[0.1], [0.2]]
    assert len(found.observables) == 1
    assert found.indices.tolist() == [[0, 0], [1, 0], [0, 0]] * 2


def test_a_circuit_without_parameters_has_one_row():
    found = broadcast(np.empty((0,)), ["XX", "YY"])
    assert found.rows.shape == (1, 0)
    assert found.shape == (2,)


def test_the_identity_is_a_term_without_qubits():
    found = broadcast(np.empty((0,)), {"II": 2.0, "IZ": 0.5})
    assert set(found.observables[0]) == {PauliTerm((), "", 2.0), PauliTerm((0,), "Z", 0.5)}


def test_too_many_elements_are_refused_before_they_exist():
    with pytest.raises(PayloadTooLarge, match=r"pubs\[0\] asks for 1000000 values"):
        broadcast(np.zeros((1000, 1, 1)), [["Z"] * 1000])


def test_an_empty_broadcast_is_refused():
    with pytest.raises(ValidationError, match="asks for no value"):
        broadcast(np.zeros((0, 1)), "Z")


def test_a_layout_renames_qubits_and_keeps_letters_with_their_qubits():
    observables = ((PauliTerm((0, 2), "XZ", 1.0),),)
    mapped = map_qubits(observables, (9, 5, 3))
    assert qubits_of(mapped) == {9, 3}
    assert localise(mapped, (3, 4, 9)) == ((PauliTerm((0, 2), "ZX", 1.0),),)
