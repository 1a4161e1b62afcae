"""Hybrid loops: classical iterations around quantum jobs, whose state outlives the client.

::

    initial = {"theta": np.zeros(2), "rng": np.random.default_rng(7)}
    with QrtxClient() as client:
        loop = client.hybrid_loop("vqe-h2", initial, iterations=100)
        for step in loop:
            theta, rng = step.state["theta"], step.state["rng"]
            results = step.run(bodies_for(theta, rng))
            step.save(theta=improved(theta, results), rng=rng)
        print(loop.state["theta"])

The state lies in the runtime as a named state, replaced at the end of each iteration and only by whoever has read the one
before. The jobs of an iteration carry keys and seeds made from the loop, the iteration and their place in it. So a client
that died is simply started again: it goes on at the iteration it was in, finds the jobs this had sent already instead of
sending them twice, and ends with the same numbers, bit for bit, as if nothing had happened. What an iteration uses must
come from `step.state` and from results; a clock or a generator that is not in the state is forgotten with the client.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from qrtx_ray.client import calls
from qrtx_ray.client.calls import Call
from qrtx_ray.client.following import Patience
from qrtx_ray.client.messages import JobStatus
from qrtx_ray.codec.state_document import decode_state, encode_state
from qrtx_ray.errors import IdempotencyConflict, InvalidState, NotFound, QrtxError, StateChanged, ValidationError

__all__ = ["AsyncHybridLoop", "AsyncStep", "HybridLoop", "Step"]

T = TypeVar("T")
V = TypeVar("V")
Plan = Generator[Call[Any], Any, T]
"""Calls to make, in turn; is sent what each answers, and returns what came of all."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,48}\Z")
_FIELDS = {"run", "seed", "iteration", "done", "state"}
TRIES = 16  # of a job that ended without results in an earlier life of the client
COLLECTED = 64


class Do(Protocol):
    """Makes a call and returns its answer."""

    def __call__(self, call: Call[V]) -> V: ...


class AsyncDo(Protocol):
    """As `Do`, awaited."""

    def __call__(self, call: Call[V]) -> Awaitable[V]: ...


@dataclass(frozen=True, slots=True)
class _Kept:
    """What lies in the runtime: the state before `iteration`, as bytes, and the etag it has there."""

    run: str
    seed: int
    iteration: int
    done: bool
    state: bytes
    etag: str


class _Ledger:
    """Everything a loop decides; it makes no calls, it plans them."""

    def __init__(self, name: str, initial: Mapping[str, Any], iterations: int | None, seed: int) -> None:
        if not _NAME.match(name):
            limit = "48 characters"
            text = "the name of a loop has 1 to 48 of a-z, A-Z, 0-9, '.', '_' and '-'"
            raise ValidationError(text, field="name", limit=limit)
        if iterations is not None and iterations < 0:
            raise ValidationError("iterations must be at least 0", field="iterations", limit="0")
        self.name = name
        self.key = f"loop.{name}"
        self.iterations = iterations
        self._initial = encode_state(initial)
        self._seed = seed
        self.kept: _Kept | None = None

    @property
    def known(self) -> _Kept:
        if self.kept is None:
            raise InvalidState("nothing is known of the loop before its first step")
        return self.kept

    def ended(self) -> bool:
        return self.known.done or (self.iterations is not None and self.known.iteration >= self.iterations)

    def load(self) -> Plan[None]:
        """Read the state; make it where there is none."""
        while True:
            try:
                document, etag = yield calls.get_state(self.key)
            except NotFound:
                try:
                    yield from self._write(
                        secrets.token_hex(4), self._seed, 0, done=False, state=self._initial, etag=""
                    )
                except StateChanged:
                    continue  # another client has made it in this moment
                return
            if document.keys() != _FIELDS:
                raise InvalidState(f"the state {self.key} is not that of a loop", field="name")
            state = encode_state(document["state"])
            self.kept = _Kept(document["run"], document["seed"], document["iteration"], document["done"], state, etag)
            return

    def advance(self, before: _Kept, state: Mapping[str, Any], *, done: bool) -> Plan[None]:
        """Make `state` the one that the iteration after `before` begins with."""
        yield from self._write(
            before.run, before.seed, before.iteration + 1, done=done, state=encode_state(state), etag=before.etag
        )

    def delete(self) -> Plan[None]:
        """Forget the loop."""
        with contextlib.suppress(NotFound):
            yield calls.delete_state(self.key, None)
        self.kept = None

    def _write(self, run: str, seed: int, iteration: int, *, done: bool, state: bytes, etag: str) -> Plan[None]:
        document = {"run": run, "seed": seed, "iteration": iteration, "done": done, "state": decode_state(state)}
        new = yield calls.put_state(self.key, document, etag)
        self.kept = _Kept(run, seed, iteration, done, state, new)


