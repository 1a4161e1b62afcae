"""A journal becomes a trace that the simulator reads; the journal stays as it is."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import orjson
import psycopg
import pytest

from qrtx_ray.errors import ErrorInfo, NotFound, PersistError
from qrtx_ray.model import Candidate, CircuitProfile, TaskState
from qrtx_ray.simulation.trace import read_trace
from qrtx_ray.store.open import open_store
from qrtx_ray.store.protocol import Transaction
from qrtx_ray.store.trace_export import Crew, Span, trace_lines
from tests.store.building import job
from tests.store.postgres import URL, own_schema

PROFILE = CircuitProfile(5, 12, 4, 1, 1024, 0.1, 4096, 2.5, "k", "abc", "aer", 0.9, 0.2, "h")
CREWS = (Crew((("fake_manila@aer", 5),), 2), Crew((("fake_lima@aer", 5), ("fake_quito@aer", 5)), 3))


@pytest.fixture(params=["sqlite", *(["postgresql"] if URL else [])])
def journal(request, tmp_path):
    with ExitStack() as stack:
        path = stack.enter_context(own_schema()) if request.param == "postgresql" else tmp_path / "journal.db"
        yield from keeping(path)


def keeping(path):
    store = open_store(path if isinstance(path, str) else f"sqlite:///{path}")
    store.open_epoch()

    def keep(*records, facts=()):
        store.commit([Transaction(records=records, facts=facts)])
        return path

    yield keep
    store.close()


def lines(path, *arguments, **options):
    return list(trace_lines(path, CREWS, *arguments, **options))


def of_kind(found, kind):
    return [line for line in found if line.get("kind") == kind]


def test_an_empty_journal_is_a_trace_of_machines(journal):
    header, *machines = lines(journal())
    assert header["trace"] == "qrtx"
    assert [(line["name"], line["agents"]) for line in of_kind(machines, "device")] == [
        ("fake_manila@aer", 2),
        ("fake_lima@aer", 0),
        ("fake_quito@aer", 0),
    ]
    assert of_kind(machines, "agents") == [
        {"kind": "agents", "devices": ["fake_lima@aer", "fake_quito@aer"], "count": 3}
    ]


def test_a_job_tells_what_it_asked_for_and_what_became_of_it(journal):
    done = job(
        1, state=TaskState.COMPLETED, profile=PROFILE, deadline_at=1101.0, priority=90, attempt=1, qpu_s=2.5,
        queued_at=1002.0, started_at=1003.0, finished_at=1003.5, name="secret", tags=("secret",),
    )  # fmt: skip
    (line,) = of_kind(lines(journal(done)), "job")
    assert (line["at"], line["id"], line["priority"], line["deadline_at"]) == (0.0, done.id, 90, 100.0)
    assert (line["qubits"], line["shots"], line["fidelity"], line["wall_s"]) == (5, 1024, 0.9, 0.5)
    assert line["recorded"] == {
        "state": "Completed", "device": "fake_manila@aer", "attempt": 1, "retries": 0, "preemptions": 0, "qpu_s": 2.5,
        "queued_at": 1.0, "started_at": 2.0, "finished_at": 2.5,
    }  # fmt: skip
    assert "secret" not in str(line)


def test_how_a_job_ended_is_told_as_what_it_would_do_again(journal):
    error = ErrorInfo("execution_failed", "no", "ExecuteError")
    path = journal(
        job(1, state=TaskState.FAILED, profile=PROFILE, error=error, finished_at=1004.0),
        job(2, state=TaskState.FAILED, error=ErrorInfo("compile_failed", "no", "CompileError"), finished_at=1004.0),
        job(3, state=TaskState.CANCELLED, finished_at=1031.0),
        job(
            4,
            device="fake_lima@aer",
            choices=("fake_lima@aer", "fake_quito@aer"),
            candidates=(Candidate("fake_lima@aer"),),
        ),
        job(5, device="gone@aer"),
    )
    found = lines(path)
    failed, broken, cancelled, free, stranger = of_kind(found, "job")
    assert failed["fails"] == "execution_failed"
    assert broken["compile_fails"] == "compile_failed"
    assert cancelled["cancel_at"] == 30.0
    assert (free["device"], free["choices"]) == ("auto", ("fake_lima@aer", "fake_quito@aer"))
    assert free["recorded"]["device"] == "fake_lima@aer"
    assert stranger["device"] == "gone@aer"
    assert {"kind": "device", "name": "gone@aer"} in found


def test_the_members_of_a_group_share_its_time(journal):
    ran = {"state": TaskState.COMPLETED, "started_at": 1010.0, "finished_at": 1014.0}
    path = journal(job(1, **ran, group="g"), job(2, **ran, group="g"), job(3, **ran, group="h"), job(4, **ran))
    assert [line["wall_s"] for line in of_kind(lines(path), "job")] == [2.0, 2.0, 4.0, 4.0]


def test_nought_is_told(journal):
    (line,) = of_kind(lines(journal(job(1, priority=0))), "job")
    assert line["priority"] == 0
    assert "deadline_at" not in line


def test_a_clock_that_was_set_back_does_not_set_the_trace_back(journal):
    path = journal(job(1, created_at=1000.0), job(2, created_at=1010.0), job(3, created_at=1005.0))
    assert [line["at"] for line in of_kind(lines(path), "job")] == [0.0, 10.0, 10.0]


def test_a_part_of_the_time_may_be_taken(journal):
    path = journal(*(job(number) for number in range(1, 6)))
    header, *rest = lines(path, Span(1002.0, 1004.0))
    assert header["origin"] == 1002.0
    assert [line["at"] for line in of_kind(rest, "job")] == [0.0, 1.0]


def test_tenants_may_be_hidden(journal):
    path = journal(job(1, tenant="alice"), job(2, tenant="bob"), job(3, tenant="alice"))
    assert [line["tenant"] for line in of_kind(lines(path), "job")] == ["alice", "bob", "alice"]
    assert [line["tenant"] for line in of_kind(lines(path, anonymise=True), "job")] == ["t1", "t2", "t1"]


def test_the_simulator_reads_it(journal, tmp_path):
    held = {"name": "r", "device": "fake_manila@aer", "tenant": "alice", "begins_at": 1005.0, "ends_at": 1010.0}
    fact = ("reservation/r", orjson.dumps({**held, "session_id": None}).decode())
    path = journal(job(1, profile=PROFILE), job(2, state=TaskState.CANCELLED, finished_at=1003.0), facts=(fact,))
    file = tmp_path / "trace.jsonl"
    file.write_bytes(b"\n".join(orjson.dumps(line) for line in lines(path)))
    trace = read_trace(file)
    assert trace.header.source == "journal"
    assert {device.name for device in trace.devices} == {"fake_manila@aer", "fake_lima@aer", "fake_quito@aer"}
    kinds = [entry.kind for entry in trace.entries()]
    assert kinds == ["reservation", "job", "job"]


def test_a_reservation_that_is_no_more_is_not_asked_for(journal):
    held = {"name": "r", "device": "fake_manila@aer", "tenant": "alice", "begins_at": 1005.0, "ends_at": 1010.0}
    fact = ("reservation/r", orjson.dumps({**held, "session_id": None}).decode())
    path = journal(job(1, reservation="r"), job(2, reservation="released"), facts=(fact,))
    assert [line.get("reservation") for line in of_kind(lines(path), "job")] == ["r", None]


def test_an_older_journal_is_read_and_left_as_it_is(journal):
    path = journal(job(1))
    connect = sqlite3.connect if isinstance(path, Path) else psycopg.connect
    with closing(connect(path)) as db:
        db.execute("DROP TABLE fact")
        db.commit()
    assert len(of_kind(lines(path), "job")) == 1


def test_what_is_no_journal_is_refused(tmp_path):
    with pytest.raises(NotFound):
        lines(tmp_path / "nowhere.db")
    other = tmp_path / "other.db"
    other.write_text("no database at all, but long enough to be looked at as one" * 20)
    with pytest.raises(PersistError):
        lines(other)
    with pytest.raises(PersistError, match="cannot be used"):
        lines("postgresql://127.0.0.1:1/nowhere")
