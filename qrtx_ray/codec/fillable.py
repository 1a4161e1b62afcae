"""A text with places for numbers, made once for many circuits that differ in their numbers only.

A variational loop or a sweep sends the same circuit hundreds of times with other angles. What does not change is put
together once; after that, writing the text of a circuit is one join.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["MOST_KEPT", "Fillable"]

MOST_KEPT = 1_000  #: operations of a circuit whose texts are worth keeping; a longer one is written once and forgotten


class Fillable:
    """Pieces of text and, between them, numbers of slots.

    Args:
        parts: In order; an integer is the slot whose word stands there.
    """

    __slots__ = ("_frame", "_slots")

    def __init__(self, parts: Iterable[str | int]) -> None:
        frame, slots, gathered = [], [], []
        for part in parts:
            if isinstance(part, str):
                gathered.append(part)
                continue
            frame += ["".join(gathered), ""]
            slots.append(part)
            gathered = []
        frame.append("".join(gathered))
        self._frame = frame
        self._slots = slots

    def fill(self, words: Sequence[str]) -> str:
        """The text with ``words[slot]`` wherever a slot stands."""
        filled = self._frame.copy()
        filled[1::2] = [words[slot] for slot in self._slots]
        return "".join(filled)
