"""Who may pass, and who is whom."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import jwt
import pytest
from fastapi import FastAPI

from qrtx_ray.api.auth import OPEN_PATHS, Authenticator
from qrtx_ray.api.settings import ApiSettings
from qrtx_ray.api.tokens import AccessTokens, Principal, TokenBook, load_or_create_secret, load_or_create_token
from qrtx_ray.errors import AuthenticationError, PersistError
from qrtx_ray.testing import FakeGateway
from tests.api.conftest import ALICE, BOB, OPERATOR, SETTINGS, assert_error, bearer, native_job, runtime_job


def _paths(app: FastAPI) -> list[tuple[str, str]]:
    paths = app.openapi()["paths"]
    listed = [(verb.upper(), path) for path, verbs in paths.items() for verb in verbs]
    return [(verb, path.replace("{job_id}", "0" * 20)) for verb, path in listed if path not in OPEN_PATHS]


async def test_no_operation_answers_without_a_token(app: FastAPI, anonymous: httpx.AsyncClient) -> None:
    operations = _paths(app)
    assert len(operations) > 30
    for verb, path in operations:
        response = await anonymous.request(verb, path)
        assert_error(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", sorted(OPEN_PATHS - {"/identity/token"}))
async def test_open_paths_answer_strangers(anonymous: httpx.AsyncClient, path: str) -> None:
    assert (await anonymous.get(path)).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "bearer  " + "x" * 10**6,
        "Basic YWxpY2U6YWxpY2U=",
        ALICE,
        "apikey",
        "apikey wrong",
        "Bearer a.b.c",
        "Bearer ..",
        "Bearer é.é.é",
        f"Bearer {ALICE}, Bearer {BOB}",
        f"Bearer {ALICE}x",
        f"Bearer {ALICE[:-1]}",
    ],
)
async def test_wrong_credentials_are_refused(anonymous: httpx.AsyncClient, header: str) -> None:
    response = await anonymous.get("/v1/devices", headers={b"Authorization": header.encode("latin-1")})
    assert_error(response, 401, "unauthenticated")
    assert ALICE not in response.text


async def test_two_authorization_headers_are_refused(anonymous: httpx.AsyncClient) -> None:
    twice = [("Authorization", f"Bearer {ALICE}"), ("Authorization", f"Bearer {BOB}")]
    assert_error(await anonymous.get("/v1/devices", headers=twice), 401, "unauthenticated")


@pytest.mark.parametrize("header", [f"Bearer {ALICE}", f"bearer {ALICE}", f"apikey {ALICE}", f"Bearer  {ALICE} "])
async def test_good_credentials_pass(anonymous: httpx.AsyncClient, header: str) -> None:
    assert (await anonymous.get("/v1/devices", headers={"Authorization": header})).status_code == 200


async def test_the_tenant_comes_from_the_token_only(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    await client.post("/v1/jobs", json=native_job(), headers={**bearer(BOB), "X-Tenant": "alice"})
    assert gateway.requests[0].tenant == "bob"


_JOB_CALLS = [
    ("GET", "/v1/jobs/{}"),
    ("GET", "/v1/jobs/{}?wait=1"),
    ("GET", "/v1/jobs/{}/results"),
    ("GET", "/v1/jobs/{}/history"),
    ("GET", "/v1/jobs/{}/events"),
    ("POST", "/v1/jobs/{}/cancel"),
    ("DELETE", "/v1/jobs/{}"),
    ("GET", "/api/v1/jobs/{}"),
    ("GET", "/api/v1/jobs/{}/results"),
    ("GET", "/api/v1/jobs/{}/metrics"),
    ("GET", "/api/v1/jobs/{}/logs"),
    ("POST", "/api/v1/jobs/{}/cancel"),
    ("DELETE", "/api/v1/jobs/{}"),
    ("PUT", "/api/v1/jobs/{}/tags"),
]


@pytest.mark.parametrize(("verb", "path"), _JOB_CALLS)
async def test_another_tenants_job_looks_like_none(client: httpx.AsyncClient, verb: str, path: str) -> None:
    job_id = (await client.post("/v1/jobs", json=native_job())).json()["id"]
    body = {"tags": []} if verb == "PUT" else None
    theirs = await client.request(verb, path.format(job_id), headers=bearer(BOB), json=body)
    nobodys = await client.request(verb, path.format("0" * 20), headers=bearer(BOB), json=body)
    assert_error(theirs, 404, "not_found")
    assert theirs.json()["error"] == nobodys.json()["error"]


async def test_lists_show_own_jobs_only(client: httpx.AsyncClient, runtime: httpx.AsyncClient) -> None:
    await client.post("/v1/jobs", json=native_job())
    await runtime.post("/jobs", json=runtime_job(), headers=bearer(BOB))
    assert (await client.get("/v1/jobs")).json()["total"] == 1
    assert (await runtime.get("/jobs", headers=bearer(OPERATOR))).json()["count"] == 0


_BAD_IDS = [
    "../../etc/passwd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%5c..%5cwindows",
    "a" * 300,
    "%00",
    "0%00" + "0" * 18,
    "CON",
    "line%0abreak",
    "%D0%B0" + "0" * 19,
    "0" * 19 + "Z",
    "%F0%28%8C%28",
]


@pytest.mark.parametrize("bad", _BAD_IDS)
@pytest.mark.parametrize(("verb", "path"), _JOB_CALLS)
async def test_hostile_identifiers_are_404(client: httpx.AsyncClient, verb: str, path: str, bad: str) -> None:
    response = await client.request(verb, path.format(bad), json={"tags": []} if verb == "PUT" else None)
    assert response.status_code in (404, 405)
    assert response.json()["error"]["code"] in ("not_found", "method_not_allowed")


def test_access_tokens_carry_the_tenant_and_expire() -> None:
    tokens = AccessTokens(b"s" * 32, 60)
    now = time.time()
    who = Principal("alice", operator=True, instances=("default",))
    good = tokens.issue(who, now)
    assert tokens.find(good) == who
    assert tokens.find(good) == who  # remembered
    assert tokens.find(tokens.issue(who, now - 61)) is None


def test_a_remembered_access_token_expires_too(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = AccessTokens(b"s" * 32, 60)
    now = time.time()
    token = tokens.issue(Principal("alice"), now)
    assert tokens.find(token) is not None
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert tokens.find(token) is None


@pytest.mark.parametrize("algorithm", ["none", "HS512"])
def test_access_tokens_of_others_are_refused(algorithm: str) -> None:
    now = int(time.time())
    claims = {"sub": "alice", "iss": "qrtx", "iat": now, "exp": now + 60, "operator": True, "instances": []}
    key = None if algorithm == "none" else "k" * 64
    forged = jwt.encode(claims, key, algorithm=algorithm)
    assert AccessTokens(b"s" * 32, 60).find(forged) is None
    assert AccessTokens(b"t" * 32, 60).find(AccessTokens(b"s" * 32, 60).issue(Principal("alice"), now)) is None


def test_a_short_signing_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        AccessTokens(b"short", 60)


def test_the_memory_of_checked_tokens_is_bounded() -> None:
    tokens = AccessTokens(b"s" * 32, 60)
    now = time.time()
    for index in range(AccessTokens._REMEMBERED + 10):
        assert tokens.find(tokens.issue(Principal(f"t{index}"), now)) is not None
    assert len(tokens._seen) <= AccessTokens._REMEMBERED


def test_a_token_is_found_wherever_it_stands() -> None:
    book = TokenBook(SETTINGS.tokens)
    assert [book.find(token) for token in (ALICE, BOB, OPERATOR, "", "other", "\ud800")] == [
        Principal("alice"),
        Principal("bob"),
        Principal("ops", operator=True),
        None,
        None,
        None,
    ]


def test_credentials_that_are_too_long_are_not_hashed() -> None:
    authenticator = Authenticator(ApiSettings(tokens=(), jwt_secret=b"s" * 32, token_bytes=10))
    with pytest.raises(AuthenticationError) as refused:
        authenticator.by_headers([(b"authorization", b"Bearer " + b"x" * 11)])
    assert refused.value.limit == "10 bytes"


def test_settings_do_not_show_the_signing_secret() -> None:
    assert "0123456789" not in repr(SETTINGS)


def test_a_token_file_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "token"
    token = load_or_create_token(path)
    assert len(token) >= 43
    assert load_or_create_token(path) == token
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["token"]


def test_a_secret_file_holds_32_bytes(tmp_path: Path) -> None:
    secret = load_or_create_secret(tmp_path / "secret")
    assert len(secret) == 32
    assert load_or_create_secret(tmp_path / "secret") == secret


@pytest.mark.parametrize(("mode", "content", "text"), [(0o644, "abc", "others"), (0o600, "", "empty")])
def test_a_token_file_others_can_read_or_without_token_is_refused(
    tmp_path: Path, mode: int, content: str, text: str
) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(PersistError, match=text):
        load_or_create_token(path)


def test_a_secret_file_with_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("not hex")
    path.chmod(0o600)
    with pytest.raises(PersistError, match="hex"):
        load_or_create_secret(path)


def test_a_token_file_in_an_impossible_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PersistError, match="cannot keep"):
        load_or_create_token(tmp_path / "file" / "token")


def test_two_processes_that_make_the_file_agree(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _: load_or_create_token(tmp_path / "k" / "token"), range(32)))
    assert len(tokens) == 1
