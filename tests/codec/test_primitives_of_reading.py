"""JSON, inflation, arrays and numbers: the smallest readers, and their bounds."""

from __future__ import annotations

import base64
import io
import json
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qrtx_ray.codec.amounts import (
    check_integer,
    check_number,
    check_precision,
    check_priority,
    check_seed,
    check_shots,
    precision_of_shots,
    shots_of_precision,
)
from qrtx_ray.codec.arrays import npy_bytes, read_npy
from qrtx_ray.codec.inflate import InflationMeter, decode_base64
from qrtx_ray.codec.json_text import expect_object, nearest_name, read_json
from qrtx_ray.codec.limits import Limits
from qrtx_ray.codec.runtime_json import decode_bindings, decode_numbers, plain, type_of
from qrtx_ray.errors import DecodeError, PayloadTooLarge, ValidationError

LIMITS = Limits()
PROPERTY = settings(deadline=None, derandomize=True)


def saved(array, **kwargs) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **kwargs)
    return stream.getvalue()


@pytest.mark.parametrize(
    "text", [b"NaN", b"[Infinity]", b"-Infinity", b"1e999", b"1" * 5_000_000, b'"\\ud800"', b"", b"{", b"{}x", b"'a'"]
)
def test_what_json_forbids_is_refused(text):
    with pytest.raises((DecodeError, PayloadTooLarge)):
        read_json(text, LIMITS)


def test_a_million_open_brackets_are_a_clean_error():
    for text in (b"[" * 1_000_000, b'{"a":' * 600_000, b"[" * 900 + b"]" * 900, b"[" * 66 + b"]" * 66):
        with pytest.raises(DecodeError) as caught:
            read_json(text, LIMITS)
        assert "64" in caught.value.message
    assert read_json(b"[" * 64 + b"]" * 64, LIMITS) is not None


def test_the_last_of_duplicate_keys_counts_and_many_keys_are_fine():
    assert read_json(b'{"a":1,"a":2}', LIMITS) == {"a": 2}
    text = json.dumps({str(key): 0 for key in range(200_000)}).encode()
    assert len(read_json(text, LIMITS)) == 200_000


def test_whole_numbers_beyond_64_bits_are_never_whole():
    assert type(read_json(b"100000000000000000000000", LIMITS)) is float


@PROPERTY
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    )
)  # fmt: skip
def test_every_json_value_is_read_as_it_is(value):
    assert read_json(json.dumps(value).encode(), LIMITS) == value


@PROPERTY
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data):
    try:
        read_json(data, LIMITS)
    except ValidationError:
        return


def test_names_near_a_known_one_are_suggested():
    assert nearest_name("shot", ["shots", "seed"]) == "; did you mean 'shots'?"
    assert nearest_name("x" * 10_000, ["shots"]) == ""
    with pytest.raises(ValidationError, match="x must be a JSON object"):
        expect_object([], field="x")


def test_a_bomb_is_refused_before_it_bursts():
    bomb = zlib.compress(bytes(500 << 20), 9)
    meter = InflationMeter(LIMITS)
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(PayloadTooLarge, match="16777216 bytes accepted of one object"):
        meter.inflate(bomb, field="x")
    assert time.perf_counter() - start < 1
    assert tracemalloc.get_traced_memory()[1] < 80 << 20
    tracemalloc.stop()


def test_the_objects_of_one_request_share_a_bound():
    meter = InflationMeter(Limits(object_bytes=1000, inflated_bytes=2500))
    part = zlib.compress(bytes(1000))
    meter.inflate(part, field="a")
    meter.inflate(part, field="b")
    with pytest.raises(PayloadTooLarge, match="c inflates beyond the 2500 bytes accepted of one request"):
        meter.inflate(part, field="c")
    with pytest.raises(PayloadTooLarge):
        meter.inflate(zlib.compress(b"x" * 600), field="d")


@pytest.mark.parametrize(
    "data", [b"", b"x", zlib.compress(b"abc")[:-1], zlib.compress(b"abc") + b"x", zlib.compress(b"a") * 2]
)
def test_incomplete_or_extended_streams_are_refused(data):
    with pytest.raises(DecodeError):
        InflationMeter(LIMITS).inflate(data, field="x")


@pytest.mark.parametrize("text", ["a", "====", "ab cd", "äö", "YQ==YQ==", 5, None, b"YQ=="])
def test_what_is_no_base64_is_refused(text):
    with pytest.raises(DecodeError):
        decode_base64(text, field="x")


