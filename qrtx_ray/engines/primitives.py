"""From a compiled job to its result document: runs the PUBs, encodes, and charges device time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qrtx_ray.codec.results import EstimatorPubData, SamplerPubData, encode_estimator, encode_sampler
from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.executable import EstimatorPub, SamplerPub
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.devices.timing import IBM_JOB_OVERHEAD_S, qpu_seconds, schedule_duration_s
from qrtx_ray.engines.estimator import estimate_pub
from qrtx_ray.engines.protocol import JobRun
from qrtx_ray.engines.sampler import PubRun, sample_pub
from qrtx_ray.engines.stages import Course

__all__ = ["readout_mitigated", "run_job"]


def run_job(
    run: JobRun,
    device: DeviceModel,
    *,
    engine: str,
    noisy: bool,
    threads: int,
    course: Course,
) -> tuple[bytes, float]:
    """Run a whole job, or what is left of it.

    Nothing of the run itself (times, machine, whether it made way) goes into the document: equal jobs with equal seeds give
    equal bytes.

    Returns:
        The result document (Runtime JSON, UTF-8), and the QPU seconds the job is charged.

    Raises:
        Preempted: It was asked to make way.
        CheckpointRefused: The stages of `course` are not of this job.
    """
    job = run.job
    calibration = device.calibration if noisy else None
    total = len(job.pubs)
    methods: list[str] = []
    parts: list[Any] = []
    charged_s = IBM_JOB_OVERHEAD_S
    pubs: tuple[SamplerPub | EstimatorPub, ...] = job.pubs
    for index, pub in enumerate(pubs):
        report = _part_of(course.report, index, total)
        pub_run = PubRun(run.seed, index, calibration, threads, report, course.stage(index))
        data: SamplerPubData | EstimatorPubData
        if isinstance(pub, SamplerPub):
            data, method, executions = _sampled(pub, pub_run)
        else:
            data, method, executions = _estimated(pub, pub_run, job.options)
        parts.append(data)
        methods.append(method)
        charged_s += _device_s(pub, executions, device)
    metadata: dict[str, Any] = {
        "version": 2,
        "qrtx": {
            "seed": run.seed,
            "engine": engine,
            "method": methods[0] if len(set(methods)) == 1 else methods,
            "calibration_id": device.calibration.id,
            "qpu_s": charged_s,
            "noise": noisy,
            "ignored_options": list(job.options.get("ignored", ())),
        },
    }
    if run.noise_id:
        # With a drifting device the seed alone does not say where the numbers come from.
        metadata["qrtx"]["noise_id"] = run.noise_id
    encoded = encode_sampler(parts, metadata) if job.program_id == "sampler" else encode_estimator(parts, metadata)
    return encoded, charged_s


def readout_mitigated(options: dict[str, Any]) -> bool:
    """Whether an estimator job asks for measurement mitigation: its own option, else resilience level 1 or more (default)."""
    resilience = options.get("resilience")
    asked = resilience.get("measure_mitigation") if isinstance(resilience, dict) else None
    if isinstance(asked, bool):
        return asked
    level = options.get("resilience_level")
    return level is None or level >= 1


def _part_of(progress: Callable[[float], None], index: int, total: int) -> Callable[[float], None]:
    return lambda fraction: progress((index + min(1.0, fraction)) / total)


def _sampled(pub: SamplerPub, run: PubRun) -> tuple[SamplerPubData, str, int]:
    arrays, method = sample_pub(pub, run)
    registers = {
        register.name: (register.size, array.reshape(*pub.shape, *array.shape[1:]))
        for register, array in zip(pub.program.registers, arrays, strict=True)
    }
    metadata = {"circuit_metadata": pub.circuit_metadata}
    rows = len(pub.row_programs) or len(pub.values)
    return SamplerPubData(pub.shape, pub.shots, registers, metadata), method.value, rows * pub.shots


def _estimated(pub: EstimatorPub, run: PubRun, options: dict[str, Any]) -> tuple[EstimatorPubData, str, int]:
    mitigated = readout_mitigated(options)
    estimate = estimate_pub(pub, run, mitigated=mitigated)
    evs, stds = (np.asarray(values).reshape(pub.shape) for values in (estimate.evs, estimate.stds))
    metadata = {
        "shots": pub.shots,
        "target_precision": pub.precision,
        "circuit_metadata": pub.circuit_metadata,
        "resilience": {"measure_mitigation": mitigated},
        "num_randomizations": 1,
    }
    rows = len(pub.row_programs) or len(pub.values)
    data = EstimatorPubData(evs, stds, stds, metadata)
    return data, estimate.method.value, rows * estimate.bases * pub.shots


def _device_s(pub: SamplerPub | EstimatorPub, shots: int, device: DeviceModel) -> float:
    programs = pub.row_programs or (pub.program,)
    mean_s = sum(_duration_s(program, device.calibration) for program in programs) / len(programs)
    return qpu_seconds(shots, mean_s, rep_delay_s=device.rep_delay_s)


def _duration_s(program: CircuitProgram, calibration: Calibration) -> float:
    return program.duration_s or schedule_duration_s(program, None, calibration)
