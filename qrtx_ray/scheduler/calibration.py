"""When a device is to be calibrated: rules over numbers, and the state that one device has.

The noise of an emulated device wanders away from what its last calibration published. Probe circuits measure how far;
when their fidelity falls below a threshold, or its trend says that it soon will, the device is calibrated: no new work,
what runs there runs out, then it is busy with itself for a while and publishes new figures. Not oftener than once in a
while: each calibration costs time in which the device earns nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from qrtx_ray.errors import ValidationError
from qrtx_ray.model.noise import NoiseId

__all__ = ["DeviceCalibration", "DeviceNoise", "Phase", "calibration_wanted", "noise_step", "predicted_fidelity"]

KEPT_PROBES = 8  #: the trend is that of the last so many
TREND_PROBES = 3  #: fewer tell no trend

Probe = tuple[float, float]  #: when (seconds since the epoch), measured fidelity


@dataclass(frozen=True, slots=True)
class DeviceNoise:
    """How the noise of one emulated device moves, and how it is kept in check.

    Args:
        seed / rate: Of the drift (see `model.noise`); rate 0 means none, and then nothing here happens.
        drift_interval_s: How long one state of the noise lasts.
        probe_interval_s: Between two measurements.
        probe_timeout_s: After which a measurement that has not come is given up.
        threshold: Fidelity of the probes below which the device is to be calibrated.
        max_frequency_s: Least time between two calibrations.
        calibration_s: What one takes.
        predictive / horizon_s: Whether the trend of the probes counts, and how far it is carried on.

    Raises:
        ValidationError: A number is out of its range.
    """

    seed: int = 0
    rate: float = 0.0
    drift_interval_s: float = 600.0
    probe_interval_s: float = 300.0
    probe_timeout_s: float = 60.0
    threshold: float = 0.85
    max_frequency_s: float = 3_600.0
    calibration_s: float = 60.0
    predictive: bool = True
    horizon_s: float = 600.0

    def __post_init__(self) -> None:
        NoiseId(self.seed, self.rate)
        for name in ("drift_interval_s", "probe_interval_s", "probe_timeout_s"):
            if not getattr(self, name) > 0.0:
                raise ValidationError(f"{name} must be above 0 s", field=name, limit="0 s")
        if not 0.0 <= self.threshold <= 1.0:
            raise ValidationError("threshold must be from 0 to 1", field="threshold", limit="0..1")

    @property
    def drifts(self) -> bool:
        """Whether there is anything to do at all."""
        return self.rate > 0.0


class Phase(StrEnum):
    """What a device with drift is doing about it."""

    READY = "ready"
    DRAINING = "draining"  #: it takes no new work; what runs there runs out
    CALIBRATING = "calibrating"


class DeviceCalibration:
    """The present of one device with drift.

    Attributes:
        epoch: Number of the calibration in force; `calibrated_at`: since when (seconds since the epoch).
        probes: The last measurements, oldest first, all of this epoch.
        asked_at: When the measurement that is under way was asked for, or None.
        next_probe_at: When the next one is due.
        phase / until: What the device does; while calibrating, when that ends.
        waits_for: An attempt that must end before a drained device can be calibrated, and its agent's name; or None.
        count: Calibrations since this process began.
    """

    __slots__ = (
        "asked_at",
        "calibrated_at",
        "count",
        "epoch",
        "next_probe_at",
        "noise",
        "phase",
        "probes",
        "until",
        "waits_for",
    )

    def __init__(self, noise: DeviceNoise, now: float) -> None:
        self.noise = noise
        self.epoch = 0
        self.calibrated_at = now
        self.probes: list[Probe] = []
        self.asked_at: float | None = None
        self.next_probe_at = now + noise.probe_interval_s
        self.phase = Phase.READY
        self.until = 0.0
        self.waits_for: tuple[str, tuple[str, int]] | None = None
        self.count = 0

    @property
    def published(self) -> str:
        """The noise that the last calibration published: what circuits are compiled and judged against."""
        return NoiseId(self.noise.seed, self.noise.rate, self.epoch, 0).text()

    def truth(self, now: float) -> str:
        """The noise that runs see at `now`."""
        step = noise_step(self.noise, self.calibrated_at, now)
        return NoiseId(self.noise.seed, self.noise.rate, self.epoch, step).text()

    def wanted(self, now: float) -> bool:
        """Whether a calibration would do it good, be it allowed yet or not."""
        return calibration_wanted(self.noise, self.probes, now)

    def allowed(self, now: float) -> bool:
        """Whether the last one is long enough ago."""
        return now - self.calibrated_at >= self.noise.max_frequency_s

    def measured(self, fidelity: float, now: float) -> None:
        """Take a measurement in."""
        self.probes = [*self.probes, (now, fidelity)][-KEPT_PROBES:]

    def renew(self, now: float) -> None:
        """The calibration is done: the next epoch begins."""
        self.epoch += 1
        self.count += 1
        self.calibrated_at = now
        self.probes = []
        self.asked_at = None
        self.next_probe_at = now + self.noise.probe_interval_s
        self.phase = Phase.READY

    def fact(self) -> str:
        """What must be known after a restart, as JSON."""
        return json.dumps({"epoch": self.epoch, "calibrated_at": self.calibrated_at, "probes": self.probes})

    def recall(self, text: str) -> None:
        """Take up what `fact` wrote."""
        known = json.loads(text)
        self.epoch = int(known["epoch"])
        self.calibrated_at = float(known["calibrated_at"])
        self.probes = [(float(at), float(fidelity)) for at, fidelity in known["probes"]]


def noise_step(noise: DeviceNoise, calibrated_at: float, now: float) -> int:
    """How many drift intervals have passed since the calibration."""
    return max(0, int((now - calibrated_at) // noise.drift_interval_s))


def predicted_fidelity(probes: Sequence[Probe], at: float) -> float | None:
    """Where the straight line through the measurements (least squares) is at `at`; None where they tell no trend."""
    if len(probes) < TREND_PROBES:
        return None
    mean_t = sum(t for t, _ in probes) / len(probes)
    mean_f = sum(f for _, f in probes) / len(probes)
    spread = sum((t - mean_t) ** 2 for t, _ in probes)
    if spread <= 0.0:
        return None
    slope = sum((t - mean_t) * (f - mean_f) for t, f in probes) / spread
    return mean_f + slope * (at - mean_t)


def calibration_wanted(noise: DeviceNoise, probes: Sequence[Probe], now: float) -> bool:
    """Whether the last measurement is below the threshold, or the trend reaches it within the horizon."""
    if not probes:
        return False
    if probes[-1][1] < noise.threshold:
        return True
    ahead = predicted_fidelity(probes, now + noise.horizon_s) if noise.predictive else None
    return ahead is not None and ahead < noise.threshold
