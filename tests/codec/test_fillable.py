"""Texts with places for numbers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.codec.fillable import Fillable

PARTS = st.lists(st.one_of(st.text(max_size=5), st.integers(0, 6)), max_size=20)


@settings(deadline=None, derandomize=True)
@given(PARTS)
def test_every_slot_gets_its_word_and_the_rest_stays(parts: list[str | int]) -> None:
    words = [f"<{slot}>" for slot in range(7)]
    expected = "".join(part if isinstance(part, str) else words[part] for part in parts)
    assert Fillable(parts).fill(words) == expected


def test_a_text_can_be_filled_again_with_other_numbers() -> None:
    text = Fillable(["rz(", 0, ") q; rz(", 1, ") q; rz(", 0, ") q;"])
    assert text.fill(["0.5", "1.5"]) == "rz(0.5) q; rz(1.5) q; rz(0.5) q;"
    assert text.fill(["2", "3"]) == "rz(2) q; rz(3) q; rz(2) q;"
