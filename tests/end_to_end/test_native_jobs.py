"""Jobs through the whole house by the native API and the SDK."""

from __future__ import annotations

import httpx
import pytest

from qrtx_ray.client import JobStatus, QrtxClient
from qrtx_ray.errors import NotFound, QrtxError

pytestmark = pytest.mark.cluster

BELL = """OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
h q[0];
cx q[0], q[1];
c = measure q;
"""


def test_a_bell_pair_comes_back_with_two_outcomes(client: QrtxClient) -> None:
    job = client.submit(BELL, "fake_manila@aer_ideal", shots=500, seed=3)
    ended = client.wait(job.id, 60)
    assert ended.state == "Completed"
    counts = client.results(job.id)["pubs"][0]["registers"]["c"]["counts"]
    assert sum(counts.values()) == 500
    assert set(counts) == {"00", "11"}


def test_the_same_seed_gives_the_same_counts_on_a_noisy_device(client: QrtxClient) -> None:
    jobs = [client.submit(BELL, "fake_sherbrooke@aer", shots=400, seed=11) for _ in range(3)]
    counts = []
    for job in jobs:
        client.wait(job.id, 60)
        counts.append(client.results(job.id)["pubs"][0]["registers"]["c"]["counts"])
    assert counts[0] == counts[1] == counts[2]
    assert len(counts[0]) > 2


def test_an_alias_names_its_device(client: QrtxClient) -> None:
    job = client.submit(BELL, "manila", shots=10)
    assert job.device == "fake_manila@aer"
    assert client.wait(job.id, 60).state == "Completed"


def test_watching_shows_the_way_of_the_job(client: QrtxClient) -> None:
    job = client.submit(BELL, "fake_manila@aer_ideal", shots=10)
    states = [status.state for status in client.watch(job.id)]
    assert states[-1] == "Completed"
    assert [change["to_state"] for change in client.history(job.id)] == [
        "Pending",
        "Validating",
        "Compiling",
        "Queued",
        "Allocating",
        "Executing",
        "Completing",
        "Completed",
    ]


def test_a_key_makes_a_submission_repeatable(http: httpx.Client) -> None:
    body = {"device": "fake_manila@aer_ideal", "circuits": [{"format": "qasm3", "source": BELL}], "shots": 5}
    headers = {"Idempotency-Key": "once-only"}
    first, second = (http.post("/v1/jobs", json=body, headers=headers) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    other = http.post("/v1/jobs", json=body | {"shots": 6}, headers=headers)
    assert other.status_code == 409
    assert other.json()["error"]["code"] == "idempotency_conflict"


def test_a_deleted_job_is_gone(client: QrtxClient) -> None:
    job = client.submit(BELL, "fake_manila@aer_ideal", shots=5)
    client.wait(job.id, 60)
    client.delete(job.id)
    with pytest.raises(NotFound):
        client.get(job.id)


def test_many_jobs_go_in_one_request_and_come_back_in_another(client: QrtxClient) -> None:
    good = {"device": "fake_manila@aer_ideal", "circuits": [{"format": "qasm3", "source": BELL}], "shots": 50}
    first, refused, second = client.submit_many([good, good | {"device": "nowhere@aer"}, good])
    assert isinstance(first, JobStatus)
    assert isinstance(second, JobStatus)
    assert isinstance(refused, QrtxError)
    results = client.results_of_many([first.id, second.id, "06gvi8l2f03adi727dmg"], 60)
    for job in (first, second):
        found = results[job.id]
        assert isinstance(found, dict)
        assert sum(found["pubs"][0]["registers"]["c"]["counts"].values()) == 50
    assert isinstance(results["06gvi8l2f03adi727dmg"], NotFound)
