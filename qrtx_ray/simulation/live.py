"""A job while it is on its way through the simulation, and what its runs have cost so far."""

from __future__ import annotations

from qrtx_ray.simulation.lines import JobLine

__all__ = ["LiveJob"]


class LiveJob:
    """What is known of a job besides its record.

    Attributes:
        line: What the trace says of it.
        begun_at: When its first run began (seconds since the epoch), or None.
        runs: Runs begun.
        progress: Fraction of its work that is kept from runs that made way.
        busy_s: Seconds that agents spent on it.
        lost_s: Of these, seconds of work that was thrown away: runs that failed or whose agents died.
        paid_s: Of these, what making way cost: the rest of slices, keeping progress, beginning again.
        fidelity: What its last whole run was worth, or None.
        predicted: What was promised of it, or None.
    """

    __slots__ = ("begun_at", "busy_s", "fidelity", "line", "lost_s", "paid_s", "predicted", "progress", "runs")

    def __init__(self, line: JobLine) -> None:
        self.line = line
        self.begun_at: float | None = None
        self.runs = 0
        self.progress = 0.0
        self.busy_s = 0.0
        self.lost_s = 0.0
        self.paid_s = 0.0
        self.fidelity: float | None = None
        self.predicted: float | None = None
