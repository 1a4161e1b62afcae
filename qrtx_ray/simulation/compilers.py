"""Simulated compilers: they take what they are given, let its time pass, and report what the trace says."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from qrtx_ray.errors import CompileError
from qrtx_ray.model import CircuitProfile, CompileReport
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import CompileOrder
from qrtx_ray.simulation.agenda import Agenda
from qrtx_ray.simulation.failures import compile_failure
from qrtx_ray.simulation.live import LiveJob
from qrtx_ray.simulation.nature import Nature

__all__ = ["Bench", "Compiler"]

_INCARNATION = "1"
_ESTIMATE, _ESTIMATE_BYTES = "e" * 64, 1024


class Bench(Protocol):
    """What a compiler needs of the world around it."""

    agenda: Agenda
    nature: Nature
    compile_call_s: float
    compile_job_s: float
    compile_batch: int

    def say(self, event: events.Event) -> None:
        """Tell the scheduler, as soon as it listens."""

    def live(self, job_id: str) -> LiveJob | None:
        """The job, while it is on its way."""

    def device_of(self, job_id: str) -> str:
        """The device the scheduler has the job down for."""


class Compiler:
    """One compiler."""

    def __init__(self, name: str, around: Bench) -> None:
        self.name = name
        self._around = around

    def start(self) -> None:
        """Join, and ask for work."""
        self._around.say(events.CompilerJoined(self.name, _INCARNATION))
        self._ask()

    def take(self, orders: tuple[CompileOrder, ...]) -> None:
        """Compile these."""
        around = self._around
        surveys = sum(max(1, len(order.choices)) for order in orders)
        around.agenda.after(around.compile_call_s + surveys * around.compile_job_s, self._finish, orders)

    def _finish(self, orders: tuple[CompileOrder, ...]) -> None:
        reports = tuple(self._compiled(order) for order in orders)
        self._around.say(events.JobsCompiled(self.name, _INCARNATION, reports))
        self._ask()

    def _ask(self) -> None:
        self._around.say(events.CompilerReady(self.name, _INCARNATION, self._around.compile_batch))

    def _compiled(self, order: CompileOrder) -> CompileReport:
        job = self._around.live(order.job_id)
        if job is None:  # it was cancelled meanwhile, and the scheduler takes no notice of the report
            return CompileReport(order.job_id, order.attempt)
        error = compile_failure(job.line)
        if error is not None:
            return CompileReport(order.job_id, order.attempt, error=error)
        nature = self._around.nature
        if order.choices:
            candidates = tuple(nature.candidate(job.line, device, published) for device, published in order.choices)
            return self._estimated(CompileReport(order.job_id, order.attempt, candidates=candidates), job)
        candidate = nature.candidate(job.line, self._around.device_of(order.job_id), order.calibration_id)
        if candidate.refusal:
            error = CompileError(candidate.refusal, field="device").info()
            return CompileReport(order.job_id, order.attempt, error=error)
        line = job.line
        job.predicted = candidate.fidelity
        profile = CircuitProfile(
            active_qubits=line.qubits,
            depth=line.depth,
            two_qubit_gates=line.two_qubit_gates,
            circuits=line.circuits,
            shots=line.shots,
            estimated_s=candidate.estimated_s,
            estimated_bytes=line.estimated_bytes,
            qpu_s=candidate.qpu_s,
            group_key=line.group_key,
            calibration_id=candidate.calibration_id,
            engine="simulated",
            fidelity=candidate.fidelity,
            sensitivity=line.sensitivity,
            structure=line.structure,
            noise_id=order.calibration_id,
        )
        return self._estimated(CompileReport(order.job_id, order.attempt, profile), job)

    @staticmethod
    def _estimated(report: CompileReport, job: LiveJob) -> CompileReport:
        """The report of a dry run names the document with the estimate."""
        if not job.line.dry_run:
            return report
        return replace(report, result_sha256=_ESTIMATE, result_bytes=_ESTIMATE_BYTES)
