"""Following a job."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from qrtx_ray.testing import FakeGateway
from tests.api.conftest import assert_error, native_job

Event = tuple[int | None, str, dict[str, Any]]


def parse(text: str) -> list[Event]:
    """Id, name and document of every event."""
    events = []
    for block in text.strip().split("\n\n"):
        if not block or block.startswith(":"):
            continue
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        number = int(lines["id"]) if "id" in lines else None
        events.append((number, lines["event"], json.loads(lines["data"])))
    return events


def states(text: str) -> list[tuple[int | None, object]]:
    """Of a stream of nothing but jobs: id and state."""
    events = parse(text)
    assert {name for _, name, _ in events} <= {"job"}
    return [(number, view["state"]) for number, _, view in events]


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
    assert states(response.text) == [(1, "Queued"), (2, "Executing"), (3, "Completed")]


async def test_a_cut_stream_is_taken_up_where_it_ended(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.start(job_id)
    stream = asyncio.create_task(follow(client, job_id, "2"))
    await turn()
    gateway.complete(job_id, b"{}")
    assert states((await stream).text) == [(3, "Completed")]


async def test_a_follower_who_has_seen_the_end_gets_an_empty_stream(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.complete(job_id, b"{}")
    assert (await follow(client, job_id, "3")).text == ""
    ((number, _, view),) = parse((await follow(client, job_id)).text)
    assert (number, [change["sequence"] for change in view["changes"]]) == (3, [1, 2, 3])


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
    assert states((await stream).text) == [(1, "Queued")]


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


async def test_progress_and_checkpoints_are_told_by_events_of_their_own(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.start(job_id)
    stream = asyncio.create_task(follow(client, job_id))
    await turn()
    gateway.move(job_id, 0.25, 1)
    await turn()
    gateway.keep_checkpoint(job_id, 0.25)
    await turn()
    gateway.make_way(job_id, 0.5)
    await turn()
    gateway.start(job_id)
    gateway.complete(job_id, b"{}")
    events = parse((await stream).text)
    assert [(number, name) for number, name, _ in events] == [
        (2, "job"),
        (None, "progress"),
        (3, "checkpoint"),
        (4, "job"),
        (6, "job"),
    ]
    assert events[1][2] == {"progress": 0.25, "slices": 1, "attempt": 1}
    kept = events[2][2]
    assert (kept["checkpoint"]["sequence"], kept["checkpoint"]["progress"]) == (1, 0.25)
    assert (kept["change"]["sequence"], kept["change"]["reason"]) == (3, "checkpoint 1 at 25 %")
    assert (events[3][2]["state"], events[3][2]["preemptions"]) == ("Queued", 1)
    assert [change["to_state"] for change in events[4][2]["changes"]] == ["Executing", "Completed"]


async def test_wherever_a_stream_is_cut_no_change_is_missing_and_none_comes_twice(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.start(job_id)
    for progress in (0.1, 0.2, 0.3):
        gateway.keep_checkpoint(job_id, progress)
    gateway.make_way(job_id, 0.4)
    gateway.start(job_id)
    gateway.complete(job_id, b"{}")
    whole = parse((await follow(client, job_id)).text)
    assert [name for _, name, _ in whole] == ["job", "checkpoint", "checkpoint", "checkpoint", "job"]
    assert told(whole) == list(range(1, 9))
    for cut in range(len(whole) + 1):
        first = whole[:cut]
        last = first[-1][0] if first else 0
        rest = parse((await follow(client, job_id, str(last))).text)
        assert told(first) + told(rest) == list(range(1, 9))


def told(events: list[Event]) -> list[int]:
    """The sequences of all changes in a stream, in order."""
    changes = []
    for _, name, document in events:
        changes += [document["change"]] if name == "checkpoint" else document.get("changes", [])
    return [change["sequence"] for change in changes]


async def test_a_checkpoint_that_is_not_kept_any_more_is_told_without_its_facts(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.start(job_id)
    gateway.keep_checkpoint(job_id, 0.5)
    gateway.complete(job_id, b"{}")
    events = parse((await follow(client, job_id)).text)
    assert [(name, view.get("checkpoint")) for _, name, view in events][1] == ("checkpoint", None)


async def test_what_is_no_change_of_state_is_told_without_an_id(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    stream = asyncio.create_task(follow(client, job_id))
    await turn()
    await gateway.set_tags(job_id, "alice", ("new",))
    await turn()
    gateway.complete(job_id, b"{}")
    number, name, view = parse((await stream).text)[1]
    assert (number, name, view["tags"], view["changes"]) == (None, "job", ["new"], [])


async def test_updates_are_exact_from_any_point_on(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.start(job_id)
    gateway.keep_checkpoint(job_id, 0.5)
    gateway.move(job_id, 0.75, 3)
    everything = (await client.get(f"/v1/jobs/{job_id}/updates")).json()
    assert [change["sequence"] for change in everything["changes"]] == [1, 2, 3]
    assert everything["changes"] == (await client.get(f"/v1/jobs/{job_id}/history")).json()["changes"]
    fields = {"state": "Executing", "terminal": False, "attempt": 1, "progress": 0.75, "slices": 3, "sequence": 3}
    assert fields.items() <= everything.items()
    rest = (await client.get(f"/v1/jobs/{job_id}/updates?after=2")).json()
    assert [change["reason"] for change in rest["changes"]] == ["checkpoint 1 at 50 %"]
    nothing = (await client.get(f"/v1/jobs/{job_id}/updates?after=3")).json()
    assert (nothing["changes"], nothing["sequence"]) == ([], 3)


async def test_updates_are_held_until_there_are_some_or_the_time_is_over(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    late = (await client.get(f"/v1/jobs/{job_id}/updates?after=1&wait=0.02")).json()
    assert late["changes"] == []
    waiting = asyncio.create_task(client.get(f"/v1/jobs/{job_id}/updates?after=1&wait=5"))
    await turn()
    await gateway.set_tags(job_id, "alice", ("new",))  # no change of state
    await turn()
    assert not waiting.done()
    gateway.start(job_id)
    assert [change["to_state"] for change in (await waiting).json()["changes"]] == ["Executing"]


async def test_updates_of_a_job_that_has_ended_are_not_held(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.complete(job_id, b"{}")
    async with asyncio.timeout(5):
        answer = (await client.get(f"/v1/jobs/{job_id}/updates?after=3&wait=60")).json()
    assert (answer["terminal"], answer["changes"]) == (True, [])


@pytest.mark.parametrize(("query", "field"), [("after=-1", "after"), ("after=x", "after"), ("wait=61", "wait")])
async def test_a_wrong_question_for_updates_is_refused(
    client: httpx.AsyncClient, job_id: str, query: str, field: str
) -> None:
    assert_error(await client.get(f"/v1/jobs/{job_id}/updates?{query}"), 400, "validation_failed", field)
