"""Device agents, for operators: which there are, and sending one's work elsewhere before it goes."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray.api.auth import require_operator
from qrtx_ray.api.context import Api
from qrtx_ray.api.gateway import AgentView
from qrtx_ray.api.native.models import AgentDocument, AgentListView
from qrtx_ray.api.requests import text
from qrtx_ray.api.responses import json_response
from qrtx_ray.api.routing import OperationRouter, add_operation, new_router
from qrtx_ray.errors import NotFound

__all__ = ["Agents"]


class Agents:
    """Everything under ``/v1/agents``."""

    def __init__(self, api: Api) -> None:
        self._gateway = api.gateway

    def router(self) -> OperationRouter:
        router = new_router("agents")
        add_operation(router, "GET", "/agents", self.list, "All agents", model=AgentListView)
        add_operation(
            router, "POST", "/agents/{name}/drain", self.drain, "Send its work elsewhere", model=AgentDocument
        )
        add_operation(
            router, "POST", "/agents/{name}/resume", self.resume, "Let it take work again", model=AgentDocument
        )
        return router

    async def list(self, request: Request) -> Response:
        """By name. Operators only."""
        require_operator(request)
        return json_response({"agents": [_view(one) for one in await self._gateway.agents()]})

    async def drain(self, request: Request) -> Response:
        """It gives its work back after the slice, checkpointed, and takes no more, also after a restart of the runtime. It is
        empty when `running` is 0. Operators only.
        """
        require_operator(request)
        name = _name(request)
        await self._gateway.drain_agent(name)
        return await self._answer(name)

    async def resume(self, request: Request) -> Response:
        """Operators only."""
        require_operator(request)
        name = _name(request)
        await self._gateway.resume_agent(name)
        return await self._answer(name)

    async def _answer(self, name: str) -> Response:
        for one in await self._gateway.agents():
            if one.name == name:
                return json_response(_view(one))
        raise NotFound("there is no such agent", field="name")


def _name(request: Request) -> str:
    return text(request.path_params["name"], "name", 128)


def _view(view: AgentView) -> dict[str, Any]:
    """An agent, see `models.AgentDocument`."""
    return {
        "name": view.name,
        "devices": view.devices,
        "running": view.running,
        "drained": view.drained,
        "last_heard_s": round(view.last_heard_s, 3),
    }
