"""The simulated world keeps the protocol, and what it says of a run is what happened in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qrtx_ray.errors import ValidationError
from qrtx_ray.model import Candidate, Level
from qrtx_ray.simulation import (
    Parameters,
    Recipe,
    Variant,
    fleet,
    generate,
    mix_called,
    policy_called,
    report_json,
    simulate,
)
from qrtx_ray.simulation.lines import AgentsLine, DeviceLine, LossLine, ReleaseLine, ReservationLine, SwitchLine
from tests.simulation.making import DEVICE, ONE, Run, job, trace


def day(jobs=400, devices=4, *, seed=3, drift=0.0, **recipe):
    machines = fleet(f"synthetic:{devices}", seed=seed, drift=drift)
    mix = replace(mix_called("mixed"), cancels=0.05, fails=0.02, crashes=0.05, tenants=5)
    return generate(Recipe(**({"pattern": "bursty", "jobs": jobs, "mix": mix, "seed": seed} | recipe)), machines)


def test_jobs_run_one_after_another_in_the_order_of_their_levels():
    jobs = (job(0.0, 3.0, id="first"), job(0.1, id="low", priority=10), job(0.2, id="high", priority=80))
    run = Run(trace(*jobs), "preemption.enabled=false")
    assert [run.begun(name) for name in ("first", "high", "low")] == [0.0, 3.0, 4.0]
    assert [run.ended(name) for name in ("first", "high", "low")] == [3.0, 4.0, 5.0]
    assert run.ledger.levels[Level.LOW].waiting.most == pytest.approx(3.9)


@pytest.mark.parametrize("policy", ["priority", "noise_aware", "multiplexing", "hybrid"])
def test_every_job_ends_exactly_once_whatever_goes_wrong(policy):
    source = day(drift=0.2, mtbf_s=400.0)
    run = Run(source, policy=policy_called(policy))
    report, _ = simulate(source, Variant("again", policy_called(policy), Parameters()))
    assert len(run.ends) == 400 == sum(report["ends"].values())
    assert set(run.ends.values()) == {1}
    assert run.simulation.unfinished == 0
    assert run.simulation.core.live_jobs == 0
    run.simulation.core.check()
    assert {run.state(name) for name in run.ends} <= {"Completed", "Failed", "Cancelled", "Timeout"}
    assert run.ledger.counts["losses"] > 0


@pytest.mark.parametrize("policy", ["priority", "noise_aware"])
def test_the_same_trace_gives_the_same_report_to_the_last_byte(policy):
    reports = []
    for _ in range(2):
        report, _ = simulate(day(200, drift=0.1, mtbf_s=1_000.0), Variant("x", policy_called(policy), Parameters()))
        reports.append(report_json([report]))
    assert reports[0] == reports[1]


def test_another_seed_gives_another_report():
    one, other = (simulate(day(100, seed=seed), Variant("x"))[0] for seed in (1, 2))
    assert one != other


def test_a_cancelled_job_stops_wherever_it_is():
    run = Run(
        trace(
            job(0.0, 10.0, id="running", cancel_at=4.0),
            job(1.0, 10.0, id="waiting", cancel_at=2.0),
            job(3.0, 1.0, id="next"),
            job(9.0, 1.0, id="over", cancel_at=20.0),
        )
    )
    assert {run.state("running"), run.state("waiting")} == {"Cancelled"}
    assert (run.ended("running"), run.ended("waiting")) == (4.0, 2.0)
    assert run.begun("waiting") is None
    assert run.begun("next") == 4.0
    assert run.state("over") == "Completed"
    assert run.ledger.busy_s[DEVICE] == pytest.approx(6.0)


def test_jobs_of_a_dead_agent_are_run_again_and_the_lost_work_is_counted():
    run = Run(trace(job(0.0, 10.0, id="a"), LossLine(4.0, DEVICE, 6.0)))
    assert run.state("a") == "Completed"
    assert run.ended("a") == 20.0
    assert run.records["a"].attempt == 2
    assert (run.lives["a"].lost_s, run.lives["a"].busy_s) == (4.0, 14.0)
    assert run.ledger.counts["losses"] == 1


def test_two_losses_at_once_last_as_long_as_the_longer():
    run = Run(trace(job(0.0, 10.0, id="a"), LossLine(4.0, DEVICE, 6.0), LossLine(5.0, DEVICE, 20.0)))
    assert run.ended("a") == 35.0


def test_a_job_that_fails_fails_and_one_whose_engine_died_is_tried_again():
    run = Run(
        trace(
            job(0.0, id="bad", fails="execution_failed"),
            job(10.0, id="unlucky", fails="attempt_lost", fails_attempts=1),
            job(20.0, id="unreadable", compile_fails="decode_failed"),
        )
    )
    assert [run.state(name) for name in ("bad", "unlucky", "unreadable")] == ["Failed", "Completed", "Failed"]
    assert run.records["unlucky"].attempt == 2
    assert dict(run.ledger.failures) == {"execution_failed": 1, "decode_failed": 1}
    assert run.begun("unreadable") is None


def test_a_run_that_takes_longer_than_it_may_is_ended_by_its_agent():
    run = Run(trace(job(0.0, 50.0, id="a", execution_timeout_s=20.0), job(1.0, id="b")))
    assert (run.state("a"), run.ended("a"), run.begun("b")) == ("Timeout", 20.0, 20.0)


def test_no_low_job_starves_under_more_high_work_than_can_be_done():
    limit, run_s = 60.0, 0.5
    high = [job(at * 0.25, run_s, tenant=f"{at % 3}", priority=80, id=f"h{at}") for at in range(1_600)]
    low = [job(at * 10.0, run_s, tenant=f"low-{at % 4}", priority=10, id=f"l{at}") for at in range(40)]
    run = Run(trace(*high, *low), f"levels.low.max_wait_s={limit}")
    account = run.ledger.levels[Level.LOW]
    # What is already under way is one group of a second at most, and another held ready behind it.
    assert account.waiting.count == 40
    assert account.waiting.most <= limit + 2.0
    starved = Run(trace(*high, *low), "levels.low.max_wait_s=none", "aging=false")
    assert starved.ledger.levels[Level.LOW].waiting.most > 300.0


def test_a_paused_device_takes_no_new_work():
    run = Run(trace(SwitchLine("pause", 0.5, DEVICE), job(1.0, id="a"), SwitchLine("resume", 7.0, DEVICE)))
    assert run.begun("a") == 7.0


def test_a_reserved_device_runs_the_jobs_of_its_reservation_alone():
    run = Run(
        trace(
            ReservationLine(0.0, "r", DEVICE, "alice", 5.0, 60.0),
            job(6.0, id="bob", tenant="bob"),
            job(7.0, id="alice", tenant="alice", reservation="r"),
            ReleaseLine(20.0, "r"),
        )
    )
    assert (run.begun("alice"), run.begun("bob")) == (7.0, 20.0)


def test_what_the_scheduler_refuses_is_counted_and_is_no_job():
    run = Run(trace(*(job(0.0, id=f"{i}") for i in range(5))), "max_queue_size=3")
    assert dict(run.ledger.refused) == {"queue_full": 2}
    assert len(run.ends) == 3
    overlap = ReservationLine(0.0, "s", DEVICE, "bob", 5.0, 6.0)
    run = Run(trace(replace(overlap, name="r"), overlap, job(0.0)))
    assert dict(run.ledger.refused) == {"invalid_state": 1}


def test_preempted_work_keeps_its_progress_and_pays_for_the_stop():
    source = trace(job(0.0, 60.0, id="low", priority=10), job(10.3, 5.0, id="urgent", priority=95))
    run = Run(source)
    assert run.begun("urgent") == pytest.approx(11.05)  # the end of the slice, and keeping the progress
    low = run.lives["low"]
    assert run.records["low"].preemptions == 1
    assert low.paid_s == pytest.approx(0.05 + 0.2)
    assert low.busy_s == pytest.approx(60.25)
    assert run.ended("low") == pytest.approx(65.25)
    assert run.simulation.ledger.seconds["preemption_cost"] == pytest.approx(0.25)
    without = Run(source, "preemption.enabled=false")
    assert without.begun("urgent") == 60.0


def test_a_free_job_goes_where_the_policy_says_and_its_fidelity_is_that_of_the_device():
    devices = (DeviceLine("good@aer", pace="qpu", error_2q=0.001), DeviceLine("bad@aer", pace="qpu", error_2q=0.2))
    free = job(0.0, device="auto", choices=("bad@aer", "good@aer"), id="a", qubits=2, two_qubit_gates=4, depth=4)
    run = Run(trace(free, devices=devices), policy=policy_called("noise_aware"))
    assert run.records["a"].device == "good@aer"
    live = run.lives["a"]
    assert live.fidelity == pytest.approx(live.predicted)
    assert 0.9 < live.fidelity < 1.0


def test_a_job_that_fits_no_device_fails_with_the_reason():
    narrow = (replace(ONE[0], num_qubits=5),)
    run = Run(trace(job(0.0, id="wide", qubits=7), devices=narrow))
    assert "7 qubits" in run.records["wide"].error.message


def test_drift_worsens_what_comes_out_and_calibrations_are_counted():
    worse = (replace(ONE[0], drift=0.3),)
    jobs = [job(at * 120.0, id=f"{at}", qubits=4, depth=10, two_qubit_gates=10) for at in range(120)]
    run = Run(trace(*jobs, devices=worse), "noise.max_frequency_s=3600", "noise.calibration_s=60")
    assert run.lives["0"].fidelity == pytest.approx(run.lives["0"].predicted)
    assert run.lives["29"].fidelity < run.lives["29"].predicted
    assert run.ledger.counts["probes"] > 10
    assert 1 <= run.ledger.calibrations[worse[0].name] <= 4
    assert run.ledger.predicted_error.mean > 0.0


def test_an_agent_of_several_devices_serves_them_all():
    devices = tuple(DeviceLine(name, agents=0, pace="qpu") for name in ("a@aer", "b@aer"))
    crew = (AgentsLine(("a@aer", "b@aer"), count=1),)
    run = Run(
        trace(job(0.0, 5.0, id="x", device="a@aer"), job(1.0, id="y", device="b@aer"), devices=devices, crews=crew)
    )
    assert (run.begun("x"), run.begun("y")) == (0.0, 5.0)
    assert run.simulation.agents == 1


def test_the_figures_of_the_trace_go_before_the_laws_of_nature():
    known = Candidate(DEVICE, "c", 0.5, 2.5, 0.75)
    walled = (replace(ONE[0], pace="wall"),)
    told = job(0.0, device="auto", choices=(DEVICE,), candidates=(known,), id="a", wall_s=3.0)
    run = Run(trace(told, devices=walled))
    assert (run.ended("a"), run.lives["a"].fidelity, run.records["a"].qpu_s) == (3.0, 0.5, 2.5)


def test_a_dry_run_ends_without_a_run():
    run = Run(trace(job(0.0, id="dry", dry_run=True), job(0.0, id="free", device="auto", dry_run=True)))
    assert (run.state("dry"), run.state("free")) == ("Completed", "Completed")
    assert (run.begun("dry"), run.begun("free")) == (None, None)
    assert run.ledger.busy_s[DEVICE] == 0.0


def test_the_time_can_be_bounded():
    run = Run(trace(job(0.0, 5.0, id="a"), job(0.0, 50.0, id="b")), "world.until_s=20")
    assert list(run.ends) == ["a"]
    assert run.simulation.unfinished == 1
    assert run.simulation.elapsed_s == 20.0
    assert list(run.simulation.waiting()) == []


def test_a_device_that_no_line_describes_is_named():
    with pytest.raises(ValidationError, match="two@aer") as refusal:
        Run(trace(job(0.0, device="two@aer")))
    assert refusal.value.field == "device"


def test_two_jobs_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="called a"):
        Run(trace(job(0.0, 9.0, id="a"), job(1.0, id="a")))
