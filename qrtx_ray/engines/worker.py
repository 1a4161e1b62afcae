"""The engine child: plain messages in, plain outcomes out. The sandbox calls `create` once, then the handler.

A request is ``{"device", "members": [{"job_id", "seed", "executable"}]}``. While it runs, ``{"job_id", "progress"}`` is
emitted for slices, at most ten times a second, and ``{"job_id", "outcome"}`` for a member that is done while others
still take long. The reply repeats all outcomes, in the order of the members.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qrtx_ray.devices.catalogue import register_folder
from qrtx_ray.devices.executable import ExecutableJob
from qrtx_ray.devices.names import DeviceName
from qrtx_ray.engines.protocol import Engine, JobOutcome, JobRun
from qrtx_ray.engines.registry import engine_for
from qrtx_ray.errors import ExecuteError, InternalError, QrtxError

__all__ = ["create"]

Emit = Callable[[dict[str, Any]], None]
Handler = Callable[[dict[str, Any], Emit], dict[str, Any]]

PROGRESS_EVERY_S = 0.1
EARLY_OUTCOME_S = 0.25
"""Outcomes are sent ahead of the reply when the members not yet run are estimated to take longer than this."""


def create(config: dict[str, Any]) -> Handler:
    """The handler of an engine child.

    Nothing heavy is loaded here: the process may still fork. The first request builds the engine.

    Args:
        config: ``threads`` (default 1), ``memory_bytes`` (default no bound) of this child, and ``custom_devices``, a folder
            of further device metadata.
    """
    if config.get("custom_devices"):
        register_folder(config["custom_devices"])
    threads = int(config.get("threads", 1))
    memory = config.get("memory_bytes")
    engines: dict[str, Engine] = {}

    def handle(message: dict[str, Any], emit: Emit) -> dict[str, Any]:
        device = str(message["device"])
        executor = DeviceName.parse(device).executor
        if executor not in engines:
            engines[executor] = engine_for(executor, threads=threads, memory_bytes=memory)
        return {"outcomes": _run_members(engines[executor], device, message["members"], emit)}

    return handle


def _run_members(engine: Engine, device: str, members: list[dict[str, Any]], emit: Emit) -> list[dict[str, Any]]:
    admitted = [_decoded(engine, member, device) for member in members]
    remaining_s = sum(seconds for _, seconds in admitted)
    outcomes: list[dict[str, Any]] = []
    for member, (run, seconds) in zip(members, admitted, strict=True):
        job_id = str(member["job_id"])
        remaining_s -= seconds
        if isinstance(run, JobRun):
            outcome = _run_one(engine, run, _throttled(job_id, emit))
        else:
            outcome = JobOutcome(error=run.info())
        outcomes.append(_plain(job_id, outcome))
        if len(outcomes) < len(members) and remaining_s > EARLY_OUTCOME_S:
            emit({"job_id": job_id, "outcome": outcomes[-1]})
    return outcomes


def _decoded(engine: Engine, member: dict[str, Any], device: str) -> tuple[JobRun | QrtxError, float]:
    """A member ready to run and its estimated seconds, or why it cannot run."""
    try:
        job = ExecutableJob.from_bytes(member["executable"])
        if job.device != device:
            msg = f"the job was compiled for device {job.device}, not for {device}"
            return ExecuteError(msg, field="device"), 0.0
        return JobRun(job, int(member["seed"])), engine.estimate(job).seconds
    except QrtxError as error:
        return error, 0.0
    except Exception as error:  # noqa: BLE001 - a malformed job must not take the other members along
        return ExecuteError(f"the compiled job is malformed ({type(error).__name__})", field="circuit"), 0.0


def _run_one(engine: Engine, run: JobRun, progress: Callable[[float], None]) -> JobOutcome:
    try:
        return engine.run([run], lambda _index, fraction: progress(fraction))[0]
    except Exception as error:  # noqa: BLE001 - an engine that breaks its contract must not take the other members along
        failure = InternalError(f"the engine failed ({type(error).__name__})")
        return JobOutcome(error=failure.info())


def _throttled(job_id: str, emit: Emit) -> Callable[[float], None]:
    last = time.monotonic()

    def report(fraction: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_EVERY_S:
            last = now
            emit({"job_id": job_id, "progress": fraction})

    return report


def _plain(job_id: str, outcome: JobOutcome) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "results": outcome.results,
        "qpu_s": outcome.qpu_s,
        "wall_s": outcome.wall_s,
        "error": None if outcome.error is None else outcome.error.to_dict(),
    }
