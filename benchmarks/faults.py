"""The fault campaign: kill -9 of random processes of a real runtime under load; nothing lost, nothing twice, nothing wrong.

``python -m benchmarks.faults --jobs 5000 --kills 200 --seed 1``. All kinds of processes are killed in turn, in an order drawn
from the seed. After each kill a client asks for a job until it is acknowledged and waits for its result; that is the recovery.
Only processes below the runtime that this command started are ever killed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx

from benchmarks.fault_load import TAG, Audit, Load, references, variants
from benchmarks.fault_processes import DEVICE, KINDS, OTHER, Runtime, running
from benchmarks.report import Figure, Options, main, percentile
from qrtx_ray.client import QrtxClient

__all__ = ["Recovery", "campaign", "measure", "order_of_kinds", "table"]

RECOVERY_S = 60.0  # after which a kind is taken not to have recovered
PAUSE_S = 1.0  # the longest wait between a recovery and the next kill
SETTLE_S = 600.0  # for everything to come to its end
SHOWN = 20  # of what went wrong
# When one of these is needed again, and so comes back, nobody can tell.
FORKED_WHEN_NEEDED = ("engine zygote", "engine child", "compile zygote", "compile child")
PLACES = {"engine child": DEVICE, "engine zygote": DEVICE, "device agent": DEVICE}


@dataclass(slots=True)
class Recovery:
    """How long it took after the kills of one kind (seconds): until a submit was acknowledged, until its result was there,
    until a process of the kind was back.
    """

    acknowledged: list[float] = field(default_factory=list)
    result: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    kills: int = 0


def order_of_kinds(kills: int, rng: Random) -> list[str]:
    """Every kind about equally often, in random order."""
    order: list[str] = []
    while len(order) < kills:
        turn = list(KINDS)
        rng.shuffle(turn)
        order += turn
    return order[:kills]


def campaign(
    runtime: Runtime, jobs: int, kills: int, seed: int, minutes: float
) -> tuple[Load, dict[str, Recovery], Audit]:
    """Kill, measure, and compare the ledger with what is there in the end. After so many `minutes` nobody is killed any more."""
    began = time.monotonic()
    rng = Random(seed)
    kinds = variants()
    with QrtxClient(runtime.url, runtime.token) as client:
        right = references(client, kinds)
    say(f"{len(right)} variants have their results without faults")
    load = Load(runtime.url, runtime.token, kinds, seed)
    recoveries = {kind: Recovery() for kind in KINDS}
    headers = {"Authorization": f"Bearer {runtime.token}"}
    with httpx.Client(base_url=runtime.url, headers=headers, timeout=30.0, trust_env=False) as http:
        for number, kind in enumerate(order_of_kinds(kills, rng), 1):
            if time.monotonic() - began > 60 * minutes:
                say(f"the time for kills is over after {number - 1} of them")
                break
            load.allow(jobs * number // kills)
            time.sleep(rng.random() * PAUSE_S)
            _kill_and_wait(runtime, load, http, kind, recoveries[kind], rng)
            if number % 10 == 0 or number == kills:
                say(f"{number} kills, {load.submitted} jobs acknowledged")
    load.allow(jobs)
    deadline = time.monotonic() + SETTLE_S
    while load.done < jobs and time.monotonic() < deadline:
        time.sleep(0.2)
    load.close()
    _resume_all(runtime)
    say(f"{load.submitted} jobs acknowledged; waiting for their ends")
    audit = Audit.of(runtime.url, runtime.token, load.entries, right, SETTLE_S)
    return load, recoveries, audit


def _kill_and_wait(
    runtime: Runtime, load: Load, http: httpx.Client, kind: str, recovery: Recovery, rng: Random
) -> None:
    before = len(runtime.processes()[kind])
    victim = runtime.kill_one(kind, rng)
    if victim is None:
        say(f"there is no {kind} to kill")
        return
    moment = time.monotonic()
    recovery.kills += 1
    entry = load.probe(http, PLACES.get(kind, OTHER))
    if not entry.ids:
        recovery.acknowledged.append(RECOVERY_S)
        return
    recovery.acknowledged.append(entry.acknowledged_at - moment)
    while time.monotonic() - moment < RECOVERY_S and not _has_ended(http, entry.id):
        time.sleep(0.02)
    recovery.result.append(time.monotonic() - moment)
    if kind in FORKED_WHEN_NEEDED:
        return
    while time.monotonic() - moment < RECOVERY_S and not runtime.is_back(kind, victim, before):
        time.sleep(0.05)
    recovery.back.append(time.monotonic() - moment)


def _has_ended(http: httpx.Client, job_id: str) -> bool:
    try:
        answer = http.get(f"/v1/jobs/{job_id}")
        return bool(answer.is_success and answer.json()["terminal"])
    except (httpx.TransportError, ValueError):
        return False


def _resume_all(runtime: Runtime) -> None:
    """Nothing stays paused: also what was paused by a request whose answer was lost."""
    with QrtxClient(runtime.url, runtime.token) as client:
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            paused = client.jobs(limit=100, tag=TAG, state="Paused")
            for job in paused:
                client.resume(job.id)
            live = [
                one
                for state in ("Queued", "Executing", "Pending")
                for one in client.jobs(limit=1, tag=TAG, state=state)
            ]
            if not paused and not live:
                return
            time.sleep(0.5)


def measure(options: Options) -> Iterator[Figure]:
    """Counts, and seconds by kind."""
    given = options.arguments
    jobs, kills = options.pick(given.jobs, min(given.jobs, 100)), options.pick(given.kills, min(given.kills, 4))
    with tempfile.TemporaryDirectory(prefix="qrtx-faults-") as folder, running(Path(folder), say) as runtime:
        load, recoveries, audit = campaign(runtime, jobs, kills, options.seed, given.minutes)
    for title, lines in (
        ("lost", audit.lost), ("duplicated", audit.duplicated), ("wrong", audit.wrong), ("broken", audit.broken),
        ("refused", load.refusals),
    ):  # fmt: skip
        for line in lines[:SHOWN]:
            say(f"{title}: {line}")
    for line in table(recoveries):
        say(line)
    yield Figure("kills", sum(one.kills for one in recoveries.values()), "1", None, "higher")
    yield Figure("accepted", load.submitted, "jobs", None, "higher")
    yield Figure("lost", len(audit.lost), "jobs", 0)
    yield Figure("duplicated", len(audit.duplicated), "jobs", 0)
    yield Figure("wrong_results", len(audit.wrong), "jobs", 0)
    yield Figure("broken_promises", len(audit.broken), "jobs", 0)
    for state, count in sorted(audit.ends.items()):
        yield Figure(f"ended_{state.lower()}", count, "jobs", None, "higher")
    for name, count in sorted(load.counts.items()):
        yield Figure(name, count, "1", None, "higher")
    for reason in ("made way", "paused", "no heartbeat", "agent replaced", "scheduler restarted"):
        yield Figure(f"changes_{reason.replace(' ', '_')}", audit.reasons[reason], "1", None, "higher")
    yield Figure("attempts", audit.attempts, "1", None, "higher")
    yield from _recovery_figures(recoveries)


def table(recoveries: dict[str, Recovery]) -> Iterator[str]:
    """Recovery times by kind, p50 / p99, for people."""
    yield f"{'seconds after kill -9 of':24} {'kills':>5}  {'acknowledged':>15}  {'result':>15}  {'process back':>15}"
    for kind, recovery in recoveries.items():
        columns = [
            f"{percentile(times, 50):6.2f} / {percentile(times, 99):6.2f}" if times else "-"
            for times in (recovery.acknowledged, recovery.result, recovery.back)
        ]
        yield f"{kind:24} {recovery.kills:5}  {columns[0]:>15}  {columns[1]:>15}  {columns[2]:>15}"


def _recovery_figures(recoveries: dict[str, Recovery]) -> Iterator[Figure]:
    for kind, recovery in recoveries.items():
        name = kind.lower().replace(" ", "_")
        yield Figure(f"{name}_kills", recovery.kills, "1", None, "higher")
        for what in ("acknowledged", "result", "back"):
            times = getattr(recovery, what)
            for percent in (50, 99):
                if times:
                    yield Figure(f"{name}_{what}_p{percent}_s", percentile(times, percent), "s")
    if recoveries["scheduler"].acknowledged:
        yield Figure("scheduler_recovery_p99_s", percentile(recoveries["scheduler"].acknowledged, 99), "s", 5.0)
    proxies = recoveries["proxy"].acknowledged + recoveries["proxy actor"].acknowledged
    if proxies:
        yield Figure("proxy_recovery_s", percentile(proxies, 99), "s", 5.0)


def say(text: str) -> None:
    """A line of progress, beside the figures."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=5_000, help="jobs of the load (5000)")
    parser.add_argument("--minutes", type=float, default=60.0, help="the longest time in which kills are made (60)")
    parser.add_argument("--kills", type=int, default=200, help="processes to kill (200)")


if __name__ == "__main__":
    sys.exit(main(__doc__ or "", measure, extend=_extend))
