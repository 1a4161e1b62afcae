"""Requests that never become jobs: refused by either door at once, in our words, with the field and the limit."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from . import corpus
from .doors import BELL, IDEAL, NATIVE, RUNTIME, assert_refused, native_body, post, runtime_body

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("serving")]

PARAMS = corpus.sampler([corpus.bell(), None, 20])
GOOD = {NATIVE: json.dumps(native_body()).encode(), RUNTIME: json.dumps(runtime_body(PARAMS)).encode()}
both_doors = pytest.mark.parametrize("path", [NATIVE, RUNTIME], ids=["native", "runtime"])
BODY_BYTES = 4 * 2**20


@both_doors
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda good: b"", id="empty"),
        pytest.param(lambda good: b"{", id="one brace"),
        pytest.param(lambda good: good[:-3], id="cut short"),
        pytest.param(lambda good: good + b"x", id="something behind"),
        pytest.param(lambda good: b"\xef\xbb\xbf" + good, id="byte order mark"),
        pytest.param(lambda good: good.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(lambda good: bytes(100), id="NULs"),
        pytest.param(lambda good: good.replace(b"manila", b"man\xffila"), id="no UTF-8"),
        pytest.param(lambda good: good.replace(b"fake_manila", b"\\ud83d"), id="half a surrogate pair"),
        pytest.param(lambda good: good.replace(b"20", b"9" * 1_000_000), id="a million digits"),
        pytest.param(lambda good: good.replace(b'"', b"'"), id="single quotes"),
    ],
)
def test_malformed_json_is_refused(http: httpx.Client, path: str, spoil: Any) -> None:
    began = time.perf_counter()
    error = assert_refused(post(http, path, spoil(GOOD[path])), began, 400, "decode_failed", "body", "not valid JSON")
    assert error["field"] == "body"


@both_doors
@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_numbers_that_json_has_not_are_refused(http: httpx.Client, path: str, number: bytes) -> None:
    began = time.perf_counter()
    answer = post(http, path, GOOD[path].replace(b"20", number))
    code = "validation_failed" if path == NATIVE else "decode_failed"
    assert_refused(answer, began, 400, code, "shots" if path == NATIVE else "body")


@both_doors
def test_json_nested_a_million_deep_is_refused_with_the_limit(http: httpx.Client, path: str) -> None:
    began = time.perf_counter()
    answer = post(http, path, corpus.deep(1_000_000).encode())
    assert_refused(answer, began, 400, "decode_failed", "body is nested deeper than 64 levels")


@both_doors
@pytest.mark.parametrize("levels", [300, 900])
def test_nesting_that_parses_but_cannot_be_kept_is_refused(http: httpx.Client, path: str, levels: int) -> None:
    nest = corpus.deep(levels)
    body = f'{{"program_id":"sampler","backend":"{IDEAL}","params":{{"pubs":[{nest}],"version":2}}}}'
    if path == NATIVE:
        body = f'{{"device":"{IDEAL}","circuits":[{{"source":"","parameters":{nest}}}]}}'
    began = time.perf_counter()
    assert_refused(post(http, path, body.encode()), began, 400, "decode_failed", "nested deeper than 64 levels")


def test_of_many_jobs_the_deep_ones_are_refused_alone(http: httpx.Client) -> None:
    body = f'{{"jobs":[{corpus.deep(300)},{corpus.deep(900)},7,{{"device":"nowhere"}}]}}'
    answer = post(http, NATIVE, body.encode())
    assert answer.status_code == 201
    codes = [outcome["error"]["code"] for outcome in answer.json()["outcomes"]]
    assert codes == ["decode_failed", "decode_failed", "validation_failed", "validation_failed"]


@both_doors
@pytest.mark.parametrize("body", [b"[]", b"null", b'"job"', b"17"])
def test_json_that_is_no_object_is_refused(http: httpx.Client, path: str, body: bytes) -> None:
    code = "validation_failed" if path == NATIVE else "decode_failed"
    assert_refused(post(http, path, body), time.perf_counter(), 400, code, "body must be a", "object")


def test_two_hundred_thousand_keys_are_refused_in_time(http: httpx.Client) -> None:
    body = b"{" + b",".join(b'"k%d":0' % number for number in range(200_000)) + b"}"
    began = time.perf_counter()
    assert_refused(post(http, NATIVE, body), began, 400, "validation_failed")
    began = time.perf_counter()
    assert_refused(post(http, RUNTIME, body), began, 404, "not_found", "program_id")


DEVICES = [
    "fake_nowhere@aer",
    "fake_manila@gpu",
    "../../etc/passwd",
    "x" * 300,
    "a\0b",
    "",
    "fake_manila@aer\n",
    "ｆake_manila@aer",
    5,
    ["x"],
    None,
]


@pytest.mark.parametrize("device", DEVICES, ids=ascii)
def test_an_unknown_device_is_refused(http: httpx.Client, device: Any) -> None:
    began = time.perf_counter()
    error = assert_refused(post(http, NATIVE, native_body(device=device)), began, 400, "validation_failed")
    assert error["field"] == "device"
    began = time.perf_counter()
    error = assert_refused(post(http, RUNTIME, runtime_body(PARAMS, backend=device)), began, 400, "validation_failed")
    assert error["field"] == "backend"


@pytest.mark.parametrize("program", ["executor", "", "../sampler", "Sampler", None, 3, ["sampler"], {"id": "sampler"}])
def test_an_unknown_program_is_refused(http: httpx.Client, program: Any) -> None:
    began = time.perf_counter()
    answer = post(http, NATIVE, native_body(program=program))
    assert_refused(answer, began, 400, "validation_failed", "program", "'sampler' or 'estimator'")
    began = time.perf_counter()
    answer = post(http, RUNTIME, runtime_body(PARAMS, program_id=program))
    # the official client turns exactly this status into its own error for unknown programs
    assert_refused(answer, began, 404, "not_found", "program_id", "sampler, estimator")


@pytest.mark.parametrize("pubs", [[], {}, None, "x", 1])
def test_a_job_without_pubs_is_refused(http: httpx.Client, pubs: Any) -> None:
    began = time.perf_counter()
    assert_refused(post(http, NATIVE, native_body(circuits=pubs)), began, 400, "validation_failed", "circuits")
    began = time.perf_counter()
    answer = post(http, RUNTIME, runtime_body({"pubs": pubs, "version": 2}))
    assert_refused(answer, began, 400, "validation_failed", "params.pubs", "1..300")


def test_an_empty_list_of_circuits_is_told_its_limit(http: httpx.Client) -> None:
    answer = post(http, NATIVE, native_body(circuits=[]))
    assert_refused(answer, time.perf_counter(), 400, "validation_failed", "circuits", "at least 1 items")


@both_doors
def test_more_pubs_than_a_job_may_have_are_refused(http: httpx.Client, path: str) -> None:
    body = native_body(circuits=[{"source": ""}] * 301) if path == NATIVE else runtime_body({"pubs": [[0]] * 301})
    assert_refused(post(http, path, body), time.perf_counter(), 400, "validation_failed", "300")


SHOTS = [10**9, -1, 0, 100_001, 2**31, 2**63, 2**64, 10**30, 1.5, 1e300, True]


@pytest.mark.parametrize("shots", SHOTS)
def test_shots_out_of_bounds_are_refused_wherever_they_stand(http: httpx.Client, shots: Any) -> None:
    whole = type(shots) is int
    bodies = [
        (NATIVE, native_body(shots=shots), "shots"),
        (NATIVE, native_body(circuits=[{"source": BELL, "shots": shots}]), "circuits[0].shots"),
        (RUNTIME, runtime_body(corpus.sampler([corpus.bell(), None, shots])), "params.pubs[0].shots"),
        (RUNTIME, runtime_body(corpus.sampler([corpus.bell()], default_shots=shots)), "params.options.default_shots"),
    ]
    for path, body, field in bodies:
        began = time.perf_counter()
        words = ("whole number", "1..100000") if whole or path == RUNTIME else ("whole number",)
        error = assert_refused(post(http, path, body), began, 400, "validation_failed", *words)
        assert error["field"] == field


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "1", [1]], ids=str)
def test_parameters_that_are_no_finite_numbers_are_refused_by_the_schema(http: httpx.Client, value: Any) -> None:
    body = json.dumps(native_body(circuits=[{"source": BELL, "parameters": [[0.5, value]]}])).encode()
    began = time.perf_counter()
    error = assert_refused(post(http, NATIVE, body), began, 400, "validation_failed", "number")
    assert error["field"].startswith("circuits[0].parameters")


@both_doors
def test_a_body_of_thirty_megabytes_is_refused_by_what_it_declares(http: httpx.Client, path: str) -> None:
    began = time.perf_counter()
    assert_refused(post(http, path, bytes(30_000_000)), began, 413, "payload_too_large", "body", f"{BODY_BYTES} bytes")


@both_doors
def test_a_body_of_thirty_megabytes_is_refused_by_what_arrives(http: httpx.Client, path: str) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"device":"'
        for _ in range(300):
            yield b"x" * 100_000

    began = time.perf_counter()
    answer = http.post(path, content=chunks(), headers={"Content-Type": "application/json"})
    assert_refused(answer, began, 413, "payload_too_large", "body", f"{BODY_BYTES} bytes")


@both_doors
def test_a_body_at_the_limit_is_read_and_one_byte_more_is_not(http: httpx.Client, path: str) -> None:
    body = b"{" + b" " * (BODY_BYTES - 2) + b"}"
    assert post(http, path, body).status_code in {400, 404}
    assert post(http, path, body + b" ").status_code == 413


@both_doors
def test_compressed_bodies_are_not_inflated(http: httpx.Client, path: str) -> None:
    body = gzip.compress(bytes(50_000_000))
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    began = time.perf_counter()
    answer = http.post(path, content=body, headers=headers)
    assert_refused(answer, began, 415, "unsupported_media_type", "Content-Encoding")


@both_doors
def test_bodies_of_other_types_are_not_read(http: httpx.Client, path: str) -> None:
    began = time.perf_counter()
    answer = http.post(path, content=b"\x80\x04N.", headers={"Content-Type": "application/x-python-pickle"})
    assert_refused(answer, began, 415, "unsupported_media_type", "Content-Type")
