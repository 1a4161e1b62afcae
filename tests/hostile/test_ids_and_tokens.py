"""Identifiers that are paths, tokens that are wrong, and the jobs of others: nothing is there to be found."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from qrtx_ray.client import QrtxClient
from qrtx_ray.launch import LocalRuntime

from .doors import BELL, IDEAL, NATIVE, RUNTIME, Ledger, assert_clean, assert_refused, native_body, post

pytestmark = pytest.mark.cluster

PATH_LIKE = [
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2ftoken",
    "%2fetc%2fpasswd",
    "..%5c..%5cwindows",
    "....",
    "%00",
    "0" * 19,
    "0" * 21,
    "0" * 300,
    "0" * 20,
    "0123456789ABCDEFGHIJ",
    "０" * 20,
    "abc%0d%0aX-Injected:%201",
    "CON",
    "*",
    "%25",
    "'%20OR%201=1--",
]


@pytest.mark.parametrize("job_id", PATH_LIKE)
def test_an_identifier_that_is_a_path_names_no_job(http: httpx.Client, job_id: str) -> None:
    calls = [
        *(("GET", f"{door}/{job_id}{rest}") for door in (NATIVE, RUNTIME) for rest in ("", "/results")),
        *(("POST", f"{door}/{job_id}/cancel") for door in (NATIVE, RUNTIME)),
        *(("DELETE", f"{door}/{job_id}") for door in (NATIVE, RUNTIME)),
        ("GET", f"{NATIVE}/{job_id}/history"),
        ("GET", f"{NATIVE}/{job_id}/events"),
        ("GET", f"{RUNTIME}/{job_id}/metrics"),
        ("GET", f"{RUNTIME}/{job_id}/logs"),
    ]
    for method, path in calls:
        began = time.perf_counter()
        answer = http.request(method, path)
        assert_refused(answer, began, 404, "not_found")
        assert "x-injected" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/v1/jobs/../../etc/passwd", "/v1/jobs/..", "//etc/passwd", "/static/../token", "/-/routes"]
)
def test_paths_lead_nowhere(http: httpx.Client, runtime: LocalRuntime, path: str) -> None:
    answer = http.get(f"{runtime.url}{path}")
    assert answer.status_code in {404, 405} or path == "/v1/jobs/.." or path == "/-/routes"
    assert_clean(answer.text.replace('"more_info":"/docs"', "")) if answer.status_code != 200 else None
    assert runtime.token not in answer.text


WRONG: dict[str, list[tuple[str, str]]] = {
    "none": [],
    "empty": [("Authorization", "")],
    "scheme only": [("Authorization", "Bearer")],
    "wrong": [("Authorization", "Bearer 0123456789abcdef0123456789abcdef")],
    "wrong apikey": [("Authorization", "apikey nobody")],
    "other scheme": [("Authorization", "Basic b3duZXI6b3duZXI=")],
    "unsigned": [("Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJvd25lciIsIm9wZXJhdG9yIjp0cnVlfQ.")],
    "signed by another": [("Authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvd25lciJ9.AAAA")],
    "long": [("Authorization", "Bearer " + "x" * 8000)],
    "in the query": [],
    "X-Ray-Authorization": [("X-Ray-Authorization", "Bearer owner")],
}


@pytest.fixture
def nobody(runtime: LocalRuntime) -> Any:
    with httpx.Client(base_url=runtime.url, timeout=30.0, trust_env=False) as http:
        yield http


@pytest.mark.parametrize("how", WRONG)
def test_without_the_right_token_nothing_is_told_or_taken(
    nobody: httpx.Client, runtime: LocalRuntime, how: str
) -> None:
    params = {"token": runtime.token, "access_token": runtime.token} if how == "in the query" else {}
    calls = [
        ("GET", NATIVE), ("POST", NATIVE), ("GET", RUNTIME), ("POST", RUNTIME), ("GET", f"{NATIVE}/{'0' * 20}"),
        ("GET", "/v1/devices"), ("GET", "/api/v1/backends"), ("GET", "/nowhere"), ("DELETE", f"{NATIVE}/{'0' * 20}"),
    ]  # fmt: skip
    for method, path in calls:
        began = time.perf_counter()
        answer = nobody.request(method, path, headers=WRONG[how], params=params)
        assert_refused(answer, began, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_two_tokens_are_one_too_many(nobody: httpx.Client, runtime: LocalRuntime) -> None:
    headers = [("Authorization", f"Bearer {runtime.token}"), ("Authorization", "Bearer other")]
    assert_refused(nobody.get(NATIVE, headers=headers), time.perf_counter(), 401, "unauthenticated")


def test_a_body_is_not_read_for_a_stranger(nobody: httpx.Client) -> None:
    began = time.perf_counter()
    answer = nobody.post(NATIVE, content=bytes(4 * 2**20), headers={"Content-Type": "application/json"})
    assert_refused(answer, began, 401, "unauthenticated")


def test_a_megabyte_of_headers_is_refused(nobody: httpx.Client) -> None:
    try:
        answer = nobody.get(NATIVE, headers={"Authorization": "Bearer " + "x" * 1_000_000})
    except httpx.TransportError:
        return  # the proxy may close the connection instead of answering
    assert 400 <= answer.status_code < 500


def test_the_jobs_of_another_tenant_do_not_exist(
    http: httpx.Client, client: QrtxClient, stranger: httpx.Client, ledger: Ledger
) -> None:
    mine = client.submit(BELL, IDEAL, shots=10, tags=["mine"])
    ledger.accepted.append(mine.id)
    client.wait(mine.id, 15)
    missing = "0" * 20
    for method, path in [
        ("GET", NATIVE + "/{}"), ("GET", NATIVE + "/{}/results"), ("GET", NATIVE + "/{}/history"),
        ("GET", NATIVE + "/{}/events"), ("POST", NATIVE + "/{}/cancel"), ("DELETE", NATIVE + "/{}"),
        ("GET", RUNTIME + "/{}"), ("GET", RUNTIME + "/{}/results"), ("GET", RUNTIME + "/{}/metrics"),
        ("GET", RUNTIME + "/{}/logs"), ("POST", RUNTIME + "/{}/cancel"), ("DELETE", RUNTIME + "/{}"),
    ]:  # fmt: skip
        began = time.perf_counter()
        theirs = assert_refused(stranger.request(method, path.format(mine.id)), began, 404, "not_found")
        nobodys = assert_refused(stranger.request(method, path.format(missing)), began, 404, "not_found")
        # the answer for a job that is another's is the answer for one that is nobody's
        assert theirs["message"].replace(mine.id, missing) == nobodys["message"]
    answer = stranger.put(f"{RUNTIME}/{mine.id}/tags", json={"tags": ["stolen"]})
    assert_refused(answer, time.perf_counter(), 404, "not_found")
    assert stranger.get(NATIVE).json()["jobs"] == []
    assert stranger.get(RUNTIME).json()["jobs"] == []
    assert stranger.get(NATIVE, params={"tag": "mine"}).json()["jobs"] == []
    assert client.get(mine.id).view["tags"] == ["mine"]


def test_a_key_of_another_tenant_is_free(http: httpx.Client, stranger: httpx.Client, ledger: Ledger) -> None:
    headers = {"Idempotency-Key": "shared-words"}
    mine = ledger.note(http.post(NATIVE, json=native_body(), headers=headers))
    theirs = stranger.post(NATIVE, json=native_body(shots=21), headers=headers)
    assert theirs.status_code == 201
    assert theirs.json()["id"] != mine


@pytest.mark.parametrize(
    "query",
    ["limit=-1", "limit=1e9", "limit=201", "offset=-1", "offset=" + "9" * 50, "created_after=yesterday", "limit=%00"],
)
def test_queries_out_of_bounds_are_refused(http: httpx.Client, query: str) -> None:
    for door in (NATIVE, RUNTIME):
        began = time.perf_counter()
        assert_refused(http.get(f"{door}?{query}"), began, 400, "validation_failed", query.split("=", maxsplit=1)[0])


@pytest.mark.parametrize("key", ["", "x" * 129])
def test_keys_and_names_out_of_bounds_are_refused(http: httpx.Client, key: str) -> None:
    answer = http.post(NATIVE, json=native_body(), headers={"Idempotency-Key": key})
    assert_refused(answer, time.perf_counter(), 400, "validation_failed", "Idempotency-Key")


def test_tags_and_names_that_would_disturb_a_log_are_refused(http: httpx.Client) -> None:
    for body in (
        native_body(tags=["a\nb"]),
        native_body(tags=["x"] * 9),
        native_body(name="a\r\nInjected: 1"),
        native_body(name="../x"),
    ):
        assert_refused(post(http, NATIVE, body), time.perf_counter(), 400, "validation_failed")
