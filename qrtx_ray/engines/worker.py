"""The engine child: plain messages in, plain outcomes out. The sandbox calls `create` once, then the handler.

A request is ``{"device", "noise_id", "members": [{"job_id", "seed", "executable", "checkpoint", "bulk_bytes",
"checkpoint_every_s"}]}``; a member's `checkpoint` is the body of one of its checkpoints (empty: it begins anew), whose bulk of
`bulk_bytes` lies at the beginning of the memory that is shared for the call. While it runs, it emits

* ``{"job_id", "progress", "slices"}`` for slices, at most ten times a second;
* ``{"job_id", "checkpoint", "progress", "bulk_bytes", "bulk_at", "about"}`` for a checkpoint that was asked for, or is due after
  `checkpoint_every_s` seconds (0: never); the run goes on. The member's next one is not made before the note ``{"taken": [job
  ids]}`` has come. Until then the bulk lies in the shared memory from `bulk_at`: a copy behind the state itself; if there is no
  room for one, `bulk_at` is 0 and the run waits for the note;
* ``{"job_id", "outcome"}`` for a member that is done while others still take long.

The reply repeats all outcomes, in the order of the members.

A note ``{"preempt": [job ids]}`` asks members to make way. Those not begun go back as they came; the one that runs ends its
slice and goes back with a checkpoint, its bulk at the beginning of the shared memory; the others go on. ``{"checkpoint": [job
ids]}`` asks for checkpoints. ``{"conclude": [job ids]}`` asks for the results of what is done: the one that runs gives them after
its slice (`partial`), one not begun gives those of the checkpoint it came with, and without one it goes back as it came.

A request ``{"probe": {"device", "noise_id", "seed"}}`` measures the device instead, and is answered ``{"fidelity": float}``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qrtx_ray.devices.catalogue import register_folder
from qrtx_ray.devices.cost import JobCost
from qrtx_ray.devices.executable import ExecutableJob
from qrtx_ray.devices.names import DeviceName
from qrtx_ray.engines import distribution, sampling, wide  # noqa: F401 - compiled before the fork: a child may not write a cache
from qrtx_ray.engines.caller import Emit, Line, MemberLine, bounded
from qrtx_ray.engines.protocol import Engine, JobOutcome, JobRun, SharedMemory, Wish
from qrtx_ray.engines.registry import engine_for
from qrtx_ray.errors import ExecuteError, InternalError, QrtxError

__all__ = ["create"]

Handler = Callable[[dict[str, Any], Emit], dict[str, Any]]

RESERVE_BYTES = 64 * 2**20
"""Left free beside a job and the copy of its state."""
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
        return {"outcomes": _run_members(engines[executor], message, emit, memory)}

    return handle


def _probe(device: str, noise_id: str, seed: int) -> float:
    from qrtx_ray.engines.probe import measure

    return float(measure(device, noise_id, seed))


def _run_members(
    engine: Engine, message: dict[str, Any], emit: Emit, memory_bytes: int | None = None
) -> list[dict[str, Any]]:
    members = message["members"]
    line = Line(emit)
    sharing = _Sharing(line.area, memory_bytes)
    admitted = [_decoded(engine, member, message, sharing) for member in members]
    remaining_s = sum(seconds for _, seconds in admitted)
    outcomes: list[dict[str, Any]] = []
    for member, (run, seconds) in zip(members, admitted, strict=True):
        job_id = str(member["job_id"])
        remaining_s -= seconds
        if not isinstance(run, JobRun):
            outcome = JobOutcome(error=run.info())
        elif (wish := line.wish(job_id, time.monotonic())) is not None and _goes_back(run, wish):
            outcome = JobOutcome(preempted=True)
        else:
            outcome = _run_one(engine, run, MemberLine(member, line, run.area))
        outcomes.append(_plain(job_id, outcome))
        if len(outcomes) < len(members) and (remaining_s > EARLY_OUTCOME_S or outcome.checkpoint):
            emit({"job_id": job_id, "outcome": outcomes[-1]})
            # The reply must fit one frame, and what was said early counts.
            outcomes[-1] = outcomes[-1] | {"checkpoint": b""} if outcome.checkpoint else outcomes[-1]
    return outcomes


@dataclass(frozen=True, slots=True)
class _Sharing:
    """The memory that is shared for a call, and the memory this process may have in all (None: no bound)."""

    area: SharedMemory | None
    memory_bytes: int | None

    def of(self, cost: JobCost) -> SharedMemory | None:
        """What a job of that cost may have of it: its state, and room for a copy only beside all else that it needs.

        What is mapped counts as memory of the process, and a job must not fail for a copy that it can do without.
        """
        if self.area is None or self.memory_bytes is None or not cost.bulk_bytes:
            return self.area
        spare = max(0, self.memory_bytes - cost.bytes - RESERVE_BYTES)
        return bounded(self.area, cost.bulk_bytes + spare)


def _goes_back(run: JobRun, wish: Wish) -> bool:
    """Whether a member that has not begun stays so: it is to make way, or would have nothing to conclude with."""
    return wish is Wish.PREEMPT or (wish is Wish.CONCLUDE and not run.checkpoint)


def _decoded(
    engine: Engine, member: dict[str, Any], message: dict[str, Any], sharing: _Sharing
) -> tuple[JobRun | QrtxError, float]:
    """A member ready to run and its estimated seconds, or why it cannot run."""
    try:
        job = ExecutableJob.from_bytes(member["executable"])
        if job.device != message["device"]:
            msg = f"the job was compiled for device {job.device}, not for {message['device']}"
            return ExecuteError(msg, field="device"), 0.0
        noise_id, checkpoint = str(message.get("noise_id", "")), bytes(member.get("checkpoint", b""))
        bulk_bytes = int(member.get("bulk_bytes", 0))
        cost = engine.estimate(job)
        run = JobRun(job, int(member["seed"]), noise_id, checkpoint, bulk_bytes, sharing.of(cost))
        return run, cost.seconds
    except QrtxError as error:
        return error, 0.0
    except Exception as error:  # noqa: BLE001 - a malformed job must not take the other members along
        return ExecuteError(f"the compiled job is malformed ({type(error).__name__})", field="circuit"), 0.0


def _run_one(engine: Engine, run: JobRun, line: MemberLine) -> JobOutcome:
    try:
        return engine.run(
            [run],
            lambda _index, fraction: line.report(fraction),
            lambda _index, checkpoint: line.keep(checkpoint),
        )[0]
    except Exception as error:  # noqa: BLE001 - an engine that breaks its contract must not take the other members along
        failure = InternalError(f"the engine failed ({type(error).__name__})")
        return JobOutcome(error=failure.info())


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
        plain |= {
            "preempted": True,
            "progress": outcome.progress,
            "checkpoint": outcome.checkpoint,
            "bulk_bytes": outcome.bulk_bytes,
            "about": outcome.about or {},
        }
    if outcome.partial:
        plain |= {"partial": True, "progress": outcome.progress}
    return plain
