from __future__ import annotations

import dataclasses

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.errors import ErrorInfo, PersistError, StoreConflict
from qrtx_ray.model import Candidate, CheckpointRef, CircuitProfile, JobRecord, PayloadFormat, Program, TaskState
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
    "CheckpointKind": TEXT,
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
BY_TYPE["tuple[CheckpointRef, ...]"] = st.lists(values_of(CheckpointRef), max_size=3).map(tuple)
NAMES = [field.name for field in dataclasses.fields(JobRecord)]
RARE = NAMES[NAMES.index("choices") :]
PROFILE = CircuitProfile(1, 1, 0, 1, 1, 0.1, 1, 0.1, "", "", "")


@given(values_of(JobRecord))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_a_record_comes_back_as_it_was(record):
    assert record_from_json(record_to_json(record)) == record


def test_what_few_jobs_use_takes_no_room_in_the_rows_of_the_others():
    plain = orjson.loads(record_to_json(job(1)))
    assert not plain.keys() & set(RARE)
    promoted = orjson.loads(record_to_json(job(1, promoted_at=9.0)))
    assert promoted.keys() - plain.keys() == {"promoted_at"}


@pytest.mark.parametrize(
    ("said", "left_out"),
    [
        ({}, {"noise_id", "bulk_bytes"}),
        ({"noise_id": "n"}, {"bulk_bytes"}),
        ({"bulk_bytes": 5}, set()),
        ({"noise_id": "n", "bulk_bytes": 5}, set()),
    ],
)
def test_a_profile_leaves_out_what_few_jobs_have(said, left_out):
    record = job(1, profile=dataclasses.replace(PROFILE, **said))
    written = orjson.loads(record_to_json(record))
    assert {field.name for field in dataclasses.fields(CircuitProfile)} - written["profile"].keys() == left_out
    assert record_from_json(orjson.dumps(written)) == record


# As the release before checkpoints had numbers wrote it.
PREVIOUS = (
    '{"id":"065svpbbt00000000000","number":1,"tenant":"alice","program":"sampler","device":"fake_manila@aer","payload_format'
    '":"native","created_at":1001.0,"seed":1,"state":"Queued","substate":null,"version":9,"attempt":2,"retries":0,"instance":'
    '"","priority":50,"name":"job","tags":["a"],"session_id":null,"private":false,"queue_timeout_s":null,"execution_timeout_s'
    '":null,"max_qpu_s":null,"idempotency_key":null,"digest":"","client":"","source":"native","profile":{"active_qubits":2,'
    '"depth":3,"two_qubit_gates":1,"circuits":1,"shots":100,"estimated_s":0.5,"estimated_bytes":1000,"qpu_s":2.0,"group_key":'
    '"key","calibration_id":"cal","engine":"aer","fidelity":0.9,"sensitivity":0.1,"structure":"s"},"queued_at":1002.0,'
    '"started_at":null,"finished_at":null,"not_before":null,"agent":null,"group":null,"progress":0.5,"cancel_requested":false'
    ',"cancelled_by":null,"qpu_s":null,"result_sha256":null,"result_bytes":null,"error":null,"metadata_recorded":false,'
    '"choices":["fake_manila@aer"],"candidates":[{"device":"fake_manila@aer","calibration_id":"c","fidelity":0.5,"qpu_s":1.0,'
    '"estimated_s":2.0,"refusal":""}],"preemptions":1,"checkpoint_sha256":"' + "ab" * 32 + '"}'
)


def test_a_row_of_the_previous_release_is_read_without_its_old_checkpoint():
    profile = CircuitProfile(
        2, 3, 1, 1, 100, 0.5, 1000, 2.0, "key", "cal", "aer", fidelity=0.9, sensitivity=0.1, structure="s"
    )
    expected = job(
        1,
        state=TaskState.QUEUED,
        version=9,
        attempt=2,
        name="job",
        tags=("a",),
        queued_at=1002.0,
        progress=0.5,
        preemptions=1,
        choices=("fake_manila@aer",),
        candidates=(Candidate("fake_manila@aer", "c", 0.5, 1.0, 2.0),),
        profile=profile,
    )
    assert record_from_json(PREVIOUS) == expected
    assert record_from_json(record_to_json(expected)) == expected
    assert "checkpoint_sha256" not in record_to_json(record_from_json(PREVIOUS))


def test_no_text_of_a_user_is_taken_for_a_field_that_says_nothing():
    for tail in (',"noise_id":""}', ',"bulk_bytes":0}', ',"noise_id":"","bulk_bytes":0}'):
        profile = CircuitProfile(1, 1, 0, 1, 1, 0.1, 1, 0.1, tail, "", "", structure=tail)
        record = job(1, name=tail, profile=profile)
        assert record_from_json(record_to_json(record)) == record
    record = job(1, profile=dataclasses.replace(profile, noise_id=',"bulk_bytes":0}'))
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


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(CheckpointRef) if str(f.type).startswith("float")])
def test_numbers_of_checkpoints_are_looked_at_too(name):
    good = CheckpointRef("job", 1, 1, "ab", 10, 0.5, 1000.0)
    with pytest.raises(StoreConflict, match=f"checkpoints\\[1\\].{name}"):
        record_to_json(job(1, checkpoints=(good, dataclasses.replace(good, **{name: float("nan")}))))
