"""Who may pass: every path needs a token, except the few that are listed as open."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from qrtx_ray.api.settings import ApiSettings
from qrtx_ray.api.tokens import AccessTokens, Principal, TokenBook
from qrtx_ray.errors import AuthenticationError, PermissionDenied

__all__ = ["OPEN_PATHS", "AuthGuard", "Authenticator", "principal_of", "require_operator"]

#: What answers without a token. `/v1/health` tells strangers no more than that the process lives.
OPEN_PATHS = frozenset({"/", "/docs", "/openapi.json", "/identity/token", "/v1/health"})

_WRONG = "the token is not valid"


def principal_of(request: Request) -> Principal:
    """Who asks.

    Raises:
        AuthenticationError: Nobody known (possible on open paths only).
    """
    principal = request.scope["state"].get("principal")
    if not isinstance(principal, Principal):
        raise AuthenticationError("a token is needed: Authorization: Bearer <token>")
    return principal


def require_operator(request: Request) -> Principal:
    """Who asks, an operator.

    Raises:
        PermissionDenied: Not an operator.
    """
    principal = principal_of(request)
    if not principal.operator:
        raise PermissionDenied("this needs the token of an operator")
    return principal


class Authenticator:
    """Turns credentials into a `Principal`.

    Forms: ``Authorization: Bearer <API token or access token>`` and ``Authorization: apikey <API token>`` (which the
    official client falls back to).
    """

    def __init__(self, settings: ApiSettings) -> None:
        self.book = TokenBook(settings.tokens)
        self.access = AccessTokens(settings.jwt_secret, settings.jwt_life_s)
        self._token_bytes = settings.token_bytes

    def by_headers(self, headers: list[tuple[bytes, bytes]]) -> Principal | None:
        """Who sent these headers; None when they carry no credentials.

        Raises:
            AuthenticationError: Wrong, malformed, too long, or more than one set of credentials.
        """
        values = [value for name, value in headers if name == b"authorization"]
        if not values:
            return None
        if len(values) > 1:
            raise AuthenticationError("there is more than one Authorization header")
        scheme, _, credentials = values[0].decode("latin-1").partition(" ")
        credentials = credentials.strip()
        if len(credentials) > self._token_bytes:
            raise AuthenticationError(_WRONG, field="Authorization", limit=f"{self._token_bytes} bytes")
        if scheme.lower() not in ("bearer", "apikey") or not credentials:
            raise AuthenticationError("the Authorization header must read: Bearer <token>", field="Authorization")
        principal = self.book.find(credentials)
        if principal is None and credentials.count(".") == 2:
            principal = self.access.find(credentials)
        if principal is None:
            raise AuthenticationError(_WRONG, field="Authorization")
        return principal


class AuthGuard:
    """Middleware that lets nothing but the open paths through without a valid token."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, open_paths: frozenset[str]) -> None:
        self._app = app
        self._authenticator = authenticator
        self._open = OPEN_PATHS | open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if path not in ("/identity/token", "/", "/docs", "/openapi.json"):
                principal = self._authenticator.by_headers(scope["headers"])
                if principal is None and path not in self._open:
                    raise AuthenticationError("a token is needed: Authorization: Bearer <token>")
                scope["state"]["principal"] = principal
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._app(scope, receive, send)
