"""The Python SDK: `QrtxClient` and `AsyncQrtxClient` over the native HTTP API."""

from __future__ import annotations

from qrtx_ray.client.asynchronous import AsyncQrtxClient
from qrtx_ray.client.connection import Connection, find_connection
from qrtx_ray.client.loops import AsyncHybridLoop, AsyncStep, HybridLoop, Step
from qrtx_ray.client.messages import JobStatus, job_body
from qrtx_ray.client.synchronous import QrtxClient

__all__ = [
    "AsyncHybridLoop",
    "AsyncQrtxClient",
    "AsyncStep",
    "Connection",
    "HybridLoop",
    "JobStatus",
    "QrtxClient",
    "Step",
    "find_connection",
    "job_body",
]
