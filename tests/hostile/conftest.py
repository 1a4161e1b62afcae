"""What every hostile test is held to: honest work goes on, and whatever was accepted ends exactly once."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from qrtx_ray.api.tokens import AccessTokens, Principal, load_or_create_secret
from qrtx_ray.client import QrtxClient
from qrtx_ray.launch import LocalRuntime

pytest.register_assert_rewrite(f"{__package__}.doors")

from .doors import Ledger, assert_serving, assert_settled  # noqa: E402 - after the line above


@pytest.fixture(scope="package")
def ledger(runtime: LocalRuntime) -> Iterator[Ledger]:
    """All jobs these tests were promised; afterwards each of them has ended, exactly once."""
    book = Ledger()
    yield book
    headers = {"Authorization": f"Bearer {runtime.token}"}
    with httpx.Client(base_url=runtime.url, headers=headers, timeout=30.0, trust_env=False) as http:
        states = [assert_settled(http, job_id) for job_id in book.accepted]
    assert {"Completed", "Failed"} <= set(states)


@pytest.fixture
def serving(client: QrtxClient, ledger: Ledger) -> Iterator[None]:
    """After the test, an honest job completes as ever."""
    yield
    assert_serving(client, ledger)


@pytest.fixture
def stranger(runtime: LocalRuntime) -> Iterator[httpx.Client]:
    """Plain HTTP as another tenant, with an access token the identity service could have issued."""
    secret = load_or_create_secret(runtime.settings.paths.token_file.with_name("signing_secret"))
    token = AccessTokens(secret, 600).issue(Principal("stranger"), time.time())
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=runtime.url, headers=headers, timeout=30.0, trust_env=False) as http:
        yield http
