"""The compiler actor beside ordinary compiling: surveys of several devices, dry runs, questions without a job."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace

import pytest

from qrtx_ray.actors import compiler as compilers
from qrtx_ray.actors.answers import candidates_of
from qrtx_ray.errors import ExecutionTimeout, PersistError, QueueFull
from qrtx_ray.model import Candidate
from tests.actors.building import DEVICE, PROFILE, job_id, until
from tests.actors.test_compiler import Bench, answer, task

CHOICES = ((DEVICE, ""), ("fake_lima@aer", "drift:1:0.1:0:0"))
CANDIDATES = (Candidate(DEVICE, "abc", 0.9, 2.0, 0.1), Candidate("fake_lima@aer", refusal="too few qubits"))


@pytest.fixture
async def bench(tmp_path, cluster, monkeypatch):
    bench = Bench(tmp_path, cluster, monkeypatch)
    await until(lambda: bench.scheduler.joins)
    yield bench
    for part in bench.actor._tasks:
        part.cancel()


async def compile_one(bench, wanted):
    bench.scheduler.tasks.put_nowait((wanted,))
    await until(lambda: wanted.job_id in bench.scheduler.reports)
    return bench.scheduler.reports[wanted.job_id]


def surveyed(job, **fields):
    plain = answer(job, profile=None, executable=b"", candidates=[asdict(one) for one in reversed(CANDIDATES)])
    return {"reports": [plain | fields]}


async def test_a_survey_reports_a_candidate_for_each_choice_in_their_order(bench):
    bench.child.behave = lambda ids: surveyed(ids[0])
    report = await compile_one(bench, replace(task(1), device="auto", choices=CHOICES))
    assert report.candidates == CANDIDATES
    assert (report.profile, report.error, report.result_sha256) == (None, None, None)


async def test_the_child_is_told_what_to_compile_against(bench):
    told = []
    call = bench.child.call

    async def listening(message, **options):
        told.extend(message["tasks"])
        return await call(message, **options)

    bench.child.call = listening
    await compile_one(bench, replace(task(1), calibration_id="drift:1:0.1:0:0"))
    bench.child.behave = lambda ids: surveyed(ids[0])
    await compile_one(bench, replace(task(2), choices=CHOICES, dry_run=True))
    first, second = told
    assert (first["noise_id"], first["choices"], first["dry_run"]) == ("drift:1:0.1:0:0", [], False)
    assert (second["choices"], second["dry_run"]) == ([list(choice) for choice in CHOICES], True)


GOOD = [asdict(one) for one in CANDIDATES]


@pytest.mark.parametrize(
    "said",
    [
        None,
        "text",
        [],
        GOOD[:1],
        [*GOOD, GOOD[0]],
        [GOOD[0], GOOD[0]],
        [GOOD[0], 7],
        [GOOD[0], GOOD[1] | {"device": "another@aer"}],
        [GOOD[0] | {"qpu_s": float("nan")}, GOOD[1]],
        [GOOD[0] | {"fidelity": "high"}, GOOD[1]],
        [GOOD[0] | {"refusal": "x" * 5000}, GOOD[1]],
    ],
)
async def test_candidates_that_cannot_be_read_fail_the_job(bench, said):
    assert candidates_of(said, [DEVICE, "fake_lima@aer"]) is None
    bench.child.behave = lambda ids: surveyed(ids[0], candidates=said)
    report = await compile_one(bench, replace(task(1), choices=CHOICES))
    assert report.error.code == "compile_failed"


async def test_the_estimate_of_a_dry_run_is_durable_before_the_report(bench):
    bench.child.behave = lambda ids: {"reports": [answer(ids[0], executable=b"", results=b"{}")]}
    report = await compile_one(bench, replace(task(1), dry_run=True))
    assert (report.profile, report.error, report.result_bytes) == (PROFILE, None, 2)
    assert bench.files.read_results(job_id(1), report.result_sha256) == b"{}"


async def test_a_child_cannot_make_results_of_a_job_that_is_to_run(bench):
    bench.child.behave = lambda ids: {"reports": [answer(ids[0], results=b"forged")]}
    report = await compile_one(bench, task(1))
    assert report.result_sha256 is None
    assert bench.files.read_results(job_id(1), None) is None


async def test_a_dry_run_whose_estimate_cannot_be_kept_fails(bench, monkeypatch):
    def full(*_):
        raise PersistError("no space")

    monkeypatch.setattr(bench.actor._files, "write_results", full)
    bench.child.behave = lambda ids: {"reports": [answer(ids[0], executable=b"", results=b"{}")]}
    assert (await compile_one(bench, replace(task(1), dry_run=True))).error.code == "persist_failed"


async def test_a_question_is_answered_beside_the_jobs_and_leaves_nothing(bench):
    bench.child.behave = lambda ids: surveyed(ids[0], results=b"{}")
    report = await bench.actor.survey(replace(task(7), device="auto", choices=CHOICES))
    assert report.candidates == CANDIDATES
    assert bench.scheduler.reports == {}
    assert not bench.files.exists(job_id(7))


async def test_a_question_that_takes_too_long_is_told_the_limit(bench):
    bench.child.deadly = {job_id(7): ExecutionTimeout("the run took longer than 20 s and was stopped")}
    report = await bench.actor.survey(replace(task(7), choices=CHOICES))
    assert (report.error.code, report.error.limit) == ("compile_failed", "20 s")


async def test_too_many_questions_at_once_are_refused(bench, monkeypatch):
    monkeypatch.setattr(compilers, "SURVEYS", 1)
    call = bench.child.call

    async def slowly(message, **options):
        await asyncio.sleep(0.01)
        return await call(message, **options)

    bench.child.call = slowly
    bench.child.behave = lambda ids: surveyed(ids[0])
    asked = [bench.actor.survey(replace(task(n), choices=CHOICES)) for n in range(7, 10)]
    first, *others = await asyncio.gather(*asked, return_exceptions=True)
    assert first.candidates == CANDIDATES
    assert [type(one) for one in others] == [QueueFull, QueueFull]
    assert (await bench.actor.survey(replace(task(7), choices=CHOICES))).error is None
