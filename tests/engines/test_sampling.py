from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.primitives import BitArray

from qrtx_ray.devices.program import Register
from qrtx_ray.engines.sampling import confuse, derived_seed, pack_bits, pack_outcomes, sample, uniforms

from .conformance import chi_square_passes

quick = settings(deadline=None, derandomize=True, max_examples=60)


@quick
@given(st.integers(0, 2**64 - 1), st.integers(0, 50), st.integers(1, 60))
def test_a_stream_continues_where_it_was_cut(seed, start, count):
    whole = uniforms(seed, 3, 1, count=start + count)
    assert np.array_equal(whole[start:], uniforms(seed, 3, 1, count=count, start=start))


@quick
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.integers(0, 40))
def test_a_stream_is_that_of_numpys_philox(seed, start, count):
    key = np.frombuffer(blake2b(repr((seed, 2)).encode(), digest_size=16).digest(), dtype=np.uint64)
    reference = np.random.Philox(key=key)
    reference.advance(start // 4)
    wanted = np.random.Generator(reference).random(count + start % 4)[start % 4 :]
    assert np.array_equal(uniforms(seed, 2, count=count, start=start), wanted)


def test_streams_of_different_keys_differ():
    keys = [(0,), (0, 0), (0, 1), (1, 0), (10,), (1, 0, 0)]
    firsts = {float(uniforms(7, *key, count=1)[0]) for key in keys}
    assert len(firsts) == len(keys)
    assert len({derived_seed(7, *key) for key in keys}) == len(keys)
    assert all(0 <= derived_seed(seed, 1) < 2**62 for seed in (0, 1, 2**64 - 1))


def test_streams_are_part_of_the_format():
    # A changed generator would give old jobs other results when they are run again.
    assert uniforms(42, 0, 0, count=2).tolist() == [0.31022991051901994, 0.6586084764303608]


@quick
@given(st.lists(st.floats(0, 1), min_size=2, max_size=40).filter(lambda weights: sum(weights) > 0.1))
def test_outcomes_of_probability_zero_are_never_drawn(weights):
    probabilities = np.array(weights) / sum(weights)
    numbers = np.concatenate([[0.0, np.nextafter(1.0, 0.0)], uniforms(1, count=200)])
    assert (probabilities[sample(probabilities, numbers)] > 0).all()


@quick
@given(
    st.lists(st.sampled_from([0.0, 1e-300, 1e-17, 0.1, 0.25, 0.5, 1.0]), min_size=1, max_size=70),
    st.lists(st.sampled_from([0.0, 1e-17, 0.1, 0.2, 0.25, 0.5, 0.75, 1 - 2**-53]) | st.floats(0, 1 - 2**-53)),
)
def test_outcomes_are_those_of_a_binary_search(weights, numbers):
    probabilities, wanted = np.array(weights), np.array(numbers, dtype=float)
    cumulative = np.cumsum(probabilities)
    found = np.searchsorted(cumulative, wanted * cumulative[-1], side="right")
    assert np.array_equal(sample(probabilities, wanted), np.minimum(found, len(weights) - 1))


@pytest.mark.parametrize(("width", "shots"), [(0, 5), (3, 2), (10, 40), (10, 5000), (16, 1024)])
def test_outcomes_are_those_of_a_binary_search_for_any_number_of_shots(width, shots):
    probabilities = np.random.default_rng(width).dirichlet(np.full(1 << width, 0.2)) if width else np.ones(1)
    numbers = uniforms(3, width, count=shots)
    cumulative = np.cumsum(probabilities)
    assert np.array_equal(
        sample(probabilities, numbers), np.searchsorted(cumulative, numbers * cumulative[-1], "right")
    )


def test_rounding_below_zero_counts_as_zero():
    probabilities = np.array([-1e-17, 1.0, -1e-17])
    assert set(sample(probabilities, uniforms(1, count=100)).tolist()) == {1}


def test_frequencies_follow_the_distribution():
    probabilities = np.array([0.5, 0.0, 0.2, 0.3])
    counts = np.bincount(sample(probabilities, uniforms(9, count=50_000)), minlength=4)
    assert chi_square_passes(counts, probabilities)
    assert not chi_square_passes(counts, np.array([0.45, 0.05, 0.2, 0.3]))


def test_confusion_inverts_single_bits():
    exact = np.array([0.0, 1.0, 0.0, 0.0])  # bit 0 is 1, bit 1 is 0
    flips = np.array([[0.0, 0.1], [0.3, 0.0]])
    assert confuse(exact, flips) == pytest.approx([0.3 * 0.9, 0.7 * 0.9, 0.3 * 0.1, 0.7 * 0.1])


@quick
@given(st.integers(1, 4), st.data())
def test_confusion_is_the_product_of_single_confusions(width, data):
    share = st.floats(0, 1)
    flips = np.array([[data.draw(share) for _ in range(width)] for _ in range(2)])
    probabilities = np.random.default_rng(width).dirichlet(np.ones(1 << width))
    full = np.ones((1, 1))
    for of_0, of_1 in flips.T:
        full = np.kron(np.array([[1 - of_0, of_1], [of_0, 1 - of_1]]), full)
    assert confuse(probabilities, flips) == pytest.approx(full @ probabilities)


@pytest.mark.parametrize("width", [1, 5, 8, 9, 12, 13, 16])
def test_packed_registers_are_read_back_by_qiskit(width):
    outcomes = (uniforms(4, width, count=50) * 2**width).astype(np.int64)
    registers = [Register("all", tuple(range(width))), Register("reversed", tuple(reversed(range(width))))]
    straight, turned = pack_outcomes(outcomes, range(width), registers)
    shots = [int(text, 2) for text in BitArray(straight, width).get_bitstrings()]
    assert shots == outcomes.tolist()
    assert [text[::-1] for text in BitArray(turned, width).get_bitstrings()] == BitArray(
        straight, width
    ).get_bitstrings()


def test_unwritten_bits_are_zero_and_the_last_writer_wins():
    outcomes = np.array([0b01, 0b10])
    (packed,) = pack_outcomes(outcomes, [2, 2], [Register("c", (0, 1, 2))])
    assert packed[:, 0].tolist() == [0b000, 0b100]


def test_registers_without_bits_are_empty():
    assert pack_bits([], 3).shape == (3, 0)
