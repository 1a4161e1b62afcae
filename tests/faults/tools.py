"""What the fault tests share: processes by actor, a ledger of what was acknowledged, and circuits that take their time."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx
import ray

from qrtx_ray.actors.names import NAMESPACE
from qrtx_ray.client import QrtxClient

DEVICE = "fake_manila@aer"  # served by an agent of its own
OTHER = "fake_quito@aer_ideal"  # served by the agent of all the rest
SCHEDULER = "qrtx-scheduler"
AGENT = "qrtx-device-0-0"
OTHER_AGENT = "qrtx-device-1-0"
COMPILER = "qrtx-compiler-0"
STATE_MANAGER = "qrtx-state-manager"

BELL = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[2];
creg c[2];
h q[0];
cx q[0],q[1];
measure q -> c;
"""


def endless(qubits: int = 25, layers: int = 400) -> str:
    """A circuit that keeps one core busy for many minutes."""
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";', f"qreg q[{qubits}];", f"creg c[{qubits}];"]
    for layer in range(layers):
        lines += [f"rx(0.{layer + 1}) q[{q}];" for q in range(qubits)]
        lines += [f"cx q[{q}],q[{q + 1}];" for q in range(layer % 2, qubits - 1, 2)]
    return "\n".join([*lines, "measure q -> c;"])


def actor(name: str) -> Any:
    return ray.get_actor(name, namespace=NAMESPACE)


def ask(name: str, method: str = "ping") -> Any:
    """The answer of an actor, waiting while it is away."""
    for _ in waiting(60):
        try:
            return ray.get(getattr(actor(name), method).remote(), timeout=10)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError, ValueError):
            continue
    raise AssertionError(f"{name} did not come back")


def waiting(within_s: float, every_s: float = 0.02) -> Iterator[float]:
    """Turns of a loop that looks for something until it is too late."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < within_s:
        yield passed
        time.sleep(every_s)


def until(condition: Callable[[], Any], within_s: float, every_s: float = 0.02) -> float:
    """Seconds until `condition()` held."""
    for passed in waiting(within_s, every_s):
        if condition():
            return passed
    raise AssertionError(f"not within {within_s} s")


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(pid: int) -> float:
    """SIGKILL; the moment of it."""
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()


def child_of(agent: str) -> int:
    """Process id of an agent's engine child, once it has one."""
    for _ in waiting(30):
        pid = ask(agent, "status")["child_pid"]
        if pid:
            return int(pid)
    raise AssertionError(f"{agent} has no child")


def executing(client: QrtxClient, job: str, attempt: int = 1, within_s: float = 30.0) -> None:
    """Wait until the job executes in (at least) this attempt."""
    starts = ("Executing",)
    until(
        lambda: (
            sum(change["to_state"] in starts for change in client.history(job)) >= attempt
            and client.get(job).state in starts
        ),
        within_s,
        0.05,
    )


class Acknowledged(NamedTuple):
    """A job that a client was told of: when it asked, and when it was answered."""

    job: str
    asked: float
    at: float


class Ledger:
    """Clients that submit as fast as they are answered, and what they were told.

    Args:
        url / token: Where.
        tag: Carried by every job.
        keyed: Whether a submission has a key and is repeated under it when no answer came.
    """

    def __init__(self, url: str, token: str, tag: str, *, keyed: bool, clients: int = 3) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.refused: list[str] = []
        self._url, self._tag, self._keyed = url, tag, keyed
        self._headers = {"Authorization": f"Bearer {token}"}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(n,)) for n in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def after(self, moment: float) -> float | None:
        """Seconds from `moment` to the first acknowledgement of a request made after it, or None yet."""
        answers = list(self.acknowledged)
        return next((answer.at - moment for answer in answers if answer.asked > moment), None)

    def ids(self) -> list[str]:
        return [answer.job for answer in self.acknowledged]

    def _client(self, number: int) -> None:
        circuit = {"format": "qasm2", "source": BELL}
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=60, trust_env=False) as http:
            serial = 0
            while not self._stop.is_set():
                serial += 1
                device = (DEVICE, OTHER)[serial % 2]
                body = {"device": device, "circuits": [circuit], "shots": 64, "seed": serial % 7, "tags": [self._tag]}
                headers = {"Idempotency-Key": f"{self._tag}-{number}-{serial}"} if self._keyed else {}
                self._submit(http, body, headers)

    def _submit(self, http: httpx.Client, body: dict[str, Any], headers: dict[str, str]) -> None:
        for _ in waiting(60):
            asked = time.monotonic()
            answer: httpx.Response | None = None
            with contextlib.suppress(httpx.TransportError):
                answer = http.post("/v1/jobs", json=body, headers=headers)
            if answer is not None and answer.is_success:
                self.acknowledged.append(Acknowledged(answer.json()["id"], asked, time.monotonic()))
                return
            self.refused.append("no answer" if answer is None else str(answer.status_code))
            if not self._keyed:
                return


def settled(client: QrtxClient, ledger: Ledger, tag: str) -> dict[str, Any]:
    """Check the ledger against the runtime: every acknowledged job has ended, once, with the right result.

    Returns:
        The final status of each job.
    """
    final = {job: client.wait(job, 90) for job in ledger.ids()}
    assert len(final) == len(ledger.acknowledged), "an identifier was given twice"
    assert {status.state for status in final.values()} == {"Completed"}
    right: dict[tuple[str, int], Any] = {}
    for job, status in final.items():
        registers = client.results(job)["pubs"][0]["registers"]
        assert sum(registers["c"]["counts"].values()) == 64
        key = (status.device, status.view["seed"])
        assert right.setdefault(key, registers) == registers, "the same seed gave another result"
        ends = [change["to_state"] for change in client.history(job)]
        assert sum(state in {"Completed", "Failed", "Cancelled", "Timeout"} for state in ends) == 1
    listed = set()
    while page := client.jobs(limit=100, offset=len(listed), tag=tag):
        listed |= {status.id for status in page}
    assert listed >= set(final), "an acknowledged job is not there"
    if "no answer" not in ledger.refused:
        assert listed == set(final), "a job that nobody was told of"
    return final
