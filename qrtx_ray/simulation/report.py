"""The report of a simulation: plain data that JSON can hold, the same bytes for the same run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from qrtx_ray.model import Level
from qrtx_ray.simulation.driver import Simulation
from qrtx_ray.simulation.fairness import jain
from qrtx_ray.simulation.ledger import Ledger
from qrtx_ray.simulation.sketch import ACCURACY

__all__ = ["report_json", "report_of"]


def report_of(simulation: Simulation, name: str) -> dict[str, Any]:
    """Everything that is worth saying of a finished simulation. Times are in seconds, shares from 0 to 1; quantiles are
    true to `sketch.ACCURACY`.

    Args:
        simulation: It has run.
        name: What the run is called, where several are compared.
    """
    ledger = simulation.ledger
    elapsed_s = ledger.last_end
    return {
        "name": name,
        "elapsed_s": _round(elapsed_s),
        "unfinished": simulation.unfinished,
        "quantile_accuracy": ACCURACY,
        "ends": dict(sum((account.ends for account in ledger.levels.values()), start=Counter())),
        "refused": dict(sorted(ledger.refused.items())),
        "failures": dict(sorted(ledger.failures.items())),
        "levels": {level.name.lower(): _level(ledger, level) for level in Level},
        "fidelity": ledger.fidelity.summary() | {"predicted_error": ledger.predicted_error.summary()},
        "utilisation": _utilisation(simulation, elapsed_s),
        "fairness": _fairness(ledger),
        "preemption": _preemption(ledger),
        "attempts": {name: ledger.counts[name] for name in ("runs", "retries", "losses")}
        | {"lost_s": _round(ledger.seconds["lost"]), "busy_s": _round(ledger.seconds["busy"])},
        "deadlines": {name: ledger.counts[f"deadline_{name}"] for name in ("kept", "missed", "refused")},
        "calibration": {"calibrations": sum(ledger.calibrations.values()), "probes": ledger.counts["probes"]},
        "tenants": _tenants(ledger),
        "devices": {device: _device(simulation, device, elapsed_s) for device in sorted(ledger.busy_s)},
        "recorded": _recorded(ledger),
        "course": [[_round(at), live, running] for at, live, running in ledger.samples],
        "waiting_curves": {
            level.name.lower(): [[_round(value), _round(share)] for value, share in account.waiting.curve()]
            for level, account in ledger.levels.items()
        },
    }


def report_json(reports: list[dict[str, Any]]) -> bytes:
    """The reports as JSON."""
    return orjson.dumps(reports, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _round(value: float) -> float:
    return round(value, 6)


def _level(ledger: Ledger, level: Level) -> dict[str, Any]:
    account = ledger.levels[level]
    return {
        "jobs": sum(account.ends.values()),
        "ends": dict(sorted(account.ends.items())),
        "waiting_s": account.waiting.summary(),
        "completion_s": account.completion.summary(),
        "fidelity_mean": _round(ledger.fidelity_by_level[level].mean),
        "promoted": account.promoted,
        "waited_over_limit": account.over_limit,
    }


def _utilisation(simulation: Simulation, elapsed_s: float) -> dict[str, Any]:
    """Of agents, over the time until the last job ended. An agent that serves several devices counts once in all."""
    busy_s = simulation.ledger.busy_s
    could_s = elapsed_s * simulation.agents
    shares = [_share(busy_s[name], elapsed_s * simulation.agents_of(name)) for name in simulation.devices]
    return {
        "all": _share(sum(busy_s.values()), could_s),
        "least": min(shares, default=0.0),
        "most": max(shares, default=0.0),
        "balance": _round(jain(shares)),
        "qpu_s": _round(sum(simulation.ledger.device_qpu_s.values())),
    }


def _share(part: float, whole: float) -> float:
    return _round(part / whole) if whole > 0.0 else 0.0


def _fairness(ledger: Ledger) -> dict[str, Any]:
    """`jain_usage` compares what tenants were charged, over their weights; it says nothing where they did not all want the
    same. `share_error` compares what tenants got with what was due to them while they waited (see `fairness`).
    """
    normal = ledger.shares[Level.NORMAL]
    return {
        "jain_usage": _round(jain(account.qpu_s / normal.weight(name) for name, account in ledger.tenants.items())),
        "share_error": {level.name.lower(): _round(shares.error()) for level, shares in ledger.shares.items()},
    }


def _preemption(ledger: Ledger) -> dict[str, Any]:
    """`penalty` is what making way cost over the work of the jobs that had to."""
    work_s, cost_s = ledger.seconds["preempted_work"], ledger.seconds["preemption_cost"]
    return {
        "orders": ledger.counts["preempt_orders"],
        "preemptions": ledger.counts["preemptions"],
        "jobs": ledger.counts["preempted_jobs"],
        "cost_s": _round(cost_s),
        "work_s": _round(work_s),
        "penalty": _share(cost_s, work_s),
    }


def _tenants(ledger: Ledger) -> dict[str, Any]:
    got: dict[str, float] = dict.fromkeys(ledger.tenants, 0.0)
    due = got.copy()
    for shares in ledger.shares.values():
        for total, part in ((got, shares.got), (due, shares.due())):
            for name, seconds in part.items():
                total[name] += seconds
    return {
        name: {
            "jobs": account.jobs,
            "completed": account.completed,
            "qpu_s": _round(account.qpu_s),
            "weight": ledger.shares[Level.NORMAL].weight(name),
            "got_s": _round(got[name]),
            "due_s": _round(due[name]),
            "waiting_s": account.waiting.summary(),
        }
        for name, account in sorted(ledger.tenants.items())
    }


def _device(simulation: Simulation, name: str, elapsed_s: float) -> dict[str, Any]:
    ledger = simulation.ledger
    return {
        "completed": ledger.device_jobs[name],
        "busy_s": _round(ledger.busy_s[name]),
        "utilisation": _share(ledger.busy_s[name], elapsed_s * simulation.agents_of(name)),
        "qpu_s": _round(ledger.device_qpu_s[name]),
        "calibrations": ledger.calibrations[name],
    }


def _recorded(ledger: Ledger) -> dict[str, Any] | None:
    """How long the jobs of a recorded trace really waited, and how far off the simulation is."""
    if not ledger.recorded.count:
        return None
    return {"waiting_s": ledger.recorded.summary(), "difference_s": ledger.against_recorded.summary()}
