"""How long it takes until a job is accepted, which means durable; and a job alone on an idle system by plain HTTP."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.end_to_end.throughput import IDEAL, SHOTS, bodies_file
from benchmarks.report import Figure, Options, median, percentile
from benchmarks.side import Side
from qrtx_ray.launch import LocalRuntime

__all__ = ["accepting"]

BLOCK = b"x" * 4096


def accepting(runtime: LocalRuntime, options: Options) -> Iterator[Figure]:
    """One connection: back to back (the runtime is at work on the jobs before), and one job at a time."""
    plan = {"url": runtime.url, "token": runtime.token, "shots": SHOTS}
    with tempfile.TemporaryDirectory() as folder:
        bodies = bodies_file(folder, "single", IDEAL, options.seed + 10_000, options.pick(60, 20))
        with Side("benchmarks.http_load", plan | {"mode": "single", "bodies": bodies}) as side:
            single = side.run()
        bodies = bodies_file(folder, "accept", IDEAL, options.seed + 20_000, options.pick(200, 60))
        with Side("benchmarks.http_load", plan | {"mode": "accept", "bodies": bodies}) as side:
            accept = side.run()["accept_s"]
    yield Figure("durable_accept_p50_ms", 1e3 * median(accept), "ms", 10)
    yield Figure("durable_accept_p99_ms", 1e3 * percentile(accept, 99), "ms")
    yield Figure("durable_accept_idle_p50_ms", 1e3 * median(single["accept_s"]), "ms")
    yield Figure("http_round_trip_ms", 1e3 * median(single["round_trip_s"]), "ms")
    yield Figure("fsync_p50_ms", 1e3 * median(_flushes(runtime.settings.paths.storage, 100)), "ms")


def _flushes(folder: Path, count: int) -> list[float]:
    """Seconds of appending 4 KiB to a file of the storage folder and flushing it: what durable costs here at least."""
    path = folder / "flush"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    times = []
    try:
        for _ in range(count):
            started = time.perf_counter()
            os.write(file, BLOCK)
            os.fdatasync(file)
            times.append(time.perf_counter() - started)
    finally:
        os.close(file)
        path.unlink()
    return times
