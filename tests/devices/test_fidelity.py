"""Predicted fidelity: the product of what can go wrong, cached, and worse whenever anything of the device is worse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit

from qrtx_ray.devices import fidelity
from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.circuit_fidelity import circuit_fidelity
from qrtx_ray.devices.error_tables import relaxation_infidelity
from qrtx_ray.devices.fidelity import Idle, fidelity_parts, hellinger_fidelity, predicted_fidelity
from qrtx_ray.devices.idle import waits_s
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program_builder import build_program
from qrtx_ray.devices.sensitivity import sensitivity

MANILA = DeviceModel.load("fake_manila@aer")
NOISE = MANILA.calibration
FEW = settings(deadline=None, derandomize=True, max_examples=30)


def isa_circuit(seed: int, gates: int) -> QuantumCircuit:
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(5, 5)
    for _ in range(gates):
        q = int(rng.integers(4))
        kind = rng.integers(3)
        if kind == 0:
            circuit.cx(q, q + 1)
        elif kind == 1:
            circuit.sx(q)
        else:
            circuit.rz(1.0, q)
    circuit.measure(range(5), range(5))
    return circuit


def programs():
    return st.builds(
        lambda seed, gates: build_program(isa_circuit(seed, gates), MANILA)[0], st.integers(0, 999), st.integers(0, 40)
    )


def test_it_is_the_product_of_the_calibrated_successes():
    circuit = QuantumCircuit(5, 2)
    circuit.sx(2)
    circuit.cx(2, 3)
    circuit.cx(3, 2)
    circuit.rz(0.3, 3)
    circuit.measure([2, 3], [0, 1])
    parts = fidelity_parts(build_program(circuit, MANILA)[0], NOISE)
    error = NOISE.gate_error
    assert parts.two_qubit == pytest.approx((1 - error["cx", (2, 3)]) * (1 - error["cx", (3, 2)]))
    assert parts.one_qubit == pytest.approx(1 - error["sx", (2,)])
    assert parts.readout == pytest.approx((1 - error["measure", (2,)]) * (1 - error["measure", (3,)]))
    assert parts.idle == 1.0
    assert parts.fidelity == pytest.approx(parts.two_qubit * parts.one_qubit * parts.readout)


@FEW
@given(programs())
def test_it_is_a_probability(program):
    parts = fidelity_parts(program, NOISE, idle=Idle.SCHEDULE)
    for part in (parts.two_qubit, parts.one_qubit, parts.readout, parts.idle, parts.fidelity):
        assert 0.0 <= part <= 1.0


@FEW
@given(programs(), st.floats(1.0, 30.0), st.sampled_from(["gates", "readout", "T1", "T2"]))
def test_a_worse_device_is_never_predicted_to_be_better(program, factor, what):
    def worse(key, error):
        return (
            min(1.0, error * factor)
            if (key[0] == "measure") == (what == "readout") and what in {"gates", "readout"}
            else error
        )

    changed = replace(
        NOISE,
        id="worse",
        gate_error={key: worse(key, error) for key, error in NOISE.gate_error.items()},
        t1_s=NOISE.t1_s / (factor if what == "T1" else 1.0),
        t2_s=NOISE.t2_s / (factor if what == "T2" else 1.0),
    )
    for idle in Idle:
        before = fidelity_parts(program, NOISE, idle=idle).fidelity
        assert fidelity_parts(program, changed, idle=idle).fidelity <= before * (1 + 1e-12)


@FEW
@given(st.integers(0, 999), st.integers(0, 30))
def test_a_longer_circuit_is_never_more_faithful(seed, gates):
    short, longer = (build_program(isa_circuit(seed, n), MANILA)[0] for n in (gates, gates + 1))
    assert predicted_fidelity(longer, NOISE) <= predicted_fidelity(short, NOISE) * (1 + 1e-12)


def test_a_perfect_device_is_perfectly_faithful():
    perfect = Calibration.from_properties(None, {"n_qubits": 5})
    parts = fidelity_parts(build_program(isa_circuit(1, 30), MANILA)[0], perfect, idle=Idle.SCHEDULE)
    assert parts.fidelity == pytest.approx(1.0)


def test_a_gate_is_at_least_as_bad_as_the_relaxation_it_takes_time_for():
    short_lived = replace(NOISE, id="short", t1_s=np.full(5, 1e-6), t2_s=np.full(5, 1e-6))
    circuit = QuantumCircuit(5, 1)
    circuit.cx(0, 1)
    circuit.measure(0, 0)
    parts = fidelity_parts(build_program(circuit, MANILA)[0], short_lived)
    length = NOISE.gate_duration_s["cx", (0, 1)]
    from qrtx_ray.engines.channels import gate_noise

    channel = gate_noise(replace(short_lived, gate_error={}), "cx", (0, 1))
    assert parts.two_qubit == pytest.approx((np.trace(channel).real / 4 + 1) / 5)
    assert length > 1e-7


def test_delays_count_where_the_circuit_says_them_and_gaps_only_on_a_machine():
    circuit = QuantumCircuit(5, 2)
    circuit.sx(0)
    circuit.delay(50e-6, 0, unit="s")
    circuit.measure(0, 0)
    program, values = build_program(circuit, MANILA)
    expected = 1 - relaxation_infidelity(NOISE, np.array([0]), np.array([50e-6]))[0]
    assert fidelity_parts(program, NOISE, delays_row=values[0]).idle == pytest.approx(expected)
    assert fidelity_parts(program, NOISE).idle == 1.0
    waiting = QuantumCircuit(5, 3)
    waiting.sx([0, 1, 2])
    waiting.cx(0, 1)
    waiting.cx(1, 2)
    waiting.cx(0, 1)
    waiting.measure(range(3), range(3))
    program, _ = build_program(waiting, MANILA)
    assert fidelity_parts(program, NOISE).idle == 1.0
    assert fidelity_parts(program, NOISE, idle=Idle.SCHEDULE).idle < 1.0


def test_waits_are_those_of_the_schedule_as_late_as_possible():
    circuit = QuantumCircuit(5, 3)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    circuit.cx(0, 1)
    program, _ = build_program(circuit, MANILA)
    length = NOISE.gate_duration_s
    # Qubit 0 waits for the gate between; 1 is always busy; 2 begins late and is not needed after it.
    assert waits_s(program, None, NOISE) == pytest.approx([length["cx", (1, 2)], 0.0, 0.0], abs=1e-15)


def test_qubits_that_only_an_observable_reads_have_their_readout():
    circuit = QuantumCircuit(5)
    circuit.sx(0)
    program, _ = build_program(circuit, MANILA, keep_qubits=[0, 3])
    error = NOISE.gate_error
    parts = fidelity_parts(program, NOISE, read_qubits=(0, 3))
    assert parts.readout == pytest.approx((1 - error["measure", (0,)]) * (1 - error["measure", (3,)]))


def test_an_empty_program_is_right():
    program, _ = build_program(QuantumCircuit(5), MANILA)
    assert predicted_fidelity(program, NOISE) == 1.0


def test_it_is_computed_once_for_each_structure_and_calibration(monkeypatch):
    made = []
    real = fidelity.fidelity_parts
    monkeypatch.setattr(fidelity, "fidelity_parts", lambda *a, **k: made.append(1) or real(*a, **k))
    monkeypatch.setattr(fidelity, "_cache", type(fidelity._cache)())
    one, other = (build_program(isa_circuit(3, 20), MANILA)[0] for _ in range(2))
    assert predicted_fidelity(one, NOISE) == predicted_fidelity(other, NOISE)
    assert len(made) == 1
    predicted_fidelity(one, replace(NOISE, id="another"))
    assert len(made) == 2


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(fidelity, "_cache", type(fidelity._cache)())
    monkeypatch.setattr(fidelity, "MAX_CACHED", 3)
    for gates in range(6):
        predicted_fidelity(build_program(isa_circuit(3, gates), MANILA)[0], NOISE)
    assert len(fidelity._cache) == 3


def test_the_prediction_is_the_measured_fidelity_where_the_answer_is_one_string():
    """Against the exact noisy distribution of the engine: no sampling, no tolerance for luck."""
    from qrtx_ray.engines.distribution import Evolution, measured_distributions

    circuit = QuantumCircuit(5, 4)
    for qubit in range(3):
        circuit.x(qubit)
        circuit.cx(qubit, qubit + 1)
    circuit.measure(range(4), range(4))
    program, values = build_program(circuit, MANILA)
    ideal = measured_distributions(program, values, Evolution(None))[0]
    noisy = measured_distributions(program, values, Evolution(NOISE))[0]
    parts = fidelity_parts(program, NOISE)
    predicted, measured = parts.two_qubit * parts.one_qubit, np.sqrt(ideal * noisy).sum() ** 2
    assert predicted <= measured <= predicted + 0.02


def test_the_distributions_fidelity_lies_between_the_prediction_and_one():
    p = np.array([0.5, 0.0, 0.0, 0.5])
    assert hellinger_fidelity(1.0, p) == pytest.approx(1.0)
    assert hellinger_fidelity(0.0, p) == pytest.approx(0.5)
    assert hellinger_fidelity(0.0, np.full(4, 0.25)) == pytest.approx(1.0)
    assert 0.8 < hellinger_fidelity(0.8, p) < 1.0


def dynamic_circuit(**loop) -> QuantumCircuit:
    circuit = QuantumCircuit(5, 1)
    circuit.sx(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.cx(0, 1)
        circuit.cx(0, 1)
    with otherwise:
        circuit.cx(0, 1)
    return circuit


def test_a_program_with_control_flow_has_no_prediction_of_its_own():
    program, _ = build_program(dynamic_circuit(), MANILA)
    assert predicted_fidelity(program, NOISE) is None
    assert fidelity_parts(program, NOISE) is None


def test_of_two_branches_the_worse_counts_and_a_loop_as_often_as_it_says():
    error = NOISE.gate_error
    straight = (1 - error["sx", (0,)]) * (1 - error["measure", (0,)])
    assert circuit_fidelity(dynamic_circuit(), NOISE) == pytest.approx(
        straight * (1 - error["cx", (0, 1)]) ** 2, rel=1e-4
    )
    loop = QuantumCircuit(5, 1)
    with loop.for_loop(range(7)):
        loop.cx(1, 2)
    assert circuit_fidelity(loop, NOISE) == pytest.approx((1 - error["cx", (1, 2)]) ** 7)
    endless = QuantumCircuit(5, 1)
    with endless.while_loop((endless.clbits[0], 0)):
        endless.cx(1, 2)
    assert circuit_fidelity(endless, NOISE) == pytest.approx(1 - error["cx", (1, 2)])


def test_without_control_flow_both_ways_agree():
    circuit = isa_circuit(4, 30)
    assert circuit_fidelity(circuit, NOISE) == pytest.approx(
        predicted_fidelity(build_program(circuit, MANILA)[0], NOISE)
    )


@FEW
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 1000))
def test_sensitivity_is_between_0_and_1_and_grows(depth, gates, width):
    here = sensitivity(depth=depth, two_qubit_gates=gates, width=width)
    assert 0.0 <= here <= 1.0
    assert sensitivity(depth=depth + 1, two_qubit_gates=gates, width=width) >= here
    assert sensitivity(depth=depth, two_qubit_gates=gates + 1, width=width) >= here
    assert sensitivity(depth=depth, two_qubit_gates=gates, width=width + 1) >= here


def test_sensitivity_tells_the_shallow_from_the_deep():
    assert sensitivity(depth=0, two_qubit_gates=0, width=0) == 0.0
    bell = sensitivity(depth=3, two_qubit_gates=1, width=2)
    deep = sensitivity(depth=200, two_qubit_gates=800, width=20)
    assert bell < 0.1
    assert deep > 0.99
