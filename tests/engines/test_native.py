"""The semi-private names of qiskit-aer that `native.py` uses behave as the public simulator does."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit_aer import AerSimulator

from qrtx_ray.engines.native import NativeCircuit, execute
from qrtx_ray.engines.sampling import pack_bits
from qrtx_ray.engines.shots import native_program
from qrtx_ray.errors import ExecuteError

from .building import hardware_efficient, program_of


def test_the_same_seed_gives_the_same_shots_as_the_public_simulator():
    circuit = hardware_efficient(4)
    public = AerSimulator(method="statevector", max_parallel_threads=1)
    wanted = public.run(circuit, shots=500, seed_simulator=99, memory=True).result().get_memory()
    program, values = program_of(circuit)
    (ours,) = execute([native_program(program, values[0])], method="statevector", shots=500, seed=99, memory=True)
    assert [int(text, 16) for text in ours["memory"]] == [int(text, 2) for text in wanted]


def test_circuits_of_one_call_keep_their_place():
    circuits = []
    for qubit in range(3):
        circuit = NativeCircuit(3)
        circuit.gate("x", [qubit])
        circuit.save_probabilities([0, 1, 2], "p")
        circuits.append(circuit)
    saved = execute(circuits, method="statevector")
    assert [int(np.argmax(data["p"])) for data in saved] == [1, 2, 4]


def test_saved_distributions_keep_the_order_of_their_qubits():
    circuit = NativeCircuit(3)
    circuit.gate("x", [2])
    circuit.save_probabilities([2, 0], "first")
    circuit.save_probabilities([0, 2], "second")
    (data,) = execute([circuit], method="statevector")
    assert int(np.argmax(data["first"])) == 0b01
    assert int(np.argmax(data["second"])) == 0b10


def test_an_empty_circuit_stays_in_zero():
    circuit = NativeCircuit(2)
    circuit.save_probabilities([0, 1], "p")
    (data,) = execute([circuit], method="statevector")
    assert data["p"].tolist() == [1.0, 0.0, 0.0, 0.0]


def test_threads_do_not_change_the_answer():
    program, values = program_of(hardware_efficient(4))
    runs = [
        execute([native_program(program, values[0])], method="statevector", shots=50, seed=1, threads=n, memory=True)
        for n in (1, 2)
    ]
    assert runs[0][0]["memory"] == runs[1][0]["memory"]


def test_a_refused_circuit_is_our_error():
    circuit = NativeCircuit(2)
    circuit.gate("t", [0])
    circuit.save_probabilities([0], "p")
    with pytest.raises(ExecuteError, match="stabilizer"):
        execute([circuit], method="stabilizer")


def test_packed_bits_of_one_register_are_bytes():
    assert pack_bits([np.array([1, 0], dtype=np.uint8)] * 9, 2).tolist() == [[1, 255], [0, 0]]


@pytest.mark.parametrize("writeable", [True, False])
def test_a_matrix_is_not_transposed_whether_or_not_it_may_be_written(writeable):
    turn = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]], dtype=np.complex128)  # k → k - 1
    turn.setflags(write=writeable)
    circuit = NativeCircuit(2)
    circuit.unitary([0, 1], turn)
    circuit.save_probabilities([0, 1], "p")
    (data,) = execute([circuit], method="statevector")
    assert int(np.argmax(data["p"])) == 3
