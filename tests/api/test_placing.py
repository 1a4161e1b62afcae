"""Where and until when a job may run, as either API takes it."""

from __future__ import annotations

import httpx
import pytest

from qrtx_ray.api.directory import DeviceDirectory
from qrtx_ray.api.placement import device_and_choices
from qrtx_ray.errors import ValidationError
from qrtx_ray.model import AUTO_DEVICE, Candidate, TaskState
from qrtx_ray.testing import FakeGateway
from tests.api.conftest import DEVICES, assert_error, native_job, runtime_job


async def test_auto_leaves_the_choice_among_all_devices_with_noise(client: httpx.AsyncClient, gateway: FakeGateway):
    view = (await client.post("/v1/jobs", json=native_job(device="auto"))).json()
    assert (view["device"], view["choices"], view["candidates"]) == ("auto", ["fake_manila@aer"], [])
    assert gateway.requests[0].device == AUTO_DEVICE
    assert gateway.requests[0].choices == ("fake_manila@aer",)


async def test_choices_may_be_named_by_alias_and_count_once(client: httpx.AsyncClient, gateway: FakeGateway):
    body = native_job(device="auto", devices=["fake_quito@aer_ideal", "manila", "fake_manila@aer"])
    assert (await client.post("/v1/jobs", json=body)).status_code == 201
    assert gateway.requests[0].choices == ("fake_quito@aer_ideal", "fake_manila@aer")


async def test_what_became_of_the_choice_is_shown(client: httpx.AsyncClient, gateway: FakeGateway):
    job = (await client.post("/v1/jobs", json=native_job(device="auto"))).json()["id"]
    candidates = (Candidate("fake_manila@aer", "abc", 0.9, 2.0, 0.1), Candidate("fake_lima@aer", refusal="too narrow"))
    gateway.advance(
        job, TaskState.QUEUED, device="fake_manila@aer", candidates=candidates, promoted_at=0.0, preemptions=2
    )
    view = (await client.get(f"/v1/jobs/{job}")).json()
    assert (view["device"], view["preemptions"], view["promoted_at"]) == (
        "fake_manila@aer",
        2,
        "1970-01-01T00:00:00.000000Z",
    )
    assert view["candidates"][0] == {
        "device": "fake_manila@aer",
        "calibration_id": "abc",
        "fidelity": 0.9,
        "qpu_s": 2.0,
        "estimated_s": 0.1,
        "refusal": "",
    }
    assert view["candidates"][1]["refusal"] == "too narrow"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2030-01-01T00:00:00Z", 1893456000.0),
        ("2030-01-01T00:00:00", 1893456000.0),
        ("2030-01-01T01:00:00+01:00", 1893456000.0),
        ("2030-01-01", 1893456000.0),
    ],
)
async def test_a_deadline_is_a_time(client: httpx.AsyncClient, gateway: FakeGateway, text: str, at: float):
    body = native_job(deadline=text, fidelity_floor=1, reservation="r", dry_run=True)
    view = (await client.post("/v1/jobs", json=body)).json()
    assert (view["deadline"], view["fidelity_floor"]) == ("2030-01-01T00:00:00.000000Z", 1.0)
    assert (view["reservation"], view["dry_run"]) == ("r", True)
    (request,) = gateway.requests
    assert (request.deadline_at, request.fidelity_floor, request.reservation, request.dry_run) == (at, 1.0, "r", True)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"device": "auto", "devices": []}, "devices"),
        ({"device": "auto", "devices": "manila"}, "devices"),
        ({"device": "auto", "devices": ["manila", "nowhere"]}, "devices[1]"),
        ({"device": "auto", "devices": ["auto"]}, "devices[0]"),
        ({"device": "auto", "devices": [7]}, "devices[0]"),
        ({"device": "auto", "devices": ["manila"] * 1025}, "devices"),
        ({"device": "manila", "devices": ["manila"]}, "devices"),
        ({"deadline": "tomorrow or so"}, "deadline"),
        ({"deadline": "soon"}, "deadline"),
        ({"deadline": ""}, "deadline"),
        ({"deadline": 1893456000}, "deadline"),
        ({"deadline": "9999-12-31T23:59:59-23:00"}, "deadline"),
        ({"deadline": "0001-01-01T00:00:00Z"}, "deadline"),
        ({"deadline": "2030-01-01T00:00:00Z" + "0" * 40}, "deadline"),
        ({"fidelity_floor": 0}, "fidelity_floor"),
        ({"fidelity_floor": 1.01}, "fidelity_floor"),
        ({"fidelity_floor": "0.9"}, "fidelity_floor"),
        ({"fidelity_floor": True}, "fidelity_floor"),
        ({"reservation": ""}, "reservation"),
        ({"reservation": "r" * 65}, "reservation"),
        ({"dry_run": 1}, "dry_run"),
        ({"dry_run": "yes"}, "dry_run"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/estimate"])
async def test_wrong_fields_are_refused_by_name(
    client: httpx.AsyncClient, gateway: FakeGateway, path: str, fields: dict[str, object], field: str
):
    assert_error(await client.post(path, json=native_job(**fields)), 400, "validation_failed", field)
    assert gateway.requests == []


def test_a_server_without_noise_wants_the_devices_named():
    ideal = DeviceDirectory({"fake_quito@aer_ideal": DEVICES["fake_quito@aer_ideal"]})
    with pytest.raises(ValidationError) as caught:
        device_and_choices(AUTO_DEVICE, None, ideal)
    assert caught.value.field == "devices"
    assert device_and_choices(AUTO_DEVICE, ["fake_quito@aer_ideal"], ideal) == ("auto", ("fake_quito@aer_ideal",))


def hinted(**hints: object) -> dict[str, object]:
    job = runtime_job()
    job["params"] = {**job["params"], "options": {"experimental": {"qrtx": hints}}}  # type: ignore[dict-item]
    return job


async def test_the_official_clients_hints_say_the_same(runtime: httpx.AsyncClient, gateway: FakeGateway):
    body = hinted(priority=95, deadline="2030-01-01T00:00:00Z", fidelity_floor=0.8, reservation="r", dry_run=True)
    assert (await runtime.post("/jobs", json=body)).status_code == 200
    (request,) = gateway.requests
    assert (request.priority, request.deadline_at, request.fidelity_floor) == (95, 1893456000.0, 0.8)
    assert (request.reservation, request.dry_run, request.device) == ("r", True, "fake_manila@aer")


async def test_hints_may_be_null(runtime: httpx.AsyncClient, gateway: FakeGateway):
    body = hinted(deadline=None, fidelity_floor=None, reservation=None, dry_run=None)
    assert (await runtime.post("/jobs", json=body)).status_code == 200
    assert (gateway.requests[0].deadline_at, gateway.requests[0].dry_run) == (None, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("deadline", "soon"),
        ("deadline", 7),
        ("fidelity_floor", 0),
        ("fidelity_floor", 2),
        ("fidelity_floor", "high"),
        ("reservation", 7),
        ("reservation", "r" * 65),
        ("dry_run", 1),
    ],
)
async def test_wrong_hints_are_refused_by_name(
    runtime: httpx.AsyncClient, gateway: FakeGateway, name: str, value: object
):
    response = await runtime.post("/jobs", json=hinted(**{name: value}))
    assert_error(response, 400, "validation_failed", f"options.experimental.qrtx.{name}")
    assert gateway.requests == []


async def test_a_backend_is_never_chosen_for_the_official_client(runtime: httpx.AsyncClient):
    assert_error(await runtime.post("/jobs", json=runtime_job(backend="auto")), 400, "validation_failed", "backend")
