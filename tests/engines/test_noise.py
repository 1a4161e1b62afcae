"""The restricted noise is the full one: the same counts from the same seed, shot for shot."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime.fake_provider import FakeManilaV2, FakeMontrealV2, FakeSherbrooke

from qrtx_ray.devices.cost import Method, RowCost
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.engines.native import execute
from qrtx_ray.engines.noise import restricted_noise
from qrtx_ray.engines.shots import native_program
from qrtx_ray.model import NoiseId

from .building import program_of

CASES = {
    "fake_manila": (FakeManilaV2, (0, 1, 2, 3, 4), "cx", [(0, 1), (2, 1), (3, 4)]),
    "fake_montreal": (FakeMontrealV2, (1, 2, 3, 5, 8), "cx", [(0, 1), (2, 1), (2, 3), (3, 4)]),
    "fake_sherbrooke": (FakeSherbrooke, (0, 1, 2, 14), "ecr", [(1, 0), (1, 2), (3, 0)]),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    fake, active, two, edges = CASES[request.param]
    backend = fake()
    return AerSimulator.from_backend(backend, max_parallel_threads=1), request.param, active, two, edges


def random_circuit(width: int, two: str, edges: list[tuple[int, int]], *, reset: bool) -> QuantumCircuit:
    rng = np.random.default_rng(11)
    circuit = QuantumCircuit(width, width)
    for _ in range(25):
        circuit.rz(rng.uniform(0, 6), int(rng.integers(width)))
        circuit.sx(int(rng.integers(width)))
        getattr(circuit, two)(*edges[rng.integers(len(edges))])
    if reset:
        circuit.reset(0)
    circuit.measure(range(width), range(width))
    return circuit


def test_restricted_and_full_noise_give_identical_shots(case):
    simulator, name, active, two, edges = case
    calibration = DeviceModel.load(f"{name}@aer").calibration
    for method, shots, reset in (
        ("density_matrix", 1000, False),
        ("statevector", 100, False),
        ("statevector", 50, True),
    ):
        circuit = random_circuit(len(active), two, edges, reset=reset)
        wide = QuantumCircuit(simulator.num_qubits, len(active))
        wide.compose(circuit, active, range(len(active)), inplace=True)
        full = simulator.run(wide, shots=shots, seed_simulator=7, memory=True, method=method).result().get_memory()
        program, values = program_of(circuit, active)
        noise = restricted_noise(calibration, active, frozenset(program.names))
        native = native_program(program, values[0])
        (ours,) = execute([native], method=method, shots=shots, seed=7, noise=noise, memory=True)
        assert [int(text, 16) for text in ours["memory"]] == [int(text, 2) for text in full]


def test_noise_is_built_once_and_without_readout_on_request():
    calibration = DeviceModel.load("fake_manila@aer").calibration
    names = frozenset({"sx", "cx"})
    noise = restricted_noise(calibration, (0, 1), names)
    assert restricted_noise(calibration, (0, 1), names) is noise
    kinds = [entry["type"] for entry in noise["errors"]]
    assert kinds.count("roerror") == 2
    assert kinds.count("qerror") == 4  # sx on two qubits, cx in both directions
    silent = restricted_noise(calibration, (0, 1), names, readout=False)
    assert {entry["type"] for entry in silent["errors"]} == {"qerror"}


def test_a_row_cost_is_plain_data():
    assert RowCost(Method.TRAJECTORIES, 1.0, 2) == RowCost(Method.TRAJECTORIES, 1.0, 2)


@pytest.mark.parametrize("metadata", ["fake_kolkata", "fake_sherbrooke"])
@pytest.mark.parametrize("step", [0, 1, 40, 10_000])
def test_drifted_noise_can_be_said_to_aer(metadata, step):
    calibration = DeviceModel.load(f"{metadata}@aer", NoiseId(5, 0.3, 2, step).text()).calibration
    noise = restricted_noise(calibration, (0, 1, 2))
    assert noise["errors"]
    for error in noise["errors"]:
        if error["type"] == "qerror":
            assert sum(error["probabilities"]) == pytest.approx(1.0)
