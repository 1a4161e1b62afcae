"""With real processes: what an agent handed over outlives the agent, and what the manager held outlives the manager."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
    import asyncio, os, signal, sys, time
    from pathlib import Path

    import ray
    from ray.exceptions import RayError

    from qrtx_ray.actors.keeping import CheckpointKeeper
    from qrtx_ray.actors.state_manager import StateManagerActor
    from qrtx_ray.config import Settings
    from qrtx_ray.store.checkpoints import CheckpointDraft
    from tests.actors.building import job_id, settings

    folder = Path(sys.argv[1])
    wanted = settings(folder)
    BODY, BULK = b"half" * 1000, os.urandom(200_000)


    def find():
        return ray.get_actor("manager")


    class Agent:
        def __init__(self, plain):
            self.keeper = CheckpointKeeper(Settings.from_dict(plain), find)

        async def keep(self, draft, body, bulk):
            return os.getpid(), await self.keeper.keep(draft, body, memoryview(bulk))


    def until_answered(call):
        for _ in range(300):
            try:
                return ray.get(call())
            except (RayError, ValueError):
                time.sleep(0.1)
        raise TimeoutError


    async def fetched(ref):
        room = bytearray(len(BULK))
        found = await CheckpointKeeper(wanted, find).fetch(ref, lambda size: memoryview(room))
        return found is not None and found.body == BODY and room == BULK


    options = {"num_cpus": 0, "max_concurrency": 100}
    ray.init(
        address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20
    )
    manager = ray.remote(StateManagerActor).options(name="manager", max_restarts=-1, **options).remote(wanted.to_dict())
    agent = ray.remote(Agent).options(**options).remote(wanted.to_dict())
    pid, ref = ray.get(agent.keep.remote(CheckpointDraft(job_id(1), 1, 1, 0.5, "slices", 1.0), BODY, BULK))

    os.kill(pid, signal.SIGKILL)
    file = folder / "circuit_fs" / job_id(1) / "checkpoint-1-1"
    aside = file.rename(folder / "aside")
    print("> the agent is dead and the file away:", asyncio.run(fetched(ref)))

    aside.rename(file)
    before = ray.get(manager.ping.remote())
    os.kill(before, signal.SIGKILL)
    print("> while the manager is away:", asyncio.run(fetched(ref)))
    while until_answered(lambda: find().ping.remote()) == before:
        time.sleep(0.1)
    print("> the manager is another:", asyncio.run(fetched(ref)))
    ray.shutdown()
"""


@pytest.mark.cluster
@pytest.mark.faults
def test_checkpoints_outlive_the_agent_and_the_manager(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(SCRIPT), str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("> ")]  # Ray speaks there, too
    assert said == [
        "> the agent is dead and the file away: True",
        "> while the manager is away: True",
        "> the manager is another: True",
    ], done.stderr[-2000:]
