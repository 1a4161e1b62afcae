"""Circuit families by which predictions are judged: textbook algorithms of several sizes, with and without a sharp answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qiskit import QuantumCircuit

__all__ = ["families", "jobs"]


def ghz(qubits: int) -> QuantumCircuit:
    """|0…0> + |1…1>."""
    circuit = QuantumCircuit(qubits)
    circuit.h(0)
    for qubit in range(qubits - 1):
        circuit.cx(qubit, qubit + 1)
    circuit.measure_all()
    return circuit


def bernstein_vazirani(qubits: int) -> QuantumCircuit:
    """A hidden string with two ones in three."""
    circuit = QuantumCircuit(qubits, qubits - 1)
    circuit.x(qubits - 1)
    circuit.h(range(qubits))
    for qubit in range(qubits - 1):
        if qubit % 3 != 1:
            circuit.cx(qubit, qubits - 1)
    circuit.h(range(qubits - 1))
    circuit.measure(range(qubits - 1), range(qubits - 1))
    return circuit


def phase_estimation(qubits: int) -> QuantumCircuit:
    """The inverse Fourier transform of a phase of ``qubits`` binary places."""
    circuit = QuantumCircuit(qubits)
    circuit.h(range(qubits))
    phase = 2**qubits // 3
    for qubit in range(qubits):
        circuit.p(2 * np.pi * phase * 2**qubit / 2**qubits, qubit)
    for qubit in range(qubits // 2):
        circuit.swap(qubit, qubits - 1 - qubit)
    for qubit in range(qubits):
        for other in range(qubit):
            circuit.cp(-np.pi / 2 ** (qubit - other), other, qubit)
        circuit.h(qubit)
    circuit.measure_all()
    return circuit


def w_state(qubits: int) -> QuantumCircuit:
    """One excitation, shared by all."""
    circuit = QuantumCircuit(qubits)
    circuit.x(qubits - 1)
    for qubit in range(qubits - 1, 0, -1):
        angle = float(np.arccos(np.sqrt(1 / (qubit + 1))))
        circuit.ry(-angle, qubit - 1)
        circuit.cz(qubit, qubit - 1)
        circuit.ry(angle, qubit - 1)
        circuit.cx(qubit - 1, qubit)
    circuit.measure_all()
    return circuit


def toffolis(qubits: int) -> QuantumCircuit:
    """A staircase of Toffoli gates on |110…0>."""
    circuit = QuantumCircuit(qubits)
    circuit.x(range(2))
    for qubit in range(qubits - 2):
        circuit.ccx(qubit, qubit + 1, qubit + 2)
    circuit.measure_all()
    return circuit


def hidden_shift(qubits: int) -> QuantumCircuit:
    """The shift of a bent function."""
    circuit = QuantumCircuit(qubits)
    circuit.h(range(qubits))
    circuit.x(0)
    circuit.cz(range(0, qubits, 2), range(1, qubits, 2))
    circuit.x(0)
    circuit.h(range(qubits))
    circuit.cz(range(0, qubits, 2), range(1, qubits, 2))
    circuit.h(range(qubits))
    circuit.measure_all()
    return circuit


def grover(qubits: int) -> QuantumCircuit:
    """Two rounds of search among eight."""
    circuit = QuantumCircuit(qubits)
    circuit.h(range(qubits))
    for _ in range(2):
        circuit.ccz(0, 1, 2)
        circuit.h(range(qubits))
        circuit.x(range(qubits))
        circuit.ccz(0, 1, 2)
        circuit.x(range(qubits))
        circuit.h(range(qubits))
    circuit.measure_all()
    return circuit


def mirror(qubits: int, layers: int, seed: int) -> QuantumCircuit:
    """Random layers and their inverse."""
    there = _layers(qubits, layers, seed)
    circuit = there.compose(there.inverse())
    circuit.measure_all()
    return circuit


def ansatz(qubits: int, layers: int, seed: int) -> QuantumCircuit:
    """A hardware-efficient ansatz at random angles."""
    circuit = _layers(qubits, layers, seed)
    for qubit in range(qubits):
        circuit.ry(0.7 * qubit, qubit)
    circuit.measure_all()
    return circuit


def qaoa(qubits: int, rounds: int) -> QuantumCircuit:
    """Cuts of a ring."""
    circuit = QuantumCircuit(qubits)
    circuit.h(range(qubits))
    for turn in range(rounds):
        for qubit in range(qubits):
            circuit.rzz(0.8 + 0.1 * turn, qubit, (qubit + 1) % qubits)
        circuit.rx(0.7 - 0.2 * turn, range(qubits))
    circuit.measure_all()
    return circuit


def ising(qubits: int, steps: int) -> QuantumCircuit:
    """A chain of spins in a transverse field."""
    circuit = QuantumCircuit(qubits)
    for _ in range(steps):
        for first in (0, 1):
            for qubit in range(first, qubits - 1, 2):
                circuit.rzz(0.4, qubit, qubit + 1)
        circuit.rx(0.5, range(qubits))
    circuit.measure_all()
    return circuit


def families(seed: int) -> dict[str, QuantumCircuit]:
    """About sixty circuits of 2 to 9 qubits by name; those with random angles follow from `seed`."""
    out: dict[str, QuantumCircuit] = {}
    sized: tuple[tuple[Callable[[int], QuantumCircuit], tuple[int, ...]], ...] = (
        (ghz, (2, 3, 4, 5, 6, 7, 8, 9)),
        (bernstein_vazirani, (3, 4, 5, 6, 7)),
        (phase_estimation, (2, 3, 4, 5, 6, 7)),
        (w_state, (3, 4, 5, 6, 7, 8)),
        (toffolis, (3, 4, 5, 6, 7)),
        (hidden_shift, (4, 6, 8)),
        (grover, (3,)),
    )
    for make, sizes in sized:
        out |= {f"{make.__name__}_{size}": make(size) for size in sizes}
    for size, layers in ((2, 3), (3, 2), (4, 1), (4, 3), (5, 3), (5, 5), (6, 2), (7, 2), (8, 1)):
        out[f"mirror_{size}_{layers}"] = mirror(size, layers, seed + size)
    for size, layers in ((3, 1), (3, 6), (4, 1), (4, 3), (5, 2), (5, 5), (6, 4), (7, 2), (8, 3)):
        out[f"ansatz_{size}_{layers}"] = ansatz(size, layers, seed + size)
    out |= {f"qaoa_{size}_{rounds}": qaoa(size, rounds) for size, rounds in ((4, 1), (6, 1), (6, 2))}
    out |= {f"ising_{size}_{steps}": ising(size, steps) for size, steps in ((4, 2), (6, 2), (6, 4), (8, 3))}
    return out


def jobs(count: int, seed: int) -> list[QuantumCircuit]:
    """`count` different circuits of 2 to 24 qubits, as a day's users would send them: most are small."""
    rng = np.random.default_rng(seed)
    out = []
    for index in range(count):
        size = int(min(24, 2 + rng.geometric(0.15)))
        body = _job(index, size, 1 + int(rng.integers(4)), seed + index)
        circuit = body.copy_empty_like()
        circuit.ry(rng.uniform(-3, 3), 0)  # no two jobs are equal
        out.append(circuit.compose(body))
    return out


def _job(index: int, size: int, rounds: int, seed: int) -> QuantumCircuit:
    """One job of the mix: the families take turns."""
    match index % 7:
        case 0:
            return ghz(size)
        case 1:
            return bernstein_vazirani(size)
        case 2:
            return ansatz(size, rounds, seed)
        case 3:
            return qaoa(max(size, 3), (rounds + 1) // 2)
        case 4:
            return ising(size, rounds)
        case 5:
            return phase_estimation(min(size, 8))
        case _:
            return w_state(max(size, 3))


def _layers(qubits: int, layers: int, seed: int) -> QuantumCircuit:
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(qubits)
    for _ in range(layers):
        for qubit in range(qubits):
            circuit.ry(rng.uniform(-np.pi, np.pi), qubit)
            circuit.rz(rng.uniform(-np.pi, np.pi), qubit)
        for qubit in range(qubits - 1):
            circuit.cx(qubit, qubit + 1)
    return circuit
