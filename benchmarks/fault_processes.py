"""A runtime of its own for the fault campaign, and its processes by kind: found below the one that was started, and nowhere else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

__all__ = ["DEVICE", "KINDS", "OTHER", "Runtime", "running", "serve"]

DEVICE = "fake_manila@aer"  # served by an agent of its own
OTHER = "fake_quito@aer_ideal"  # served by the agent of all the rest
ROOT = Path(__file__).resolve().parent.parent

_TITLES = {
    "scheduler": "ray::SchedulerActor",
    "device agent": "ray::DeviceActor",
    "compiler": "ray::CompilerActor",
    "state manager": "ray::StateManagerActor",
    "supervisor": "ray::SupervisorActor",
    "front replica": "ray::ServeReplica",
    "Serve controller": "ray::ServeController",
    "proxy actor": "ray::ProxyActor",
    "proxy manager": "ray::HAProxyManager",
}
_CHILDREN = {"engine": "device agent", "compile": "compiler"}
KINDS = (
    *_TITLES, "engine zygote", "engine child", "compile zygote", "compile child", "proxy"
)  # fmt: skip
"""A zygote is the sandbox process that children are forked from; the proxy is HAProxy, where the front has one."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process: its number, its title, and when it began (so that a number used again is another process)."""

    pid: int
    parent: int
    title: str
    began: int


@dataclass(slots=True)
class Runtime:
    """A runtime in processes below `root`.

    Args:
        root: The process that was started.
        url / token: Of its HTTP front.
        storage: Its folder.
    """

    root: int
    url: str
    token: str
    storage: Path

    def processes(self) -> dict[str, list[Process]]:
        """All its processes that have a kind, by kind."""
        below: dict[int, list[Process]] = {}
        for process in _all_processes():
            below.setdefault(process.parent, []).append(process)
        found: dict[str, list[Process]] = {kind: [] for kind in KINDS}
        waiting = [self.root]
        while waiting:
            for process in below.get(waiting.pop(), ()):
                waiting.append(process.pid)
                kind = _kind(process)
                if kind is not None:
                    found[kind].append(process)
        for family, actor in _CHILDREN.items():
            zygotes = [child for parent in found[actor] for child in below.get(parent.pid, ())]
            found[f"{family} zygote"] = [one for one in zygotes if "sandbox.zygote" in one.title]
            found[f"{family} child"] = [child for one in found[f"{family} zygote"] for child in below.get(one.pid, ())]
        return found

    def kill_one(self, kind: str, rng: Random, within_s: float = 30.0) -> Process | None:
        """kill -9 of one process of the kind; waits for there to be one. None when none came."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            there = self.processes()[kind]
            if there:
                victim = rng.choice(there)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim.pid, signal.SIGKILL)
                    return victim
            time.sleep(0.05)
        return None

    def is_back(self, kind: str, victim: Process, before: int) -> bool:
        """Whether as many processes of the kind are there as before, without the victim."""
        there = [one for one in self.processes()[kind] if (one.pid, one.began) != (victim.pid, victim.began)]
        return len(there) >= before


def _kind(process: Process) -> str | None:
    for kind, title in _TITLES.items():
        if process.title.startswith(title):
            return kind
    return "proxy" if process.title.partition(" ")[0].endswith("/haproxy") else None


def _all_processes() -> Iterator[Process]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            fields = (folder / "stat").read_text("utf-8").rpartition(")")[2].split()
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if fields[0] != "Z":
            yield Process(int(folder.name), int(fields[1]), title, int(fields[19]))


@contextmanager
def running(folder: Path, say: Callable[[str], None]) -> Iterator[Runtime]:
    """A runtime on the storage `folder`, in processes of its own, until the block ends."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "QRTX_"))}
    command = [sys.executable, "-m", "benchmarks.fault_processes", str(folder)]
    with (folder / "errors").open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the runtime did not start: " + (folder / "errors").read_text("utf-8")[-2_000:])
        facts = json.loads(line)
        say(f"a runtime serves at {facts['url']}, in processes below {process.pid}")
        yield Runtime(process.pid, facts["url"], facts["token"], folder)
    finally:
        process.stdin.close()
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)
        process.stdout.close()


def serve(folder: str) -> None:
    """Be that runtime until the input ends."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    from qrtx_ray.config import load_settings
    from qrtx_ray.launch import LocalRuntime

    overrides = {
        "storage.path": folder,
        "server.port": 0,
        "server.drain_time": 5.0,
        # A job may be hit again and again here, and is not to blame for it.
        "retry_policy.max_losses": 100,
        "retry_policy.max_retries": 100,
        "retry_policy.retryable_errors": ["device_unavailable", "attempt_lost", "worker_died"],
        "quantum_state.checkpoint_interval": 0.5,
        "devices": [
            {"name": DEVICE, "count": 1},
            {"metadata": "*", "executor": ["aer", "aer_ideal"], "count": 1},
        ],
    }
    with LocalRuntime(load_settings(env={"HOME": folder}, overrides=overrides)) as runtime:
        sys.stdout.write(json.dumps({"url": runtime.url, "token": runtime.token}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1])
