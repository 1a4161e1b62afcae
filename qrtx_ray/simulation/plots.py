"""The pictures of a report: how long jobs waited, how busy the machines were, and how variants compare."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qrtx_ray.simulation.charts import Chart, Series

__all__ = ["charts", "draw", "mean_waiting_s"]

Report = dict[str, Any]


def draw(reports: Sequence[Report], folder: Path) -> list[Path]:
    """Write all pictures of the reports into `folder`, which is made if need be. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, chart in charts(reports).items():
        path = folder / f"{name}.svg"
        path.write_text(chart.svg(), "utf-8")
        paths.append(path)
    return paths


def charts(reports: Sequence[Report]) -> dict[str, Chart]:
    """The pictures by file name."""
    out: dict[str, Chart] = {}
    for report in reports:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", report["name"])
        out[f"{plain}-waiting"] = _waiting(report)
        out[f"{plain}-course"] = _course(report)
    if len(reports) > 1:
        curves = [Series(report["name"], report["waiting_curves"]["normal"]) for report in reports]
        out["comparison-waiting"] = _distribution("Waiting of normal jobs", curves)
        worth = [(report["name"], mean_waiting_s(report), report["fidelity"]["mean"]) for report in reports]
        out["comparison-front"] = Chart(
            "Fidelity against waiting: better is up and to the left",
            "mean waiting in seconds",
            "mean fidelity",
            [Series(name, [(waiting, fidelity)]) for name, waiting, fidelity in worth],
            kind="points",
        )
    return out


def mean_waiting_s(report: Report) -> float:
    """Over the jobs of all levels."""
    waits = [level["waiting_s"] for level in report["levels"].values()]
    count = sum(wait["count"] for wait in waits)
    return float(sum(wait["mean"] * wait["count"] for wait in waits) / count) if count else 0.0


def _waiting(report: Report) -> Chart:
    curves = [Series(level, points) for level, points in report["waiting_curves"].items() if points]
    return _distribution(f"Waiting, {report['name']}", curves)


def _distribution(title: str, curves: Sequence[Series]) -> Chart:
    return Chart(title, "seconds waited (logarithmic)", "share of jobs that waited no longer", curves, log_x=True)


def _course(report: Report) -> Chart:
    samples = report["course"]
    series = [
        Series("jobs on their way", [(at, live) for at, live, _ in samples]),
        Series("agents at work", [(at, running) for at, _, running in samples]),
    ]
    return Chart(f"Course, {report['name']}", "seconds", "count", series, kind="step")
