"""The scheduler dies at every point that matters, each time it passes there, and nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qrtx_ray.actors import faults

pytestmark = pytest.mark.faults


@pytest.mark.timeout(300)
def test_a_scheduler_killed_at_any_point_of_a_jobs_life_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.crash_scenario", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    fired = json.loads(ended.stdout.splitlines()[-1])
    assert set(fired) == {point for point in faults.POINTS if point.startswith("scheduler.")}
    assert all(fired.values()), "a point that is never passed is none"
    for point in ("before_commit", "after_append", "after_commit"):
        assert fired[f"scheduler.{point}"] >= 15
    assert fired["scheduler.before_reply"] == 6


def test_the_environment_names_the_point_and_the_turn() -> None:
    code = (
        "from qrtx_ray.actors.faults import reached\n"
        "reached('scheduler.before_reply')\n"
        "reached('scheduler.after_commit')\n"
        "print('once', flush=True)\n"
        "reached('scheduler.after_commit')\n"
        "print('twice')\n"
    )
    environment = os.environ | {"QRTX_FAULT": "scheduler.after_commit:2"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == "once\n"
