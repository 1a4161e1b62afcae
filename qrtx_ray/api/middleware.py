"""What every request passes first: an identifier, a bounded body, safe headers, and an answer whatever happens.

Pure ASGI, so that streams stay streams and nothing is copied.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qrtx_ray.api.failures import UnsupportedMediaType, error_response
from qrtx_ray.errors import InternalError, PayloadTooLarge, QrtxError, ValidationError

__all__ = ["RequestGuard", "trace_of"]

_logger = logging.getLogger(__name__)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")

_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_CLOSED_CSP = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

Respond = Callable[[QrtxError], Awaitable[None]]


def trace_of(scope: Scope) -> str:
    """The identifier of this request, as echoed in ``x-request-id`` and named ``trace`` in errors."""
    state = scope.get("state") or {}
    return str(state.get("trace", ""))


class RequestGuard:
    """Outermost middleware.

    * ``x-request-id`` is taken over when it is 1..64 of ``[A-Za-z0-9._-]``, else made here; echoed on every answer.
    * A body longer than `body_bytes` (below a path that begins as one of `longer` says: than that) ends in 413: by what
      arrives, not by what Content-Length says.
    * Encoded bodies end in 415: nothing is inflated in the front.
    * An unexpected exception ends in a 500 that says nothing of the inside; the log gets the trace, never a header.
    """

    def __init__(
        self, app: ASGIApp, body_bytes: int, retry_after_s: int, longer: Mapping[str, int] | None = None
    ) -> None:
        self._app = app
        self._body_bytes = body_bytes
        self._retry_after_s = retry_after_s
        self._longer = dict(longer or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        trace = _request_id(headers)
        scope.setdefault("state", {})["trace"] = trace
        started = False

        async def send_safely(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _complete_headers(message, trace)
            await send(message)

        try:
            most = self._most(scope)
            self._check_declared(headers, most)
            await self._app(scope, self._bounded(receive, most), send_safely)
        except QrtxError as error:
            if error.http_status >= 500:
                _logger.warning("request %s was answered with %d: %s", trace, error.http_status, error.code)
            if not started:
                await error_response(error, trace, self._retry_after_s)(scope, receive, send_safely)
        except Exception:
            _logger.exception("request %s failed: %s %s", trace, scope["method"], ascii(scope["path"][:200]))
            if not started:
                bug = InternalError("the server failed to answer; the trace finds the reason in its log")
                await error_response(bug, trace)(scope, receive, send_safely)

    def _most(self, scope: Scope) -> int:
        """Bytes that the body of this request may have."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return next((most for start, most in self._longer.items() if path.startswith(start)), self._body_bytes)

    def _check_declared(self, headers: list[tuple[bytes, bytes]], most: int) -> None:
        for name, value in headers:
            if name == b"content-length":
                if not value.isdigit():
                    raise ValidationError("the header Content-Length is not a number", field="Content-Length")
                if len(value) > 18 or int(value) > most:
                    raise _too_large(most)
            elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                raise UnsupportedMediaType("encoded bodies are not taken; send it as it is", field="Content-Encoding")

    @staticmethod
    def _bounded(receive: Receive, most: int) -> Receive:
        seen = 0

        async def receive_bounded() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > most:
                    raise _too_large(most)
            return message

        return receive_bounded


def _too_large(most: int) -> PayloadTooLarge:
    limit = f"{most} bytes"
    return PayloadTooLarge(f"the body is longer than {limit}", field="body", limit=limit)


def _request_id(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == b"x-request-id":
            return value.decode() if _REQUEST_ID.match(value) else os.urandom(12).hex()
    return os.urandom(12).hex()


def _complete_headers(message: Message, trace: str) -> None:
    headers = list(message.get("headers", ()))
    present = {name for name, _ in headers}
    headers.extend(header for header in _SECURITY_HEADERS if header[0] not in present)
    if _CLOSED_CSP[0] not in present:
        headers.append(_CLOSED_CSP)
    headers.append((b"x-request-id", trace.encode()))
    message["headers"] = headers
