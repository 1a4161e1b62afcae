"""Clients over a transport in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from qrtx_ray.client import AsyncQrtxClient, QrtxClient

Answer = httpx.Response | Exception
Script = Callable[[httpx.Request], Answer]


def view(state: str = "Completed", version: int = 1, **fields: Any) -> dict[str, Any]:
    """A job as the server shows it."""
    return {
        "id": "job1",
        "state": state,
        "terminal": state in {"Completed", "Failed", "Cancelled", "Timeout"},
        "version": version,
        "program": "sampler",
        "device": "fake_manila@aer",
        "progress": 0.0,
        "created_at": "2026-01-01T00:00:00Z",
        "started_at": "2026-01-01T00:00:02Z",
        "finished_at": None,
        "qpu_s": None,
        "error": None,
        **fields,
    }


def event(number: int, document: dict[str, Any]) -> str:
    return f"event: job\nid: {number}\ndata: {json.dumps(document)}\n\n"


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that ends with the connection."""

    def __init__(self, text: str) -> None:
        self._text = text.encode()

    def __iter__(self) -> Iterator[bytes]:
        yield self._text
        raise httpx.ReadError("cut")

    async def __aiter__(self):
        yield self._text
        raise httpx.ReadError("cut")


class Server:
    """Answers by a script, remembers what it was asked."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self._script(request)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer.stream, Broken):
            return answer
        return httpx.Response(answer.status_code, content=answer.content)  # a response is read only once

    def sync(self) -> QrtxClient:
        return QrtxClient("http://qrtx.test", "secret", transport=httpx.MockTransport(self))

    def asynchronous(self) -> AsyncQrtxClient:
        return AsyncQrtxClient("http://qrtx.test", "secret", transport=httpx.MockTransport(self))


def in_turn(*answers: Answer) -> Script:
    left = list(answers)
    return lambda _: left.pop(0)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken streams are taken up again at once."""
    monkeypatch.setattr("qrtx_ray.client.following.FIRST_PAUSE_S", 0.0)
