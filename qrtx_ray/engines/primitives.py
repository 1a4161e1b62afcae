"""From a compiled job to its result document: runs the PUBs, encodes, and charges device time.

A job that is concluded on its way gets the document of what is done of it: see `partial.py` for its PUBs. The document's
metadata then say under ``qrtx``: ``partial`` (true), ``progress``, ``pubs_asked`` and ``pubs_done`` (those that are whole),
and every PUB says in its own how many of its rows and shots there are. Device time is charged for what is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qrtx_ray.codec.results import EstimatorPubData, SamplerPubData, encode_estimator, encode_sampler
from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.cost import Method
from qrtx_ray.devices.executable import EstimatorPub, SamplerPub
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.devices.timing import IBM_JOB_OVERHEAD_S, qpu_seconds, schedule_duration_s
from qrtx_ray.engines.estimator import Estimate, estimate_pub
from qrtx_ray.engines.partial import amounts, estimated_part, sampled_part
from qrtx_ray.engines.protocol import JobRun
from qrtx_ray.engines.sampler import PubRun, sample_pub
from qrtx_ray.engines.stages import Concluded, Course, Stage

__all__ = ["JobEnd", "readout_mitigated", "run_job"]

_Part = tuple[SamplerPubData | EstimatorPubData, str, int]
"""Of a PUB: its data, how they were simulated, and the executions of its circuits they stand for."""


class JobEnd(NamedTuple):
    """The result document (Runtime JSON, UTF-8), the QPU seconds charged, and where a concluded job was; None: it is whole."""

    results: bytes
    qpu_s: float
    concluded: float | None = None


def run_job(
    run: JobRun,
    device: DeviceModel,
    *,
    engine: str,
    noisy: bool,
    threads: int,
    course: Course,
) -> JobEnd:
    """Run a whole job, or what is left of it.

    Nothing of the run itself (times, machine, whether it made way) goes into the document: equal jobs with equal seeds give
    equal bytes.

    Raises:
        Preempted: It was asked to make way.
        CheckpointRefused: The stages of `course` are not of this job.
    """
    job, concluded = run.job, course.concluded
    calibration = device.calibration if noisy else None
    total = len(job.pubs)
    data: list[Any] = []
    methods: list[str] = []
    charged_s = IBM_JOB_OVERHEAD_S
    pubs: tuple[SamplerPub | EstimatorPub, ...] = job.pubs
    for index, pub in enumerate(pubs):
        report = _part_of(course.report, index, total)
        pub_run = PubRun(run.seed, index, calibration, threads, report, course.stage(index), course.bulk)
        part: _Part | None = None
        if concluded is None:
            try:
                part = _run(pub, pub_run, job.options)
            except Concluded as end:
                concluded = end.progress
        part = part or _begun(pub, pub_run, job.options)
        if part is None:
            break
        found, method, executions = part
        data.append(found)
        methods.append(method)
        charged_s += _device_s(pub, executions, device)
    ours: dict[str, Any] = {
        "seed": run.seed,
        "engine": engine,
        "method": methods[0] if len(set(methods)) == 1 else methods,
        "calibration_id": device.calibration.id,
        "qpu_s": charged_s,
        "noise": noisy,
        "ignored_options": list(job.options.get("ignored", ())),
    }
    if run.noise_id:
        # With a drifting device the seed alone does not say where the numbers come from.
        ours["noise_id"] = run.noise_id
    if concluded is not None:
        stages = [course.stage(index) for index in range(len(data))]
        whole = sum(stage.done == stage.total for stage in stages)
        ours |= {"partial": True, "progress": concluded, "pubs_asked": total, "pubs_done": whole}
        data = [_with_amounts(*begun) for begun in zip(data, pubs, stages, strict=False)]
    encode: Callable[..., bytes] = encode_sampler if job.program_id == "sampler" else encode_estimator
    return JobEnd(encode(data, {"version": 2, "qrtx": ours}), charged_s, concluded)


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


def _run(pub: SamplerPub | EstimatorPub, run: PubRun, options: dict[str, Any]) -> _Part:
    rows = len(pub.row_programs) or len(pub.values)
    if isinstance(pub, SamplerPub):
        arrays, method = sample_pub(pub, run)
        return _sampled(pub, arrays, method, pub.shape, pub.shots, rows)
    mitigated = readout_mitigated(options)
    return _estimated(pub, estimate_pub(pub, run, mitigated=mitigated), rows, mitigated=mitigated)


def _begun(pub: SamplerPub | EstimatorPub, run: PubRun, options: dict[str, Any]) -> _Part | None:
    """The same of a PUB on its way; None when nothing of it is done."""
    if isinstance(pub, SamplerPub):
        samples = sampled_part(pub, run)
        if samples is None:
            return None
        arrays, method, shape, shots = samples
        return _sampled(pub, arrays, method, shape, shots, prod(shape))
    estimate = estimated_part(pub, run)
    if estimate is None:
        return None
    return _estimated(pub, estimate, run.stage.done, mitigated=readout_mitigated(options))


def _sampled(
    pub: SamplerPub, arrays: list[npt.NDArray[np.uint8]], method: Method, shape: tuple[int, ...], shots: int, rows: int
) -> _Part:
    registers = {
        register.name: (register.size, array.reshape(*shape, *array.shape[1:]))
        for register, array in zip(pub.program.registers, arrays, strict=True)
    }
    metadata = {"circuit_metadata": pub.circuit_metadata}
    return SamplerPubData(shape, shots, registers, metadata), method.value, rows * shots


def _estimated(pub: EstimatorPub, estimate: Estimate, rows: int, *, mitigated: bool) -> _Part:
    evs, stds = (np.asarray(values).reshape(pub.shape) for values in (estimate.evs, estimate.stds))
    metadata = {
        "shots": pub.shots,
        "target_precision": pub.precision,
        "circuit_metadata": pub.circuit_metadata,
        "resilience": {"measure_mitigation": mitigated},
        "num_randomizations": 1,
    }
    return EstimatorPubData(evs, stds, stds, metadata), estimate.method.value, rows * estimate.bases * pub.shots


def _with_amounts(
    data: SamplerPubData | EstimatorPubData, pub: SamplerPub | EstimatorPub, stage: Stage
) -> SamplerPubData | EstimatorPubData:
    shots = data.shots if isinstance(data, SamplerPubData) else pub.shots
    return replace(data, metadata={**data.metadata, "qrtx": amounts(pub, stage, shots=shots)})


def _device_s(pub: SamplerPub | EstimatorPub, shots: int, device: DeviceModel) -> float:
    programs = pub.row_programs or (pub.program,)
    mean_s = sum(_duration_s(program, device.calibration) for program in programs) / len(programs)
    return qpu_seconds(shots, mean_s, rep_delay_s=device.rep_delay_s)


def _duration_s(program: CircuitProgram, calibration: Calibration) -> float:
    return program.duration_s or schedule_duration_s(program, None, calibration)