@PROPERTY
@given(
    hnp.arrays(
        st.sampled_from(["<f8", ">f8", "<f4", "<i8", "|u1", "<i2", "|b1", "<c16"]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    st.booleans(),
)
def test_arrays_survive_both_ways_and_match_numpys_own_files(array, fortran):
    assert np.array_equal(read_npy(npy_bytes(array), field="x"), array, equal_nan=array.dtype.kind in "fc")
    ordered = np.asfortranarray(array) if fortran and array.ndim else array
    read = read_npy(saved(ordered), field="x")
    assert (read.shape, read.dtype) == (array.shape, array.dtype)
    assert read.tobytes() == array.tobytes()
    assert npy_bytes(array) == saved(np.ascontiguousarray(array).reshape(array.shape))


def header(text: str, body: bytes = b"") -> bytes:
    raw = text.encode()
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        saved(np.zeros(3))[:-1],
        saved(np.zeros(3)) + b"x",
        saved(np.array(["a"])),
        saved(np.array([object()]), allow_pickle=True),
        saved(np.zeros(2, dtype=[("a", "f8")])),
        saved(np.zeros(2, dtype="M8[s]")),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000,), }\n"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 99999999999999999999999), }\n"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1," * 40 + "), }\n", bytes(8)),
        header("{'descr': '<f3', 'fortran_order': False, 'shape': (1,), }\n", bytes(3)),
        header("{'descr': __import__('os').system('x'), 'fortran_order': False, 'shape': (1,), }\n"),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", bytes(8)),
        b"\x93NUMPY\x03\x00" + bytes(20),
        b"\x93NUMPY\x01\x00\xff\xff",
    ],
)
def test_arrays_of_anything_but_numbers_are_refused(data):
    with pytest.raises(DecodeError):
        read_npy(data, field="x")


def test_typed_objects_are_told_from_plain_ones():
    assert type_of({"__type__": "set", "__value__": []}) == "set"
    assert type_of({"__type__": 5}) == "?"
    assert type_of({"a": 1}) is None
    assert plain({"__type__": "set", "__value__": [1]}, field="x") == [1]
    assert plain({"__type__": "ndarray", "__value__": "linear"}, field="x") == "linear"
    assert plain({"__type__": "datetime", "__value__": "2026-01-01"}, field="x") == "2026-01-01"
    for name in ("Result", "spmatrix", "Parameter", "Instruction", "to_json", "PrimitiveResult", "ExecutionSpans"):
        with pytest.raises(ValidationError, match=name):
            plain({"__type__": name, "__value__": {}}, field="x")
        with pytest.raises(ValidationError, match=name):
            decode_numbers({"__type__": name, "__value__": {}}, InflationMeter(LIMITS), field="x")


@pytest.mark.parametrize("shape", ["(100000, 100000)", "x"])
def test_bindings_that_are_not_what_they_claim_are_refused(shape):
    packed = base64.b64encode(zlib.compress(saved(np.zeros((2, 3))))).decode()
    array = {"__type__": "ndarray", "__value__": packed}
    for value in (
        {"__type__": "BindingsArray", "__value__": 5},
        {"__type__": "BindingsArray", "__value__": {"shape": shape}},
        {"__type__": "BindingsArray", "__value__": {"shape": shape, "data": {'["a"]': array}}},
        {"__type__": "BindingsArray", "__value__": {"shape": shape, "data": {"[]": array}}},
        {"__type__": "BindingsArray", "__value__": {"shape": shape, "data": {"[1]": array}}},
        {"__type__": "ObservablesArray", "__value__": []},
        [],
    ):
        with pytest.raises(ValidationError):
            decode_bindings(value, InflationMeter(LIMITS), field="x")


@PROPERTY
@given(st.integers())
def test_shots_are_accepted_exactly_within_their_bounds(value):
    if 1 <= value <= LIMITS.shots:
        assert check_shots(value, LIMITS, field="shots") == value
    else:
        with pytest.raises(ValidationError):
            check_shots(value, LIMITS, field="shots")


@PROPERTY
@given(st.integers(1, 100_000))
def test_shots_and_precision_say_the_same(shots):
    precision = precision_of_shots(shots)
    assert check_precision(precision, LIMITS, field="precision") == precision
    assert shots_of_precision(precision) == shots


@PROPERTY
@given(st.floats())
def test_a_precision_never_asks_for_too_many_shots(value):
    try:
        checked = check_precision(value, LIMITS, field="precision")
    except ValidationError:
        return
    assert 1 <= shots_of_precision(checked) <= LIMITS.shots


@PROPERTY
@given(st.one_of(st.none(), st.text(), st.booleans(), st.floats(), st.lists(st.integers())))
def test_only_whole_numbers_are_whole_numbers(value):
    for check in (check_seed, check_priority):
        with pytest.raises(ValidationError, match="x must be"):
            check(value, field="x")


@PROPERTY
@given(st.floats() | st.integers() | st.booleans() | st.none())
def test_numbers_are_finite_and_within_bounds(value):
    try:
        number = check_number(value, -10, 10, field="x")
    except ValidationError:
        return
    assert type(value) is not bool
    assert -10 <= number <= 10


def test_bounds_are_told():
    with pytest.raises(ValidationError) as caught:
        check_integer(7, 1, 5, field="x")
    assert caught.value.limit == "1..5"


def test_limits_read_from_configuration_are_checked():
    assert Limits.from_dict({"shots": 5, "delay_s": 2, "allow_while_loops": True}) == Limits(
        shots=5, delay_s=2, allow_while_loops=True
    )
    assert Limits.from_dict(LIMITS.to_dict()) == LIMITS
    for bad in ({"shot": 1}, {"shots": -1}, {"shots": "5"}, {"shots": True}, {"allow_while_loops": 1}, {"shots": 1.5}):
        with pytest.raises(ValidationError, match=r"limits\."):
            Limits.from_dict(bad)
