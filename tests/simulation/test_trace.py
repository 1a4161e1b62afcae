"""The trace format: what is written is read again, and what is wrong is named."""

from __future__ import annotations

import math

import pytest

from qrtx_ray.errors import ValidationError
from qrtx_ray.model import Candidate
from qrtx_ray.simulation import Recipe, fleet, generate, mix_called, on_fleet, read_trace, write_trace
from qrtx_ray.simulation.lines import AgentsLine, LossLine, ReleaseLine, ReservationLine, SwitchLine
from tests.simulation.making import DEVICE, ONE, job, trace

HEADER = '{"trace": "qrtx", "version": 1, "origin": 1790000000.0, "source": "journal"}\n'
EXPORTED = (
    HEADER
    + """{"kind": "device", "name": "fake_manila@aer", "num_qubits": 5, "agents": 0}
{"kind": "device", "name": "fake_quito@aer", "num_qubits": 5, "agents": 0}
{"kind": "agents", "devices": ["fake_manila@aer", "fake_quito@aer"], "count": 2}
{"kind": "reservation", "at": 0.0, "name": "r", "device": "fake_quito@aer", "tenant": "t1", "begins_at": 5.0, "ends_at": 9.0}
{"kind": "job", "at": 0.5, "id": "a", "tenant": "t1", "priority": 50, "program": "sampler", "device": "auto", "seed": 7,
"""[:-1]
    + """ "choices": ["fake_manila@aer"], "candidates": [{"device": "fake_manila@aer", "calibration_id": "c", "fidelity": 0.9,
"""[:-1]
    + """ "qpu_s": 2.5, "estimated_s": 0.1, "refusal": ""}], "qubits": 2, "depth": 3, "shots": 100, "wall_s": 0.2,
"""[:-1]
    + """ "recorded": {"state": "Completed", "started_at": 0.75, "anything": [1]}}

{"kind": "job", "at": 0.5, "device": "fake_quito@aer", "qpu_s": 2.5, "estimated_s": 0.1, "cancel_at": 0.6}
"""
)


def test_everything_a_trace_can_say_is_read_as_it_was_written(tmp_path):
    candidate = Candidate(DEVICE, "c", 0.9, 2.0, 0.1)
    source = trace(
        job(0.5, id="a", candidates=(candidate,), deadline_at=9.0, fails="attempt_lost", fails_attempts=2),
        job(1.0, device="auto", choices=(DEVICE,), recorded={"state": "Failed"}, dry_run=True),
        SwitchLine("pause", 1.5, DEVICE),
        LossLine(2.0, DEVICE, 3.0),
        ReservationLine(2.5, "r", DEVICE, "alice", 3.0, 4.0, "s"),
        ReleaseLine(2.75, "r"),
        crews=(AgentsLine((DEVICE,), count=2),),
    )
    path = tmp_path / "day.trace"
    assert write_trace(source, path) == 6
    again = read_trace(path)
    assert (again.header, again.devices, again.crews) == (source.header, source.devices, source.crews)
    assert list(again.entries()) == list(source.entries()) == list(again.entries())


@pytest.mark.parametrize("pattern", ["poisson", "bursty", "diurnal"])
def test_a_generated_trace_survives_the_file(tmp_path, pattern):
    machines = fleet("synthetic:3", seed=1)
    source = generate(Recipe(pattern, 200, mix=mix_called("mixed"), mtbf_s=300.0), machines)
    path = tmp_path / "generated.trace"
    write_trace(source, path)
    assert list(read_trace(path).entries()) == list(source.entries())
    assert read_trace(path).devices == machines


def test_what_a_journal_exports_is_read(tmp_path):
    path = tmp_path / "journal.trace"
    path.write_text(EXPORTED, "utf-8")
    found = read_trace(path)
    reservation, first, second = found.entries()
    assert found.header.source == "journal"
    assert found.crews == (AgentsLine(("fake_manila@aer", "fake_quito@aer"), count=2),)
    assert reservation.ends_at == 9.0
    assert (first.candidates[0].fidelity, first.wall_s, first.recorded["started_at"]) == (0.9, 0.2, 0.75)
    assert (second.cancel_at, second.device) == (0.6, "fake_quito@aer")


LINE = '{{"kind": "job", "at": 1.0, "device": "d", {}}}\n'


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        ("not JSON\n", None, "line 1"),
        ('{"trace": "other"}\n', "trace", "line 1"),
        (HEADER + LINE.format('"shot": 5'), "job.shot", "line 2"),
        (HEADER + "\n" + LINE.format('"shots": -5'), "job.shots", "line 3"),
        (HEADER + LINE.format('"qpu_s": 1e999'), "job.qpu_s", "line 2"),
        (HEADER + LINE.format('"choices": ["e"]'), "choices", "line 2"),
        (HEADER + LINE.format('"seed": 1') + '{"kind": "job", "at": 0.5}\n', "at", "line 3"),
        (HEADER + LINE.format('"seed": 1') + '{"kind": "device", "name": "d"}\n', "kind", "line 3"),
        (HEADER + '{"kind": "dance", "at": 0.5}\n', None, "line 2"),
        (HEADER + '{"kind": "device", "name": "d"}\n' * 2, "device.name", "twice"),
        (HEADER + '{"kind": "agents", "devices": ["d"]}\n', "agents.devices", "agents serve d"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, field, said):
    path = tmp_path / "wrong.trace"
    path.write_text(text, "utf-8")
    with pytest.raises(ValidationError) as refusal:
        list(read_trace(path).entries())
    assert said in refusal.value.message
    assert refusal.value.field == field


def test_a_file_that_is_not_there_is_said_to_be(tmp_path):
    with pytest.raises(ValidationError, match="cannot be read"):
        read_trace(tmp_path / "nothing")


@pytest.mark.parametrize("field", ["load", "rate", "mtbf_s", "repair_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_recipe_that_makes_no_sense_is_refused_before_anything_is_drawn(field, value):
    with pytest.raises(ValidationError) as refusal:
        generate(Recipe(**{"jobs": 5, field: value}), ONE)
    assert (refusal.value.field, refusal.value.limit) == (field, "greater than 0")


def test_an_endless_line_is_refused_before_it_is_parsed(tmp_path):
    path = tmp_path / "long.trace"
    path.write_text(HEADER + "x" * (1 << 21), "utf-8")
    with pytest.raises(ValidationError, match="longer than"):
        read_trace(path)


def test_the_machines_are_those_of_the_trace():
    assert trace().devices == ONE


def test_a_day_is_run_again_on_other_machines():
    source = trace(
        job(0.0, device="old@aer"),
        job(1.0, device="auto", choices=("old@aer", DEVICE)),
        job(2.0, device=DEVICE),
        LossLine(3.0, "old@aer", 1.0),
        SwitchLine("pause", 4.0, DEVICE),
        ReleaseLine(5.0, "r"),
        crews=(AgentsLine((DEVICE,)),),
    )
    moved = on_fleet(source, ONE)
    first, second, third, pause, release = moved.entries()
    assert (first.device, first.choices) == ("auto", ())
    assert (second.device, second.choices) == ("auto", (DEVICE,))
    assert third == job(2.0)
    assert (pause.kind, release.kind, moved.crews) == ("pause", "release", ())
