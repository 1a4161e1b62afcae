"""One warm sandbox for most tests, in one event loop per module, so that the zygote starts once."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from qrtx_ray.sandbox import Sandbox, SandboxLimits

ENTRY = f"{__package__}.handlers:create"
LIMITS = SandboxLimits(memory_bytes=256 * 2**20, frame_bytes=8 * 2**20)


@contextlib.asynccontextmanager
async def sandbox_of(
    config: dict | None = None, limits: SandboxLimits = LIMITS, preload: tuple[str, ...] = (), entry: str = ENTRY
) -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(entry, config or {}, limits, preload=preload)
    try:
        await sandbox.start()
        yield sandbox
    finally:
        await sandbox.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def box():
    async with sandbox_of() as sandbox:
        yield sandbox


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descriptors(pid: int | str = "self") -> int:
    """How many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def wait_until(condition, within_s: float = 5.0) -> float:
    """Seconds until `condition()` held; fails when it does not in time."""
    began = time.perf_counter()
    while not condition():
        assert time.perf_counter() - began < within_s
        os.sched_yield()
    return time.perf_counter() - began
