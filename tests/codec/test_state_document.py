"""Named states on the wire: every bit comes back, and nothing but data is read."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from qrtx_ray.codec.state_document import DEPTH, check_state, decode_state, encode_state
from qrtx_ray.errors import DecodeError, ValidationError

KINDS = ["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16"]
names = (
    st.text(max_size=8)
    .filter(lambda name: not name.startswith("__"))
    .map(lambda text: text.encode("utf-8", "replace").decode())
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.complex_numbers()
    | st.binary(max_size=20)
    | names
    | st.sampled_from(KINDS).flatmap(
        lambda kind: arrays.arrays(np.dtype(kind), arrays.array_shapes(min_dims=0, min_side=0))
    )
)
trees = st.recursive(
    leaves, lambda below: st.lists(below, max_size=3) | st.dictionaries(names, below, max_size=3), max_leaves=8
)


def same(one: Any, other: Any) -> bool:
    """Equal bit for bit, and of the same kind."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, float):
        return isinstance(other, float) and ((math.isnan(one) and math.isnan(other)) or one.hex() == other.hex())
    if isinstance(one, complex):
        return isinstance(other, complex) and same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


@given(st.dictionaries(names, trees, max_size=4))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_what_is_written_is_read_bit_for_bit(state: dict[str, Any]) -> None:
    document = encode_state(state)
    check_state(document)
    again = decode_state(document)
    assert same(state, again)
    assert encode_state(again) == document


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_a_generator_goes_on_where_it_was(kind: str) -> None:
    generator = np.random.Generator(getattr(np.random, kind)(5))
    generator.random(3)
    generator.integers(10, dtype=np.uint32)  # half a word is left over
    again = decode_state(encode_state({"rng": generator}))["rng"]
    assert type(again.bit_generator).__name__ == kind
    for method in ("random", "standard_normal", "bytes"):
        assert np.all(getattr(generator, method)(7) == getattr(again, method)(7))


def test_tuples_scalars_and_byte_orders_become_plain() -> None:
    state = {"pair": (1, np.float32(0.5)), "big": np.arange(3, dtype=">i4"), "strided": np.arange(6).reshape(2, 3).T}
    again = decode_state(encode_state(state))
    assert again["pair"] == [1, 0.5]
    assert again["big"].dtype == np.dtype("<i4")
    assert (again["big"] == [0, 1, 2]).all()
    assert (again["strided"] == state["strided"]).all()


def test_an_array_that_was_read_is_ones_own() -> None:
    document = encode_state({"a": np.zeros(2)})
    first = decode_state(document)
    first["a"][0] = 1
    assert decode_state(document)["a"][0] == 0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "state.x is of the type object"),
        ({1, 2}, "state.x is of the type set"),
        (np.array(["a"]), "must be numeric"),
        (np.array([None]), "must be numeric"),
        ({"__array__": 1}, "begins with two underscores"),
        ({1: 2}, "a key that is no text"),
        ([[object()]], r"state\.x\[0\]\[0\] is of the type"),
    ],
)
def test_what_a_state_cannot_hold_is_refused_and_named(value: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        encode_state({"x": value})


def test_nesting_is_bounded_on_both_sides() -> None:
    deep: Any = 1
    for _ in range(DEPTH + 5):
        deep = [deep]
    with pytest.raises(ValidationError, match="nested deeper"):
        encode_state({"x": deep})
    with pytest.raises(DecodeError, match="nested deeper"):
        decode_state(json.dumps({"x": deep}).encode())


def array(dtype: Any = "<f8", shape: Any = (), data: Any = "AAAAAAAAAAA=") -> dict[str, Any]:
    return {"__array__": {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data": data}}


@pytest.mark.parametrize(
    "value",
    [
        {"__class__": "os.system"},
        {"__float__": "nan", "also": 1},
        {"a": 1, "__b": 2},
        array("|O"),
        array([]),
        array("<f8; import os"),
        array(shape=5),
        array(shape=(-1,)),
        array(shape=(True,)),
        array(shape=(1.0,)),
        array(shape=(2,)),
        array(shape=(1,) * 33),
        array(shape=(0, 2**62), data=""),
        array(shape=(2**62, 4, 0), data=""),
        array(data="AA"),
        array(data="AAAAAAAAAAA=\n"),
        array(data="é"),
        array(data=7),
        {"__array__": {"dtype": "<f8"}},
        {"__array__": None},
        {"__bytes__": "a"},
        {"__bytes__": ["YQ=="]},
        {"__float__": "1.5"},
        {"__float__": [1]},
        {"__int__": 5},
        {"__int__": "1e5"},
        {"__int__": "²"},
        {"__int__": "9" * 401},
        {"__int__": "--1"},
        {"__complex__": [1]},
        {"__complex__": [1, "2"]},
        {"__complex__": [1, True]},
        {"__complex__": 1},
        {"__rng__": {"kind": "Generator", "state": {}}},
        {"__rng__": {"kind": ["PCG64"], "state": {}}},
        {"__rng__": {"kind": "PCG64"}},
        {"__rng__": {"kind": "PCG64", "state": {"__x__": 1}}},
    ],
)
def test_what_is_no_state_is_refused_without_being_built(value: Any) -> None:
    document = json.dumps({"x": value}).encode()
    for read in (decode_state, check_state):
        with pytest.raises(DecodeError) as caught:
            read(document)
        assert caught.value.field is not None
        assert caught.value.field.startswith("state")


@pytest.mark.parametrize(
    "state",
    [
        {},
        None,
        {"bit_generator": "MT19937", "state": {}},
        {"bit_generator": "PCG64", "state": {"state": -1, "inc": "x"}, "has_uint32": 0, "uinteger": 0},
        {"bit_generator": "PCG64", "state": [], "has_uint32": 0, "uinteger": 0},
        {"bit_generator": "PCG64", "state": {"state": 1.5, "inc": 1}, "has_uint32": "a", "uinteger": 2**40},
    ],
)
def test_a_generators_state_that_is_none_is_refused(state: Any) -> None:
    with pytest.raises(DecodeError, match="PCG64 generator"):
        decode_state(json.dumps({"x": {"__rng__": {"kind": "PCG64", "state": state}}}).encode())


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(ValidationError, match="Unicode"):
        encode_state({"x": "\ud800"})


@pytest.mark.parametrize("document", [b"", b"[]", b"1", b"{", b'{"__int__": "5"}', b'{"a": NaN}', b"\xff"])
def test_a_document_is_a_json_object(document: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_state(document)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda below: (
            st.lists(below, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "__array__",
                        "__rng__",
                        "__int__",
                        "__float__",
                        "__bytes__",
                        "__complex__",
                        "dtype",
                        "shape",
                        "data",
                        "kind",
                        "state",
                        "a",
                    ]
                ),
                below,
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
@settings(deadline=None, derandomize=True, max_examples=300)
def test_any_json_is_read_or_refused_and_nothing_else_happens(value: Any) -> None:
    try:
        document = json.dumps({"x": value}).encode()
        check_state(document)
    except DecodeError:
        return
    try:
        decode_state(document)
    except DecodeError:
        return
