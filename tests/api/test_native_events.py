"""Following a job."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from qrtx_ray.testing import FakeGateway
from tests.api.conftest import assert_error, native_job


def parse(text: str) -> list[tuple[int, dict[str, object]]]:
    events = []
    for block in text.strip().split("\n\n"):
        if block.startswith(":"):
            continue
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        assert lines["event"] == "job"
        events.append((int(lines["id"]), json.loads(lines["data"])))
    return events


async def follow(client: httpx.AsyncClient, job_id: str, last: str | None = None) -> httpx.Response:
    headers = {} if last is None else {"Last-Event-ID": last}
    async with asyncio.timeout(5):
        return await client.get(f"/v1/jobs/{job_id}/events", headers=headers)


async def turn() -> None:
    """Let everything that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def job_id(client: httpx.AsyncClient) -> str:
    return str((await client.post("/v1/jobs", json=native_job())).json()["id"])


async def test_a_follower_sees_the_present_and_every_change_to_the_end(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    stream = asyncio.create_task(follow(client, job_id))
    await turn()
    gateway.start(job_id)
    await turn()
    gateway.complete(job_id, b"{}")
    response = await stream
    assert response.headers["content-type"].startswith("text/event-stream")
    events = parse(response.text)
    assert [(sequence, view["state"]) for sequence, view in events] == [
        (1, "Queued"),
        (2, "Executing"),
        (3, "Completed"),
    ]


async def test_a_cut_stream_is_taken_up_where_it_ended(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.start(job_id)
    stream = asyncio.create_task(follow(client, job_id, "2"))
    await turn()
    gateway.complete(job_id, b"{}")
    assert [sequence for sequence, _ in parse((await stream).text)] == [3]


async def test_a_follower_who_has_seen_the_end_gets_an_empty_stream(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.complete(job_id, b"{}")
    assert (await follow(client, job_id, "3")).text == ""
    assert [sequence for sequence, _ in parse((await follow(client, job_id)).text)] == [3]


async def test_silence_is_filled_with_comments(client: httpx.AsyncClient, gateway: FakeGateway, job_id: str) -> None:
    stream = asyncio.create_task(follow(client, job_id))
    done, _ = await asyncio.wait({stream}, timeout=0.1)
    assert not done
    gateway.complete(job_id, b"{}")
    assert (await stream).text.count(": still here") >= 1


async def test_the_stream_of_a_removed_job_ends(client: httpx.AsyncClient, gateway: FakeGateway, job_id: str) -> None:
    stream = asyncio.create_task(follow(client, job_id))
    await turn()
    gateway._records.pop(job_id)
    gateway._moved.set()
    assert [view["state"] for _, view in parse((await stream).text)] == ["Queued"]


@pytest.mark.parametrize("last", ["-1", "x", "1.5", "9" * 19, "²"])
async def test_a_wrong_last_event_id_is_refused(client: httpx.AsyncClient, job_id: str, last: str) -> None:
    response = await client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last.encode()})
    assert_error(response, 400, "validation_failed", "Last-Event-ID")


async def test_a_follower_who_leaves_is_forgotten(client: httpx.AsyncClient, gateway: FakeGateway, job_id: str) -> None:
    stream = asyncio.create_task(follow(client, job_id))
    await turn()
    before = asyncio.all_tasks()
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)
    await turn()
    assert len(asyncio.all_tasks()) < len(before)
    assert asyncio.all_tasks() == {asyncio.current_task()}
