"""The programme finds the bugs that are planted: every mutant dies, within a bounded number of runs."""

from __future__ import annotations

import pytest

from .enumeration import Story, in_memory
from .mutants import MUTANTS, Mutant, planted
from .stories import STORIES
from .world import Failure, run

SEEDS = 250


def killed_by(mutant: Mutant) -> str | None:
    """What the first run that fails says; None when all pass."""
    with planted(mutant):
        try:
            for name, steps in STORIES.items():
                Story(name, steps, in_memory).live()
            for seed in range(SEEDS):
                run(seed)
            for name, steps in STORIES.items():
                story = Story(name, steps, in_memory)
                for point in range(1, story.points() + 1):
                    story.live(point)
        except Failure as failure:
            return str(failure)
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutant_is_killed(mutant: Mutant) -> None:
    assert killed_by(mutant), "a bug was planted, and nothing noticed"


def test_nothing_is_left_of_a_mutant_when_its_block_has_ended() -> None:
    before = [(thing, name, thing.__dict__[name]) for mutant in MUTANTS for thing, name, _ in mutant.patches]
    for mutant in MUTANTS:
        with planted(mutant):
            assert all(thing.__dict__[name] is other for thing, name, other in mutant.patches)
    assert all(thing.__dict__[name] is value for thing, name, value in before)
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 12
