"""The quick way of reading records: the same as the careful one wherever it gives an answer."""

from __future__ import annotations

import dataclasses

import orjson
import pytest

from qrtx_ray.errors import ErrorInfo, PersistError
from qrtx_ray.model import (
    Candidate,
    CheckpointRef,
    CircuitProfile,
    JobRecord,
    PayloadFormat,
    Program,
    TaskState,
)
from qrtx_ray.store import record_json
from qrtx_ray.store.record_json import record_from_json, record_to_json
from qrtx_ray.store.record_reading import quick_reader
from tests.store.building import job

PROFILE = CircuitProfile(5, 12, 4, 1, 1024, 0.1, 4096, 2.5, "k", "abc", "aer")
USUAL = [
    job(1),
    job(2, state=TaskState.QUEUED, profile=PROFILE, tags=("a", "b"), program=Program.ESTIMATOR),
    job(3, payload_format=PayloadFormat.RUNTIME, error=ErrorInfo("c", "m", "ExecuteError", True, "f", "l")),
    job(4, profile=dataclasses.replace(PROFILE, noise_id="n1", bulk_bytes=2**40)),
    job(5, choices=("a@aer", "b@aer"), candidates=(Candidate("a@aer", "c", 0.5, 1.0, 2.0, "no"),)),
    job(6, checkpoints=(CheckpointRef(job(6).id, 2, 3, "ab" * 32, 100, 0.5, 1000.0),), pause_requested=True, slices=7),
]


@dataclasses.dataclass(frozen=True, slots=True)
class Small:
    a: int
    b: tuple[int, ...] = ()
    c: int = 5


read_small = quick_reader(Small, {"c": 5}, {"b": tuple})


@pytest.mark.parametrize("record", USUAL, ids=lambda record: str(record.number))
def test_records_of_every_kind_go_the_quick_way(record):
    read = record_json._quick(orjson.loads(record_to_json(record)))
    assert read == record
    assert type(read) is JobRecord
    assert record_from_json(record_to_json(record)) == record


def test_what_is_read_is_frozen_hashable_and_can_be_replaced():
    read = record_from_json(record_to_json(USUAL[1]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        read.state = TaskState.FAILED
    assert dataclasses.replace(read, version=2).version == 2
    assert hash(read) == hash(USUAL[1])
    assert read.profile is not None


def test_rare_fields_may_be_there_or_not():
    assert read_small({"a": 1, "b": [2]}) == Small(1, (2,))
    assert read_small({"c": 6, "b": [], "a": 1}) == Small(1, (), 6)


@pytest.mark.parametrize(
    "data",
    [
        {"a": 1},
        {"a": 1, "b": [], "z": 0},
        {"a": 1, "b": [], "c": 1, "z": 0},
        {"a": 1, "b": 3},
        {"b": [], "c": 1},
        {},
    ],
)
def test_everything_else_is_left_to_the_careful_way(data):
    assert read_small(data) is None


@pytest.mark.parametrize(
    ("name", "value"), [("state", "Elsewhere"), ("state", None), ("state", []), ("tags", None), ("profile", {"a": 1})]
)
def test_a_value_that_is_no_word_of_ours_is_refused_as_ever(name, value):
    data = orjson.loads(record_to_json(USUAL[1])) | {name: value}
    with pytest.raises(PersistError):
        record_from_json(orjson.dumps(data))
