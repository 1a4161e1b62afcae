"""What a circuit is worth and how long it takes on a device: the laws of the simulated world.

They are deliberately simple, for they stand for devices that need not exist. A circuit of *q* qubits, *d* layers and
*g* two-qubit gates fills half of the places that its two-qubit gates leave free with one-qubit gates and idles in the
other half. Every gate, every idle layer and every readout succeeds or fails by itself, so the logarithms of their
success add up to that of the fidelity. Drift multiplies all error rates of a device by a factor *m*, and a fidelity *F*
by that becomes *F^m*. What a trace says of a job itself (a recorded or measured figure) goes before these laws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from qrtx_ray.devices.drift import PERSISTENCE
from qrtx_ray.model import Candidate
from qrtx_ray.model.noise import NoiseId
from qrtx_ray.simulation.chance import stream
from qrtx_ray.simulation.lines import DeviceLine, JobLine

__all__ = ["PROBE", "Nature", "Walk", "fidelity", "qpu_seconds", "wall_seconds"]

#: The circuit that stands for the probe circuits of a device: a Bell pair and its echo.
PROBE = JobLine(0.0, qubits=2, depth=4, two_qubit_gates=2, shots=1000)

_IDEAL = "@aer_ideal"
_WORSENING = 0.5  # mean of an innovation over its deviation
_GATE_S = 20e-9  # an engine's time for one gate of one shot
_CALL_S = 0.005  # and for beginning a job at all


def fidelity(job: JobLine, device: DeviceLine) -> float:
    """Expected fidelity (0..1) of the circuit of `job` on `device` as it is calibrated."""
    free = max(0, job.qubits * job.depth - 2 * job.two_qubit_gates) / 2
    idle_s = free * device.layer_s
    log = job.two_qubit_gates * _log_success(device.error_2q)
    log += free * _log_success(device.error_1q) + job.qubits * _log_success(device.readout_error)
    log -= idle_s * (1 / device.t1_s + 1 / device.t2_s) / 2
    return math.exp(log)


def qpu_seconds(job: JobLine, device: DeviceLine) -> float:
    """Seconds of QPU time that `device` charges for `job`."""
    return device.overhead_s + job.shots * (device.rep_delay_s + job.depth * device.layer_s)


def wall_seconds(job: JobLine) -> float:
    """Seconds that an engine computes on `job`."""
    return _CALL_S + job.shots * job.depth * job.qubits * _GATE_S


def _log_success(error: float) -> float:
    return math.log1p(-min(error, 0.999999))


@dataclass(slots=True)
class _Path:
    """The part of a random walk that has been asked for, and what draws the rest of it."""

    epoch: int
    chance: Random
    logs: list[float]


class Walk:
    """How the errors of devices wander: by the law that `qrtx_ray.devices.drift` has for one gate, applied to a device as a
    whole. The logarithm of the factor begins at 0 with every calibration, keeps `PERSISTENCE` of its value with every
    step, and gains an innovation that worsens more often than it betters. A pure function of the names of the device and
    of its noise.
    """

    def __init__(self) -> None:
        self._paths: dict[tuple[str, int, float], _Path] = {}

    def factor(self, device: str, noise_id: str) -> float:
        """What the error rates of `device` are multiplied by in the state `noise_id`; 1.0 just after a calibration."""
        if not noise_id:
            return 1.0
        noise = NoiseId.parse(noise_id)
        key = (device, noise.seed, noise.rate)
        path = self._paths.get(key)
        if path is None or path.epoch != noise.epoch:
            path = self._paths[key] = _Path(noise.epoch, stream(f"{noise.seed}/{device}/{noise.epoch}"), [0.0])
        while len(path.logs) <= noise.step:
            innovation = noise.rate * (_WORSENING + path.chance.gauss(0.0, 1.0))
            path.logs.append(PERSISTENCE * path.logs[-1] + innovation)
        return math.exp(path.logs[noise.step])


class Nature:
    """The simulated world: jobs on devices, as predicted and as it comes.

    Args:
        devices: All devices by name.
    """

    def __init__(self, devices: Mapping[str, DeviceLine]) -> None:
        self._devices = devices
        self._walk = Walk()

    def candidate(self, job: JobLine, name: str, noise_id: str = "") -> Candidate:
        """What is predicted of `job` on the device `name` whose published noise is `noise_id`."""
        device = self._devices[name]
        if device.num_qubits and job.qubits > device.num_qubits:
            text = f"the job needs {job.qubits} qubits; the device has {device.num_qubits}"
            return Candidate(name, device.calibration_id, refusal=text)
        known = next((one for one in job.candidates if one.device == name), None)
        if known is not None:
            qpu_s, estimated_s, value = known.qpu_s, known.estimated_s, known.fidelity
            if known.refusal:
                return known
        else:
            own = job.device == name
            qpu_s = job.qpu_s if job.qpu_s is not None else qpu_seconds(job, device)
            estimated_s = job.estimated_s if job.estimated_s is not None else wall_seconds(job)
            value = job.fidelity if own and job.fidelity is not None else fidelity(job, device)
        if device.pace == "qpu":
            estimated_s = qpu_s  # the scheduler plans by the time that a run will take
        if name.endswith(_IDEAL):
            value = None
        elif noise_id and value is not None:
            value **= self._walk.factor(name, noise_id)
        return Candidate(name, noise_id or device.calibration_id, value, qpu_s, estimated_s)

    def true_fidelity(self, job: JobLine, name: str, noise_id: str) -> float | None:
        """What comes out when `job` runs on the device in the state `noise_id`; None where there is no noise."""
        return self.candidate(job, name, noise_id).fidelity

    def run_s(self, job: JobLine, candidate: Candidate) -> float:
        """Seconds that a whole run of `job` really takes on the device of `candidate`."""
        if job.wall_s is not None and self._devices[candidate.device].pace == "wall":
            return job.wall_s
        return candidate.estimated_s * job.slowdown

    def probe(self, name: str, noise_id: str) -> float:
        """What the probe circuits measure on the device in the state `noise_id`."""
        return math.pow(fidelity(PROBE, self._devices[name]), self._walk.factor(name, noise_id))
