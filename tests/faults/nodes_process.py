"""``python -m tests.faults.nodes_process FOLDER``: a runtime on a Ray cluster of several nodes, all of them on this machine.

Each line of its input is a JSON list, a method of `Nodes` and its arguments; each is answered by one line of JSON. The
second agent lives on a node of its own, the second one, as long as there is one. There is no HTTP front: what is looked at here
is below it. Everything ends with the input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # before anything imports Ray

from .tools import runs, waiting

DEVICE = "fake_manila@aer"
HEAVY = "fake_sherbrooke@aer_ideal"
AGENT = "qrtx-device-1-0"  # serves HEAVY, from the second node
PATIENCE_S = 60.0
# A node is found to be gone within seconds; with Ray's own numbers it takes a quarter of a minute.
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 4,
}


class Nodes:
    """What the test can ask for.

    Args:
        folder: The storage, and where Ray's control store keeps itself.
    """

    def __init__(self, folder: Path) -> None:
        from qrtx_ray.config import load_settings
        from qrtx_ray.launch.environment import ray_environment

        self._folder = folder
        self._clusters = 0
        overrides = {
            "storage.path": str(folder / "storage"),
            "scheduler.agent_timeout_s": 3.0,
            "scheduler.agent_grace_s": 3.0,
            "scheduler.default_execution_timeout": 300.0,
            "performance.haproxy": "off",
            "devices": [{"name": DEVICE, "count": 1}, {"name": HEAVY, "count": 1}],
        }
        self._settings = load_settings(env={"HOME": str(folder)}, overrides=overrides)
        self._settings.paths.create()
        os.environ.update(ray_environment(self._settings, folder / "run"))
        self._cluster: Any = None
        self._second: Any = None
        self._frozen: list[int] = []

    # ------------------------------------------------------------------------------------------------- the cluster

    def start(self) -> dict[str, int]:
        """A new cluster on the storage there is; process ids of the runtime's actors."""
        import ray
        from ray.cluster_utils import Cluster

        from qrtx_ray.actors.supervisor import ensure_runtime
        from qrtx_ray.launch.environment import free_port

        self._clusters += 1
        control_store = {
            "RAY_gcs_storage": "rocksdb",
            "RAY_gcs_storage_path": str(self._folder / f"gcs-{self._clusters}"),
        }
        os.environ.update(control_store)
        head = {"num_cpus": 8, "gcs_server_port": free_port(), "include_dashboard": False, "_system_config": HEALTH}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        ray.init(address=self._cluster.address, log_to_driver=False, logging_level="ERROR")
        self.add_node()
        self._agent_on_second_node()
        ensure_runtime(self._settings)
        self.pids()
        return self.move_agent()

    def stop(self) -> None:
        """The whole cluster dies, without a word to anybody."""
        import ray

        ray.shutdown()
        for node in (*self._cluster.worker_nodes, self._cluster.head_node):
            self._cluster.remove_node(node, allow_graceful=False)

    def add_node(self) -> None:
        self._second = self._cluster.add_node(num_cpus=8)

    def kill_node(self) -> float:
        """SIGKILL to the second node's raylet, on which all its workers hang."""
        moment = time.monotonic()
        os.kill(self._raylet(), signal.SIGKILL)
        self._raylet_process().wait()  # its workers take a zombie for a living one
        return moment

    def freeze_node(self) -> float:
        """The second node does not answer any more, and does not know it."""
        self._frozen = [self._raylet(), *_below(self._raylet())]
        moment = time.monotonic()
        for pid in self._frozen:
            _signal(pid, signal.SIGSTOP)
        return moment

    def thaw_node(self) -> None:
        for pid in self._frozen:
            _signal(pid, signal.SIGCONT)
        self._raylet_process().wait(PATIENCE_S)

    def frozen_left(self) -> int:
        """Processes of the node that was frozen that still run."""
        return sum(runs(pid) for pid in self._frozen)

    def move_agent(self) -> dict[str, int]:
        """Bring the agent to the present second node; process ids of all actors."""
        import ray

        from qrtx_ray.actors.names import find_actor

        for _ in waiting(PATIENCE_S):
            agent = find_actor(AGENT)
            if agent is not None and self.on_second_node(self._ask_actor(agent, "ping")):
                return self.pids()
            if agent is not None:
                ray.kill(agent, no_restart=True)
            with suppress(ValueError):  # the supervisor was faster; once more
                self._agent_on_second_node()
        raise TimeoutError("the agent cannot be brought to the second node")

    def kill_gcs(self) -> float:
        moment = time.monotonic()
        self._cluster.head_node.kill_gcs_server()
        return moment

    def start_gcs(self) -> None:
        self._cluster.head_node.start_gcs_server()

    def living_nodes(self) -> int:
        """How many nodes the control store knows to be alive; 0 when it cannot be asked."""
        import ray

        try:
            return sum(bool(node["Alive"]) for node in ray.nodes())
        except Exception:
            return 0

    # ------------------------------------------------------------------------------------------------- the runtime

    def pids(self) -> dict[str, int]:
        import asyncio

        from qrtx_ray.actors.supervisor import wait_until_ready

        return asyncio.run(wait_until_ready(PATIENCE_S))

    def on_second_node(self, pid: int) -> bool:
        """Whether the process belongs to the second node."""
        return pid in _below(self._raylet())

    def submit(self, device: str, source: str, seeds: list[int], shots: int) -> list[str]:
        from qrtx_ray.model import JobRequest, PayloadFormat, Program

        requests = []
        for seed in seeds:
            circuit = {"format": "qasm2", "source": source}
            body = {"device": device, "circuits": [circuit], "shots": shots, "seed": seed}
            payload = json.dumps(body).encode()
            requests.append(JobRequest(Program.SAMPLER, device, payload, PayloadFormat.NATIVE, "alice", seed=seed))
        return [record.id for record in self._ask("submit", requests)]

    def jobs(self, job_ids: list[str]) -> list[dict[str, Any]]:
        """What is known of each: state, attempt, agent, the digest of its results, the states it came through."""
        found = []
        for record in self._ask("get", job_ids):
            states = [str(change.to_state) for change in self._ask("history", record.id)]
            facts = {"state": str(record.state), "attempt": record.attempt, "agent": record.agent}
            found.append(facts | {"sha256": record.result_sha256, "states": states})
        return found

    def await_jobs(self, job_ids: list[str], state: str) -> list[dict[str, Any]]:
        """Wait until all of them are in `state`; what is known of them then, and when it was."""
        for _ in waiting(PATIENCE_S):
            if all(str(record.state) == state for record in self._ask("get", job_ids)):
                moment = time.monotonic()
                return [facts | {"at": moment} for facts in self.jobs(job_ids)]
        raise TimeoutError(f"not {state} in time: {self.jobs(job_ids)}")

    def cancel(self, job_id: str) -> str:
        return str(self._ask("cancel", job_id, "alice", "alice").state)

    def status(self) -> dict[str, Any]:
        status = self._ask("status")
        return {
            "pid": status.pid,
            "epoch": status.epoch,
            "uptime_s": status.uptime_s,
            "agents": status.agents,
            "live": status.extra["live"],
        }

    def devices(self) -> dict[str, list[str]]:
        """Agents by device, as the scheduler reports them."""
        return {state.info.name: list(state.agents) for state in self._ask("devices")}

    # ------------------------------------------------------------------------------------------------------ inside

    def _agent_on_second_node(self) -> None:
        """As the supervisor would create it, but there; where that node is gone Ray takes another."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from qrtx_ray.actors import supervisor
        from qrtx_ray.actors.names import NAMESPACE

        [wanted] = [one for one in supervisor._wanted(self._settings) if one.name == AGENT]
        place = NodeAffinitySchedulingStrategy(self._second.node_id, soft=True)
        options = {"name": wanted.name, "namespace": NAMESPACE, "lifetime": "detached", "scheduling_strategy": place}
        limits = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": 0, "max_concurrency": 20_000}
        ray.remote(wanted.kind).options(**options, **limits).remote(*wanted.arguments)

    def _ask(self, method: str, *arguments: Any) -> Any:
        from qrtx_ray.actors.names import SCHEDULER, find_actor

        return self._ask_actor(find_actor(SCHEDULER), method, *arguments)

    @staticmethod
    def _ask_actor(actor: Any, method: str, *arguments: Any) -> Any:
        import ray

        return ray.get(getattr(actor, method).remote(*arguments), timeout=PATIENCE_S)

    def _raylet(self) -> int:
        return int(self._raylet_process().pid)

    def _raylet_process(self) -> Any:
        from ray._private import ray_constants

        [started] = self._second.all_processes[ray_constants.PROCESS_TYPE_RAYLET]
        return started.process


def _below(root: int) -> list[int]:
    """Processes below `root`, by who started them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parent = int((entry / "stat").read_text("utf-8").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, open_ones = [], [root]
    while open_ones:
        below = children.get(open_ones.pop(), [])
        found += below
        open_ones += below
    return found


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def main(folder: str) -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what Ray prints is no answer
    nodes = Nodes(Path(folder))
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        answers.write(json.dumps(getattr(nodes, method)(*arguments)) + "\n")
        answers.flush()
    nodes.stop()


if __name__ == "__main__":
    main(sys.argv[1])
