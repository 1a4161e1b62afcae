"""Queues whose waiting times are known by theory wait that long in the simulation.

One machine, Poisson arrivals, load ρ, mean run 1 s. The mean of n waiting times in a row has, for exponential runs, the
variance ``ρ(2 + 5ρ − 4ρ² + ρ³) / (1 − ρ)⁴ / n`` (Daley 1968), 29 / n at ρ = 1/2; for constant runs less. The bound is
four times the root of that, so that a right simulation would fail for one seed in 15,000. The seeds are fixed.
"""

from __future__ import annotations

from math import sqrt
from random import Random

import pytest

from qrtx_ray.model import Level
from tests.simulation.making import Run, job, trace

JOBS = 6_000
LOAD = 0.5
VARIANCE = LOAD * (2 + 5 * LOAD - 4 * LOAD**2 + LOAD**3) / (1 - LOAD) ** 4
BOUND = 4.0 * sqrt(VARIANCE / JOBS)


def stream(seed: int, constant: bool, priorities=(50,)):
    chance, at = Random(seed), 0.0
    for number in range(JOBS):
        at += chance.expovariate(LOAD)
        seconds = 1.0 if constant else chance.expovariate(1.0)
        yield job(at, seconds, tenant=f"{number % 3}", priority=priorities[number % len(priorities)])


@pytest.mark.parametrize(("constant", "theory"), [(True, LOAD / (2 * (1 - LOAD))), (False, LOAD / (1 - LOAD))])
def test_the_mean_wait_is_that_of_the_theory(constant, theory):
    run = Run(trace(*stream(11, constant)))
    waiting = run.ledger.levels[Level.NORMAL].waiting
    assert waiting.count == JOBS
    assert abs(waiting.mean - theory) < BOUND


def test_levels_without_preemption_wait_as_the_theory_of_priorities_says():
    """Two classes of equal rates and M/M/1 runs: ``W_high = R / (1 − ρ_h)``, ``W_low = W_high / (1 − ρ)``, R = ρ (Cobham
    1954). The weights of aging would mix them, so aging is off.
    """
    run = Run(trace(*stream(12, constant=False, priorities=(80, 20))), "aging=false", "preemption.enabled=false")
    high = LOAD / (1 - LOAD / 2)
    low = high / (1 - LOAD)
    levels = run.ledger.levels
    assert abs(levels[Level.HIGH].waiting.mean - high) < BOUND * sqrt(2)
    # The jobs of low level wait longer, and their waits vary by so much more.
    assert abs(levels[Level.LOW].waiting.mean - low) < BOUND * sqrt(2) * low / (LOAD / (1 - LOAD))


def test_work_is_conserved_so_the_mean_over_all_jobs_does_not_depend_on_the_order():
    """Kleinrock's law: with runs whose lengths say nothing about the order, the mean wait is that of first come, first
    served, for the very same jobs.
    """
    plain = Run(trace(*stream(13, constant=True)))
    mixed = Run(trace(*stream(13, constant=True, priorities=(95, 80, 50, 10))), "preemption.enabled=false")
    waits = mixed.ledger.levels.values()
    mean = sum(account.waiting.total for account in waits) / JOBS
    assert mean == pytest.approx(plain.ledger.levels[Level.NORMAL].waiting.mean, rel=1e-6)
