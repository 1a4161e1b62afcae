"""The three services the official client asks before it asks for a device: identity, resource search, catalogue."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray.api.auth import principal_of
from qrtx_ray.api.context import Api
from qrtx_ray.api.requests import read_body
from qrtx_ray.api.responses import json_response
from qrtx_ray.api.routing import OperationRouter, add_operation, new_router
from qrtx_ray.errors import NotFound

__all__ = ["Identity"]

_GRANT = "urn:ibm:params:oauth:grant-type:apikey"
_FORM_BYTES = 16 * 2**10


class Identity:
    """Access tokens for API tokens, and the instances a tenant may name."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def router(self) -> OperationRouter:
        """All routes, at the paths IBM's services have."""
        router = new_router("identity")
        add_operation(router, "POST", "/identity/token", self.token, "Access token for an API token")
        add_operation(router, "POST", "/v3/resources/search", self.search, "List instances")
        add_operation(router, "GET", "/catalog/{plan}", self.plan, "Describe a plan")
        return router

    async def token(self, request: Request) -> Response:
        """Form-encoded `grant_type=urn:ibm:params:oauth:grant-type:apikey` and `apikey`; answers with a signed token
        that carries the tenant and expires.
        """
        body = await read_body(request, self._api.settings.body_timeout_s)
        fields: dict[str, list[str]] = {}
        if len(body) <= _FORM_BYTES:
            try:
                fields = parse_qs(body.decode("latin-1"), max_num_fields=20)
            except ValueError:
                fields = {}
        key = fields.get("apikey", [""])[-1]
        if fields.get("grant_type") != [_GRANT]:
            return _refused("BXNIM0109E", "The grant_type must be " + _GRANT + ".")
        authenticator = self._api.authenticator
        principal = authenticator.book.find(key) if 0 < len(key) <= self._api.settings.token_bytes else None
        if principal is None:
            return _refused("BXNIM0415E", "Provided API key could not be found.")
        now = self._api.clock.wall()
        life_s = authenticator.access.life_s
        return json_response(
            {
                "access_token": authenticator.access.issue(principal, now),
                "refresh_token": "not_supported",
                "token_type": "Bearer",
                "expires_in": life_s,
                "expiration": int(now) + life_s,
                "scope": "ibm openid",
            }
        )

    async def search(self, request: Request) -> Response:
        """The instances of the tenant, all on one page, whatever the query says."""
        shown = principal_of(request).instances
        items: list[dict[str, Any]] = [
            {
                "crn": instance.crn,
                "name": instance.name,
                "service_plan_unique_id": instance.plan,
                "tags": [],
                "doc": {"extensions": {"type": "quantum-computing"}},
            }
            for instance in self._api.settings.instances
            if not shown or instance.name in shown
        ]
        return json_response({"items": items, "limit": 100})

    async def plan(self, request: Request) -> Response:
        """Name and price model (`free`) of a plan."""
        plan = request.path_params["plan"]
        if all(plan != instance.plan for instance in self._api.settings.instances):
            raise NotFound("there is no such plan", field="plan")
        return json_response(
            {"overview_ui": {"en": {"display_name": plan.title()}}, "metadata": {"pricing": {"type": "free"}}}
        )


def _refused(code: str, message: str) -> Response:
    return json_response({"errorCode": code, "errorMessage": message}, 400)
