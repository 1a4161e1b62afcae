"""The status page and the API page: one file each, no outside assets, under a strict content security policy."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

__all__ = ["page_router"]


def page_router() -> APIRouter:
    """``/`` and ``/docs``."""
    router = APIRouter(default_response_class=Response)
    for path, name in (("/", "status.html"), ("/docs", "docs.html")):
        router.add_api_route(path, _Page(name).get, methods=["GET"], response_model=None)
    return router


class _Page:
    def __init__(self, name: str) -> None:
        text = (files("qrtx_ray.api") / "pages" / name).read_text("utf-8")
        self._content = text.encode()
        self._headers = {"Content-Security-Policy": _policy(text), "Cache-Control": "no-cache"}

    async def get(self, request: Request) -> Response:
        del request
        return Response(self._content, headers=self._headers, media_type="text/html")


def _policy(text: str) -> str:
    """Only the scripts and styles that stand in the page itself may run, and it may talk to this server only."""
    return (
        "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"script-src {_hashes('script', text)}; style-src {_hashes('style', text)}"
    )


def _hashes(tag: str, text: str) -> str:
    blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digests = (hashlib.sha256(block.encode()).digest() for block in blocks)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
