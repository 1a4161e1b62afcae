"""CPU time of a process and all its descendants by what they are, from ``/proc``: where the time of a job goes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Process", "by_role", "descendants"]

TICK_S = 1 / os.sysconf("SC_CLK_TCK")

# The first text found in a command line decides.
ROLES = (
    ("qrtx_ray.compiler.worker", "compiler_child"),
    ("qrtx_ray.engines.worker", "engine_child"),
    ("ray::ServeReplica", "replica"),
    ("ray::SchedulerActor", "scheduler"),
    ("ray::CompilerActor", "compiler_actor"),
    ("ray::DeviceActor", "device_agents"),
    ("ray::StateManagerActor", "state_manager"),
    ("ray::SupervisorActor", "supervisor"),
    ("ray::HAProxyManager", "serve_control"),
    ("ray::ProxyActor", "serve_control"),
    ("ray::ServeController", "serve_control"),
    ("bin/haproxy", "haproxy"),
    ("haproxy-on-loopback", "haproxy"),
    ("raylet/raylet", "ray"),
    ("gcs/gcs_server", "ray"),
    ("ray/", "ray"),
    ("ray::", "ray"),
    ("benchmarks.http_load", "load_generator"),
)


@dataclass(frozen=True, slots=True)
class Process:
    """A running process: what it is, and the CPU seconds it has used."""

    pid: int
    parent: int
    role: str
    cpu_s: float


def descendants(root: int) -> list[Process]:
    """`root` and every process below it."""
    everyone = {
        process.pid: process for entry in Path("/proc").iterdir() if (process := _read(entry, root)) is not None
    }
    below: dict[int, bool] = {root: True}

    def belongs(pid: int) -> bool:
        if pid not in below:
            below[pid] = pid in everyone and belongs(everyone[pid].parent)
        return below[pid]

    return [process for pid, process in everyone.items() if belongs(pid)]


def by_role(before: list[Process], after: list[Process]) -> dict[str, float]:
    """CPU seconds used between two looks, by role. Processes that ended in between are not counted."""
    known = {process.pid: process for process in before}
    out: dict[str, float] = {}
    for process in after:
        earlier = known.get(process.pid)
        used = process.cpu_s - (earlier.cpu_s if earlier else 0.0)
        out[process.role] = out.get(process.role, 0.0) + used
    return out


def _read(entry: Path, root: int) -> Process | None:
    if not entry.name.isdigit():
        return None
    try:
        stat = (entry / "stat").read_text("utf-8", "replace")
        command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:  # it ended while we looked
        return None
    fields = stat.rpartition(")")[2].split()
    pid = int(entry.name)
    ticks = int(fields[11]) + int(fields[12])
    return Process(pid, int(fields[1]), "driver" if pid == root else _role(command), ticks * TICK_S)


def _role(command: str) -> str:
    return next((role for text, role in ROLES if text in command), "other")
