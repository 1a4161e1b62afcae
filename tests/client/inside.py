"""A blocking way into an application of this process."""

from __future__ import annotations

import asyncio

import httpx
from fastapi import FastAPI

__all__ = ["Inside"]


class Inside(httpx.BaseTransport):
    """Carries the requests of a blocking client into an application of this process."""

    def __init__(self, app: FastAPI) -> None:
        self._inner = httpx.ASGITransport(app)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def carry() -> httpx.Response:
            sent = httpx.Request(request.method, request.url, headers=request.headers, content=request.read())
            answer = await self._inner.handle_async_request(sent)
            return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

        return asyncio.run(carry())
