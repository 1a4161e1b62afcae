"""The load of the fault campaign: clients that submit, repeat, pause, resume and cancel by HTTP, and a ledger of every answer.

Each request is repeated until it is answered, as a client with an idempotency key may do; what was answered is a promise,
and `audit` compares the promises with what the runtime says after all is over.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from benchmarks.fault_processes import DEVICE, OTHER
from qrtx_ray.client import QrtxClient
from qrtx_ray.errors import QrtxError

__all__ = ["Audit", "Entry", "Load", "Variant", "references", "variants"]

PATIENCE_S = 120.0  # of a client that gets no answer
SHOTS = 64
TAG = "faults"
SHOWN = 20  # refusals that are kept in full
ENDS = frozenset({"Completed", "Failed", "Cancelled", "Timeout"})
BELL = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[2];
creg c[2];
h q[0];
cx q[0],q[1];
measure q -> c;
"""


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the bodies that are sent: what it gives is known from a run without faults."""

    name: str
    body: dict[str, Any]
    slow: bool = False


def variants() -> list[Variant]:
    """Bell pairs of five seeds on two devices, and jobs of some slices of three seeds."""
    found = []
    for device, seed in itertools.product((DEVICE, OTHER), range(1, 6)):
        circuit = {"format": "qasm2", "source": BELL}
        body = {"device": device, "circuits": [circuit], "shots": SHOTS, "seed": seed, "tags": [TAG]}
        found.append(Variant(f"bell {device} {seed}", body))
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";', "qreg q[3];", "creg c[3];"]
    for layer in range(8):
        lines += [f"rx(0.{layer + 1}) q[{qubit}];" for qubit in range(3)]
        lines += ["cx q[0],q[1];", "cx q[1],q[2];", f"measure q[{layer % 3}] -> c[{layer % 3}];"]
    circuit = {"format": "qasm2", "source": "\n".join([*lines, "measure q -> c;"])}
    for seed in range(1, 4):
        body = {
            "device": DEVICE,
            "circuits": [circuit] * 8,
            "shots": 2_000,
            "seed": seed,
            "priority": 10,
            "tags": [TAG],
        }
        found.append(Variant(f"slices {seed}", body, slow=True))
    return found


def references(client: QrtxClient, kinds: Sequence[Variant]) -> dict[str, Any]:
    """The results of every variant while nothing fails."""
    jobs = {kind.name: client.submit_body(kind.body | {"tags": ["reference"]}) for kind in kinds}
    for name, job in jobs.items():
        state = client.wait(job.id, PATIENCE_S).state
        if state != "Completed":
            raise RuntimeError(f"without faults, {name} ended as {state}")
    return {name: client.results(job.id, memory=True) for name, job in jobs.items()}


@dataclass(slots=True)
class Entry:
    """What a client asked of one job, and what it was told."""

    key: str
    variant: Variant
    ids: set[str] = field(default_factory=set)
    asked_at: float = 0.0
    acknowledged_at: float = 0.0
    cancelled: bool = False  # acknowledged
    partial: bool = False
    paused: bool = False  # acknowledged
    pausing: bool = False  # asked for, and not resumed

    @property
    def id(self) -> str:
        return min(self.ids)


class Load:
    """Clients in threads; `allow` says how many jobs they may have submitted by now.

    Args:
        url / token: Where.
        kinds: What is sent.
        seed: Of all that is drawn.
    """

    def __init__(self, url: str, token: str, kinds: Sequence[Variant], seed: int) -> None:
        self._url, self._token = url, token
        self._quick = [kind for kind in kinds if not kind.slow]
        self._slow = [kind for kind in kinds if kind.slow]
        self._rng = Random(seed)
        self._lock = threading.Lock()
        self._due: list[tuple[float, int, Callable[[httpx.Client], None]]] = []
        self._serial = itertools.count(1)
        self._allowed = 0
        self._begun = 0
        self.done = 0  # submits that were answered, or given up
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(4)]
        self._threads += [threading.Thread(target=self._controller, daemon=True) for _ in range(2)]
        self.entries: list[Entry] = []
        self.counts: Counter[str] = Counter()
        self.refusals: list[str] = []
        for thread in self._threads:
            thread.start()

    def allow(self, jobs: int) -> None:
        """Let the clients have submitted so many jobs."""
        self._allowed = jobs

    @property
    def submitted(self) -> int:
        """Jobs that were acknowledged."""
        return sum(1 for entry in list(self.entries) if entry.ids)

    def probe(self, http: httpx.Client, device: str) -> Entry:
        """Submit one quick job to `device` now, patiently; it is an entry like any other."""
        kind = next(kind for kind in self._quick if kind.body["device"] == device)
        entry = self._entry(kind)
        self._submit(http, entry, kind.body | {"priority": 95})
        return entry

    def close(self) -> None:
        """Carry out what is due, and end."""
        deadline = time.monotonic() + PATIENCE_S
        while self._due and time.monotonic() < deadline:
            time.sleep(0.1)
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    # -- clients -----------------------------------------------------------------------------------------------------

    def _http(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self._token}"}
        return httpx.Client(base_url=self._url, headers=headers, timeout=30.0, trust_env=False)

    def _entry(self, kind: Variant) -> Entry:
        with self._lock:
            entry = Entry(f"{TAG}-{len(self.entries)}", kind)
            self.entries.append(entry)
        return entry

    def _client(self) -> None:
        with self._http() as http:
            while not self._stop.is_set():
                with self._lock:
                    may = self._begun < self._allowed
                    self._begun += may
                    drawn, fate = self._rng.random(), self._rng.random()
                    kind = self._rng.choice(self._slow if drawn < 0.03 else self._quick)
                if not may:
                    time.sleep(0.02)
                    continue
                entry = self._entry(kind)
                extra = {} if kind.slow or fate > 0.06 else {"priority": 95}
                self._submit(http, entry, kind.body | extra)
                self.done += 1
                if fate < 0.15 and entry.ids:
                    self.counts["sent_twice"] += 1
                    self._submit(http, entry, kind.body | extra)
                self._plan(entry, fate)

    def _submit(self, http: httpx.Client, entry: Entry, body: dict[str, Any]) -> None:
        entry.asked_at = time.monotonic()
        answer = self._patiently(lambda: http.post("/v1/jobs", json=body, headers={"Idempotency-Key": entry.key}))
        if answer is not None and answer.is_success:
            entry.ids.add(answer.json()["id"])
            entry.acknowledged_at = time.monotonic()
        else:
            self._note("submit", answer)

    def _note(self, what: str, answer: httpx.Response | None) -> None:
        """Keep count of an answer that says no."""
        word = "unanswered" if answer is None else f"answered_{answer.status_code}"
        self.counts[f"{what}_{word}"] += 1
        ended = answer is not None and answer.status_code == httpx.codes.CONFLICT  # the job was quicker than its client
        if answer is not None and not ended and len(self.refusals) < SHOWN:
            self.refusals.append(f"{what}: {answer.status_code} {answer.text[:200]}")

    def _plan(self, entry: Entry, fate: float) -> None:
        """What is done to the job later."""
        if not entry.ids:
            return
        slow = entry.variant.slow
        if fate < (0.5 if slow else 0.05):
            wait_s = fate * 2.0 if slow else 0.0
            self._later(wait_s, lambda http: self._pause(http, entry))
            self._later(wait_s + 1.0 + fate, lambda http: self._resume(http, entry))
        elif fate < (0.6 if slow else 0.08):
            self._later(0.3, lambda http: self._cancel(http, entry, partial=False))
        elif slow and fate < 0.7:
            self._later(0.8, lambda http: self._cancel(http, entry, partial=True))

    def _later(self, seconds: float, work: Callable[[httpx.Client], None]) -> None:
        with self._lock:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._serial), work))

    def _controller(self) -> None:
        with self._http() as http:
            while not self._stop.is_set():
                with self._lock:
                    ready = self._due and self._due[0][0] <= time.monotonic()
                    work = heapq.heappop(self._due)[2] if ready else None
                if work is None:
                    time.sleep(0.02)
                else:
                    work(http)

    def _pause(self, http: httpx.Client, entry: Entry) -> None:
        entry.pausing = True
        if self._ask(http, entry, "pause", {}):
            entry.paused = True
            self.counts["pauses"] += 1

    def _resume(self, http: httpx.Client, entry: Entry) -> None:
        if self._ask(http, entry, "resume", {}):
            self.counts["resumes"] += 1
        entry.pausing = False

    def _cancel(self, http: httpx.Client, entry: Entry, *, partial: bool) -> None:
        entry.partial = partial
        if self._ask(http, entry, "cancel", {"partial": True} if partial else {}):
            entry.cancelled = True
            self.counts["partial_cancels" if partial else "cancels"] += 1

    def _ask(self, http: httpx.Client, entry: Entry, what: str, body: dict[str, Any]) -> bool:
        """Whether it was done; it may be refused, because the job has ended."""
        answer = self._patiently(lambda: http.post(f"/v1/jobs/{entry.id}/{what}", json=body))
        if answer is None or not answer.is_success:
            self._note(what, answer)
        return answer is not None and answer.is_success

    def _patiently(self, ask: Callable[[], httpx.Response]) -> httpx.Response | None:
        """The first answer that is one: not that of a door whose house is being repaired."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and not self._stop.is_set():
            with contextlib.suppress(httpx.TransportError):
                answer = ask()
                if _is_ours(answer):
                    return answer
                self.counts[f"door_answered_{answer.status_code}"] += 1  # which a client must not believe
            self.counts["repeated_requests"] += 1
            time.sleep(0.05)
        return None


