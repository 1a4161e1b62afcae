"""Cancelling what runs, and jobs that wait or run too long; nobody else notices."""

from __future__ import annotations

import time

import pytest

from qrtx_ray.client import QrtxClient
from qrtx_ray.errors import QrtxError

from .tools import BELL, DEVICE, OTHER, OTHER_AGENT, child_of, endless, executing, runs, until

pytestmark = [pytest.mark.cluster, pytest.mark.faults, pytest.mark.usefixtures("whole")]

HEAVY = "fake_sherbrooke@aer_ideal"


def test_a_running_job_is_cancelled_and_its_child_is_dead_within_a_second(client: QrtxClient, measured) -> None:
    job = client.submit(endless(), HEAVY, shots=10)
    executing(client, job.id)
    child = child_of(OTHER_AGENT)
    behind, beside = client.submit(BELL, OTHER, shots=64), client.submit(BELL, DEVICE, shots=64)
    began = time.monotonic()
    client.cancel(job.id)
    dead_s = until(lambda: not runs(child), 5, 0.005)
    assert client.wait(job.id, 10).state == "Cancelled"
    measured("cancel: the child is dead", dead_s)
    measured("cancel: the job is Cancelled", time.monotonic() - began)
    assert dead_s <= 1.0
    for other in (behind, beside):
        assert client.wait(other.id, 30).state == "Completed"
    with pytest.raises(QrtxError) as caught:
        client.cancel(job.id)
    assert caught.value.code == "invalid_state"
    assert client.get(job.id).view["attempt"] == 1


def test_a_job_that_runs_too_long_is_stopped_and_the_next_one_starts(client: QrtxClient, measured) -> None:
    job = client.submit(endless(), HEAVY, shots=10, execution_timeout_s=1.0)
    behind = client.submit(BELL, OTHER, shots=64)
    ended = client.wait(job.id, 30)
    assert ended.state == "Timeout"
    assert ended.view["error"]["code"] == "execution_timeout"
    began = time.monotonic()
    assert client.wait(behind.id, 30).state == "Completed"
    measured("execution timeout: the job behind it has its result", time.monotonic() - began)


def test_a_job_that_waits_too_long_never_runs(client: QrtxClient) -> None:
    running = client.submit(endless(), HEAVY, shots=10)
    try:
        executing(client, running.id)
        # Behind a long run the agent holds nothing ready, so whoever comes now waits in the line.
        waiting = client.submit(BELL, OTHER, shots=8, queue_timeout_s=0.5)
        ended = client.wait(waiting.id, 20)
    finally:
        client.cancel(running.id)
    assert ended.state == "Timeout"
    assert ended.view["error"]["code"] == "queue_timeout"
    assert ended.view["attempt"] == 0
    assert client.wait(running.id, 20).state == "Cancelled"
