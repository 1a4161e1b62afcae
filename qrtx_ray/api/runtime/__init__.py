"""The Qiskit Runtime REST API, as the unmodified official client speaks it."""

from __future__ import annotations

from qrtx_ray.api.context import Api
from qrtx_ray.api.routing import OperationRouter
from qrtx_ray.api.runtime.account import Account
from qrtx_ray.api.runtime.backends import Backends
from qrtx_ray.api.runtime.jobs import Jobs
from qrtx_ray.api.runtime.sessions import Sessions

__all__ = ["PREFIXES", "runtime_router"]

#: The client keeps a URL (and its port) only if it contains the word "experimental".
PREFIXES = ("/api/v1", "/experimental/api/v1")


def runtime_router(api: Api) -> OperationRouter:
    """All routes, relative to the prefixes; the ones that are called most come first."""
    router = OperationRouter()
    for part in (Jobs(api), Account(api), Backends(api), Sessions()):
        router.include_router(part.router())
    return router
