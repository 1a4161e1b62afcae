"""The example of a loop that survives its script: it finds the energy, and a killed one finds the same."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from qrtx_ray.client import QrtxClient
from qrtx_ray.codec.results import EstimatorPubData, encode_estimator
from qrtx_ray.codec.state_document import encode_state
from qrtx_ray.model import JobRequest
from qrtx_ray.testing import FakeGateway
from tests.api.conftest import ALICE, DEVICES, _behind
from tests.client.test_loops import URL, Killed, Mortal

PAULIS = {"I": np.eye(2), "X": np.array([[0, 1], [1, 0]]), "Z": np.diag([1, -1])}
CNOT = np.array([[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0]])  # control is the right letter


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "resumable_vqe.py"
    spec = importlib.util.spec_from_file_location("resumable_vqe", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.DEVICE = "fake_quito@aer_ideal"
    return module


def turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle / 2), -np.sin(angle / 2)], [np.sin(angle / 2), np.cos(angle / 2)]])


def answer(request: JobRequest) -> bytes:
    """The energy of the ansatz, and the shot noise of the job's seed."""
    body = json.loads(request.payload)
    (circuit,) = body["circuits"]
    a, b, c, d = circuit["parameters"][0]
    state = np.kron(turn(d), turn(c)) @ CNOT @ np.kron(turn(b), turn(a)) @ np.array([1, 0, 0, 0])
    hamiltonian = sum(
        weight * np.kron(PAULIS[letters[0]], PAULIS[letters[1]])
        for letters, weight in circuit["observables"][0].items()
    )
    noise = np.random.default_rng(request.seed).normal() / np.sqrt(body["shots"])
    value = np.array([state @ hamiltonian @ state + 0.5 * noise])
    return encode_estimator([EstimatorPubData(value, value * 0, value * 0)], {})


def life(example: ModuleType, mortal: Mortal, iterations: int) -> bytes | None:
    with QrtxClient(URL, ALICE, transport=mortal) as client:
        try:
            return encode_state(example.minimise(client, "vqe", iterations))
        except Killed:
            return None


def fresh() -> FakeGateway:

    _behind.gateway = FakeGateway(DEVICES.values(), answer)
    return _behind.gateway


def test_it_finds_the_energy_however_often_it_is_killed(example: ModuleType) -> None:
    fresh()
    found = None
    deaths = np.random.default_rng(1)
    lives = 0
    while found is None:
        lives += 1
        found = life(example, Mortal(int(deaths.integers(7, 60)), sent=bool(deaths.integers(2))), 60)
    killed = _behind.gateway.requests
    fresh()
    assert life(example, Mortal(), 60) == found
    assert lives > 5
    assert [request.seed for request in killed] == [request.seed for request in _behind.gateway.requests]
    with QrtxClient(URL, ALICE, transport=Mortal()) as client:
        energies = client.hybrid_loop("vqe", {}).state["energies"]
    assert len(energies) == 60
    assert abs(np.mean(energies[-5:]) - example.EXACT) < 0.02
