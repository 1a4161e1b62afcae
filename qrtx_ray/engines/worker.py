"""The engine child: plain messages in, plain outcomes out. The sandbox calls `create` once, then the handler.

A request is ``{"device", "noise_id", "members": [{"job_id", "seed", "executable", "checkpoint"}]}``. While it runs,
``{"job_id", "progress"}`` is emitted for slices, at most ten times a second, and ``{"job_id", "outcome"}`` for a member that
is done while others still take long. The reply repeats all outcomes, in the order of the members.

An interrupt ``{"preempt": [job ids]}`` asks members to make way. Those not begun go back as they came; the one that runs ends
its slice and goes back with a checkpoint; the others go on.

A request ``{"probe": {"device", "noise_id", "seed"}}`` measures the device instead, and is answered ``{"fidelity": float}``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qrtx_ray.devices.catalogue import register_folder
from qrtx_ray.devices.executable import ExecutableJob
from qrtx_ray.devices.names import DeviceName
from qrtx_ray.engines import distribution, sampling  # noqa: F401 - compiled before the fork: a child may not write a cache
from qrtx_ray.engines.protocol import Engine, JobOutcome, JobRun
from qrtx_ray.engines.registry import engine_for
from qrtx_ray.errors import ExecuteError, InternalError, QrtxError

__all__ = ["create"]

Emit = Callable[[dict[str, Any]], None]
Handler = Callable[[dict[str, Any], Emit], dict[str, Any]]

PROGRESS_EVERY_S = 0.1
ASK_EVERY_S = 0.01
"""Interrupts are looked for no oftener than this; a look costs a microsecond or two, a small job some dozens."""
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
        if "probe" in message:
            return {"fidelity": _probe(**message["probe"])}
        device = str(message["device"])
        executor = DeviceName.parse(device).executor
        if executor not in engines:
            engines[executor] = engine_for(executor, threads=threads, memory_bytes=memory)
        return {"outcomes": _run_members(engines[executor], message, emit)}

    return handle


def _probe(device: str, noise_id: str, seed: int) -> float:
    from qrtx_ray.engines.probe import measure

    return float(measure(device, noise_id, seed))


class _Caller:
    """The other end: takes events, and may interrupt while a request is worked on."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        # A caller without interrupts (a test, a benchmark) is one that never asks.
        self._interrupts: Callable[[], list[dict[str, Any]]] = getattr(emit, "interrupts", list)
        self._asked: set[str] = set()
        self._looked = float("-inf")

    def wants_back(self, job_id: str) -> bool:
        """Whether the member is asked to make way."""
        now = time.monotonic()
        if now - self._looked >= ASK_EVERY_S:
            self._looked = now
            for note in self._interrupts():
                self._asked.update(note.get("preempt", ()))
        return job_id in self._asked


def _run_members(engine: Engine, message: dict[str, Any], emit: Emit) -> list[dict[str, Any]]:
    members = message["members"]
    admitted = [_decoded(engine, member, message) for member in members]
    remaining_s = sum(seconds for _, seconds in admitted)
    outcomes: list[dict[str, Any]] = []
    caller = _Caller(emit)
    for member, (run, seconds) in zip(members, admitted, strict=True):
        job_id = str(member["job_id"])
        remaining_s -= seconds
        if not isinstance(run, JobRun):
            outcome = JobOutcome(error=run.info())
        elif caller.wants_back(job_id):
            outcome = JobOutcome(preempted=True)
        else:
            outcome = _run_one(engine, run, _throttled(job_id, caller))
        outcomes.append(_plain(job_id, outcome))
        if len(outcomes) < len(members) and (remaining_s > EARLY_OUTCOME_S or outcome.checkpoint):
            emit({"job_id": job_id, "outcome": outcomes[-1]})
            # The reply must fit one frame, and what was said early counts.
            outcomes[-1] = outcomes[-1] | {"checkpoint": b""} if outcome.checkpoint else outcomes[-1]
    return outcomes


def _decoded(engine: Engine, member: dict[str, Any], message: dict[str, Any]) -> tuple[JobRun | QrtxError, float]:
    """A member ready to run and its estimated seconds, or why it cannot run."""
    try:
        job = ExecutableJob.from_bytes(member["executable"])
        if job.device != message["device"]:
            msg = f"the job was compiled for device {job.device}, not for {message['device']}"
            return ExecuteError(msg, field="device"), 0.0
        noise_id, checkpoint = str(message.get("noise_id", "")), bytes(member.get("checkpoint", b""))
        return JobRun(job, int(member["seed"]), noise_id, checkpoint), engine.estimate(job).seconds
    except QrtxError as error:
        return error, 0.0
    except Exception as error:  # noqa: BLE001 - a malformed job must not take the other members along
        return ExecuteError(f"the compiled job is malformed ({type(error).__name__})", field="circuit"), 0.0


def _run_one(engine: Engine, run: JobRun, progress: Callable[[float], bool]) -> JobOutcome:
    try:
        return engine.run([run], lambda _index, fraction: progress(fraction))[0]
    except Exception as error:  # noqa: BLE001 - an engine that breaks its contract must not take the other members along
        failure = InternalError(f"the engine failed ({type(error).__name__})")
        return JobOutcome(error=failure.info())


def _throttled(job_id: str, caller: _Caller) -> Callable[[float], bool]:
    last = time.monotonic()

    def report(fraction: float) -> bool:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_EVERY_S:
            last = now
            caller.emit({"job_id": job_id, "progress": fraction})
        return caller.wants_back(job_id)

    return report


def _plain(job_id: str, outcome: JobOutcome) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "job_id": job_id,
        "results": outcome.results,
        "qpu_s": outcome.qpu_s,
        "wall_s": outcome.wall_s,
        "error": None if outcome.error is None else outcome.error.to_dict(),
    }
    if outcome.anew:
        plain["anew"] = outcome.anew
    if outcome.preempted:
        plain |= {"preempted": True, "progress": outcome.progress, "checkpoint": outcome.checkpoint}
    return plain
