"""The commands about scheduling, against the real application over a gateway in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from qrtx_ray.codec.results import encode_sampler
from qrtx_ray.store.protocol import Transaction
from qrtx_ray.store.sqlite import SqliteStore
from qrtx_ray.testing import FakeGateway
from tests.api.conftest import OPERATOR
from tests.cli.conftest import Told
from tests.store.building import job

PLAIN = {"device": "fake_manila@aer", "calibration_id": "abc", "fidelity": 0.9, "qpu_s": 2.0, "estimated_s": 0.1}


def test_a_job_is_explained_in_words(typed: Callable[..., Told], gateway: FakeGateway) -> None:
    job_id = typed("submit", "bell.qasm", "-d", "auto").out.strip()
    gateway.explanation = {
        "ahead": [{"level": "critical", "count": 3}],
        "estimated_start": {"at": 60.0, "low": 30.0, "high": 90.0},
        "candidates": [
            {**PLAIN, "refusal": "", "score": 0.85, "contributions": {"fidelity": 0.9, "waiting": -0.05}, "chosen": True},
            {**PLAIN, "device": "fake_lima@aer", "refusal": "too few qubits", "score": None, "contributions": {}, "chosen": False},
        ],
        "changes": ["an agent that serves the device joins"],
    }  # fmt: skip
    told = typed("explain", job_id).out
    for words in ("Queued", "3 critical", "1970-01-01T00:01:00", "fidelity +0.9", "chosen", "too few qubits", "joins"):
        assert words in told
    assert json.loads(typed("explain", job_id, "--json").out)["ahead"] == [{"level": "critical", "count": 3}]


def test_a_job_that_runs_has_started(typed: Callable[..., Told], gateway: FakeGateway) -> None:
    job_id = typed("submit", "bell.qasm", "-d", "auto").out.strip()
    gateway.explanation = {"state": "Executing", "estimated_start": {"at": 60.0, "low": 60.0, "high": 60.0}}
    told = typed("explain", job_id).out
    assert "started 1970-01-01T00:01:00" in told
    assert "should start" not in told


def test_a_job_that_is_not_there_is_not_explained(typed: Callable[..., Told]) -> None:
    refused = typed("explain", "nonsense")
    assert refused.code == 1
    assert "no such job" in refused.err


def test_a_file_is_estimated_and_not_submitted(typed: Callable[..., Told], gateway: FakeGateway) -> None:
    told = typed("estimate", "bell.qasm").out
    for words in ("fake_manila@aer", "0.9000", "2.00 s", "chosen", "nothing was submitted"):
        assert words in told
    assert "quito" not in told, "only devices with noise, where none is named"
    assert "fake_quito@aer_ideal" in typed("estimate", "bell.qasm", "-d", "fake_quito@aer_ideal").out
    assert json.loads(typed("estimate", "bell.qasm", "--json").out)["chosen"] == "fake_manila@aer"
    assert gateway.requests == []
    assert typed("estimate", "nowhere.qasm").code == 1


def test_a_job_says_until_when_how_well_and_where(typed: Callable[..., Told], gateway: FakeGateway) -> None:
    sent = typed(
        "submit", "bell.qasm", "-d", "auto", "--deadline", "2030-01-01T01:00+01:00", "--fidelity-floor", "0.5",
        "--reservation", "r", "--dry-run",
    )  # fmt: skip
    assert sent.code == 0, sent.err
    (request,) = gateway.requests
    assert (request.deadline_at, request.fidelity_floor, request.reservation) == (1893456000.0, 0.5, "r")
    assert (request.dry_run, request.device) == (True, "auto")


def test_the_result_of_a_dry_run_is_its_figures(typed: Callable[..., Told], gateway: FakeGateway) -> None:
    estimate = {"device": "fake_manila@aer", "fidelity": 0.93, "qpu_s": 2.5, "noise_id": "", "method": "compiled"}
    document = encode_sampler([], {"qrtx": {"dry_run": True, "estimate": estimate}})
    gateway.answer = lambda _: document
    told = typed("submit", "bell.qasm", "-d", "manila", "--dry-run", "--wait")
    assert told.code == 0, told.err
    assert "0.93" in told.out
    assert "noise_id" not in told.out
    surveyed = {"candidates": [estimate, {**estimate, "device": "fake_lima@aer"}], "method": "survey"}
    document = encode_sampler([], {"qrtx": {"dry_run": True, "estimate": surveyed}})
    job_id = typed("submit", "bell.qasm", "-d", "auto", "--dry-run").out.strip()
    gateway.complete(job_id, document)
    assert "fake_lima@aer" in typed("results", job_id).out


def test_a_device_is_reserved_shown_and_released(typed: Callable[..., Told]) -> None:
    name = typed("reserve", "manila", "--to", "2090-01-01").out.strip()
    assert name in typed("reservations").out
    assert "another tenant" not in typed("reservations", token=OPERATOR).out
    refused = typed("reserve", "manila", "--from", "2080-01-01 10:00", "--to", "2080-01-02")
    assert refused.code == 1
    assert "reserved" in refused.err
    assert "released" in typed("release", name).out
    assert "no reservations" in typed("reservations").out
    assert typed("release", name).code == 1
    other = typed("reserve", "manila", "--to", "2090-01-01", "--tenant", "bob", token=OPERATOR)
    assert other.code == 0
    assert "another tenant" in typed("reservations").out


def test_usage_is_told_with_its_limits(typed: Callable[..., Told]) -> None:
    told = typed("usage").out
    assert "alice: weight 1" in told
    assert "none" in told
    assert json.loads(typed("usage", "--json").out)["tenant"] == "alice"


@pytest.mark.parametrize("option", ["--json", "--plots", "--save"])
def test_a_simulation_says_where_it_cannot_write(typed: Callable[..., Told], option: str) -> None:
    Path("file").write_text("in the way")
    told = typed("simulate", "--generate", "poisson", "--jobs", "3", "--fleet", "synthetic:1", option, "file/below")
    assert told.code == 1
    assert "file/below cannot be written" in told.err
    assert "Traceback" not in told.err


def test_the_journal_is_written_as_a_trace(
    typed: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("QRTX_DEVICES", "[{name: fake_manila@aer, count: 2}]")
    store = SqliteStore(tmp_path / "journal.db")
    store.open_epoch()
    store.commit([Transaction(records=(job(1), job(2, tenant="bob")))])
    told = typed("export-trace", "trace.jsonl", "--storage", str(tmp_path))
    assert told.out.strip() == "2 jobs in trace.jsonl"
    lines = [orjson.loads(line) for line in Path("trace.jsonl").read_bytes().splitlines()]
    assert [line.get("kind") for line in lines] == [None, "device", "job", "job"]
    assert (lines[1]["agents"], lines[1]["num_qubits"]) == (2, 5)
    hidden = typed("export-trace", "hidden.jsonl", "--storage", str(tmp_path), "--anonymise", "--since", "2001-01-01")
    assert hidden.out.strip() == "0 jobs in hidden.jsonl"
    nowhere = typed("export-trace", "nowhere/trace.jsonl", "--storage", str(tmp_path))
    assert (nowhere.code, nowhere.err.count("\n")) == (1, 1)
    assert "nowhere/trace.jsonl cannot be written" in nowhere.err
    store.close()
    monkeypatch.setenv("QRTX_STORAGE__JOURNAL_URL", "memory:")
    assert "nothing to export" in typed("export-trace", "none.jsonl").err
    assert not Path("none.jsonl").exists()
