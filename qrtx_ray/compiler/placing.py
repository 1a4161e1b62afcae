"""Transpiling for a noisy device: where on it a circuit goes is decided by the device's calibration first.

Qiskit's own layout stage looks for any place without swaps, and stops looking when its time is up; on devices of a hundred
qubits it then returns poor ones. So the place that a survey finds is given to it. Where that place needs no swaps there is
hardly a better one. Where it does, Qiskit's routing may well do better from a layout of its own: then both are made, and
the more faithful one, by the predicted fidelity, is kept. Where nearly everything is swaps, routing is left alone.
"""

from __future__ import annotations

from qiskit.circuit import QuantumCircuit

from qrtx_ray.compiler.passes import PassManagers, Transpiled
from qrtx_ray.compiler.sketching import sketch_of
from qrtx_ray.devices.circuit_fidelity import circuit_fidelity
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.survey import Placement, place
from qrtx_ray.errors import CompileError

__all__ = ["transpiled"]


_ROUTED_SWAPS = 2  # a circuit that needs more swaps for each of its qubits is a matter of routing, not of its place


def transpiled(passes: PassManagers, circuit: QuantumCircuit, device: DeviceModel, level: int) -> Transpiled:
    """`circuit` made to run on `device`, at the best place known. Level 0 and devices without noise are left to Qiskit.

    Raises:
        CompileError: It holds an instruction that cannot be said in the device's, or no layout was found.
    """
    if level == 0 or not device.noisy:
        return passes.transpile(circuit, device, level)
    sketch, used = sketch_of(circuit)
    found = place(sketch, device)
    if found is None or not found.fidelity or found.swaps > _ROUTED_SWAPS * sketch.qubits:
        return passes.transpile(circuit, device, level)
    try:
        placed = passes.transpile(circuit, device, level, layout=_whole_layout(circuit, device, used, found))
    except CompileError:
        return passes.transpile(circuit, device, level)
    if level == 1 and not found.swaps:
        return placed
    routed = passes.transpile(circuit, device, level)
    calibration = device.calibration
    better = circuit_fidelity(placed.circuit, calibration) >= circuit_fidelity(routed.circuit, calibration)
    return placed if better else routed


def _whole_layout(
    circuit: QuantumCircuit, device: DeviceModel, used: tuple[int, ...], found: Placement
) -> tuple[int, ...]:
    """A physical qubit for every qubit of the circuit: those that do nothing get what is left over."""
    taken = dict(zip(used, found.qubits, strict=True))
    occupied = set(found.qubits)
    others = iter([qubit for qubit in range(device.num_qubits) if qubit not in occupied])
    return tuple(taken[place] if place in taken else next(others) for place in range(circuit.num_qubits))
