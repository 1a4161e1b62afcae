"""Results of several jobs in one answer."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from qrtx_ray.api.native.results import MAX_COLLECTED
from qrtx_ray.testing import FakeGateway
from tests.api.canned import sampler_results
from tests.api.conftest import ALICE, BOB, bearer, native_job


async def submitted(http: httpx.AsyncClient, count: int, token: str = ALICE) -> list[str]:
    answer = await http.post("/v1/jobs", json={"jobs": [native_job()] * count}, headers=bearer(token))
    return [outcome["job"]["id"] for outcome in answer.json()["outcomes"]]


async def collect(http: httpx.AsyncClient, ids: list[str], **query: str) -> httpx.Response:
    return await http.get("/v1/results", params={"job": ids, **query}, headers=bearer(ALICE))


async def test_outcomes_come_in_the_order_asked_for(anonymous: httpx.AsyncClient, gateway: FakeGateway) -> None:
    first, second = await submitted(anonymous, 2)
    gateway.complete(first, sampler_results(["0x0", "0x1"]))
    gateway.complete(second, sampler_results(["0x0", "0x1"]))
    outcomes = (await collect(anonymous, [second, first])).json()["outcomes"]
    assert [outcome["job_id"] for outcome in outcomes] == [second, first]
    assert all(outcome["error"] is None and outcome["results"]["pubs"] for outcome in outcomes)


async def test_a_job_without_results_is_an_error_of_its_own(anonymous: httpx.AsyncClient, gateway: FakeGateway) -> None:
    done, waiting = await submitted(anonymous, 2)
    (foreign,) = await submitted(anonymous, 1, BOB)
    gateway.complete(done, sampler_results(["0x0", "0x1"]))
    outcomes = (await collect(anonymous, [done, waiting, foreign, "../../etc/passwd"])).json()["outcomes"]
    assert outcomes[0]["error"] is None
    codes = [outcome["error"]["code"] for outcome in outcomes[1:]]
    assert codes == ["invalid_state", "not_found", "not_found"]


async def test_it_waits_for_the_ends(anonymous: httpx.AsyncClient, gateway: FakeGateway) -> None:
    (job,) = await submitted(anonymous, 1)
    asked = asyncio.create_task(collect(anonymous, [job], wait="5"))
    await asyncio.sleep(0)
    gateway.complete(job, sampler_results(["0x0", "0x1"]))
    assert (await asked).json()["outcomes"][0]["error"] is None


@pytest.mark.parametrize("count", [0, MAX_COLLECTED + 1])
async def test_none_and_too_many_are_refused(anonymous: httpx.AsyncClient, count: int) -> None:
    answer = await collect(anonymous, ["06gvi8l2f03adi727dmg"] * count)
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "job"
