"""Drift: how the noise of an emulated device wanders between two calibrations of it.

A pure function from the packaged calibration and a `NoiseId` to the calibration that is true then. What drifts is the
logarithm of each number, by a mean-reverting walk: with every step a deviation keeps `PERSISTENCE` of its value and gains
a normal innovation.

* Gate errors, one walk for each qubit and each pair, and readout errors, one for each qubit, start from what the
  calibration published and are drawn to a worse level, since controls that nobody retunes only get worse. The standard
  deviation of a gate's innovation is the noise id's ``rate``; in the long run the logarithm of a gate's error lies
  ``5 × rate`` above the published one, so that a rate of 0.1 makes errors 1.6 times, one of 0.2 nearly 3 times as large.
  Readout errors move by half of that.
* T1 and T2 wander to both sides, by half of the rate: a calibration measures them and cannot better them.

What calibration number ``e > 0`` publishes lies one innovation beside the packaged values, anew for each ``e``; number 0
publishes the packaged calibration itself. Physical bounds hold throughout: T2 ≤ 2 T1, errors below `MAX_ERROR` unless the
packaged one is above it already (a broken gate stays as it is).

Innovations come from a counter, not from a generator's state, so that any step is computed by itself, and the walk
forgets what is older than `_MEMORY` steps, where less than a thousandth of it is left: a step costs some milliseconds,
however late it is. Nothing depends on the version of a library's random numbers.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.calibration import Calibration, GateKey
from qrtx_ray.model.noise import NoiseId

__all__ = ["MAX_ERROR", "PERSISTENCE", "drifted"]

Float64 = npt.NDArray[np.float64]
UInt64 = npt.NDArray[np.uint64]

PERSISTENCE = 0.9
"""What one step leaves of a deviation."""
MAX_ERROR = 0.499

_MEMORY = 66  # 0.9**66 < 1e-3
_WORSENING = 0.5  # mean of a gate's innovation over its standard deviation
_SLOWER = 0.5  # readout errors and coherence times against gate errors
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def drifted(packaged: Calibration, noise: NoiseId) -> Calibration:
    """The calibration that is true of a device whose packaged one is `packaged`, when its noise is `noise`.

    Returns:
        `packaged` itself where nothing has drifted (rate 0, or the first calibration's own snapshot); else a calibration
        with an ``id`` of its own, equal for equal arguments.
    """
    if noise.packaged or (noise.epoch == 0 and noise.step == 0):
        return packaged
    places = sorted({qubits for name, qubits in packaged.gate_error if name != "measure"})
    gates = dict(zip(places, np.exp(_log_factors(noise, "gates", len(places), worsens=True)).tolist(), strict=True))
    width = packaged.num_qubits
    slower = replace(noise, rate=noise.rate * _SLOWER)
    readout = np.exp(_log_factors(slower, "readout", width, worsens=True))
    t1_s = packaged.t1_s * np.exp(_log_factors(slower, "T1", width))
    t2_s = packaged.t2_s * np.exp(_log_factors(slower, "T2", width))
    errors: dict[GateKey, float] = {}
    for key, error in packaged.gate_error.items():
        name, qubits = key
        factor = float(readout[qubits[0]]) if name == "measure" else gates[qubits]
        errors[key] = _bounded(error, factor)
    return replace(
        packaged,
        id=blake2b(f"{packaged.id} {noise.text()}".encode(), digest_size=6).hexdigest(),
        t1_s=t1_s,
        t2_s=np.minimum(t2_s, 2.0 * t1_s),
        p01=_all_bounded(packaged.p01, readout),
        p10=_all_bounded(packaged.p10, readout),
        gate_error=errors,
    )


def _bounded(error: float, factor: float) -> float:
    return error if error >= MAX_ERROR else min(error * factor, MAX_ERROR)


def _all_bounded(errors: Float64, factors: Float64) -> Float64:
    return np.where(errors >= MAX_ERROR, errors, np.minimum(errors * factors, MAX_ERROR))


def _log_factors(noise: NoiseId, what: str, count: int, *, worsens: bool = False) -> Float64:
    """Logarithms of what the packaged numbers are multiplied by, shape ``(count,)``."""
    out = noise.rate * _normals(noise, what, np.zeros(1, dtype=np.uint64), count)[0] if noise.epoch else np.zeros(count)
    if not noise.step:
        return out
    first = max(1, noise.step - _MEMORY + 1)
    steps = np.arange(first, noise.step + 1, dtype=np.uint64)
    weights = PERSISTENCE ** (noise.step - np.arange(first, noise.step + 1, dtype=np.float64))
    out = out + noise.rate * (weights @ _normals(noise, what, steps, count))
    if worsens:
        out = out + noise.rate * _WORSENING * (1.0 - PERSISTENCE**noise.step) / (1.0 - PERSISTENCE)
    return out


def _normals(noise: NoiseId, what: str, steps: UInt64, count: int) -> Float64:
    """Standard normal numbers, each a function of seed, epoch, `what`, step and position: shape ``(steps, count)``."""
    key = blake2b(f"{noise.seed} {noise.epoch} {what}".encode(), digest_size=8).digest()
    counters = (steps[:, None] << np.uint64(32)) + np.arange(count, dtype=np.uint64)[None, :]
    seeds = _scrambled(counters * _GOLDEN + np.uint64(int.from_bytes(key, "little")))
    # Two uniform numbers of 32 bits are enough for one normal (Box-Muller); the first is never 0.
    radius = ((seeds >> np.uint64(32)).astype(np.float64) + 0.5) * 2.0**-32
    angle = (seeds & np.uint64(0xFFFFFFFF)).astype(np.float64) * (2.0 * np.pi * 2.0**-32)
    normals: Float64 = np.sqrt(-2.0 * np.log(radius)) * np.cos(angle)
    return normals


def _scrambled(values: UInt64) -> UInt64:
    """The finaliser of SplitMix64."""
    values = (values ^ (values >> np.uint64(30))) * _MIX[0]
    values = (values ^ (values >> np.uint64(27))) * _MIX[1]
    return values ^ (values >> np.uint64(31))
