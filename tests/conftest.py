"""One runtime for the whole run: real Ray, real actors, real Serve, started the way `qrtx up` starts it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx
import pytest

from qrtx_ray.api.tokens import hash_token
from qrtx_ray.client import QrtxClient
from qrtx_ray.config import load_settings
from qrtx_ray.launch import LocalRuntime

LIMITED = "token-of-a-tenant-with-quotas"

os.environ.setdefault("RAY_AUTH_MODE", "disabled")


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRuntime]:
    """The shared runtime. A test that kills one of its processes waits until it is whole again."""
    storage = tmp_path_factory.mktemp("runtime")
    overrides = {
        "storage.path": str(storage),
        "server.port": 0,
        "compiler.timeout": 10.0,
        "scheduler.agent_timeout_s": 6.0,
        "auth.tokens": [{"name": "limited", "sha256": hash_token(LIMITED)}],
        "scheduler.fair_share.tenants": {"limited": {"quotas": {"queued": 2, "qpu_seconds": 100_000}}},
        "devices": [
            {"name": "fake_manila@aer", "alias": ["manila"], "count": 1},
            {"metadata": "*", "executor": ["aer", "aer_ideal"], "count": 1},
        ],
    }
    settings = load_settings(env={"HOME": str(storage)}, overrides=overrides)
    with LocalRuntime(settings) as started:
        yield started


@pytest.fixture
def client(runtime: LocalRuntime) -> Iterator[QrtxClient]:
    """The SDK, connected to the shared runtime."""
    with QrtxClient(runtime.url, runtime.token) as connected:
        yield connected


@pytest.fixture
def limited(runtime: LocalRuntime) -> Iterator[QrtxClient]:
    """The SDK as another tenant, who may have two unfinished jobs."""
    with QrtxClient(runtime.url, LIMITED) as connected:
        yield connected


@pytest.fixture
def http(runtime: LocalRuntime) -> Iterator[httpx.Client]:
    """Plain HTTP to the shared runtime, with its token."""
    headers = {"Authorization": f"Bearer {runtime.token}"}
    with httpx.Client(base_url=runtime.url, headers=headers, timeout=30.0, trust_env=False) as connected:
        yield connected
