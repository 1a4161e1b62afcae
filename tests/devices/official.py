"""What the official client knows of the devices: the oracle of these tests."""

from __future__ import annotations

import inspect

from qiskit_ibm_runtime import fake_provider
from qiskit_ibm_runtime.fake_provider.fake_backend import FakeBackendV2

FAKES = {
    kind.backend_name: kind
    for _, kind in inspect.getmembers(fake_provider, inspect.isclass)
    if issubclass(kind, FakeBackendV2) and hasattr(kind, "backend_name")
}

SAMPLE = [
    "fake_manila",
    "fake_fractional",
    "fake_poughkeepsie",
    "fake_kolkata",
    "fake_sherbrooke",
    "fake_torino",
    "fake_prague",
]


def _properties(target, name):
    return {
        qubits: value and (value.error, value.duration) for qubits, value in target[name].items() if qubits is not None
    }


def same_target(ours, theirs):
    """Assert that both say the same of every instruction, qubit and constraint."""
    assert set(ours.operation_names) == set(theirs.operation_names)
    for name in theirs.operation_names:
        assert set(ours[name]) == set(theirs[name]), name
        assert _properties(ours, name) == _properties(theirs, name), name
    assert ours.num_qubits == theirs.num_qubits
    assert ours.dt == theirs.dt
    for constraint in ("granularity", "min_length", "pulse_alignment", "acquire_alignment"):
        assert getattr(ours, constraint) == getattr(theirs, constraint)
    assert [(q.t1, q.t2, q.frequency) for q in ours.qubit_properties] == [
        (q.t1, q.t2, q.frequency) for q in theirs.qubit_properties
    ]