class _Page:
    """One iteration: its state, the jobs it sends, and whether it was saved."""

    def __init__(self, ledger: _Ledger) -> None:
        self._ledger = ledger
        self._before = ledger.known
        self._sent = 0
        self.iteration = self._before.iteration
        self.state: dict[str, Any] = decode_state(self._before.state)  #: yours to change; kept is what `save` is given
        self.saved = False

    def sending(self, bodies: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Plan[Any]:
        """Send bodies that this iteration has not sent yet, and collect the results of all."""
        several = [bodies] if isinstance(bodies, Mapping) else list(bodies)
        if self.saved:
            raise InvalidState("the iteration is over; its state is saved")
        if not several:
            return []
        if any(body.get("private") for body in several):
            raise ValidationError("a loop needs its results more than once; private must not be set", field="private")
        place, self._sent = self._sent, self._sent + 1
        label = f"{self._ledger.name}.{self._before.run}/{self.iteration}/{place}"
        whole = [self._marked(body, f"{label}#{index}") for index, body in enumerate(several)]
        jobs = []
        outcomes = yield calls.submit_many(whole, label)
        for index, outcome in enumerate(outcomes):
            jobs.append((yield from self._accepted(outcome, whole[index], f"{label}#{index}")))
        yield from _waiting(jobs)
        results = yield from _collecting([job.id for job in jobs])
        return results[0] if isinstance(bodies, Mapping) else results

    def saving(self, state: Mapping[str, Any], *, done: bool) -> Plan[None]:
        if self.saved:
            raise InvalidState("the iteration is over; its state is saved")
        yield from self._ledger.advance(self._before, {**self.state, **state}, done=done)
        self.saved = True

    def check_saved(self) -> None:
        """The next iteration is wanted.

        Raises:
            InvalidState: This one was not saved: without that it would come again and again.
        """
        if not self.saved:
            raise InvalidState(f"iteration {self.iteration} of the loop {self._ledger.name} ended without save()")

    def _marked(self, body: Mapping[str, Any], label: str) -> dict[str, Any]:
        """The body with a seed of its own, and with a tag by which its job is found again."""
        digest = hashlib.sha256(f"{self._before.seed}/{label.partition('/')[2]}".encode()).digest()
        tags = [*body.get("tags", []), label]
        return {"seed": int.from_bytes(digest[:8], "big") >> 1, **body, "tags": tags}

    def _accepted(self, outcome: JobStatus | QrtxError, body: dict[str, Any], label: str) -> Plan[JobStatus]:
        """The job that runs for `body`, or has run: that of an earlier life of this client where there is one."""
        for number in range(1, TRIES + 1):
            if isinstance(outcome, IdempotencyConflict):
                # An earlier life sent it in other bytes: a circuit is not written twice alike. It is the same job.
                found = yield calls.jobs(1, 0, {"tag": body["tags"][-1]})
                outcome = found[0] if found else outcome
            if isinstance(outcome, QrtxError):
                raise outcome
            if not outcome.terminal or outcome.state == "Completed":
                return outcome
            if number == TRIES:
                break
            body = {**body, "tags": [*body["tags"][:-1], f"{label}.{number}"]}
            try:
                outcome = yield calls.submit(body, f"{label}.{number}")
            except IdempotencyConflict as conflict:
                outcome = conflict
        raise InvalidState(f"the job {label} has ended {TRIES} times without results", limit=f"{TRIES} times")


def _waiting(jobs: Sequence[JobStatus]) -> Plan[None]:
    """Until all have ended. Raises the error of the first that did not complete."""
    for job in jobs:
        patience = Patience(job.id, None)
        while not job.terminal:
            job = yield calls.get(job.id, patience.hold_s())  # noqa: PLW2901 - the same job, later
        if job.error is not None:
            raise QrtxError.from_info(job.error)
        if job.state != "Completed":
            raise InvalidState(f"job {job.id} of the loop ended {job.state}")


def _collecting(job_ids: Sequence[str]) -> Plan[list[dict[str, Any]]]:
    collected: list[dict[str, Any]] = []
    for start in range(0, len(job_ids), COLLECTED):
        some = job_ids[start : start + COLLECTED]
        found = yield calls.results_of_many(some, 0.0, memory=False)
        for job_id in some:
            if isinstance(found[job_id], QrtxError):
                raise found[job_id]
            collected.append(found[job_id])
    return collected


def _carry_out(plan: Plan[T], do: Do) -> T:
    try:
        call = next(plan)
        while True:
            try:
                answer = do(call)
            except QrtxError as error:
                call = plan.throw(error)
            else:
                call = plan.send(answer)
    except StopIteration as end:
        value: T = end.value
        return value


async def _carry_out_async(plan: Plan[T], do: AsyncDo) -> T:
    try:
        call = next(plan)
        while True:
            try:
                answer = await do(call)
            except QrtxError as error:
                call = plan.throw(error)
            else:
                call = plan.send(answer)
    except StopIteration as end:
        value: T = end.value
        return value


class Step:
    """An iteration of a `HybridLoop`.

    Attributes:
        iteration: Its number, from 0.
        state: What the iteration before saved; a copy of its own.
    """

    def __init__(self, page: _Page, do: Do) -> None:
        self._page = page
        self._do = do
        self.iteration = page.iteration
        self.state = page.state

    def run(self, bodies: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Any:
        """Run one body of the native API (see `client.messages.job_body`), or several at a time; returns its results, or
        theirs in order, as `QrtxClient.results` does. A body without a seed gets one of the loop's.

        Raises:
            QrtxError: A job was refused or did not complete. Started again, the loop tries such a job anew.
        """
        return _carry_out(self._page.sending(bodies), self._do)

    def save(self, *, done: bool = False, **state: Any) -> None:
        """End the iteration: what is named here replaces what the state had under that name, the rest stays as `state` has it.
        Durable when this returns.

        Args:
            done: The loop ends here, whatever its number of iterations.

        Raises:
            StateChanged: Another client has gone on with the loop.
        """
        _carry_out(self._page.saving(state, done=done), self._do)


class HybridLoop:
    """A loop whose state is durable in the runtime. Iterate over it; each `Step` must be saved.

    Args:
        do: Makes the calls.
        name: 1 to 48 of ``a-z A-Z 0-9 . _ -``; whoever iterates under the same name goes on with the same loop.
        initial: State before the first iteration; without effect on a loop that is there.
        iterations: How many in all; None: until a step is saved with ``done=True``.
        seed: What the seeds of the jobs are made from; without effect on a loop that is there.
    """

    def __init__(self, do: Do, name: str, initial: Mapping[str, Any], *, iterations: int | None, seed: int) -> None:
        self._do = do
        self._ledger = _Ledger(name, initial, iterations, seed)

    def __iter__(self) -> Iterator[Step]:
        _carry_out(self._ledger.load(), self._do)
        while not self._ledger.ended():
            page = _Page(self._ledger)
            yield Step(page, self._do)
            page.check_saved()

    @property
    def iteration(self) -> int:
        """Iterations saved so far."""
        return self._load().iteration

    @property
    def state(self) -> dict[str, Any]:
        """The state saved last; a copy."""
        return decode_state(self._load().state)

    def delete(self) -> None:
        """Forget the loop; under its name another may begin. Its jobs stay."""
        _carry_out(self._ledger.delete(), self._do)

    def _load(self) -> _Kept:
        if self._ledger.kept is None:
            _carry_out(self._ledger.load(), self._do)
        return self._ledger.known


class AsyncStep:
    """As `Step`, its methods awaited."""

    def __init__(self, page: _Page, do: AsyncDo) -> None:
        self._page = page
        self._do = do
        self.iteration = page.iteration
        self.state = page.state

    async def run(self, bodies: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Any:
        """As `Step.run`."""
        return await _carry_out_async(self._page.sending(bodies), self._do)

    async def save(self, *, done: bool = False, **state: Any) -> None:
        """As `Step.save`."""
        await _carry_out_async(self._page.saving(state, done=done), self._do)


class AsyncHybridLoop:
    """As `HybridLoop`, with ``async for``; `state` and `iteration` are those known since the loop was iterated over."""

    def __init__(
        self, do: AsyncDo, name: str, initial: Mapping[str, Any], *, iterations: int | None, seed: int
    ) -> None:
        self._do = do
        self._ledger = _Ledger(name, initial, iterations, seed)

    async def __aiter__(self) -> AsyncIterator[AsyncStep]:
        await _carry_out_async(self._ledger.load(), self._do)
        while not self._ledger.ended():
            page = _Page(self._ledger)
            yield AsyncStep(page, self._do)
            page.check_saved()

    @property
    def iteration(self) -> int:
        """Iterations saved so far."""
        return self._ledger.known.iteration

    @property
    def state(self) -> dict[str, Any]:
        """The state saved last; a copy."""
        return decode_state(self._ledger.known.state)

    async def delete(self) -> None:
        """As `HybridLoop.delete`."""
        await _carry_out_async(self._ledger.delete(), self._do)
