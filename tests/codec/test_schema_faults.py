"""A body that does not fit the schema: the first fault, in our words, with its field and limit."""

from __future__ import annotations

import json

import pydantic
import pytest

from qrtx_ray.codec.native_schema import NativeJob
from qrtx_ray.codec.schema_faults import explain
from qrtx_ray.errors import DecodeError, ValidationError

GOOD = {"device": "d", "circuits": [{"source": "x"}]}


def fault(body) -> ValidationError:
    text = body if isinstance(body, str) else json.dumps(body)
    with pytest.raises(pydantic.ValidationError) as caught:
        NativeJob.model_validate_json(text)
    return explain(caught.value, json_depth=64)


@pytest.mark.parametrize(
    ("change", "message", "limit"),
    [
        ({"circuits": []}, "circuits must be a list of at least 1 items", "at least 1 items"),
        ({"circuits": {}}, "circuits must be a list", None),
        ({"circuits": [7]}, "circuits[0] must be an object", None),
        ({"circuits": [{}]}, "circuits[0].source must be given", None),
        ({"circuits": [{"source": 1}]}, "circuits[0].source must be a string", None),
        ({"circuits": [{"source": "", "sorce": 1}]}, "circuits[0].sorce is not known; did you mean 'source'?", None),
        ({"circuits": [{"source": "", "parameters": [["a"]]}]}, "circuits[0].parameters[0][0] must be a number", None),
        ({"shots": 1.5}, "shots must be a whole number", None),
        ({"shots": "1"}, "shots must be a whole number", None),
        ({"priority": 101}, "priority must be at most 100", "at most 100"),
        ({"queue_timeout_s": 1e300}, "queue_timeout_s must be at most 31536000", "at most 31536000"),
        ({"priority": -1}, "priority must be at least 0", "at least 0"),
        ({"queue_timeout_s": 0}, "queue_timeout_s must be above 0", "above 0"),
        ({"seed": 2**64}, "seed must be below 18446744073709551616", "below 18446744073709551616"),
        ({"private": "yes"}, "private must be true or false", None),
        ({"name": "a/b"}, "name must be of letters, digits, '.', '_', '-' and spaces only", None),
        ({"name": "a" * 129}, "name must be a string of at most 128 characters", "at most 128 characters"),
        ({"device": ""}, "device must be a string of at least 1 characters", "at least 1 characters"),
        ({"program": "x"}, "program must be one of 'sampler' or 'estimator'", "'sampler' or 'estimator'"),
        ({"options": []}, "options must be an object", None),
        ({"shotz": 1}, "shotz is not known; did you mean 'shots'?", None),
    ],
)
def test_the_first_fault_is_named(change, message, limit):
    found = fault(GOOD | change)
    assert (found.message, found.limit) == (message, limit)
    assert message.startswith(found.field)
    assert "Input" not in found.message


@pytest.mark.parametrize("body", ["", "{", "[1", '"\\ud800"', "\0"])
def test_what_is_no_json_is_said_to_be_none(body):
    found = fault(body)
    assert isinstance(found, DecodeError)
    assert (found.message, found.field) == ("the body is not valid JSON", "body")


@pytest.mark.parametrize("levels", [250, 100_000])
def test_json_too_deep_to_read_is_told_the_limit(levels):
    found = fault('{"options":' + '{"a":' * levels + "1" + "}" * (levels + 1))
    assert isinstance(found, DecodeError)
    assert (found.message, found.limit) == ("the body is nested deeper than 64 levels", "64 levels")


def test_a_body_that_is_no_object_is_called_the_body():
    assert fault("[]").message == "body must be an object"
