"""Documents under names of a tenant: replaced only by who knows what is there."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from uuid import uuid4

import pytest

from qrtx_ray.errors import InvalidState, NotFound, PayloadTooLarge, PersistError, StateChanged
from qrtx_ray.store import named_states
from qrtx_ray.store.named_states import NamedState, NamedStates


def etag(document):
    return hashlib.sha256(document).hexdigest()


@pytest.fixture(params=["path", "memory"])
def states(request, tmp_path):
    return NamedStates(str(tmp_path) if request.param == "path" else f"memory://{uuid4().hex}")


@pytest.fixture
def local(tmp_path):
    return NamedStates(str(tmp_path))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "named_states" / "t-alice" / "s-loop"


@pytest.mark.parametrize("name", ["loop", ".", "..", ".hidden", "a.tmp", "x" * 64, "A-b_c.9"])
def test_a_document_comes_back_with_its_etag(states, name):
    assert states.put("alice", name, b"iteration 3", None, 7.5) == etag(b"iteration 3")
    assert states.get("alice", name) == (b"iteration 3", etag(b"iteration 3"))
    assert states.list("alice") == [NamedState(name, etag(b"iteration 3"), 11, 7.5)]
    states.delete("alice", name, None)
    assert states.list("alice") == []
    with pytest.raises(NotFound):
        states.get("alice", name)
    with pytest.raises(NotFound):
        states.delete("alice", name, None)


def test_tenants_do_not_see_each_other(states):
    states.put(".", "loop", b"one", None, 1.0)
    states.put("..", "loop", b"two", None, 1.0)
    states.put("alice", "loop", b"three", None, 1.0)
    states.delete("alice", "loop", None)
    assert [states.get(tenant, "loop")[0] for tenant in (".", "..")] == [b"one", b"two"]
    assert states.list("bob") == []


def test_a_writer_says_what_it_expects_to_replace(states):
    first = states.put("alice", "loop", b"one", "", 1.0)
    for wrong in ("", etag(b"two"), "ü"):
        with pytest.raises(StateChanged):
            states.put("alice", "loop", b"two", wrong, 2.0)
        with pytest.raises(StateChanged):
            states.delete("alice", "loop", wrong)
    with pytest.raises(StateChanged):
        states.put("alice", "other", b"two", first, 2.0)
    second = states.put("alice", "loop", b"two", first, 2.0)
    assert states.get("alice", "loop") == (b"two", second)
    states.delete("alice", "loop", second)


def test_a_repeated_write_whose_answer_was_lost_succeeds_and_changes_nothing(states):
    first = states.put("alice", "loop", b"one", "", 1.0)
    assert states.put("alice", "loop", b"one", "", 2.0) == first
    assert states.put("alice", "loop", b"one", etag(b"zero"), 2.0) == first
    assert [state.at for state in states.list("alice")] == [1.0]


def test_of_many_writers_that_expect_the_same_one_wins(states):
    first = states.put("alice", "loop", b"start", None, 1.0)
    barrier, won = threading.Barrier(8), []

    def write(number):
        barrier.wait()
        with contextlib.suppress(StateChanged):
            won.append(states.put("alice", "loop", b"%d" % number, first, 2.0))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [states.get("alice", "loop")[1]]


@pytest.mark.parametrize("wrong", ["", "a/b", "../x", "a\n", "ü", "x" * 65, "a\0", "a b"])
def test_what_cannot_be_a_name_names_nothing(states, wrong):
    for call in (
        lambda: states.put("alice", wrong, b"", None, 1.0),
        lambda: states.put(wrong, "loop", b"", None, 1.0),
        lambda: states.get("alice", wrong),
        lambda: states.get(wrong, "loop"),
        lambda: states.delete(wrong, "loop", None),
        lambda: states.list(wrong),
    ):
        with pytest.raises(NotFound):
            call()


def test_documents_and_their_number_are_bounded(states, monkeypatch):
    monkeypatch.setattr(named_states, "MAX_NAMES", 2)
    monkeypatch.setattr(named_states, "MAX_DOCUMENT_BYTES", 10)
    with pytest.raises(PayloadTooLarge):
        states.put("alice", "loop", b"x" * 11, None, 1.0)
    for name in ("a", "b"):
        states.put("alice", name, b"x" * 10, None, 1.0)
    with pytest.raises(InvalidState) as caught:
        states.put("alice", "c", b"x", None, 1.0)
    assert (caught.value.field, caught.value.limit) == ("name", "2 states")
    states.put("alice", "b", b"y", None, 1.0)
    states.put("bob", "c", b"x", None, 1.0)


def test_every_flipped_byte_of_a_file_is_detected_or_changes_nothing(local, file):
    document = b"optimiser " * 20
    states, whole = local, local.put("alice", "loop", document, None, 1.0)
    data = file.read_bytes()
    refused = 0
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        try:
            assert states.get("alice", "loop") == (document, whole)
        except PersistError:
            refused += 1
    assert refused >= len(data) - 4, "a compressed frame has a few bits without a meaning"
    for length in range(len(data)):
        file.write_bytes(data[:length])
        with pytest.raises(PersistError):
            states.get("alice", "loop")


def test_a_damaged_state_can_be_replaced_but_is_what_nobody_expects(local, file):
    first = local.put("alice", "loop", b"one", None, 1.0)
    file.write_bytes(b"QRTX")
    assert local.list("alice") == []
    for wrong in (first, ""):
        with pytest.raises(StateChanged):
            local.put("alice", "loop", b"two", wrong, 1.0)
    local.put("alice", "loop", b"two", None, 1.0)
    assert local.get("alice", "loop")[0] == b"two"
