"""The target that circuits are routed on: a device's own, without the couplings that its calibration says do not work.

A snapshot gives a coupling that failed its calibration the error 1 and leaves it in the list. Qiskit's routing looks at
distances only and goes straight across. Such couplings are left out, as long as every qubit can still be reached.
"""

from __future__ import annotations

from typing import Any

from qiskit.transpiler import Target

from qrtx_ray.devices.drift import MAX_ERROR
from qrtx_ray.devices.model import DeviceModel

__all__ = ["reliable_target"]

Pair = frozenset[int]


def reliable_target(device: DeviceModel) -> Any:
    """`device.target()`, or a copy of it without hopeless couplings (see the module); a device without noise has none."""
    target = device.target()
    if not device.noisy:
        return target
    hopeless = _hopeless(device)
    if not hopeless:
        return target
    reduced = Target(
        num_qubits=target.num_qubits,
        dt=target.dt,
        granularity=target.granularity,
        min_length=target.min_length,
        pulse_alignment=target.pulse_alignment,
        acquire_alignment=target.acquire_alignment,
        qubit_properties=target.qubit_properties,
        concurrent_measurements=target.concurrent_measurements,
    )
    for name in target.operation_names:
        places = target[name]
        kept = {
            qubits: found for qubits, found in places.items() if qubits is None or frozenset(qubits) not in hopeless
        }
        if None in kept:
            reduced.add_instruction(target.operation_from_name(name), name=name)
        elif kept:
            reduced.add_instruction(target.operation_from_name(name), kept, name=name)
    return reduced


def _hopeless(device: DeviceModel) -> frozenset[Pair]:
    """Couplings no gate of which works, without those that alone connect a part of the device."""
    errors: dict[Pair, float] = {}
    for name, qubits in device.instructions:
        if len(qubits) == 2:
            pair = frozenset(qubits)
            errors[pair] = min(errors.get(pair, 1.0), device.calibration.gate_error.get((name, qubits), 0.0))
    left = set(errors)
    parts = _parts(left, device.num_qubits)
    out = set()
    for pair in sorted((pair for pair, error in errors.items() if error >= MAX_ERROR), key=sorted):
        left.discard(pair)
        if _parts(left, device.num_qubits) == parts:
            out.add(pair)
        else:
            left.add(pair)
    return frozenset(out)


def _parts(pairs: set[Pair], num_qubits: int) -> int:
    """Number of parts of the device that hang together."""
    head = list(range(num_qubits))

    def find(qubit: int) -> int:
        while head[qubit] != qubit:
            head[qubit] = head[head[qubit]]
            qubit = head[qubit]
        return qubit

    parts = num_qubits
    for pair in pairs:
        one, other = (find(qubit) for qubit in pair)
        if one != other:
            head[one] = other
            parts -= 1
    return parts
