"""What the unmodified official client sees: its round trip, and how long its look at the devices takes."""

from __future__ import annotations

import os
from collections.abc import Iterator

from benchmarks.report import Figure, Options, median, percentile
from benchmarks.side import Side
from qrtx_ray.client.connection import Connection
from qrtx_ray.launch import LocalRuntime

__all__ = ["official"]


def official(runtime: LocalRuntime, options: Options) -> Iterator[Figure]:
    """An idle system: 2-qubit Bell pairs of 100 shots one after the other, `backend(name)` and `backends()`."""
    environment = (
        os.environ
        | Connection(runtime.url, runtime.token).runtime_environment()
        | {"HOME": str(runtime.settings.paths.storage)}
    )
    plan = {"trips": options.pick(40, 15), "repeats": options.pick(3, 1), "seed": options.seed}
    with Side("benchmarks.end_to_end.official_client", plan, environment) as side:
        seen = side.run()
    yield Figure("client_round_trip_ms", 1e3 * median(seen["round_trip_s"]), "ms", 80)
    yield Figure("client_round_trip_p95_ms", 1e3 * percentile(seen["round_trip_s"], 95), "ms")
    yield Figure("client_local_mode_round_trip_ms", 1e3 * median(seen["local_round_trip_s"]), "ms")
    yield Figure("backend_one_ms", 1e3 * median(seen["backend_one_s"]), "ms", 300)
    yield Figure("packaged_backend_one_ms", 1e3 * median(seen["packaged_one_s"]), "ms")
    yield Figure("backends_all_s", median(seen["backends_all_s"]), "s", 3)
    yield Figure("packaged_backends_all_s", median(seen["packaged_all_s"]), "s")
    yield Figure("backends_found", seen["backends_found"], "1", None, "higher")
