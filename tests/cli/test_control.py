"""The commands to jobs on their way, and those of an operator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from qrtx_ray.api.gateway import AgentView
from qrtx_ray.cli import draining
from qrtx_ray.cli.following import follow
from qrtx_ray.cli.show import results_view, size
from qrtx_ray.client import JobStatus
from qrtx_ray.testing import FakeGateway
from tests.api.canned import sampler_results
from tests.api.conftest import OPERATOR
from tests.cli.conftest import Told
from tests.client.conftest import view

Typed = Callable[..., Told]
SAMPLED = sampler_results(["00", "11"])


@pytest.fixture
def job_id(typed: Typed) -> str:
    return typed("submit", "bell.qasm", "-d", "manila", "--checkpoint-interval", "30").out.strip()


def test_a_waiting_job_is_paused_and_resumed(typed: Typed, gateway: FakeGateway, job_id: str) -> None:
    assert gateway.requests[0].checkpoint_interval_s == 30
    assert typed("pause", job_id).out == f"{job_id}  Paused\n"
    assert typed("resume", job_id).out == f"{job_id}  Queued\n"


def test_a_running_job_pauses_after_its_slice(typed: Typed, gateway: FakeGateway, job_id: str) -> None:
    gateway.start(job_id)
    assert typed("pause", job_id).out == f"{job_id}  Executing, pauses after its slice\n"


def test_a_checkpoint_is_taken_and_all_are_listed(typed: Typed, gateway: FakeGateway, job_id: str) -> None:
    assert typed("checkpoints", job_id).out == "no checkpoints\n"
    assert typed("checkpoint", job_id).code == 1
    gateway.start(job_id)
    assert "after its slice" in typed("checkpoint", job_id, "--no-wait").out
    real = gateway.checkpoint

    async def prompt(job: str, tenant: str) -> Any:
        await real(job, tenant)
        return gateway.keep_checkpoint(job, 0.42, size_bytes=3 * 2**20)

    gateway.checkpoint = prompt  # type: ignore[method-assign]
    assert typed("checkpoint", job_id).out == f"{job_id}  Executing, checkpoint 1 at 42%, 3.0 MiB\n"
    header, row = typed("checkpoints", job_id).out.splitlines()
    assert header.split() == ["checkpoint", "progress", "taken", "size", "kind", "attempt"]
    words = row.split()
    assert (words[:2], words[4:]) == (["1", "42.0%"], ["3.0", "MiB", "slices", "1"])
    assert json.loads(typed("checkpoints", job_id, "--json").out)[0]["sequence"] == 1


def test_a_running_job_is_moved(typed: Typed, gateway: FakeGateway, job_id: str) -> None:
    gateway.held = [AgentView("one", ()), AgentView("two", ())]
    refused = typed("migrate", job_id, "--agent", "two")
    assert (refused.code, refused.out) == (1, "")
    assert "only a running job" in refused.err
    gateway.start(job_id)
    assert typed("migrate", job_id, "--agent", "two").out == f"{job_id}  Queued\n"


def test_a_job_that_ended_is_restored_and_followed(typed: Typed, gateway: FakeGateway, job_id: str) -> None:
    gateway.start(job_id)
    gateway.keep_checkpoint(job_id, 0.5)
    asked = typed("cancel", job_id, "--partial")
    assert asked.out == f"{job_id}  Executing, is being cancelled\n"
    gateway.conclude(job_id, SAMPLED, 0.5)
    assert "00" in typed("results", job_id).out
    new = typed("restore", job_id).out.strip()
    assert gateway._records[new].restored_from == job_id
    gateway.answer = lambda _: SAMPLED
    followed = typed("restore", job_id, "--sequence", "1", "--wait")
    assert followed.code == 0
    assert "Completed" in followed.out
    assert typed("restore", job_id, "--sequence", "7").code == 1


def test_a_device_or_an_agent_is_drained_by_its_name(typed: Typed, gateway: FakeGateway) -> None:
    gateway.held = [AgentView("agent-0", ("a", "b", "c"), 1, last_heard_s=0.25), AgentView("spare", ())]
    drained = typed("drain", "manila", token=OPERATOR)
    assert drained.out == "device fake_manila@aer takes no more work; nothing runs there\n"
    assert "paused" in typed("devices", "manila", token=OPERATOR).out
    assert typed("undrain", "manila", token=OPERATOR).out == "device fake_manila@aer takes work\n"
    assert typed("drain", "agent-0", token=OPERATOR).out.startswith("agent agent-0 takes no more work; 1 job still")
    lines = typed("agents", token=OPERATOR).out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["agent-0", "draining", "1"], ["spare", "serving", "0"]]
    assert "a, b and 1 more" in lines[1]
    assert json.loads(typed("agents", "--json", token=OPERATOR).out)[0]["drained"]
    assert typed("undrain", "agent-0", token=OPERATOR).code == 0
    unknown = typed("drain", "nothing", token=OPERATOR)
    assert unknown.code == 1
    assert "there is no device and no agent 'nothing'" in unknown.err
    gateway.held = []
    assert typed("agents", token=OPERATOR).out == "no agents\n"


def test_draining_waits_until_nothing_runs_and_says_for_what(
    typed: Typed, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.held = [AgentView("agent-0", ("a",), 3)]
    counts = iter([3, 2, 1, 0])

    def later(_: float) -> None:
        gateway.held = [AgentView("agent-0", ("a",), next(counts), drained=True)]

    monkeypatch.setattr(draining, "time", SimpleNamespace(sleep=later))
    assert typed("drain", "agent-0", "--wait", token=OPERATOR).out.splitlines() == [
        "agent agent-0 takes no more work; 3 jobs still run there",
        "2 jobs still run",
        "1 job still runs",
        "agent agent-0 is empty",
    ]


def test_only_operators_drain(typed: Typed) -> None:
    for words in (("drain", "manila"), ("undrain", "manila"), ("agents",)):
        refused = typed(*words)
        assert refused.code == 1
        assert "operator" in refused.err


class Scripted:
    """A client whose job goes a given way."""

    def __init__(self, *views: dict[str, Any]) -> None:
        self._views = views

    def watch(self, job_id: str) -> Iterator[JobStatus]:
        return (JobStatus.from_view(one) for one in self._views)


def test_a_follower_is_told_of_progress_checkpoints_preemptions_and_pauses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = [{"sequence": number, "progress": number / 4, "size_bytes": 512} for number in (2, 1)]
    follow(
        Scripted(  # type: ignore[arg-type]
            view("Queued"),
            view("Executing"),
            view("Executing", progress=0.25, slices=1),
            view("Executing", progress=0.25, slices=1, checkpoints=kept[1:]),
            view("Executing", progress=0.25, slices=1, checkpoints=kept[1:], pause_requested=True),
            view("Paused", progress=0.5, checkpoints=kept),
            view("Queued", progress=0.5, checkpoints=kept),
            view("Executing", progress=0.5, checkpoints=kept),
            view("Queued", progress=0.75, checkpoints=kept, preemptions=1),
            view("Executing", progress=0.75, checkpoints=kept, preemptions=1),
            view("Executing", progress=0.75, checkpoints=kept, preemptions=1, cancel_requested=True),
            view("Cancelled", progress=0.8, partial=True, preemptions=1),
        ),
        "job1",
    )
    told = [line.removeprefix("job1  ") for line in capsys.readouterr().out.splitlines()]
    assert told == [
        "Queued",
        "Executing",
        "Executing  25%",
        "checkpoint 1 at 25%, 512 B",
        "pauses after its slice",
        "checkpoint 2 at 50%, 512 B",
        "Paused at 50%",
        "Paused  50%",
        "Queued",
        "Executing",
        "Queued made way for more urgent work at 75%",
        "Queued  75%",
        "Executing",
        "is cancelled after its slice",
        "Cancelled with the results of 80%",
        "waited 2.00 s, QPU time –",
    ]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (150 * 2**20, "150 MiB"), (2**42, "4096 GiB")]
)
def test_sizes_are_for_readers(count: int, text: str) -> None:
    assert size(count) == text


def test_partial_results_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    from qrtx_ray.cli.show import console

    console.print(results_view({"pubs": [], "metadata": {"qrtx": {"partial": True, "progress": 0.42}}}))
    assert capsys.readouterr().out == "partial: 42% of the job was done when it was cancelled\n"


def test_the_status_tells_whether_jobs_are_taken_and_why_not(typed: Typed, gateway: FakeGateway) -> None:
    told = {
        "ready": True,
        "scheduler": "serving",
        "epoch": 3,
        "uptime_s": 5.0,
        "jobs": {},
        "agents": {"agent-0": 0.5},
        "compilers": {},
        "storage": {"accepting": True, "free_bytes": {"journal": 5 * 2**30, "files": 3 * 2**30}},
    }

    async def health() -> dict[str, Any]:
        return told

    gateway.health = health  # type: ignore[method-assign]
    assert "3.0 GiB free" in typed("status", token=OPERATOR).out
    told |= {"ready": False, "storage": {"accepting": False, "reason": "the disk is full"}}
    refused = typed("status", token=OPERATOR)
    assert refused.code == 1
    assert "takes no more jobs: the disk is full" in refused.out
