"""Compile leases: who compiles what, and what came of it."""

from __future__ import annotations

from qrtx_ray.errors import ErrorInfo, ResourceExhausted
from qrtx_ray.model import AUTO_DEVICE, CircuitProfile, CompileReport, TaskState
from qrtx_ray.scheduler.admission import deadline_refusal, quota_refusal
from qrtx_ray.scheduler.budgets import fidelity_refusal, qpu_refusal
from qrtx_ray.scheduler.commands import Compile, CompileOrder
from qrtx_ray.scheduler.dispatch import fair_share
from qrtx_ray.scheduler.events import CompilerJoined, CompilerLost, CompilerReady, JobsCompiled
from qrtx_ray.scheduler.job import Job, kept_progress
from qrtx_ray.scheduler.outcomes import estimated, fail, lose_compile, put_aside
from qrtx_ray.scheduler.placing import settle_in, settle_survey
from qrtx_ray.scheduler.states import Trigger
from qrtx_ray.scheduler.workers import Compiler
from qrtx_ray.scheduler.world import World

__all__ = ["assign_compiles", "on_compiler_joined", "on_compiler_lost", "on_compiler_ready", "on_jobs_compiled"]

_LEASE = (Trigger.COMPILE_LEASED, Trigger.COMPILE_STARTED)
_COMPILED = (Trigger.COMPILED,)


def on_compiler_joined(world: World, event: CompilerJoined) -> None:
    known = world.compilers.get(event.compiler)
    if known is not None and known.incarnation == event.incarnation:
        return
    if known is not None:
        _drop(world, known, "compiler replaced")
    world.compilers[event.compiler] = Compiler(event.compiler, event.incarnation)


def on_compiler_ready(world: World, event: CompilerReady) -> None:
    compiler = _known(world, event.compiler, event.incarnation)
    if compiler is None:
        return
    compiler.capacity = event.capacity
    if event.capacity > 0:
        world.parked_compilers[event.compiler] = compiler
    else:
        world.parked_compilers.pop(event.compiler, None)


def on_compiler_lost(world: World, event: CompilerLost) -> None:
    known = world.compilers.get(event.compiler)
    if known is not None and event.incarnation in {None, known.incarnation}:
        _drop(world, known, "compiler lost")


def on_jobs_compiled(world: World, event: JobsCompiled) -> None:
    compiler = _known(world, event.compiler, event.incarnation)
    if compiler is None:
        return
    for report in event.reports:
        job = world.jobs.get(report.job_id)
        if job is None or job.compiler is not compiler or job.compile_attempt != report.attempt:
            world.stale_reports += 1
            continue
        del compiler.held[report.job_id]
        job.compiler = job.patience_until = None
        _settle(world, job, report)


def assign_compiles(world: World) -> None:
    """Give the first of the line to whoever offered first; several compilers share a short line."""
    for compiler in list(world.parked_compilers.values()):
        if not world.pending:
            return
        _lease(world, compiler)


def _lease(world: World, compiler: Compiler) -> None:
    count = min(compiler.capacity, fair_share(len(world.pending), len(world.compilers)))
    until = world.now + world.settings.compile_lease_s
    tasks = []
    for _ in range(count):
        job = world.next_pending()
        world.leave_line(job)
        world.advance(job, _LEASE, "leased")
        job.compiler, job.compile_attempt, job.patience_until = compiler, job.record.version, until
        compiler.held[job.record.id] = job.compile_attempt
        world.arm(job)
        tasks.append(_order(world, job))
    compiler.capacity = 0
    del world.parked_compilers[compiler.name]
    world.send(Compile(compiler.name, compiler.incarnation, tuple(tasks)))


def _order(world: World, job: Job) -> CompileOrder:
    """Compile against what its device published last; or survey it for all devices that it may go to."""
    record = job.record
    if record.device != AUTO_DEVICE:
        return CompileOrder(record.id, job.compile_attempt, world.device(record.device).noise_id)
    known = [world.devices[name] for name in record.choices if name in world.devices]
    choices = tuple([(device.info.name, device.noise_id) for device in known if device.configured])
    return CompileOrder(record.id, job.compile_attempt, choices=choices)


def _settle(world: World, job: Job, report: CompileReport) -> None:
    error, record = report.error, job.record
    if error is None and record.device == AUTO_DEVICE and report.candidates and report.result_sha256 is None:
        settle_survey(world, job, report)
        return
    surveyed = record.dry_run and bool(report.candidates)
    if error is None and report.profile is None and not surveyed:
        error = ErrorInfo("compile_failed", "the compiler reported neither a profile nor an error", "CompileError")
    if error is None and report.profile is not None:
        error = _refusal(world, job, report.profile)
    if error is None and record.dry_run and report.result_sha256 is None:
        error = ErrorInfo("compile_failed", "the compiler reported no estimate of the dry run", "CompileError")
    if error is not None:
        fail(world, job, error)
        return
    if record.dry_run:
        estimated(world, job, report)
        return
    world.advance(job, _COMPILED, "compiled", profile=report.profile, queued_at=world.now)
    if record.pause_requested:
        put_aside(world, job)
        return
    world.enqueue(job)
    world.arm(job)
    settle_in(world, job)


def _refusal(world: World, job: Job, profile: CircuitProfile) -> ErrorInfo | None:
    record = job.record
    limit = world.settings.max_job_bytes
    need = profile.estimated_bytes
    if need > limit:
        return ResourceExhausted(
            f"the job needs {need} bytes; the limit is {limit} bytes", limit=f"{limit} bytes"
        ).info()
    return (
        fidelity_refusal(record, profile.fidelity)
        or qpu_refusal(record, profile.qpu_s)
        or deadline_refusal(world, record.deadline_at, profile.estimated_s * (1.0 - kept_progress(record)))
        or quota_refusal(world, job, profile)
    )


def _known(world: World, name: str, incarnation: str) -> Compiler | None:
    compiler = world.compilers.get(name)
    if compiler is None or compiler.incarnation != incarnation:
        world.stale_reports += 1
        return None
    return compiler


def _drop(world: World, compiler: Compiler, reason: str) -> None:
    del world.compilers[compiler.name]
    world.parked_compilers.pop(compiler.name, None)
    for job_id in list(compiler.held):
        job = world.jobs[job_id]
        assert job.record.state is TaskState.COMPILING
        lose_compile(world, job, reason)
