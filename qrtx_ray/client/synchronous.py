"""The blocking client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

__all__ = ["QrtxClient"]

POLL_S = 30.0


class QrtxClient:
    """A connection to a runtime.

    Args:
        url: Base URL; by default looked up, see `client.connection`.
        token: API token; looked up likewise.
        timeout_s: Longest time for one request that does not wait for a job.

    Raises (every method):
        QrtxError: What the server refused, as the class of its code.
        DeviceUnavailable: The server cannot be reached.
    """

    def __init__(self, url: str | None = None, token: str | None = None, *, timeout_s: float = 30.0) -> None:
        self.connection: Connection = find_connection(url, token)
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            base_url=self.connection.url,
            headers={"Authorization": f"Bearer {self.connection.token}"},
            timeout=httpx.Timeout(timeout_s),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def submit(
        self,
        circuits: QuantumCircuit | str | Sequence[QuantumCircuit | str],
        device: str,
        *,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> JobStatus:
        """Submit circuits; see `client.messages.job_body` for `options`. The job is durable when this returns."""
        return self.submit_body(job_body(circuits, device, **options), idempotency_key=idempotency_key)

    def submit_file(self, path: str | Path, *, device: str | None = None, **options: Any) -> JobStatus:
        """Submit a ``.qasm``, ``.qpy`` or JobSpec ``.yaml`` file."""
        return self.submit_body(file_body(Path(path), device=device, shots=options.pop("shots", None), **options))

    def submit_body(self, body: Mapping[str, Any], *, idempotency_key: str | None = None) -> JobStatus:
        """Submit a body of the native API as it is."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return JobStatus.from_view(self._call("POST", "/v1/jobs", json=body, headers=headers))

    def get(self, job_id: str) -> JobStatus:
        """The job now."""
        return JobStatus.from_view(self._call("GET", f"/v1/jobs/{job_id}"))

    def wait(self, job_id: str, timeout_s: float | None = None) -> JobStatus:
        """The job once it has ended.

        Raises:
            ExecutionTimeout: It has not ended after `timeout_s`.
        """
        left = timeout_s
        while True:
            hold = POLL_S if left is None else min(POLL_S, left)
            view = self._call("GET", f"/v1/jobs/{job_id}", params={"wait": hold}, timeout=hold + self._timeout_s)
            status = JobStatus.from_view(view)
            if status.terminal:
                return status
            if left is not None:
                left -= hold
                if left <= 0:
                    raise ExecutionTimeout(f"job {job_id} is still {status.state} after {timeout_s:g} s")

    def watch(self, job_id: str) -> Iterator[JobStatus]:
        """Every change of the job until it has ended; taken up again where it was when the connection breaks."""
        reader = EventReader()
        status: JobStatus | None = None
        while status is None or not status.terminal:
            headers = {"Last-Event-ID": str(reader.last_id)}
            try:
                with self._http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers, timeout=None) as answer:
                    if answer.status_code >= 400:
                        answer.read()
                        raise_for(answer.status_code, _json(answer))
                    for line in answer.iter_lines():
                        for view in reader.feed(line):
                            status = JobStatus.from_view(view)
                            yield status
            except httpx.TransportError as error:
                if status is None:
                    raise DeviceUnavailable(f"{self.connection.url} cannot be reached") from error

    def results(self, job_id: str, *, memory: bool = False) -> dict[str, Any]:
        """Counts or expectation values in plain JSON; with `memory` every shot."""
        document = self._call("GET", f"/v1/jobs/{job_id}/results", params={"memory": str(memory).lower()})
        results: dict[str, Any] = document["results"]
        return results

    def cancel(self, job_id: str) -> JobStatus:
        """Cancel the job."""
        return JobStatus.from_view(self._call("POST", f"/v1/jobs/{job_id}/cancel"))

    def delete(self, job_id: str) -> None:
        """Remove a job that has ended."""
        self._call("DELETE", f"/v1/jobs/{job_id}")

    def history(self, job_id: str) -> list[dict[str, Any]]:
        """All changes of the job's state, oldest first."""
        changes: list[dict[str, Any]] = self._call("GET", f"/v1/jobs/{job_id}/history")["changes"]
        return changes

    def jobs(self, *, limit: int = 20, offset: int = 0, **filters: Any) -> list[JobStatus]:
        """A page of jobs, newest first. Filters: state, device, program, tag."""
        page = self._call("GET", "/v1/jobs", params={"limit": limit, "offset": offset, **filters})
        return [JobStatus.from_view(view) for view in page["jobs"]]

    def devices(self) -> list[dict[str, Any]]:
        """All devices with queue and use."""
        devices: list[dict[str, Any]] = self._call("GET", "/v1/devices")["devices"]
        return devices

    def health(self) -> dict[str, Any]:
        """How the runtime does."""
        health: dict[str, Any] = self._call("GET", "/v1/health")["details"]
        return health

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._http.request(method, path, **options)
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
