"""Priorities by the names of their levels, at every door."""

from __future__ import annotations

import pytest

from qrtx_ray.cli.words import priority_of
from qrtx_ray.codec.amounts import LEVELS, check_priority
from qrtx_ray.codec.jobspec import read_jobspec
from qrtx_ray.codec.limits import Limits
from qrtx_ray.errors import ValidationError
from qrtx_ray.model import Level
from tests.api.conftest import native_job, runtime_job

NAMES = ("critical", "high", "normal", "low")


def test_the_name_of_a_level_stands_for_a_number_of_that_level() -> None:
    assert {name: Level.of(LEVELS[name]).name.lower() for name in NAMES} == {name: name for name in NAMES}
    assert LEVELS["normal"] == 50


@pytest.mark.parametrize("name", NAMES)
async def test_a_native_job_and_a_hint_may_name_a_level(client, gateway, name: str) -> None:
    native = await client.post("/v1/jobs", json=native_job(priority=name))
    params = runtime_job()["params"] | {"options": {"experimental": {"qrtx": {"priority": name}}}}
    runtime = await client.post("/api/v1/jobs", json=runtime_job(params=params))
    assert (native.status_code, runtime.status_code) == (201, 200)
    assert [request.priority for request in gateway.requests] == [LEVELS[name]] * 2


@pytest.mark.parametrize("wrong", ["urgent", "HIGH", "", "90"])
async def test_another_word_is_refused_by_name(client, wrong: str) -> None:
    answer = await client.post("/v1/jobs", json=native_job(priority=wrong))
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "priority")
    with pytest.raises(ValidationError, match="critical, high, normal, low"):
        check_priority(wrong, field="priority")


def test_a_job_file_may_name_a_level() -> None:
    text = "apiVersion: qrtx/v1\nkind: QuantumJob\nspec: {target: manila, priority: high, program: {source: x}}\n"
    assert read_jobspec(text, Limits()).body["priority"] == 80


def test_the_command_line_passes_names_and_numbers_on() -> None:
    assert [priority_of(text) for text in (None, "80", "-1", "high")] == [None, 80, -1, "high"]
