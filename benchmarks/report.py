"""What every benchmark shares: its command line, its figures, the table for people and the JSON for machines."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import qrtx_ray

__all__ = ["Figure", "Options", "Shape", "main", "median", "percentile"]

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ray", "qiskit", "qiskit-aer", "qiskit-ibm-runtime", "numpy")

Shape = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    Args:
        name: Stable; figures of different runs are compared by it.
        value: The measurement.
        unit: ``ms``, ``s``, ``jobs/s``, ``1`` for ratios.
        goal: What it must reach, or None for a baseline.
        better: Which way is better.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    better: Shape = "lower"

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


@dataclass(frozen=True, slots=True)
class Options:
    """How a benchmark is run: `quick` ends within 60 s on 2 cores; all randomness follows from `seed`."""

    quick: bool = False
    seed: int = 7
    arguments: argparse.Namespace = field(default_factory=argparse.Namespace)

    def pick(self, full: int, quick: int) -> int:
        """A size of the run."""
        return quick if self.quick else full


def median(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that `percent` per cent of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


def main(
    title: str,
    measure: Callable[[Options], Iterable[Figure]],
    arguments: Sequence[str] | None = None,
    *,
    extend: Callable[[argparse.ArgumentParser], None] = lambda _: None,
) -> int:
    """Run a benchmark from its command line. Returns the exit status, 0 whatever the figures are.

    Args:
        title: The module's docstring; its first line heads the table.
        measure: Yields the figures.
        arguments: Command line; None takes the process's own.
        extend: Adds options of this benchmark's own; they are found in `Options.arguments`.
    """
    headline = title.splitlines()[0]
    parser = argparse.ArgumentParser(description=headline)
    parser.add_argument("--quick", action="store_true", help="smaller sizes: at most 60 s on 2 cores")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--seed", type=int, default=7)
    extend(parser)
    parsed = parser.parse_args(arguments)
    before, started = os.getloadavg()[0], time.monotonic()
    figures: list[Figure] = []
    try:
        figures.extend(measure(Options(parsed.quick, parsed.seed, parsed)))
    finally:  # what was measured before a failure is worth seeing
        facts = _facts(headline, parsed, before, time.monotonic() - started)
        _show(facts, figures)
        if parsed.json is not None:
            parsed.json.write_text(json.dumps(facts | {"figures": _plain(figures)}, indent=1) + "\n", "utf-8")
    return 0


def _plain(figures: Iterable[Figure]) -> dict[str, dict[str, Any]]:
    return {
        figure.name: {"value": figure.value, "unit": figure.unit, "goal": figure.goal, "better": figure.better}
        for figure in figures
    }


def _facts(headline: str, parsed: argparse.Namespace, load: float, seconds: float) -> dict[str, Any]:
    return {
        "benchmark": headline,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "quick": parsed.quick,
        "seed": parsed.seed,
        "commit": _commit(),
        "machine": _machine() | {"load_before": round(load, 2), "load_after": round(os.getloadavg()[0], 2)},
        "versions": _versions(),
    }


def _show(facts: dict[str, Any], figures: Sequence[Figure]) -> None:
    machine = facts["machine"]
    print(facts["benchmark"])
    print(
        f"{machine['cores']} cores, {machine['cpu']}, load {machine['load_before']} before and {machine['load_after']} "
        f"after; commit {facts['commit']}; {facts['seconds']} s{', quick' if facts['quick'] else ''}\n"
    )
    width = max((len(figure.name) for figure in figures), default=0)
    for figure in figures:
        goal = ""
        if figure.goal is not None:
            sign = "≥" if figure.better == "higher" else "≤"
            goal = f"{sign} {figure.goal:<7g} {'met' if figure.met else 'NOT met'}"
        print(f"{figure.name:{width}}  {figure.value:>12,.3f} {figure.unit:<8} {goal}".rstrip())
    sys.stdout.flush()


def _commit() -> str | None:
    """The commit, with ``+`` when the tree differs from it; None outside a repository."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return f"{head}+" if _git("status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _machine() -> dict[str, Any]:
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> dict[str, str]:
    own = {"python": platform.python_version(), "qrtx-ray": qrtx_ray.__version__}
    return own | {name: metadata.version(name) for name in PACKAGES}
