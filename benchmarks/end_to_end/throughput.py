"""Jobs per second by HTTP: ideal ones against raw Aer, noisy ones against the official client's local mode."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.circuits import hardware_efficient, native_body, qpy_text
from benchmarks.process_times import by_role, descendants
from benchmarks.report import Figure, Options
from benchmarks.side import Side
from qrtx_ray.launch import LocalRuntime

__all__ = ["IDEAL", "NOISY", "bodies_file", "ideal_throughput", "noisy_throughput"]

IDEAL, NOISY = "fake_manila@aer_ideal", "fake_manila@aer"
SHOTS = 1024
CONNECTIONS = 8
RAW_PROCESSES = 2
WARM_UP = 16
BATCH = 16


def ideal_throughput(runtime: LocalRuntime, options: Options) -> Iterator[Figure]:
    """500 ideal five-qubit jobs over 8 connections, against raw Aer on the same circuits in two processes.

    The figures without a suffix: 16 jobs in a request, and 16 results, as the API offers it to who has many. *One a request*:
    every job in a request of its own, results collected 16 with a request. *Singly*: every result in a request of its own, too.
    """
    count = options.pick(500, 150)
    raw = _raw_aer(options.seed, count)
    yield Figure("raw_aer_jobs_per_s", raw, "jobs/s", None, "higher")
    answer, times = _by_http(runtime, IDEAL, options.seed + 2 * count, count, batch=BATCH)
    yield from _rates("", answer, count, raw, goals=(150, 0.5))
    for role, seconds in sorted(times.items(), key=lambda item: -item[1]):
        if role != "driver":
            yield Figure(f"cpu_per_job_{role}", 1e3 * seconds / count, "ms")
    answer, _ = _by_http(runtime, IDEAL, options.seed, count, collect=BATCH)
    yield from _rates("_one_a_request", answer, count, raw, goals=(150, None))
    answer, _ = _by_http(runtime, IDEAL, options.seed + 4 * count, count)
    yield from _rates("_singly", answer, count, raw, goals=(150, None))


def _rates(
    suffix: str, answer: dict[str, Any], count: int, raw: float, *, goals: tuple[float | None, float | None]
) -> Iterator[Figure]:
    rate = count / answer["seconds"]
    yield Figure(f"http_jobs_per_s{suffix}", rate, "jobs/s", goals[0], "higher")
    yield Figure(f"http_accepted_per_s{suffix}", count / answer["accepted_s"], "jobs/s", None, "higher")
    yield Figure(f"ratio_to_raw_aer{suffix}", rate / raw, "1", goals[1], "higher")


def noisy_throughput(runtime: LocalRuntime, options: Options) -> Iterator[Figure]:
    """Noisy five-qubit jobs over 8 connections, against the same circuits in the client's local mode."""
    count = options.pick(300, 80)
    with Side("benchmarks.end_to_end.local_mode", {"seed": options.seed, "jobs": options.pick(40, 8)}) as side:
        local = side.run()
    answer, _ = _by_http(runtime, NOISY, options.seed, count)
    rate, own = count / answer["seconds"], local["jobs"] / local["seconds"]
    yield Figure("noisy_http_jobs_per_s", rate, "jobs/s", None, "higher")
    yield Figure("noisy_local_mode_jobs_per_s", own, "jobs/s", None, "higher")
    yield Figure("noisy_speedup_vs_local_mode", rate / own, "1", 10, "higher")


def _raw_aer(seed: int, count: int) -> float:
    """Jobs per second of two processes that share the circuits."""
    circuits = [qpy_text(hardware_efficient(seed + index)) for index in range(count)]
    with ExitStack() as stack:
        plans: list[dict[str, Any]] = [
            {"circuits": circuits[index::RAW_PROCESSES], "shots": SHOTS, "seed": seed} for index in range(RAW_PROCESSES)
        ]
        sides = [stack.enter_context(Side("benchmarks.end_to_end.raw_aer", plan)) for plan in plans]
        for side in sides:
            side.ready()
        for side in sides:
            side.go()
        slowest: float = max(side.result()["seconds"] for side in sides)
    return count / slowest


def _by_http(
    runtime: LocalRuntime, device: str, seed: int, count: int, *, batch: int = 1, collect: int = 1
) -> tuple[dict[str, Any], dict[str, float]]:
    """The load generator's answer, and CPU seconds by role; `batch` jobs go in one request, `collect` results come in one."""
    plan = {
        "mode": "throughput" if batch == 1 else "batches",
        "batch": batch,
        "collect": collect,
        "url": runtime.url,
        "token": runtime.token,
        "shots": SHOTS,
        "connections": CONNECTIONS,
    }
    with tempfile.TemporaryDirectory() as folder:
        warm = plan | {"bodies": bodies_file(folder, "warm", device, seed + count, WARM_UP)}
        with Side("benchmarks.http_load", warm) as side:
            side.run()
        plan["bodies"] = bodies_file(folder, "all", device, seed, count)
        with Side("benchmarks.http_load", plan) as side:
            side.ready()
            before = descendants(os.getpid())
            side.go()
            answer = side.result()
            times = by_role(before, descendants(os.getpid()))
    times["load_generator"] = answer["load_cpu_s"]  # without the check of the answers, which is outside the clock
    return answer, times


def bodies_file(folder: str, name: str, device: str, seed: int, count: int) -> str:
    """A file with one request body a line, each with other angles."""
    path = Path(folder) / name
    bodies = [
        native_body(device, hardware_efficient(seed + index), shots=SHOTS, seed=seed + index) for index in range(count)
    ]
    path.write_text("\n".join(bodies) + "\n", "utf-8")
    return str(path)
