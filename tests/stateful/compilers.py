"""A fake compiler: leases jobs, and gives back a profile that follows from the job alone; it may die with what it holds."""

from __future__ import annotations

from qrtx_ray.errors import ErrorInfo
from qrtx_ray.model import Candidate, CircuitProfile, CompileReport, CompileTask

__all__ = ["Compiler", "compiled"]

REFUSED = ErrorInfo("compile_failed", "it does not compile", "CompileError")
_ESTIMATES_S = (0.001, 0.4, 8.0, 60.0)


class Compiler:
    """One process of the compiler `name`."""

    def __init__(self, name: str, incarnation: str) -> None:
        self.name = name
        self.incarnation = incarnation
        self.known = False
        self.tasks: list[CompileTask] = []
        self.reports: list[CompileReport] = []

    def take(self, tasks: list[CompileTask]) -> None:
        self.tasks += tasks

    def work(self) -> None:
        """Compile one task."""
        if self.tasks:
            self.reports.append(compiled(self.tasks.pop(0)))


def compiled(task: CompileTask) -> CompileReport:
    """What comes of a task: nothing but the task decides it."""
    estimated_s = _ESTIMATES_S[task.seed % 4]
    if task.choices:
        candidates = tuple(
            Candidate(device, fidelity=0.9, qpu_s=2.5, estimated_s=estimated_s) for device, _ in task.choices
        )
        if not task.dry_run:
            return CompileReport(task.job_id, task.attempt, candidates=candidates)
        digest = f"estimate-{task.seed}"
        return CompileReport(task.job_id, task.attempt, candidates=candidates, result_sha256=digest, result_bytes=10)
    if task.seed % 23 == 5:
        return CompileReport(task.job_id, task.attempt, error=REFUSED)
    profile = CircuitProfile(2, 3, 1, 1, 1000, estimated_s, 1000, 2.5, "k", "c", "aer")
    executable = f"program {task.seed}".encode()
    if task.dry_run:
        digest = f"estimate-{task.seed}"
        return CompileReport(task.job_id, task.attempt, profile, result_sha256=digest, result_bytes=10)
    return CompileReport(task.job_id, task.attempt, profile, executable)
