"""The properties document of a drifted device: the packaged one with the numbers of another calibration in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from qrtx_ray.devices.calibration import Calibration

__all__ = ["with_calibration"]

_READOUT = {"prob_meas1_prep0": "p01", "prob_meas0_prep1": "p10"}
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}


def with_calibration(properties: dict[str, Any], calibration: Calibration, *, taken_at: str = "") -> dict[str, Any]:
    """A copy of the `BackendProperties` document `properties` that says what `calibration` says.

    Args:
        properties: Of the same device; not changed.
        calibration: Whose T1, T2, readout errors and gate errors are written.
        taken_at: ISO 8601 time to write as ``last_update_date``; ``""`` keeps that of the document.
    """
    document = dict(properties)
    if taken_at:
        document["last_update_date"] = taken_at
    document["qubits"] = [
        [_of_qubit(entry, qubit, calibration) for entry in entries]
        for qubit, entries in enumerate(properties["qubits"])
    ]
    document["gates"] = [_of_gate(gate, calibration) for gate in properties["gates"]]
    return document


def _of_qubit(entry: dict[str, Any], qubit: int, calibration: Calibration) -> dict[str, Any]:
    name = entry["name"]
    if qubit >= calibration.num_qubits:
        return entry
    if name in {"T1", "T2"}:
        seconds = float((calibration.t1_s if name == "T1" else calibration.t2_s)[qubit])
        # An infinite time stands for one that was not measured: the document keeps what it says of that.
        return entry | {"value": seconds / _SECONDS[entry["unit"]]} if np.isfinite(seconds) else entry
    if name in _READOUT:
        return entry | {"value": float(getattr(calibration, _READOUT[name])[qubit])}
    if name == "readout_error":
        return entry | {"value": calibration.gate_error["measure", (qubit,)]}
    return entry


def _of_gate(gate: dict[str, Any], calibration: Calibration) -> dict[str, Any]:
    error = calibration.gate_error.get((gate["gate"], tuple(gate["qubits"])))
    if error is None:
        return gate
    parameters = [entry | {"value": error} if entry["name"] == "gate_error" else entry for entry in gate["parameters"]]
    return gate | {"parameters": parameters}
