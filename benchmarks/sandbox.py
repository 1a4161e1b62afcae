"""The sandbox: a call, a kill, and how soon the next call is answered, with the libraries of the engines' children.

Each kill waits until the spare child stands, and with ``tight`` it does not: two children are then killed in a row. The
baseline of a new child is a new interpreter that imports the same libraries.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.report import Figure, Options, main, median, percentile
from qrtx_ray.errors import QrtxError
from qrtx_ray.sandbox import Sandbox, SandboxLimits

LIBRARIES = ("qiskit", "qiskit_aer")
PATIENCE_S = 30.0


def create(_: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """The child's handler: an echo, or an endless loop once it has said that it began."""

    def handle(message: dict[str, Any], emit: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        if message.get("spin"):
            emit({})
            while True:
                pass
        return message

    return handle


def measure(options: Options) -> Iterator[Figure]:
    """Milliseconds; percentiles over kills, so the worst is seen too."""
    seen = asyncio.run(_measure(options))
    yield Figure("call_p50_ms", 1e3 * median(seen["call"]), "ms")
    yield Figure("kill_to_dead_p50_ms", 1e3 * median(seen["dead"]), "ms", 100)
    yield Figure("kill_to_dead_max_ms", 1e3 * max(seen["dead"]), "ms")
    yield Figure("dead_to_answer_p50_ms", 1e3 * median(seen["answer"]), "ms", 300)
    yield Figure("dead_to_answer_max_ms", 1e3 * max(seen["answer"]), "ms")
    yield Figure("dead_to_answer_tight_p50_ms", 1e3 * median(seen["tight"]), "ms", 300)
    yield Figure("dead_to_answer_tight_p95_ms", 1e3 * percentile(seen["tight"], 95), "ms")
    yield Figure("fresh_interpreter_ms", 1e3 * median(_interpreters(options.pick(5, 2))), "ms")


async def _measure(options: Options) -> dict[str, list[float]]:
    sandbox = Sandbox("benchmarks.sandbox:create", {}, SandboxLimits(), preload=LIBRARIES)
    await sandbox.start()
    try:
        calls = [await _answered(sandbox) for _ in range(options.pick(500, 200))]
        dead, answer, tight = [], [], []
        for _ in range(options.pick(30, 10)):
            await asyncio.sleep(0.7)  # the spare's handler stands long before
            dead.append(await _killed(sandbox))
            answer.append(await _answered(sandbox))
            dead.append(await _killed(sandbox))
            tight.append(await _answered(sandbox))
    finally:
        await sandbox.close()
    return {"call": calls, "dead": dead, "answer": answer, "tight": tight}


async def _killed(sandbox: Sandbox) -> float:
    """Seconds from killing a child that computes until its call has failed."""
    begun = asyncio.Event()
    call = asyncio.create_task(sandbox.call({"spin": True}, deadline_s=PATIENCE_S, on_event=lambda _: begun.set()))
    await begun.wait()
    started = time.perf_counter()
    sandbox.kill()
    with contextlib.suppress(QrtxError):
        await call
    return time.perf_counter() - started


async def _answered(sandbox: Sandbox) -> float:
    started = time.perf_counter()
    await sandbox.call({"x": 1}, deadline_s=PATIENCE_S)
    return time.perf_counter() - started


def _interpreters(count: int) -> list[float]:
    """Seconds until a new interpreter has imported the libraries."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {', '.join(LIBRARIES)}"], check=True)
        times.append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    raise SystemExit(main(__doc__ or "", measure))
