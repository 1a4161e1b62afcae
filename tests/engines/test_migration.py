"""A thousand ways through a job, to the same bytes: paused, resumed, migrated, killed and taken up again between random slices.

Every leg of a way is a new engine that is given nothing but bytes: the compiled job and, if there is one, the body of a
checkpoint. A leg ends by making way, or with a process that is killed; then the next goes on from the last checkpoint that
was handed out, or from nothing.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.devices.executable import ExecutableJob
from qrtx_ray.engines import estimator, shots
from qrtx_ray.engines.protocol import JobOutcome, JobRun, Wish
from qrtx_ray.engines.registry import engine_for
from qrtx_ray.model.noise import NoiseId

from .building import dynamic_job, hardware_efficient, sampler_job
from .segments import BYTES, Memory, Walk, walked
from .test_preemption import (
    IDEAL,
    NOISY,
    bound_rows,
    conditional,
    cut_fine,
    estimated,
    estimated_wide,
    measured_midway,
    midway_state,
    one_pub,
    swept,
    wide_clifford,
)

FAMILIES = {
    "sampler, ideal sweeps": lambda size, _: swept(hardware_efficient(2 + size % 3, 1), 4 * size, IDEAL, 7 * size),
    "sampler, noisy sweeps": lambda size, _: swept(hardware_efficient(3, 1), 3 * size, NOISY, 11 * size),
    "sampler, several PUBs": lambda size, device: sampler_job(
        *(hardware_efficient(2, 1, seed=n) for n in range(1 + size)), device=device, shots=13 * size
    ),
    "sampler, shots drawn one by one": lambda size, device: swept(measured_midway(), size, device, 8 * size),
    "sampler, control flow": lambda size, device: dynamic_job(conditional(), device=device, shots=9 * size),
    "sampler, a program for each row": lambda _, device: bound_rows(device),
    "sampler, stabilizer": lambda _, __: wide_clifford(),
    "estimator, exact": lambda size, device: estimated(device, 0, rows=3 * size),
    "estimator, drawn": lambda size, device: estimated(device, 17 * size, rows=2 * size),
    "estimator, trajectories": lambda _, __: one_pub(estimated(NOISY, 3, circuit=midway_state())),
    "estimator, mean over branches": lambda size, device: one_pub(
        estimated(device, 0, rows=size, circuit=midway_state())
    ),
    "estimator, stabilizer": lambda size, _: estimated_wide(50 * size),
}
CASES = 1000
NOISES = tuple(NoiseId(seed=3, rate=0.5, epoch=1, step=step).text() for step in range(3))


def cut_small(patch: pytest.MonkeyPatch) -> None:
    """Cut into slices that take no time, for there are many of them."""
    cut_fine(patch)
    for module in (shots, estimator):
        patch.setattr(module, "slices_of", lambda _seconds, shots: min(3, shots))
    patch.setattr(estimator, "EXACT_BRANCHES", 6)


class Killed(BaseException):
    """The process is gone; unlike an error, nothing of the engine may catch this."""


@dataclass
class Way:
    """What happens after each slice, over all legs: one of `steps` each, nothing after the last."""

    steps: list[str]
    kept: bytes = b""
    noise: str = ""
    kept_noise: str = ""

    def ask(self, _index: int, _fraction: float) -> Wish | None:
        step = self.steps.pop(0) if self.steps else "go on"
        if step == "kill":
            raise Killed
        return {"pause": Wish.PREEMPT, "keep": Wish.CHECKPOINT}.get(step)

    def keep(self, _index: int, checkpoint) -> None:
        self.kept, self.kept_noise = checkpoint.body, self.noise

    def leg(self, data: bytes, seed: int, noise_id: str) -> JobOutcome | None:
        """Run from what is kept to the end, or to the next pause or kill (None)."""
        job = ExecutableJob.from_bytes(data)
        self.noise = self.kept_noise if self.kept else noise_id
        engine = engine_for(job.device.partition("@")[2])
        run = JobRun(job, seed, noise_id, bytes(bytearray(self.kept)))
        try:
            (outcome,) = engine.run([run], self.ask, self.keep)
        except Killed:
            return None
        assert outcome.error is None, outcome.error
        assert not outcome.anew, outcome.anew
        if not outcome.preempted:
            return outcome
        self.kept, self.kept_noise = outcome.checkpoint, self.noise
        return None


@cache
def job_of(family: str, size: int, noisy: bool) -> bytes:
    return FAMILIES[family](size, NOISY if noisy else IDEAL).to_bytes()


@cache
def whole(data: bytes, seed: int, noise_id: str) -> JobOutcome:
    """The run that nobody touched."""
    job = ExecutableJob.from_bytes(data)
    (outcome,) = engine_for(job.device.partition("@")[2]).run([JobRun(job, seed, noise_id)])
    assert outcome.error is None, outcome.error
    return outcome


STEPS = st.lists(st.sampled_from(["go on", "go on", "keep", "pause", "kill"]), max_size=10).map(
    lambda steps: [*steps, "pause"]
)


@pytest.mark.parametrize("family", FAMILIES)
@settings(deadline=None, derandomize=True, max_examples=-(-CASES // len(FAMILIES)), database=None)
@given(size=st.integers(1, 3), noisy=st.booleans(), seed=st.integers(0, 2), steps=STEPS, drifts=st.booleans())
def test_every_way_through_a_job_ends_with_the_same_bytes(family, size, noisy, seed, steps, drifts):
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        data = job_of(family, size, noisy)
        drifts &= "@aer_ideal" not in ExecutableJob.from_bytes(data).device
        way, legs, outcome = Way(list(steps)), 0, None
        while outcome is None:
            outcome = way.leg(data, seed, NOISES[legs % len(NOISES)] if drifts else "")
            legs += 1
        untouched = whole(data, seed, way.noise)
        assert outcome.results == untouched.results
        assert outcome.qpu_s == untouched.qpu_s
        assert not outcome.partial


@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(rows=st.integers(1, 3), segments=st.integers(1, 5), seed=st.integers(0, 9), steps=STEPS)
def test_every_way_through_circuit_segments_ends_with_the_same_bytes(rows, segments, seed, steps):
    """The same where the state itself is handed on, in memory that is another one on every leg."""
    engine, kept = Walk(rows, segments), [(b"", b"")]
    [untouched] = engine.run([walked(seed)])

    def ask(_index: int, _fraction: float) -> Wish | None:
        step = steps.pop(0) if steps else "go on"
        if step == "kill":
            raise Killed
        return {"pause": Wish.PREEMPT, "keep": Wish.CHECKPOINT}.get(step)

    while True:
        memory, (body, bulk) = Memory(BYTES), kept[-1]
        memory.data[: len(bulk)] = bulk

        def keep(_index: int, made, memory=memory) -> None:
            kept.append((made.body, bytes(memory.data[: made.bulk_bytes])))

        run = walked(seed, memory=memory, checkpoint=body, bulk_bytes=len(bulk))
        try:
            [outcome] = Walk(rows, segments).run([run], ask, keep)
        except Killed:
            continue
        assert not outcome.anew
        if not outcome.preempted:
            break
        kept.append((outcome.checkpoint, bytes(memory.data[: outcome.bulk_bytes])))
    assert outcome.results == untouched.results


@cache
def left_of(data: bytes, seed: int, *, after: int, under: str = "") -> JobOutcome:
    """The run of a job that makes way after slice number `after`, under other versions if that is asked for."""
    job, seen = ExecutableJob.from_bytes(data), []

    def ask(_index: int, fraction: float) -> Wish | None:
        seen.append(fraction)
        return Wish.PREEMPT if len(seen) >= after else None

    with pytest.MonkeyPatch.context() as other:
        if under == "other state version":
            other.setattr("qrtx_ray.engines.checkpoint.STATE_VERSION", 999)
        if under == "other libraries":
            other.setattr("qrtx_ray.engines.checkpoint.libraries", lambda: "numpy 0.1")
        (outcome,) = engine_for(job.device.partition("@")[2]).run([JobRun(job, seed)], ask)
    return outcome


DAMAGES = (
    "flip",
    "truncate",
    "extend",
    "exchange",
    "other job",
    "other seed",
    "other state version",
    "other libraries",
)


@settings(deadline=None, derandomize=True, max_examples=200, database=None)
@given(
    family=st.sampled_from(list(FAMILIES)),
    noisy=st.booleans(),
    damage=st.sampled_from(DAMAGES),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_a_damaged_or_strange_checkpoint_is_refused_with_a_reason_and_never_gives_other_results(
    family, noisy, damage, place, bit
):
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        data = job_of(family, 3, noisy)
        source = job_of("sampler, ideal sweeps", 2, False) if damage == "other job" else data
        left = left_of(source, 4 if damage == "other seed" else 3, after=2, under=damage if "other" in damage else "")
        assert left.preempted
        body = bytearray(left.checkpoint)
        at = int(place * len(body))
        if damage == "flip":
            body[at] ^= 1 << bit
        elif damage == "truncate":
            del body[at:]
        elif damage == "extend":
            body += bytes(body[:at]) or b"x"
        elif damage == "exchange":
            body[at : at + 16] = bytes(reversed(body[at : at + 16])) + b"?"
        job = ExecutableJob.from_bytes(data)
        (outcome,) = engine_for(job.device.partition("@")[2]).run([JobRun(job, 3, checkpoint=bytes(body))])
        assert outcome.error is None
        assert outcome.results == whole(data, 3, "").results
        # A checkpoint cut to nothing is none: there is nothing to refuse.
        assert outcome.anew or not body


ELSEWHERE = """
import hashlib, json, sys
import pytest
from tests.engines.test_migration import cut_small, ExecutableJob, JobRun, engine_for
cut_small(pytest.MonkeyPatch())
for line in sys.stdin:
    data, seed, body = json.loads(line)
    job = ExecutableJob.from_bytes(bytes.fromhex(data))
    (outcome,) = engine_for(job.device.partition("@")[2]).run([JobRun(job, seed, checkpoint=bytes.fromhex(body))])
    print(json.dumps([hashlib.sha256(outcome.results).hexdigest(), outcome.anew]))
"""


def test_another_process_goes_on_to_the_same_bytes(monkeypatch):
    cut_small(monkeypatch)
    jobs = [(job_of(family, 3, noisy), seed) for seed, family in enumerate(FAMILIES) for noisy in (False, True)]
    lines = [json.dumps([data.hex(), seed, left_of(data, seed, after=2).checkpoint.hex()]) for data, seed in jobs]
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
        timeout=300,
    )
    for (data, seed), line in zip(jobs, done.stdout.splitlines(), strict=True):
        digest, anew = json.loads(line)
        assert (digest, anew) == (hashlib.sha256(whole(data, seed, "").results).hexdigest(), "")
