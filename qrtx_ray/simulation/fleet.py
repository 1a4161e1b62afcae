"""Fleets: the devices that come with the runtime, with their calibrations, or as many invented ones as one likes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Literal

import numpy as np

from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.errors import ValidationError
from qrtx_ray.simulation.chance import stream
from qrtx_ray.simulation.lines import DeviceLine

__all__ = ["fleet", "packaged", "synthetic"]

_MAX_SYNTHETIC = 100_000
_WIDTHS = (5, 7, 16, 27, 33, 65, 127, 133, 156)
_TYPICAL = DeviceLine("typical")

Pace = Literal["qpu", "wall"]


def fleet(text: str, *, seed: int, agents: int = 1, pace: Pace = "qpu", drift: float = 0.0) -> tuple[DeviceLine, ...]:
    """The fleet that `text` asks for: ``synthetic:<count>``, or names of devices with commas between them.

    Raises:
        ValidationError: Not such a text, or a name that means nothing.
    """
    kind, colon, rest = text.partition(":")
    if kind == "synthetic" and colon:
        if not rest.isdigit() or not 1 <= int(rest) <= _MAX_SYNTHETIC:
            limit = f"1..{_MAX_SYNTHETIC} devices"
            raise ValidationError(f"fleet {text!r} must be synthetic:<count>, {limit}", field="fleet", limit=limit)
        found = synthetic(int(rest), seed)
    else:
        found = packaged(name.strip() for name in text.split(","))
    return tuple(replace(device, agents=agents, pace=pace, drift=drift) for device in found)


def packaged(names: Iterable[str]) -> tuple[DeviceLine, ...]:
    """Devices that come with the runtime; each figure is the median over the device's qubits or gates.

    Raises:
        ValidationError: Not a device name.
        NotFound: No such device.
    """
    return tuple(_measured(DeviceModel.load(name)) for name in names)


def _measured(model: DeviceModel) -> DeviceLine:
    calibration = model.calibration
    errors: dict[int, list[float]] = {1: [], 2: []}
    for (name, qubits), error in calibration.gate_error.items():
        # An error of 1 marks a gate that could not be calibrated; no compiler uses it. Virtual gates have none.
        if name != "measure" and len(qubits) in errors and 0.0 < error < 1.0:
            errors[len(qubits)].append(error)
    layers = [seconds for (_, qubits), seconds in calibration.gate_duration_s.items() if len(qubits) == 2]
    readout = (calibration.p01 + calibration.p10) / 2
    return DeviceLine(
        model.name,
        num_qubits=model.num_qubits,
        error_2q=_median(errors[2], 0.0),
        error_1q=_median(errors[1], 0.0),
        readout_error=_median(readout.tolist(), 0.0),
        t1_s=_median(calibration.t1_s.tolist(), _TYPICAL.t1_s),
        t2_s=_median(calibration.t2_s.tolist(), _TYPICAL.t2_s),
        layer_s=_median(layers, _TYPICAL.layer_s),
        rep_delay_s=model.rep_delay_s,
        calibration_id=calibration.id,
    )


def _median(values: list[float], otherwise: float) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.median(known)) if known else otherwise


def synthetic(count: int, seed: int) -> tuple[DeviceLine, ...]:
    """`count` invented devices, of the widths of real ones and about as unlike in quality as those are."""
    chance = stream(f"fleet/{seed}")
    return tuple(_invented(f"device_{number:04d}@aer", chance) for number in range(count))


def _invented(name: str, chance: Random) -> DeviceLine:
    quality = chance.lognormvariate(0.0, 0.5)  # what makes one device better than another in everything
    return DeviceLine(
        name,
        num_qubits=chance.choice(_WIDTHS),
        error_2q=min(0.2, 0.008 * quality * chance.lognormvariate(0.0, 0.2)),
        error_1q=min(0.05, 0.0003 * quality * chance.lognormvariate(0.0, 0.2)),
        readout_error=min(0.2, 0.015 * quality * chance.lognormvariate(0.0, 0.2)),
        t1_s=150e-6 / quality * chance.lognormvariate(0.0, 0.2),
        t2_s=100e-6 / quality * chance.lognormvariate(0.0, 0.2),
        layer_s=400e-9 * chance.lognormvariate(0.0, 0.2),
        calibration_id=f"{chance.getrandbits(48):012x}",
    )
