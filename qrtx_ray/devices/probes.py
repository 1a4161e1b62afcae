"""Probe circuits: small circuits with a known answer that together visit the qubits of a device.

A device is cut into chains of neighbouring qubits. On each chain runs a mirror circuit: layers of half turns and of the
device's own two-qubit gates, then the same backwards, so that without noise every qubit is read as 0. The chains are
disjoint, hence all of them run at once on a machine, and each is small enough to simulate exactly.

Which neighbours share a chain depends on the variant, so that different probes visit different couplings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import U2Gate

from qrtx_ray.devices.drift import MAX_ERROR
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.devices.program_builder import build_program

__all__ = ["CHAIN_QUBITS", "LAYERS", "VARIANTS", "Probe", "chains", "probes_of"]

CHAIN_QUBITS = 4
LAYERS = 4
"""Pairs of layers of half turns and couplings before the mirror. So many that on the better devices of the catalogue errors
twice as large as published take the success to 0.8 of the expected one or below."""
VARIANTS = 4

_PAIR_GATES = ("ecr", "cz", "cx")
_HALF = np.pi / 2


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """One mirror circuit: `program` on physical `qubits`, slot values of shape ``(1, num_slots)``."""

    qubits: tuple[int, ...]
    program: CircuitProgram
    values: npt.NDArray[np.float64]


@lru_cache(maxsize=64)
def probes_of(device_name: str, variant: int = 0) -> tuple[Probe, ...]:
    """The probes of a device, at least one; `variant` is taken modulo `VARIANTS`.

    Raises:
        ValidationError: Not a device name.
        NotFound: No such device.
    """
    device = DeviceModel.load(device_name)
    out = []
    for chain in chains(device, variant):
        program, values = build_program(_mirror(device, chain), device)
        out.append(Probe(chain, program, values))
    return tuple(out)


def chains(device: DeviceModel, variant: int = 0) -> tuple[tuple[int, ...], ...]:
    """Disjoint chains of up to `CHAIN_QUBITS` neighbours that cover every working qubit of `device`."""
    neighbours = _neighbours(device)
    width = device.num_qubits
    begin = (variant % VARIANTS) * width // VARIANTS
    free = set(neighbours)

    def lonely(qubit: int) -> tuple[int, int]:
        """What has few free neighbours comes first: passed by, it would stay alone."""
        return sum(other in free for other in neighbours[qubit]), (qubit - begin) % width

    found: list[tuple[int, ...]] = []
    while free:
        chain = [min(free, key=lonely)]
        free.discard(chain[0])
        while len(chain) < CHAIN_QUBITS:
            choice = [qubit for qubit in neighbours[chain[-1]] if qubit in free]
            if not choice:
                break
            chain.append(min(choice, key=lonely))
            free.discard(chain[-1])
        found.append(tuple(chain))
    return tuple(found)


def _neighbours(device: DeviceModel) -> dict[int, list[int]]:
    """Working qubits and those each is coupled to by a working gate."""
    calibration = device.calibration
    out: dict[int, list[int]] = {
        qubit: [] for qubit in range(device.num_qubits) if ("measure", (qubit,)) in device.instructions
    }
    for name, qubits in sorted(device.instructions):
        if name in _PAIR_GATES and calibration.gate_error.get((name, qubits), 0.0) < MAX_ERROR:
            one, other = qubits
            if one in out and other in out and other not in out[one]:
                out[one].append(other)
                out[other].append(one)
    return {qubit: sorted(found) for qubit, found in out.items()}


def _mirror(device: DeviceModel, chain: tuple[int, ...]) -> QuantumCircuit:
    circuit = QuantumCircuit(device.num_qubits, len(chain))
    layers = [[(chain[i], chain[i + 1]) for i in range(layer % 2, len(chain) - 1, 2)] for layer in range(2 * LAYERS)]
    for pairs in layers:
        _half_turns(circuit, device, chain, back=False)
        _couple(circuit, device, pairs)
    for pairs in reversed(layers):
        _couple(circuit, device, pairs)  # each of these gates is its own inverse
        _half_turns(circuit, device, chain, back=True)
    circuit.measure(chain, range(len(chain)))
    return circuit


def _half_turns(circuit: QuantumCircuit, device: DeviceModel, chain: tuple[int, ...], *, back: bool) -> None:
    for qubit in chain:
        if "sx" not in device.everywhere and ("sx", (qubit,)) not in device.instructions:
            sign = -1 if back else 1
            circuit.append(U2Gate(-sign * _HALF, sign * _HALF), [qubit])
            continue
        if back:
            circuit.rz(np.pi, qubit)
        circuit.sx(qubit)
        if back:
            circuit.rz(np.pi, qubit)


def _couple(circuit: QuantumCircuit, device: DeviceModel, pairs: list[tuple[int, int]]) -> None:
    for one, other in pairs:
        ways = [(name, qubits) for name in _PAIR_GATES for qubits in ((one, other), (other, one))]
        name, qubits = next(way for way in ways if way in device.instructions)
        getattr(circuit, name)(*qubits)
