"""What stands between clients and the front dies: Serve's controller, and whatever takes the connections."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest
import ray

from qrtx_ray.client import QrtxClient
from qrtx_ray.launch import LocalRuntime

from .tools import Ledger, kill, runs, settled, until

pytestmark = [pytest.mark.cluster, pytest.mark.faults, pytest.mark.usefixtures("whole")]

PROXIES = ("ray::HAProxyManager", "ray::ProxyActor")
RECOVERY_S = 30.0  # the goal is 5; the bound leaves room for a machine that is busy with something else


def controller() -> int:
    """Process id of Serve's controller."""
    from ray.serve.context import _get_global_client

    for _ in range(100):
        with suppress(ray.exceptions.RayActorError):
            return int(ray.get(_get_global_client()._controller.get_pid.remote(), timeout=10))
    raise AssertionError("Serve's controller did not come back")


def proxies() -> list[int]:
    """Process ids of the actors below this process that take the connections."""
    parents: dict[int, int] = {}
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            pid = int(entry.name)
            parents[pid] = int((entry / "stat").read_text("utf-8").rpartition(")")[2].split()[1])
            if (entry / "cmdline").read_text("utf-8").startswith(PROXIES):
                found.append(pid)
    return [pid for pid in found if _is_below(pid, os.getpid(), parents)]


def _is_below(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid not in {0, root}:
        pid = parents.get(pid, 0)
    return pid == root


def test_the_controller_of_the_front_dies_and_nobody_notices(
    runtime: LocalRuntime, client: QrtxClient, measured
) -> None:
    pid = controller()
    with Ledger(runtime.url, runtime.token, "controller-kill", keyed=False, clients=2) as ledger:
        until(lambda: len(ledger.acknowledged) >= 20, 60)
        moment = kill(pid)
        until(lambda: ledger.after(moment), RECOVERY_S)
        until(lambda: controller() != pid, RECOVERY_S)
        back_s = time.monotonic() - moment
        before = len(ledger.acknowledged)
        until(lambda: len(ledger.acknowledged) >= before + 10, 60)
    assert ledger.refused == [], "requests do not pass the controller"
    settled(client, ledger, "controller-kill")
    measured("Serve controller killed: first acknowledged submit", ledger.after(moment))
    measured("Serve controller killed: it is back", back_s)


def test_the_proxy_dies_and_clients_with_keys_lose_nothing(runtime: LocalRuntime, client: QrtxClient, measured) -> None:
    before = proxies()
    assert before, "some actor takes the connections"
    with Ledger(runtime.url, runtime.token, "proxy-kill", keyed=True, clients=2) as ledger:
        until(lambda: len(ledger.acknowledged) >= 20, 60)
        moment = max(kill(pid) for pid in before)
        until(lambda: not any(runs(pid) for pid in before), 10)
        until(lambda: ledger.after(moment), RECOVERY_S)
        done = len(ledger.acknowledged)
        until(lambda: len(ledger.acknowledged) >= done + 10, 60)
    settled(client, ledger, "proxy-kill")
    measured("proxy_recovery_s", ledger.after(moment))
    until(lambda: proxies() and client.health()["ready"], RECOVERY_S, 0.1)
