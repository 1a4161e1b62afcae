from __future__ import annotations

import dataclasses

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.errors import ErrorInfo, PersistError, StoreConflict
from qrtx_ray.model import Candidate, CircuitProfile, JobRecord, PayloadFormat, Program, TaskState
from qrtx_ray.store.record_json import record_from_json, record_to_json
from tests.store.building import job

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
COUNT = st.integers(0, 2**63 - 1)
BY_TYPE = {
    "int": COUNT,
    "float": FLOAT,
    "str": TEXT,
    "bool": st.booleans(),
    "JobId": TEXT,
    "GroupId": TEXT,
    "Program": st.sampled_from(Program),
    "PayloadFormat": st.sampled_from(PayloadFormat),
    "TaskState": st.sampled_from(TaskState),
    "tuple[str, ...]": st.lists(TEXT, max_size=3).map(tuple),
}


def values_of(kind):
    """Any value of a dataclass, field by field, so that a new field is tested from its first day."""
    fields = {}
    for field in dataclasses.fields(kind):
        name, _, optional = str(field.type).partition(" | ")
        value = BY_TYPE[name]
        fields[field.name] = st.none() | value if optional else value
    return st.builds(kind, **fields)


BY_TYPE["CircuitProfile"] = values_of(CircuitProfile)
BY_TYPE["ErrorInfo"] = values_of(ErrorInfo)
BY_TYPE["tuple[Candidate, ...]"] = st.lists(values_of(Candidate), max_size=3).map(tuple)
RARE = [field.name for field in dataclasses.fields(JobRecord)][-9:]


@given(values_of(JobRecord))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_a_record_comes_back_as_it_was(record):
    assert record_from_json(record_to_json(record)) == record


def test_what_few_jobs_use_takes_no_room_in_the_rows_of_the_others():
    plain = orjson.loads(record_to_json(job(1)))
    assert RARE[0] == "choices"
    assert not plain.keys() & set(RARE)
    promoted = orjson.loads(record_to_json(job(1, promoted_at=9.0)))
    assert promoted.keys() - plain.keys() == {"promoted_at"}


def test_no_text_of_a_user_is_taken_for_a_field_that_says_nothing():
    tail = ',"noise_id":""}'
    record = job(1, name=tail, profile=CircuitProfile(1, 1, 0, 1, 1, 0.1, 1, 0.1, tail, "", ""))
    assert record_from_json(record_to_json(record)) == record


@given(st.integers(2**63, 2**64 - 1))
@settings(deadline=None, derandomize=True, max_examples=20)
def test_seeds_use_all_64_bits(seed):
    assert record_from_json(record_to_json(job(1, seed=seed))).seed == seed


def test_a_key_that_is_missing_takes_its_default():
    data = orjson.loads(record_to_json(job(1)))
    for name in ("tags", "profile", "error", "metadata_recorded", "attempt"):
        del data[name]
    assert record_from_json(orjson.dumps(data)) == job(1)


@pytest.mark.parametrize(
    "changed",
    [{"surprise": 1}, {"state": "Levitating"}, {"program": "oracle"}, {"profile": {"new": 1}}, {"error": {"x": 1}}],
)
def test_a_record_of_a_newer_version_is_refused(changed):
    data = orjson.loads(record_to_json(job(1))) | changed
    with pytest.raises(PersistError, match="newer version"):
        record_from_json(orjson.dumps(data))


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '"x"', "{", record_to_json(job(1))[:-9]])
def test_damaged_text_is_refused(text):
    with pytest.raises(PersistError, match="cannot be read"):
        record_from_json(text)


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(JobRecord) if str(f.type).startswith("float")])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused_by_name(name, number):
    with pytest.raises(StoreConflict, match=name) as caught:
        record_to_json(job(1, **{name: number}))
    assert caught.value.field == name


@pytest.mark.parametrize(
    "name", [f.name for f in dataclasses.fields(CircuitProfile) if str(f.type).startswith("float")]
)
def test_numbers_of_the_profile_are_looked_at_too(name):
    profile = CircuitProfile(1, 1, 0, 1, 1, 0.1, 1, 0.1, "", "", "")
    with pytest.raises(StoreConflict, match=f"profile.{name}"):
        record_to_json(job(1, profile=dataclasses.replace(profile, **{name: float("inf")})))


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Candidate) if str(f.type).startswith("float")])
def test_numbers_of_candidates_are_looked_at_too(name):
    candidates = (Candidate("fake_manila@aer"), Candidate("fake_lima@aer", **{name: float("nan")}))
    with pytest.raises(StoreConflict, match=f"candidates\\[1\\].{name}"):
        record_to_json(job(1, candidates=candidates))
