"""Placing a circuit without transpiling it: valid places, the devices in the right order, quickly."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.regions import SWAP_GATES, RegionTable
from qrtx_ray.devices.sketch import Sketch
from qrtx_ray.devices.survey import place, placement_on
from qrtx_ray.model import NoiseId

KOLKATA, SHERBROOKE = DeviceModel.load("fake_kolkata@aer"), DeviceModel.load("fake_sherbrooke@aer")
FEW = settings(deadline=None, derandomize=True, max_examples=30)


def sketch(qubits, pairs=(), reads=None, turns=None):
    return Sketch(
        qubits=qubits,
        pairs=tuple((a, b, 1.0) for a, b in pairs),
        turns=tuple(turns or [0.0] * qubits),
        reads=tuple(reads or [1] * qubits),
        depth=float(len(pairs)),
        operations=len(pairs) + qubits,
        measurements=sum(reads or [1] * qubits),
    )


def chain(qubits):
    return sketch(qubits, [(q, q + 1) for q in range(qubits - 1)])


@st.composite
def sketches(draw):
    qubits = draw(st.integers(1, 12))
    pair = st.tuples(st.integers(0, qubits - 1), st.integers(0, qubits - 1)).filter(lambda pair: pair[0] != pair[1])
    return sketch(qubits, draw(st.lists(pair, max_size=30)) if qubits > 1 else ())


@FEW
@given(sketches(), st.sampled_from([KOLKATA, SHERBROOKE]))
def test_every_qubit_has_a_place_of_its_own(circuit, device):
    found = place(circuit, device)
    assert len(set(found.qubits)) == circuit.qubits
    assert all(("measure", (qubit,)) in device.instructions for qubit in found.qubits)
    assert 0.0 <= found.fidelity <= 1.0
    assert circuit.qubits <= found.width <= device.num_qubits
    assert found == place(circuit, device)


@FEW
@given(sketches())
def test_more_to_do_is_never_more_faithful(circuit):
    more = sketch(circuit.qubits, [(a, b) for a, b, _ in circuit.pairs], reads=[2] * circuit.qubits)
    assert place(more, KOLKATA).fidelity <= placement_on(circuit, KOLKATA, place(more, KOLKATA).qubits).fidelity


def test_a_chain_needs_no_swap_and_its_fidelity_is_that_of_its_place():
    found = place(chain(5), KOLKATA)
    assert found.swaps == 0
    error = KOLKATA.calibration.gate_error
    expected = 1.0
    for a, b in zip(found.qubits, found.qubits[1:], strict=False):
        expected *= 1 - error["cx", (a, b)]
    for qubit in found.qubits:
        expected *= 1 - error["measure", (qubit,)]
    assert found.fidelity == pytest.approx(expected, rel=5e-3)


def test_the_place_is_among_the_best_there_are():
    """Against every chain of three on the device."""
    table = RegionTable.of(KOLKATA)
    circuit = chain(3)
    every = [
        placement_on(circuit, KOLKATA, (a, b, c)).fidelity
        for b in range(27)
        for a in table.edge_cost[b]
        for c in table.edge_cost[b]
        if a != c
    ]
    assert place(circuit, KOLKATA).fidelity >= max(every) - 0.002


def test_a_ring_needs_swaps_where_the_device_has_no_small_one():
    ring = sketch(4, [(0, 1), (1, 2), (2, 3), (3, 0)])
    found = place(ring, KOLKATA)
    assert found.swaps >= 1
    assert found.fidelity < place(chain(4), KOLKATA).fidelity


def test_qubits_that_are_apart_are_brought_together_along_working_couplings():
    ends = sketch(2, [(0, 1)])
    table = RegionTable.of(KOLKATA)
    assert table.hops[0][2] == 2
    found = placement_on(ends, KOLKATA, (0, 2))
    assert found.swaps == 1
    assert found.width == 3
    path = table.edge_cost[0][1] + table.edge_cost[1][2]
    reads = table.read[[0, 2]].sum()
    cheapest = path + (SWAP_GATES - 1) * min(table.edge_cost[0][1], table.edge_cost[1][2]) + table.read[1]
    assert -np.log(found.fidelity) >= path + (SWAP_GATES - 1) * min(table.edge_cost[0][1], table.edge_cost[1][2])
    assert -np.log(found.fidelity) <= cheapest + reads + 2 * path


def test_a_better_device_is_preferred_and_drift_is_seen():
    circuit = chain(6)
    assert (
        place(circuit, DeviceModel.load("fake_fez@aer")).fidelity
        > place(circuit, DeviceModel.load("fake_manhattan@aer")).fidelity
    )
    worn = DeviceModel.load("fake_kolkata@aer", NoiseId(1, 0.2, 0, 30).text())
    assert place(circuit, worn).fidelity < place(circuit, KOLKATA).fidelity


def test_broken_parts_are_avoided():
    aachen = DeviceModel.load("fake_aachen@aer")
    broken = aachen.calibration.faulty_qubits
    assert broken.isdisjoint(place(chain(20), aachen).qubits)
    assert place(chain(4), SHERBROOKE).fidelity > 0.9  # though some of its couplings have error 1


def test_too_wide_is_no_place_at_all():
    assert place(chain(28), KOLKATA) is None
    assert place(chain(27), KOLKATA) is not None


def test_nothing_to_do_is_done_faithfully():
    assert place(sketch(0), KOLKATA).fidelity == 1.0
    assert place(sketch(3), KOLKATA).fidelity > 0.95


def test_a_step_is_attached_to_what_is_placed():
    star = sketch(5, [(4, 0), (4, 1), (4, 2), (2, 3)])
    assert star.steps[0].qubit == 4
    placed = set()
    for step in star.steps:
        assert {other for other, _, _ in step.attached} <= placed
        assert step.attached or not placed
        placed.add(step.qubit)
    assert placed == set(range(5))


def test_ways_are_the_cheapest():
    table = RegionTable.of(SHERBROOKE)
    for a in (0, 50):
        for b in (3, 126):
            at, steps = a, 0
            while at != b:
                step = table.hop[at][b]
                assert step in table.edge_cost[at]
                at, steps = step, steps + 1
            assert steps == table.hops[a][b]
    neighbour = next(iter(table.edge_cost[7]))
    assert table.detour[7, neighbour] == 0.0
    assert table.gate[7, neighbour] == table.edge_cost[7][neighbour]


def test_a_small_circuit_takes_well_under_a_millisecond_of_work():
    circuits = [sketch(6, [(q, (q + 1) % 6) for q in range(6)] * 2) for _ in range(20)]
    place(circuits[0], SHERBROOKE)
    started = time.process_time()
    for circuit in circuits:
        place(circuit, SHERBROOKE)
    assert (time.process_time() - started) / len(circuits) < 2e-3
