"""The asynchronous client: the calls of `QrtxClient`, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

from qrtx_ray.client import calls
from qrtx_ray.client.calls import Call
from qrtx_ray.client.connection import Connection, find_connection
from qrtx_ray.client.following import SILENCE_S, Patience, Watch
from qrtx_ray.client.loops import AsyncHybridLoop
from qrtx_ray.client.messages import JobStatus, document_of, file_body, job_body, raise_for
from qrtx_ray.errors import DeviceUnavailable, QrtxError

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["AsyncQrtxClient"]

T = TypeVar("T")


class AsyncQrtxClient:
    """A connection to a runtime; arguments, methods and errors as for `QrtxClient`."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout_s: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.connection: Connection = find_connection(url, token)
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            base_url=self.connection.url,
            headers={"Authorization": f"Bearer {self.connection.token}"},
            timeout=timeout_s,
            trust_env=False,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def submit(
        self,
        circuits: QuantumCircuit | str | Sequence[QuantumCircuit | str],
        device: str,
        *,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> JobStatus:
        """Submit circuits; see `client.messages.job_body` for `options`. The job is durable when this returns."""
        return await self.submit_body(job_body(circuits, device, **options), idempotency_key=idempotency_key)

    async def submit_file(self, path: str | Path, *, device: str | None = None, **options: Any) -> JobStatus:
        """Submit a ``.qasm``, ``.qpy`` or JobSpec ``.yaml`` file; see `client.messages.file_body` for `options`."""
        return await self.submit_body(file_body(Path(path), device=device, **options))

    async def submit_body(self, body: Mapping[str, Any], *, idempotency_key: str | None = None) -> JobStatus:
        """Submit a body of the native API as it is."""
        return await self._do(calls.submit(body, idempotency_key))

    async def submit_many(
        self, bodies: Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> list[JobStatus | QrtxError]:
        """Submit several bodies in one request; outcome i is the job of body i, or why it was refused."""
        return await self._do(calls.submit_many(bodies, idempotency_key))

    async def get(self, job_id: str) -> JobStatus:
        """The job now."""
        return await self._do(calls.get(job_id))

    async def wait(self, job_id: str, timeout_s: float | None = None) -> JobStatus:
        """The job once it has ended.

        Raises:
            ExecutionTimeout: It has not ended after `timeout_s`.
        """
        patience = Patience(job_id, timeout_s)
        while True:
            status = await self._do(calls.get(job_id, patience.hold_s()))
            if patience.ended(status):
                return status

    async def watch(self, job_id: str) -> AsyncIterator[JobStatus]:
        """Every change of the job until it has ended; taken up again where it was when the connection breaks."""
        watch = Watch(job_id)
        timeout = httpx.Timeout(self._timeout_s, read=SILENCE_S)
        while not watch.ended:
            broken: httpx.TransportError | None = None
            try:
                async with self._http.stream("GET", watch.path, headers=watch.headers, timeout=timeout) as answer:
                    if answer.is_error:
                        await answer.aread()
                        raise_for(answer.status_code, document_of(answer.status_code, answer.content))
                    watch.begin()
                    async for line in answer.aiter_lines():
                        for status in watch.feed(line):
                            yield status
            except httpx.TransportError as error:
                broken = error
            if not watch.ended:
                await asyncio.sleep(watch.pause_s(broken, self.connection.url))

    async def results(self, job_id: str, *, memory: bool = False) -> dict[str, Any]:
        """Counts or expectation values in plain JSON; with `memory` every shot."""
        return await self._do(calls.results(job_id, memory=memory))

    async def results_of_many(
        self, job_ids: Sequence[str], wait_s: float = 0.0, *, memory: bool = False
    ) -> dict[str, dict[str, Any] | QrtxError]:
        """Results of up to 64 jobs in one request, or why a job has none; waits up to `wait_s` for their ends."""
        return await self._do(calls.results_of_many(job_ids, wait_s, memory=memory))

    async def cancel(self, job_id: str, *, partial: bool = False) -> JobStatus:
        """Cancel the job; with `partial` a run ends after its slice, and its results are kept as far as they go."""
        return await self._do(calls.cancel(job_id, partial=partial))

    async def pause(self, job_id: str) -> JobStatus:
        """Let the job wait until it is resumed; one that runs pauses after its slice, and keeps what it has done."""
        return await self._do(calls.pause(job_id))

    async def resume(self, job_id: str) -> JobStatus:
        """Let a paused job go on."""
        return await self._do(calls.resume(job_id))

    async def checkpoint(self, job_id: str, wait_s: float = 0.0) -> JobStatus:
        """Have a running job keep what it has done after its slice; waits up to `wait_s` (at most 60) for it."""
        return await self._do(calls.checkpoint(job_id, wait_s))

    async def checkpoints(self, job_id: str) -> list[dict[str, Any]]:
        """The job's valid checkpoints, newest first."""
        return await self._do(calls.checkpoints(job_id))

    async def migrate(self, job_id: str, agent: str | None = None) -> JobStatus:
        """Let a running job go on with `agent`, or with any other than the present one."""
        return await self._do(calls.migrate(job_id, agent))

    async def restore(
        self, job_id: str, sequence: int | None = None, *, idempotency_key: str | None = None
    ) -> JobStatus:
        """A new job like one that has ended, which begins with its newest checkpoint, or with that numbered `sequence`."""
        return await self._do(calls.restore(job_id, sequence, idempotency_key))

    async def updates(self, job_id: str, after: int = 0, wait_s: float = 0.0) -> dict[str, Any]:
        """Every change of the job after a sequence number (``changes``), and how far it is (``state``, ``progress``, ``slices``).
        Waits up to `wait_s` (at most 60) for the first; ``sequence`` is the next `after`.
        """
        return await self._do(calls.updates(job_id, after, wait_s))

    async def delete(self, job_id: str) -> None:
        """Remove a job that has ended."""
        await self._do(calls.delete(job_id))

    async def history(self, job_id: str) -> list[dict[str, Any]]:
        """All changes of the job's state, oldest first."""
        return await self._do(calls.history(job_id))

    async def explain(self, job_id: str) -> dict[str, Any]:
        """Why the job is where it is, and when it should start."""
        return await self._do(calls.explain(job_id))

    async def estimate(
        self, circuits: QuantumCircuit | str | Sequence[QuantumCircuit | str], device: str = "auto", **options: Any
    ) -> dict[str, Any]:
        """What a job would be on each device it may go to (``devices``) and where it would go now (``chosen``); nothing is
        submitted. Arguments as for `submit`.
        """
        return await self.estimate_body(job_body(circuits, device, **options))

    async def estimate_file(self, path: str | Path, *, device: str | None = None, **options: Any) -> dict[str, Any]:
        """The same for a file; arguments as for `submit_file`. Where nobody names a device: of all with noise."""
        return await self.estimate_body(file_body(Path(path), device=device, otherwise="auto", **options))

    async def estimate_body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The same for a body of the native API."""
        return await self._do(calls.estimate(body))

    async def usage(self) -> dict[str, Any]:
        """Your share and quotas, with what is used of them."""
        return await self._do(calls.usage())

    async def reserve(
        self, device: str, ends_at: datetime, *, begins_at: datetime | None = None, tenant: str | None = None
    ) -> dict[str, Any]:
        """Hold a device from `begins_at` (now) to `ends_at`; times without a zone are local. Jobs name the reservation by
        its ``name``. Only an operator names a `tenant`.
        """
        return await self._do(calls.reserve(device, ends_at, begins_at, tenant))

    async def reservations(self) -> list[dict[str, Any]]:
        """All reservations that are not over, by their beginning."""
        return await self._do(calls.reservations())

    async def release(self, name: str) -> None:
        """Give a reservation back."""
        await self._do(calls.release(name))

    async def jobs(self, *, limit: int = 20, offset: int = 0, **filters: Any) -> list[JobStatus]:
        """A page of jobs, newest first. Filters: state, device, program, tag."""
        return await self._do(calls.jobs(limit, offset, filters))

    async def devices(self) -> list[dict[str, Any]]:
        """All devices with queue and use."""
        return await self._do(calls.devices())

    async def pause_device(self, name: str) -> dict[str, Any]:
        """Operators: give the device no more work."""
        return await self._do(calls.operate("devices", name, "pause"))

    async def drain_device(self, name: str) -> dict[str, Any]:
        """Operators: the same, and what runs there makes way after its slice. It is empty when ``running`` is 0."""
        return await self._do(calls.operate("devices", name, "drain"))

    async def resume_device(self, name: str) -> dict[str, Any]:
        """Operators: let the device take work again."""
        return await self._do(calls.operate("devices", name, "resume"))

    async def agents(self) -> list[dict[str, Any]]:
        """Operators: all device agents."""
        return await self._do(calls.agents())

    async def drain_agent(self, name: str) -> dict[str, Any]:
        """Operators: the agent gives its work back and takes no more. It is empty when ``running`` is 0."""
        return await self._do(calls.operate("agents", name, "drain"))

    async def resume_agent(self, name: str) -> dict[str, Any]:
        """Operators: let the agent take work again."""
        return await self._do(calls.operate("agents", name, "resume"))

    async def put_state(self, name: str, state: Mapping[str, Any], *, expected: str | None = None) -> str:
        """Keep a state (plain values, arrays, NumPy generators) under a name; durable when this returns. Returns its etag.

        Args:
            expected: The etag of what must be there now; "": nothing may be there; None: whatever is there.

        Raises:
            StateChanged: Something else is there.
        """
        return await self._do(calls.put_state(name, state, expected))

    async def get_state(self, name: str) -> tuple[dict[str, Any], str]:
        """A named state, and its etag. Raises NotFound."""
        return await self._do(calls.get_state(name))

    async def delete_state(self, name: str, *, expected: str | None = None) -> None:
        """Forget a named state."""
        await self._do(calls.delete_state(name, expected))

    async def states(self) -> list[dict[str, Any]]:
        """Your named states, by name."""
        return await self._do(calls.states())

    def hybrid_loop(
        self, name: str, initial: Mapping[str, Any], *, iterations: int | None = None, seed: int = 0
    ) -> AsyncHybridLoop:
        """A loop whose state is durable in the runtime; see `client.loops.AsyncHybridLoop`."""
        return AsyncHybridLoop(self._do, name, initial, iterations=iterations, seed=seed)

    async def health(self) -> dict[str, Any]:
        """How the runtime does."""
        return await self._do(calls.health())

    async def _do(self, call: Call[T]) -> T:
        try:
            answer = await self._http.request(call.method, call.path, **call.options(self._timeout_s))
        except httpx.HTTPError as error:
            raise DeviceUnavailable(f"{self.connection.url} cannot be reached: {type(error).__name__}") from error
        if call.raw and answer.is_success:
            return call.read(answer.content)
        document = document_of(answer.status_code, answer.content)
        if answer.status_code != call.also:
            raise_for(answer.status_code, document)
        return call.read(document)
