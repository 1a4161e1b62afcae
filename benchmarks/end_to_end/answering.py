"""Whether the runtime goes on answering, and serving other devices, while a 22-qubit circuit runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from benchmarks.circuits import BELL_QASM3, deep
from benchmarks.end_to_end.throughput import IDEAL
from benchmarks.report import Figure, Options, percentile
from benchmarks.side import Side
from qrtx_ray.client import JobStatus, QrtxClient
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.launch import LocalRuntime

__all__ = ["answering"]

DEVICE = "fake_kolkata@aer_ideal"
SHOTS = 1024
PATIENCE_S = 120.0
PAUSE_S = 0.005

Samples = list[tuple[float, float]]


def answering(runtime: LocalRuntime, options: Options) -> Iterator[Figure]:
    """p99 of GET /v1/jobs, idle and while the circuit runs; a Bell pair on another device meanwhile."""
    plan = {"mode": "poll", "url": runtime.url, "token": runtime.token, "path": "/v1/jobs", "pause_s": PAUSE_S}
    idle, _ = _poll_while(plan, lambda: time.sleep(options.pick(4, 2)))
    samples, (heavy, bell, bell_s) = _poll_while(
        plan, lambda: _heavy_and_bell(runtime, options.seed, options.pick(30, 15))
    )
    begin, end = _time(heavy, "started_at"), _time(heavy, "finished_at")
    during = [seconds for at, seconds in samples if begin <= at <= end]
    yield Figure("api_p99_ms_during_22q", 1e3 * percentile(during, 99), "ms", 100)
    yield Figure("api_p50_ms_during_22q", 1e3 * percentile(during, 50), "ms")
    yield Figure("api_p99_ms_idle", 1e3 * percentile([seconds for _, seconds in idle], 99), "ms")
    yield Figure("run_22q_s", end - begin, "s")
    yield Figure("bell_ms_during_22q", 1e3 * bell_s, "ms")
    meanwhile = begin <= _time(bell, "created_at") and _time(bell, "finished_at") < end
    yield Figure("bell_finished_during_22q", float(meanwhile), "1", 1, "higher")


def _poll_while(plan: dict[str, Any], work: Callable[[], Any]) -> tuple[Samples, Any]:
    """Samples taken while `work` ran (wall time of the start, seconds), and what it returned."""
    with Side("benchmarks.http_load", plan) as side:
        side.ready()
        side.go()
        done = work()
        side.stop()
        return side.result()["samples"], done


def _heavy_and_bell(runtime: LocalRuntime, seed: int, layers: int) -> tuple[JobStatus, JobStatus, float]:
    """The 22-qubit job, and a Bell pair sent while it ran, with the seconds until that had ended."""
    edges = {qubits for _, qubits in DeviceModel.load(DEVICE).instructions if len(qubits) == 2}
    with QrtxClient(runtime.url, runtime.token) as client:
        heavy = client.submit(deep(seed, edges, layers=layers), DEVICE, shots=SHOTS, seed=seed)
        for status in client.watch(heavy.id):
            if status.state == "Executing":
                break
        started = time.perf_counter()
        bell = client.wait(client.submit(BELL_QASM3, IDEAL, shots=100, seed=seed).id, PATIENCE_S)
        bell_s = time.perf_counter() - started
        heavy = client.wait(heavy.id, PATIENCE_S)
    for job in (heavy, bell):
        if job.state != "Completed":
            raise RuntimeError(f"a job on {job.device} ended {job.state}: {job.error}")
    return heavy, bell, bell_s


def _time(job: JobStatus, field: str) -> float:
    return datetime.fromisoformat(job.view[field]).timestamp()