def _is_ours(answer: httpx.Response) -> bool:
    """Whether it is the front's last word, and not that of a door whose house is being repaired."""
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return False
    return answer.headers.get("content-type", "").startswith("application/json")


@dataclass(slots=True)
class Audit:
    """What the ledger and the runtime say of each other."""

    ends: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # promises other than these
    reasons: Counter[str] = field(default_factory=Counter)
    attempts: int = 0

    @classmethod
    def of(cls, url: str, token: str, entries: Sequence[Entry], right: dict[str, Any], within_s: float) -> Audit:
        """Wait until every job of `entries` has ended, and compare."""
        audit, deadline = cls(), time.monotonic() + within_s
        with QrtxClient(url, token) as client, ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda entry: audit._look_at(client, entry, right, deadline), entries))
            audit._look_for_others(client, entries)
        return audit

    def _look_at(self, client: QrtxClient, entry: Entry, right: dict[str, Any], deadline: float) -> None:
        if not entry.ids:
            return
        if len(entry.ids) > 1:
            self.duplicated.append(f"{entry.key}: one key, jobs {sorted(entry.ids)}")
        try:
            status = client.wait(entry.id, max(1.0, deadline - time.monotonic()))
            history = client.history(entry.id)
        except (QrtxError, TimeoutError, httpx.HTTPError) as problem:
            self.lost.append(f"{entry.id}: {type(problem).__name__}: {str(problem)[:200]}")
            return
        self.ends[status.state] += 1
        self.attempts += status.view.get("attempt", 0)
        self.reasons.update(change.get("reason", "").partition(" by ")[0] for change in history)
        if sum(change["to_state"] in ENDS for change in history) != 1:
            self.duplicated.append(f"{entry.id}: ended more than once")
        if status.state == "Failed":
            self.broken.append(f"{entry.id}: {entry.variant.name} failed: {status.error}")
        if entry.cancelled and status.state != "Cancelled":
            self.broken.append(f"{entry.id}: its cancel was acknowledged, and it is {status.state}")
        if status.state == "Completed":
            found = client.results(entry.id, memory=True)
            if found != right[entry.variant.name]:
                self.wrong.append(f"{entry.id}: {entry.variant.name} gave something else than without faults")

    def _look_for_others(self, client: QrtxClient, entries: Sequence[Entry]) -> None:
        """Jobs that nobody was told of: a key that was never answered may have one, and no other."""
        known = {job_id for entry in entries for job_id in entry.ids}
        unanswered = sum(1 for entry in entries if not entry.ids)
        listed: set[str] = set()
        while page := client.jobs(limit=100, offset=len(listed), tag=TAG):
            listed |= {status.id for status in page}
        self.lost += [f"{job_id}: not in the list of jobs" for job_id in sorted(known - listed)]
        others = len(listed - known) - unanswered
        if others > 0:
            self.duplicated.append(f"{others} jobs that nobody was told of")
