"""The asynchronous client: the same calls as `QrtxClient`, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from qrtx_ray.client.connection import Connection, find_connection
from qrtx_ray.client.events import EventReader
from qrtx_ray.client.messages import JobStatus, file_body, job_body, raise_for
from qrtx_ray.errors import DeviceUnavailable, ExecutionTimeout, QrtxError

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["AsyncQrtxClient"]

POLL_S = 30.0


class AsyncQrtxClient:
    """A connection to a runtime; arguments and errors as for `QrtxClient`."""

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
            timeout=httpx.Timeout(timeout_s),
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
        """Submit circuits; the job is durable when this returns."""
        return await self.submit_body(job_body(circuits, device, **options), idempotency_key=idempotency_key)

    async def submit_file(self, path: str | Path, *, device: str | None = None, **options: Any) -> JobStatus:
        """Submit a ``.qasm``, ``.qpy`` or JobSpec ``.yaml`` file."""
        return await self.submit_body(file_body(Path(path), device=device, shots=options.pop("shots", None), **options))

    async def submit_body(self, body: Mapping[str, Any], *, idempotency_key: str | None = None) -> JobStatus:
        """Submit a body of the native API as it is."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return JobStatus.from_view(await self._call("POST", "/v1/jobs", json=body, headers=headers))

    async def get(self, job_id: str) -> JobStatus:
        """The job now."""
        return JobStatus.from_view(await self._call("GET", f"/v1/jobs/{job_id}"))

    async def wait(self, job_id: str, timeout_s: float | None = None) -> JobStatus:
        """The job once it has ended. Raises ExecutionTimeout after `timeout_s`."""
        left = timeout_s
        while True:
            hold = POLL_S if left is None else min(POLL_S, left)
            view = await self._call("GET", f"/v1/jobs/{job_id}", params={"wait": hold}, timeout=hold + self._timeout_s)
            status = JobStatus.from_view(view)
            if status.terminal:
                return status
            if left is not None:
                left -= hold
                if left <= 0:
                    raise ExecutionTimeout(f"job {job_id} is still {status.state} after {timeout_s:g} s")

    async def watch(self, job_id: str) -> AsyncIterator[JobStatus]:
        """Every change of the job until it has ended."""
        reader = EventReader()
        status: JobStatus | None = None
        while status is None or not status.terminal:
            headers = {"Last-Event-ID": str(reader.last_id)}
            try:
                async with self._http.stream(
                    "GET", f"/v1/jobs/{job_id}/events", headers=headers, timeout=None
                ) as answer:
                    if answer.status_code >= 400:
                        await answer.aread()
                        raise_for(answer.status_code, _json(answer))
                    async for line in answer.aiter_lines():
                        for view in reader.feed(line):
                            status = JobStatus.from_view(view)
                            yield status
            except httpx.TransportError as error:
                if status is None:
                    raise DeviceUnavailable(f"{self.connection.url} cannot be reached") from error

    async def results(self, job_id: str, *, memory: bool = False) -> dict[str, Any]:
        """Counts or expectation values in plain JSON; with `memory` every shot."""
        document = await self._call("GET", f"/v1/jobs/{job_id}/results", params={"memory": str(memory).lower()})
        results: dict[str, Any] = document["results"]
        return results

    async def cancel(self, job_id: str) -> JobStatus:
        """Cancel the job."""
        return JobStatus.from_view(await self._call("POST", f"/v1/jobs/{job_id}/cancel"))

    async def delete(self, job_id: str) -> None:
        """Remove a job that has ended."""
        await self._call("DELETE", f"/v1/jobs/{job_id}")

    async def jobs(self, *, limit: int = 20, offset: int = 0, **filters: Any) -> list[JobStatus]:
        """A page of jobs, newest first."""
        page = await self._call("GET", "/v1/jobs", params={"limit": limit, "offset": offset, **filters})
        return [JobStatus.from_view(view) for view in page["jobs"]]

    async def devices(self) -> list[dict[str, Any]]:
        """All devices with queue and use."""
        devices: list[dict[str, Any]] = (await self._call("GET", "/v1/devices"))["devices"]
        return devices

    async def health(self) -> dict[str, Any]:
        """How the runtime does."""
        health: dict[str, Any] = (await self._call("GET", "/v1/health"))["details"]
        return health

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = await self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise DeviceUnavailable(f"{self.connection.url} cannot be reached: {type(error).__name__}") from error
        document = _json(answer) if answer.content else None
        raise_for(answer.status_code, document)
        return document


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        if answer.status_code < 400:
            raise QrtxError("the server's answer is not JSON") from None
        return None
