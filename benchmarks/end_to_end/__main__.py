"""The runtime end to end: throughput, round trips, durability, answers under load, the official client."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from benchmarks.end_to_end.accepting import accepting
from benchmarks.end_to_end.answering import answering
from benchmarks.end_to_end.official import official
from benchmarks.end_to_end.throughput import ideal_throughput, noisy_throughput
from benchmarks.report import Figure, Options, main
from qrtx_ray.config import load_settings
from qrtx_ray.launch import LocalRuntime

PARTS: dict[str, Callable[[LocalRuntime, Options], Iterator[Figure]]] = {
    "official": official,
    "accepting": accepting,
    "ideal": ideal_throughput,
    "noisy": noisy_throughput,
    "answering": answering,
}


def measure(options: Options) -> Iterator[Figure]:
    """All parts, or those named, against one runtime."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    chosen = options.arguments.only or list(PARTS)
    with tempfile.TemporaryDirectory(prefix="qrtx-benchmark-") as folder:
        overrides = {"storage.path": folder, "server.port": 0}
        settings = load_settings(options.arguments.config, env={"HOME": folder}, overrides=overrides)
        with LocalRuntime(settings) as runtime:
            for name in chosen:
                started = time.monotonic()
                yield from PARTS[name](runtime, options)
                print(f"· {name}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), help="these parts only")
    parser.add_argument("--config", metavar="FILE", help="a configuration instead of the one that ships")


if __name__ == "__main__":
    raise SystemExit(main(__doc__ or "", measure, extend=extend))
