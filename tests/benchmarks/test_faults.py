"""The fault campaign kills what it started and nothing else, every kind in turn, and its audit notices what is wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from benchmarks.fault_load import TAG, Audit, Entry, variants
from benchmarks.fault_processes import KINDS, Runtime
from benchmarks.faults import Recovery, _recovery_figures, order_of_kinds, table
from qrtx_ray.errors import NotFound


@pytest.fixture
def tree():
    """A process with two children that are called what Ray calls its workers."""
    script = (
        "bash -c 'exec -a ray::SchedulerActor sleep 60' & bash -c 'exec -a ray::DeviceActor.lease sleep 60' & "
        "echo ready; wait; sleep 60"
    )
    process = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True)
    process.stdout.readline()
    yield process.pid
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_only_what_is_below_the_runtime_is_found_and_killed(tree):
    runtime, rng = Runtime(tree, "", "", Path()), Random(1)
    while not (runtime.processes()["scheduler"] and runtime.processes()["device agent"]):
        pass
    found = runtime.processes()
    assert {kind for kind, there in found.items() if there} == {"scheduler", "device agent"}
    assert Runtime(os.getpid() + 10_000_000, "", "", Path()).processes() == {kind: [] for kind in KINDS}
    victim = runtime.kill_one("scheduler", rng)
    assert victim in found["scheduler"]
    assert not runtime.is_back("scheduler", victim, 1)
    while runtime.processes()["scheduler"]:
        pass
    assert runtime.kill_one("scheduler", rng, within_s=0.2) is None
    assert runtime.processes()["device agent"] == found["device agent"]


def test_every_kind_is_killed_about_equally_often_and_the_seed_decides_when():
    order = order_of_kinds(200, Random(1))
    assert len(order) == 200
    assert max(Counter(order).values()) - min(Counter(order).values()) <= 1
    assert set(order) == set(KINDS)
    assert order == order_of_kinds(200, Random(1)) != order_of_kinds(200, Random(2))


class Client:
    """Says of every job what `jobs` has."""

    def __init__(self, **jobs):
        self._jobs = jobs

    def wait(self, job_id, timeout_s):
        if job_id not in self._jobs:
            raise NotFound("there is no such job")
        state, _, attempt = self._jobs[job_id]
        return SimpleNamespace(id=job_id, state=state, error=None, view={"attempt": attempt})

    def history(self, job_id):
        state, _, attempt = self._jobs[job_id]
        return [{"to_state": "Queued", "reason": "made way"}] * attempt + [{"to_state": state, "reason": ""}]

    def results(self, job_id, *, memory):
        return self._jobs[job_id][1]

    def jobs(self, *, limit, offset, tag):
        assert tag == TAG
        return [SimpleNamespace(id=job_id) for job_id in self._jobs][offset : offset + limit]


def audit(entries, right, **jobs):
    found, client = Audit(), Client(**jobs)
    for entry in entries:
        found._look_at(client, entry, right, 0.0)
    found._look_for_others(client, entries)
    return found


def test_the_audit_notices_what_is_lost_doubled_wrong_or_broken():
    kind = variants()[0]
    right = {kind.name: {"counts": 1}}
    fine, twice, gone, wrong, kept = (Entry(f"k{number}", kind) for number in range(5))
    fine.ids, twice.ids, gone.ids, wrong.ids, kept.ids = {"a"}, {"b", "c"}, {"x"}, {"d"}, {"e"}
    kept.cancelled = True
    good = ("Completed", {"counts": 1}, 1)
    clean = audit([fine], right, a=good)
    assert (clean.lost, clean.duplicated, clean.wrong, clean.broken) == ([], [], [], [])
    assert (clean.ends, clean.attempts, clean.reasons["made way"]) == (Counter(Completed=1), 1, 1)
    found = audit(
        [fine, twice, gone, wrong, kept],
        right,
        a=good,
        b=good,
        c=good,
        d=("Completed", {"counts": 2}, 1),
        e=good,
        f=good,
    )
    assert len(found.lost) == 2  # it is not there, and not in the list
    assert len(found.duplicated) == 2  # one key for two jobs, and a job that nobody was told of
    assert (len(found.wrong), len(found.broken)) == (1, 1)


def test_the_figures_have_both_percentiles_of_every_kind_that_was_killed():
    recoveries = {kind: Recovery() for kind in KINDS}
    recoveries["scheduler"] = Recovery([1.0, 3.0], [2.0, 4.0], [1.5, 1.5], 2)
    recoveries["proxy"] = Recovery([2.5], [3.0], [2.0], 1)
    figures = {figure.name: figure for figure in _recovery_figures(recoveries)}
    assert figures["scheduler_acknowledged_p50_s"].value == 1.0
    assert figures["scheduler_recovery_p99_s"].value == 3.0
    assert figures["scheduler_recovery_p99_s"].met
    assert figures["proxy_recovery_s"].value == 2.5
    assert "compiler_result_p50_s" not in figures
    head, first, *_ = table(recoveries)
    assert len(list(table(recoveries))) == len(KINDS) + 1
    assert first.split() == ["scheduler", "2", "1.00", "/", "3.00", "2.00", "/", "4.00", "1.50", "/", "1.50"]
    assert head.split()[-2:] == ["process", "back"]
