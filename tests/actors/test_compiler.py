"""The compiler actor as a plain class: whatever its child does, every task gets its report."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import asdict

import pytest
from ray.exceptions import RayTaskError

from qrtx_ray.actors import compiler as compilers
from qrtx_ray.actors.compiler import CompilerActor
from qrtx_ray.actors.names import SCHEDULER
from qrtx_ray.actors.wire import CompileLease
from qrtx_ray.errors import DecodeError, ExecutionTimeout, StoreFull, WorkerDied
from qrtx_ray.model import CompileTask, PayloadFormat, Program
from qrtx_ray.store.circuit_fs import CircuitFS

from .building import DEVICE, PROFILE, job_id, settings, until


def task(number: int) -> CompileTask:
    return CompileTask(job_id(number), 1, Program.SAMPLER, DEVICE, b"payload", PayloadFormat.NATIVE, number)


def answer(job: str, **fields):
    texts = {"input.job.yaml": "a job"}
    plain = {"job_id": job, "profile": asdict(PROFILE), "executable": b"x", "error": None, "artefacts": texts}
    return plain | fields


class Child:
    """Compiles in turn, telling of each job; `behave` may give another reply or raise."""

    pid = 4711

    def __init__(self, behave) -> None:
        self.behave = behave
        self.calls: list[list[str]] = []
        self.deadly: dict[str, Exception] = {}

    async def start(self):
        """There is nothing to start."""

    async def call(self, message, *, deadline_s, on_event):
        ids = [entry["job_id"] for entry in message["tasks"]]
        self.calls.append(ids)
        for job in ids:
            if job in self.deadly:
                raise self.deadly[job]
            if self.deadly:
                on_event({"report": answer(job)})
        return self.behave(ids)


class Scheduler:
    def __init__(self) -> None:
        self.tasks: asyncio.Queue = asyncio.Queue()
        self.known = False
        self.joins = 0
        self.troubles = 0
        self.reports: dict[str, object] = {}

    async def join_compiler(self, compiler, incarnation):
        self.joins += 1
        self.known = True

    async def compiler_heartbeat(self, compiler, incarnation):
        return self.known

    async def lease_compile(self, compiler, incarnation, capacity, reports):
        if not self.known:
            return CompileLease(1, known=False)
        if reports and self.troubles:
            self.troubles -= 1
            raise RayTaskError("lease_compile", "", RuntimeError("trouble"))
        self.reports |= {report.job_id: report for report in reports}
        try:
            async with asyncio.timeout(0.02):
                return CompileLease(1, await self.tasks.get())
        except TimeoutError:
            return CompileLease(1)

    async def report_compiled(self, compiler, incarnation, reports):
        if not self.known:
            return False
        if self.troubles:
            self.troubles -= 1
            raise RayTaskError("report_compiled", "", RuntimeError("trouble"))
        self.reports |= {report.job_id: report for report in reports}
        return True


def everything(ids):
    return {"reports": [answer(job) for job in ids]}


class Bench:
    def __init__(self, tmp_path, cluster, monkeypatch) -> None:
        monkeypatch.setattr(compilers, "RESTART_PAUSE_S", 0.002)
        self.child = Child(everything)
        monkeypatch.setattr(compilers, "compiler_sandbox", lambda *_: self.child)
        self.scheduler = Scheduler()
        self.handle = cluster.add(SCHEDULER, self.scheduler)
        wanted = settings(tmp_path, **{"resources.check_interval": 0.01})
        self.files = CircuitFS(wanted.paths.circuit_fs_url)
        self.actor = CompilerActor("compiler", wanted.to_dict())

    async def compile(self, *numbers: int):
        self.scheduler.tasks.put_nowait(tuple(task(n) for n in numbers))
        await until(lambda: all(job_id(n) in self.scheduler.reports for n in numbers))
        return [self.scheduler.reports[job_id(n)] for n in numbers]


@pytest.fixture
async def bench(tmp_path, cluster, monkeypatch):
    bench = Bench(tmp_path, cluster, monkeypatch)
    await until(lambda: bench.scheduler.joins)
    yield bench
    for part in bench.actor._tasks:
        part.cancel()


async def test_a_batch_is_compiled_in_one_call_and_its_files_are_there_before_the_report(bench):
    reports = await bench.compile(1, 2)
    assert bench.child.calls == [[job_id(1), job_id(2)]]
    assert [(report.profile, report.executable, report.error) for report in reports] == [(PROFILE, b"x", None)] * 2
    assert bench.files.read(job_id(1), "input.job.yaml") == b"a job"


async def test_who_kills_the_child_fails_alone(bench):
    bench.child.deadly = {job_id(2): WorkerDied("killed by signal 6")}
    reports = await bench.compile(1, 2, 3)
    assert [report.error and report.error.code for report in reports] == [None, "compile_failed", None]
    assert bench.child.calls == [
        [job_id(1), job_id(2), job_id(3)],
        [job_id(2), job_id(3)],
        [job_id(2), job_id(3)],
        [job_id(3)],
    ]


async def test_a_child_killed_from_outside_costs_nobody_a_job(bench):
    deaths = [WorkerDied("killed by signal 9")]

    def behave(ids):
        if deaths:
            raise deaths.pop()
        return everything(ids)

    bench.child.behave = behave
    assert [report.error for report in await bench.compile(1, 2)] == [None, None]


async def test_a_job_that_takes_too_long_is_told_the_limit(bench):
    bench.child.deadly = {job_id(1): ExecutionTimeout("the run took longer than 20 s and was stopped")}
    [report] = await bench.compile(1)
    assert (report.error.code, report.error.limit) == ("compile_failed", "20 s")


@pytest.mark.parametrize(
    "fields",
    [
        {"profile": None},
        {"profile": {"shots": "many"}},
        {"profile": asdict(PROFILE) | {"estimated_s": float("nan")}},
        {"executable": None},
        {"error": 7, "profile": None},
        {"job_id": 7},
    ],
)
async def test_an_answer_that_cannot_be_read_fails_its_job_and_nobody_else(bench, fields):
    bench.child.behave = lambda ids: {"reports": [answer(ids[0], **fields), *(answer(job) for job in ids[1:])]}
    first, second = await bench.compile(1, 2)
    assert first.error.code == "compile_failed"
    assert second.error is None


@pytest.mark.parametrize("reply", [{}, {"reports": 7}, {"reports": [None, 7]}])
async def test_a_reply_that_makes_no_sense_fails_the_job(bench, reply):
    bench.child.behave = lambda _: reply
    [report] = await bench.compile(1)
    assert "no answer" in report.error.message


async def test_the_childs_own_error_is_passed_on(bench):
    error = DecodeError("the circuit cannot be read", field="circuits[0]").info()
    bench.child.behave = lambda ids: {"reports": [answer(ids[0], error=error.to_dict(), profile=None)]}
    [report] = await bench.compile(1)
    assert report.error == error


@pytest.mark.parametrize("name", ["../../escape", "results.json"])
async def test_a_file_the_child_may_not_write_is_not_written(bench, name, tmp_path):
    bench.child.behave = lambda ids: {"reports": [answer(ids[0], artefacts={name: "text"})]}
    [report] = await bench.compile(1)
    assert report.error is not None
    assert not bench.files.exists(job_id(1))
    assert not (tmp_path.parent / "escape").exists()


async def test_a_full_disk_does_not_fail_a_job_that_compiled(bench, monkeypatch):
    def full(*_):
        raise StoreFull("no space is left for files")

    monkeypatch.setattr(CircuitFS, "write_artefacts", full)
    [report] = await bench.compile(1)
    assert (report.error, report.executable) == (None, b"x")


async def test_reports_survive_a_scheduler_in_trouble(bench):
    bench.scheduler.troubles = 3
    [report] = await bench.compile(1)
    assert report.error is None
    assert bench.scheduler.troubles == 0
    assert len(bench.child.calls) == 1


async def test_a_scheduler_that_forgot_the_compiler_is_joined_once(bench):
    bench.handle.crash()
    bench.scheduler.known = False
    await asyncio.sleep(0.02)
    bench.handle.away = False
    await bench.compile(1)
    assert bench.scheduler.joins == 2


async def test_the_child_goes_on_while_the_files_of_a_crowd_are_written(bench, monkeypatch):
    written = threading.Event()
    plain = bench.files.__class__.write_artefacts
    monkeypatch.setattr(CircuitFS, "write_artefacts", lambda *arguments: (written.wait(10), plain(*arguments)))
    first, second = range(compilers.CROWD), range(compilers.CROWD, 2 * compilers.CROWD)
    for numbers in (first, second):
        bench.scheduler.tasks.put_nowait(tuple(task(number) for number in numbers))
    await until(lambda: len(bench.child.calls) == 2)
    assert bench.scheduler.reports == {}, "nobody sees a compiled job before its files are there"
    written.set()
    await until(lambda: len(bench.scheduler.reports) == 2 * compilers.CROWD)
