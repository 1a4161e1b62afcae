"""Pass managers: one for each thread, and the same outcome every time."""

from __future__ import annotations

import threading

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Gate

from qrtx_ray.compiler.passes import MAX_KEPT, PassManagers
from qrtx_ray.devices.isa import violations
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.errors import CompileError

MANILA = DeviceModel.load("fake_manila@aer")
SHERBROOKE = DeviceModel.load("fake_sherbrooke@aer")


def star() -> QuantumCircuit:
    """No device has this coupling without swaps."""
    circuit = QuantumCircuit(4)
    circuit.h(0)
    for other in (1, 2, 3):
        circuit.cx(0, other)
        circuit.cx(other, 1 + other % 3)
    circuit.measure_all()
    return circuit


@pytest.mark.parametrize("device", [MANILA, SHERBROOKE], ids=lambda device: device.name)
@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_what_is_transpiled_can_run_on_the_device(device, level):
    made = PassManagers().transpile(star(), device, level)
    assert violations(made.circuit, device) is None
    assert len(made.layout) == 4
    assert len(set(made.layout)) == 4
    assert max(made.layout) < device.num_qubits


def test_two_processes_would_make_the_same_circuit():
    first, second = (PassManagers().transpile(star(), SHERBROOKE, 1) for _ in range(2))
    assert first.circuit == second.circuit
    assert first.layout == second.layout


def test_what_was_compiled_before_does_not_matter():
    passes = PassManagers()
    fresh = passes.transpile(star(), MANILA, 1)
    other = QuantumCircuit(3)
    other.ccx(0, 1, 2)
    passes.transpile(other, MANILA, 1)
    assert passes.transpile(star(), MANILA, 1).circuit == fresh.circuit


def test_a_thread_keeps_its_pass_manager_and_never_gets_anothers():
    passes = PassManagers()
    mine = passes.get(MANILA, 1)
    assert passes.get(MANILA, 1) is mine
    assert passes.get(MANILA, 2) is not mine
    theirs = []
    thread = threading.Thread(target=lambda: theirs.append(passes.get(MANILA, 1)))
    thread.start()
    thread.join()
    assert theirs[0] is not mine


def test_clearing_drops_the_pass_managers_of_the_thread():
    passes = PassManagers()
    mine = passes.get(MANILA, 1)
    passes.clear()
    assert passes.get(MANILA, 1) is not mine


def test_only_so_many_are_kept(monkeypatch):
    monkeypatch.setattr("qrtx_ray.compiler.passes.MAX_KEPT", 2)
    passes = PassManagers()
    first = passes.get(MANILA, 0)
    passes.get(MANILA, 1)
    assert passes.get(MANILA, 0) is first
    passes.get(MANILA, 2)
    assert passes.get(MANILA, 0) is first
    assert MAX_KEPT > 2


def test_a_gate_without_a_definition_is_named_in_the_refusal():
    circuit = QuantumCircuit(2, 1)
    circuit.append(Gate("my_gate", 2, []), [0, 1])
    circuit.append(Gate("sp\ny", 1, []), [0])
    circuit.measure(0, 0)
    with pytest.raises(CompileError) as caught:
        PassManagers().transpile(circuit, MANILA, 1)
    assert "'my_gate', 'sp?y'" in caught.value.message
    assert "\n" not in caught.value.message


def test_more_qubits_than_the_device_has_are_refused_in_our_words():
    with pytest.raises(CompileError, match=r"cannot be expressed in the instructions of fake_manila@aer \(cx, id"):
        PassManagers().transpile(QuantumCircuit(6), MANILA, 1)
