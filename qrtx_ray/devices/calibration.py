"""Calibration: the measured quality and speed of a device at one moment, as arrays and tables in SI units."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

__all__ = ["Calibration"]

Float64 = npt.NDArray[np.float64]
GateKey = tuple[str, tuple[int, ...]]

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9, "ps": 1e-12}


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What was measured on a device.

    Args:
        id: 12 hexadecimal digits; equal for equal documents.
        taken_at: ISO 8601 time of the snapshot, ``""`` when there is none.
        t1_s: Relaxation times, shape ``(num_qubits,)``; infinite where unknown.
        t2_s: Dephasing times, shape ``(num_qubits,)``; infinite where unknown.
        p01: Probability to read 1 where 0 was prepared, shape ``(num_qubits,)``.
        p10: Probability to read 0 where 1 was prepared, shape ``(num_qubits,)``.
        gate_error: Average error of a gate on its qubits; ``("measure", (q,))`` is the readout error. A gate that is
            missing has error 0.
        gate_duration_s: Duration of a gate on its qubits; measurements and resets included. Missing where unknown.
        faulty_qubits: Qubits reported as not operational.
        faulty_gates: Gates reported as not operational.
    """

    id: str
    taken_at: str
    t1_s: Float64
    t2_s: Float64
    p01: Float64
    p10: Float64
    gate_error: dict[GateKey, float]
    gate_duration_s: dict[GateKey, float]
    faulty_qubits: frozenset[int] = frozenset()
    faulty_gates: frozenset[GateKey] = frozenset()

    @property
    def num_qubits(self) -> int:
        """Number of qubits of the device."""
        return len(self.t1_s)

    @classmethod
    def from_properties(cls, properties: dict[str, Any] | None, configuration: dict[str, Any]) -> Calibration:
        """The calibration in a `BackendProperties` document; a perfect one without durations when that is None.

        Args:
            properties: The document, or None.
            configuration: The device's configuration document (gives the number of qubits).
        """
        num_qubits = int(configuration["n_qubits"])
        if not properties:
            return cls._ideal(num_qubits, configuration)
        qubits = [_qubit_values(entry) for entry in properties["qubits"][:num_qubits]]
        qubits += [{} for _ in range(num_qubits - len(qubits))]
        errors: dict[GateKey, float] = {}
        durations: dict[GateKey, float] = {}
        faulty_gates: set[GateKey] = set()
        for gate in properties["gates"]:
            key = (gate["gate"], tuple(gate["qubits"]))
            for parameter in gate["parameters"]:
                kind, value = parameter["name"], float(parameter["value"])
                if kind == "gate_error":
                    errors[key] = value
                elif kind == "gate_length":
                    durations[key] = value * _SECONDS[parameter["unit"]]
                elif kind == "operational" and not value:
                    faulty_gates.add(key)
        for index, values in enumerate(qubits):
            if "readout_error" in values:
                errors["measure", (index,)] = values["readout_error"]
            if "readout_length" in values:
                durations["measure", (index,)] = values["readout_length"]
        return cls(
            id=_digest(properties),
            taken_at=str(properties.get("last_update_date", "")),
            t1_s=_column(qubits, "T1", np.inf),
            t2_s=_column(qubits, "T2", np.inf),
            p01=_readout(qubits, "prob_meas1_prep0"),
            p10=_readout(qubits, "prob_meas0_prep1"),
            gate_error=errors,
            gate_duration_s=durations,
            faulty_qubits=frozenset(i for i, values in enumerate(qubits) if not values.get("operational", 1.0)),
            faulty_gates=frozenset(faulty_gates),
        )

    @classmethod
    def _ideal(cls, num_qubits: int, configuration: dict[str, Any]) -> Calibration:
        return cls(
            id=_digest(configuration),
            taken_at="",
            t1_s=np.full(num_qubits, np.inf),
            t2_s=np.full(num_qubits, np.inf),
            p01=np.zeros(num_qubits),
            p10=np.zeros(num_qubits),
            gate_error={},
            gate_duration_s={},
        )


def _digest(document: dict[str, Any]) -> str:
    return blake2b(orjson.dumps(document, option=orjson.OPT_SORT_KEYS), digest_size=6).hexdigest()


def _qubit_values(entry: list[dict[str, Any]]) -> dict[str, float]:
    return {item["name"]: float(item["value"]) * _SECONDS.get(item.get("unit", ""), 1.0) for item in entry}


def _column(qubits: list[dict[str, float]], name: str, missing: float) -> Float64:
    values = np.array([item.get(name, missing) for item in qubits], dtype=np.float64)
    # A zero or absent time means that the fit failed, not that the qubit decays at once.
    return np.where(np.isnan(values) | (values <= 0.0), missing, values)


def _readout(qubits: list[dict[str, float]], name: str) -> Float64:
    # Old snapshots give only the mean of the two error probabilities.
    values = np.array([item.get(name, item.get("readout_error", 0.0)) for item in qubits], dtype=np.float64)
    return np.where(np.isnan(values), 0.0, values)
