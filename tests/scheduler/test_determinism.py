"""The same events give the same commands, byte for byte: here, and in processes that hash strings in other ways."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scheduler.stage import mixed_day

ROOT = Path(__file__).parents[2]
PROGRAM = "import hashlib; from tests.scheduler.stage import mixed_day; print(hashlib.sha256(repr(mixed_day({seed})).encode()).hexdigest())"


def digest(seed: int) -> str:
    return hashlib.sha256(repr(mixed_day(seed)).encode()).hexdigest()


@pytest.mark.parametrize("seed", range(8))
def test_two_cores_that_hear_the_same_say_the_same(seed):
    assert digest(seed) == digest(seed)


def test_days_differ():
    assert digest(1) != digest(2)


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
def test_no_order_depends_on_how_strings_are_hashed(hash_seed):
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM.format(seed=3)]
    told = subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert told.strip() == digest(3)
