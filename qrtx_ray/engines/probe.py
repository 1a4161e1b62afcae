"""Probing a device: its probe circuits run under the noise it has now, against what its calibration promises.

The answer is the *measured fidelity* of a device: the mean success of its probes, drawn with shots as on a machine, over
the mean success that the published calibration lets expect, at most 1. Success is to read 0 on every qubit of a mirror
circuit (see `devices.probes`); in the means a probe counts as much as it has qubits. A freshly calibrated device therefore measures 1 to within a per cent, however good or bad
a device it is, and the figure falls as its true noise leaves the published one behind.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.probes import VARIANTS, Probe, probes_of
from qrtx_ray.engines.channels import flip_probabilities
from qrtx_ray.engines.distribution import Evolution, measured_distributions
from qrtx_ray.engines.sampling import uniforms
from qrtx_ray.model.noise import NoiseId

__all__ = ["SHOTS", "measure"]

Float64 = npt.NDArray[np.float64]

SHOTS = 4000
"""Of each probe; the answer then varies by 0.7 per cent on a device of 5 qubits and by 0.3 on one of 27."""


def measure(device: str, noise_id: str, seed: int) -> float:
    """The measured fidelity of `device` while its noise is `noise_id`, 0..1.

    Args:
        device: Canonical device name. One without noise measures 1.
        noise_id: The noise the device has now; what it published is step 0 of the same.
        seed: Decides the shots, and which couplings are visited.

    Raises:
        ValidationError: Not a device name, or not the name of a state of noise.
        NotFound: No such device.
    """
    model = DeviceModel.load(device, noise_id)
    if not model.noisy:
        return 1.0
    variant = seed % VARIANTS
    promised = _successes(device, NoiseId.parse(noise_id).published.text(), variant)
    now = _successes(device, noise_id, variant)
    drawn = [float((uniforms(seed, index, count=SHOTS) < success).mean()) for index, success in enumerate(now.tolist())]
    qubits = [len(probe.qubits) for probe in probes_of(device, variant)]
    return min(1.0, float(np.dot(qubits, drawn) / np.dot(qubits, promised)))


@lru_cache(maxsize=64)
def _successes(device: str, noise_id: str, variant: int) -> Float64:
    """Exact success of each probe, shape ``(probes,)``."""
    calibration = DeviceModel.load(device, noise_id).calibration
    return np.array([_success(probe, calibration) for probe in probes_of(device, variant)])


def _success(probe: Probe, calibration: Calibration) -> float:
    """Probability to read 0 everywhere."""
    outcomes = measured_distributions(probe.program, probe.values, Evolution(calibration))[0]
    read = np.ones(1)
    of_0, of_1 = flip_probabilities(calibration, probe.qubits)
    for zero, one in zip((1.0 - of_0).tolist(), of_1.tolist(), strict=True):
        read = np.kron(np.array([zero, one]), read)
    return float(outcomes @ read)
