from __future__ import annotations

import dataclasses
from uuid import uuid4

import msgpack
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qrtx_ray.errors import NotFound, PersistError, ValidationError
from qrtx_ray.store.state_container import pack, unpack
from qrtx_ray.store.state_store import StateStore
from tests.store.building import job_id

KEY = job_id(1)
BELL = {"amplitudes": np.array([1, 0, 0, 1], dtype=np.complex128) / np.sqrt(2), "qubits": np.arange(2)}
META = {"device": "fake_manila@aer", "shots": [1, 2], "nested": {"deep": None, "raw": b"\x00"}}


@pytest.fixture(params=["local", "memory"])
def states(request, tmp_path):
    return StateStore(str(tmp_path) if request.param == "local" else f"memory://{uuid4().hex}")


def same(left, right):
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


DTYPES = st.sampled_from(["?", "i1", "u1", "<i4", "<i8", "<u8", "<f4", "<f8", "<c8", "<c16"])
ARRAYS = st.dictionaries(
    st.text(max_size=5), DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0)))
)


@given(ARRAYS)
@settings(deadline=None, derandomize=True, max_examples=100)
def test_every_numeric_array_comes_back_bit_for_bit(arrays):
    data, sha256, raw_bytes = pack(arrays, META)
    found, metadata = unpack(data, sha256=sha256, max_raw_bytes=raw_bytes)
    assert metadata == META
    assert list(found) == list(arrays)
    assert all(same(found[name], arrays[name]) for name in arrays)


def test_a_state_is_put_got_listed_and_deleted(states):
    ref = states.put(KEY, BELL, META)
    assert ref.key == KEY
    assert ref.raw_bytes > 64 + 16
    found, metadata = states.get(ref)
    assert metadata == META
    assert all(same(found[name], BELL[name]) for name in BELL)
    found["amplitudes"][0] = 0
    assert states.list() == [KEY]
    states.delete(KEY)
    states.delete(KEY)
    assert states.list() == []
    with pytest.raises(NotFound):
        states.get(ref)


def test_an_old_reference_does_not_read_a_newer_state(states):
    old = states.put(KEY, BELL, {"step": 1})
    new = states.put(KEY, BELL, {"step": 2})
    assert states.get(new)[1] == {"step": 2}
    with pytest.raises(PersistError, match=f"state {KEY}.*checksum"):
        states.get(old)


@pytest.mark.parametrize("key", ["", "../x", "a" * 19, "/etc/passwd"])
def test_only_identifiers_are_keys(states, key):
    for call in (lambda: states.put(key, BELL, {}), lambda: states.delete(key)):
        with pytest.raises(NotFound):
            call()


def test_layouts_and_byte_orders_do_not_matter():
    arrays = {
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "s": np.arange(10)[::3],
        "b": np.arange(3, dtype=">i4"),
    }
    data, sha256, raw_bytes = pack(arrays, {})
    found, _ = unpack(data, sha256=sha256, max_raw_bytes=raw_bytes)
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
    assert found["b"].dtype == np.dtype("<i4")


@pytest.mark.parametrize(
    "array",
    [np.array([object()]), np.array(["text"]), np.array([b"x"]), np.zeros(2, "M8[s]"), np.zeros(2, [("a", "i4")])],
)
def test_only_plain_numbers_are_stored(array):
    with pytest.raises(ValidationError, match="numeric"):
        pack({"x": array}, {})


@pytest.mark.parametrize("value", [object(), {1, 2}, 2**70, np.float64(1.0)])
def test_only_plain_metadata_is_stored(value):
    with pytest.raises(ValidationError, match="metadata"):
        pack({}, {"x": value})


def test_every_truncation_is_noticed():
    data, sha256, raw_bytes = pack(BELL, META)
    for length in range(len(data)):
        with pytest.raises(PersistError):
            unpack(data[:length], sha256=sha256, max_raw_bytes=raw_bytes)


def test_every_flipped_bit_is_noticed_or_harmless():
    data, sha256, raw_bytes = pack(BELL, META)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        try:
            found, metadata = unpack(bytes(damaged), sha256=sha256, max_raw_bytes=raw_bytes)
        except PersistError:
            continue
        # Some bits of a zstd frame's header carry nothing.
        assert metadata == META
        assert all(same(found[name], BELL[name]) for name in BELL)


def test_a_file_that_inflates_beyond_its_reference_is_refused_before_it_does():
    data, sha256, raw_bytes = pack({"x": np.zeros(10**6)}, {})
    assert len(data) < 10**4
    with pytest.raises(PersistError, match="inflates"):
        unpack(data, sha256=sha256, max_raw_bytes=raw_bytes - 1)
    bomb = zstandard.compress(bytes(10**7))
    with pytest.raises(PersistError, match="contradict"):
        unpack(data[:50] + bomb, sha256=sha256, max_raw_bytes=raw_bytes)


def test_a_file_of_another_kind_or_schema_is_refused():
    data, sha256, raw_bytes = pack(BELL, META)
    with pytest.raises(PersistError, match="not a state file"):
        unpack(b"PK\x03\x04" + data[4:], sha256=sha256, max_raw_bytes=raw_bytes)
    with pytest.raises(PersistError, match="schema 2"):
        unpack(data[:8] + b"\x02\x00" + data[10:], sha256=sha256, max_raw_bytes=raw_bytes)


def test_a_header_that_asks_for_objects_is_refused(monkeypatch):
    real = msgpack.packb
    monkeypatch.setattr(
        msgpack, "packb", lambda value, **options: real(value | {"arrays": [["x", "|O", [1]]]}, **options)
    )
    data, sha256, raw_bytes = pack(BELL, META)
    with pytest.raises(PersistError, match="header is damaged"):
        unpack(data, sha256=sha256, max_raw_bytes=raw_bytes)


def test_damage_on_the_disk_names_the_state(tmp_path):
    states = StateStore(str(tmp_path))
    ref = states.put(KEY, BELL, META)
    file = tmp_path / "states" / f"{KEY}.state"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(PersistError, match=f"state {KEY}.*truncated"):
        states.get(ref)
    with pytest.raises(PersistError, match="inflates"):
        states.get(dataclasses.replace(ref, raw_bytes=10))
