"""The unmodified official client against a front over HTTP."""

from __future__ import annotations

import socket
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Self

import pytest
import uvicorn
from qiskit import QuantumCircuit, transpile
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2
from qiskit_ibm_runtime.exceptions import RuntimeInvalidStateError, RuntimeJobFailureError

from qrtx_ray.api.app import create_app
from qrtx_ray.errors import ErrorInfo
from qrtx_ray.model import JobRequest
from qrtx_ray.testing import FakeGateway
from tests.api.canned import sampler_results
from tests.api.conftest import ALICE, DEVICES, SETTINGS

pytestmark = pytest.mark.filterwarnings("ignore")

SHOTS = ["00"] * 40 + ["11"] * 60


class Front:
    """uvicorn in a thread; what the test asks of the gateway runs on the server's loop."""

    def __init__(self) -> None:
        self.gateway = FakeGateway(DEVICES.values(), self._answer)
        app = create_app(self.gateway, replace(SETTINGS, long_poll_max_s=2.0, body_bytes=2**22), DEVICES)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)

    def _answer(self, request: JobRequest) -> bytes:
        return sampler_results(SHOTS, "meas")

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        return self

    def __exit__(self, *failure: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._listener.close()


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with Front() as running:
        yield running


@pytest.fixture(scope="module")
def service(front: Front, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QiskitRuntimeService]:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        for name, value in {
            "QISKIT_IBM_TOKEN": ALICE,
            "QISKIT_IBM_INSTANCE": "default",
            "QISKIT_IBM_URL": front.url + "/experimental/api/v1",
            "IAM_URL": front.url,
            "GLOBAL_SEARCH_URL": front.url,
            "GLOBAL_CATALOG_URL": front.url + "/catalog",
        }.items():
            patch.setenv(name, value)
        yield QiskitRuntimeService()


@pytest.fixture(scope="module")
def bell(service: QiskitRuntimeService) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return transpile(circuit, service.backend("fake_manila@aer"), seed_transpiler=1)


def test_devices_are_backends(service: QiskitRuntimeService) -> None:
    assert [backend.name for backend in service.backends()] == ["fake_manila@aer", "manila", "fake_quito@aer_ideal"]
    backend = service.backend("fake_manila@aer")
    assert (backend.name, backend.num_qubits, backend.simulator) == ("fake_manila@aer", 5, False)
    assert backend.target.num_qubits == 5
    assert backend.properties().backend_name == "fake_manila@aer"
    assert backend.status().operational
    assert service.least_busy().name in {"manila", *DEVICES}


def test_an_alias_is_a_backend_of_its_own_name(service: QiskitRuntimeService) -> None:
    backend = service.backend("manila")
    assert backend.name == backend.properties().backend_name == backend.status().backend_name == "manila"
    assert backend.target.num_qubits == 5


def test_a_sampler_runs(service: QiskitRuntimeService, bell: QuantumCircuit, front: Front) -> None:
    sampler = SamplerV2(service.backend("fake_manila@aer"))
    sampler.options.environment.job_tags = ["bell"]
    sampler.options.experimental = {"qrtx": {"priority": 70, "seed": 5}}
    job = sampler.run([bell], shots=100)
    assert job.result()[0].data.meas.get_counts() == {"00": 40, "11": 60}
    assert job.status() == "DONE"
    assert job.usage() == 2.0
    assert job.metrics()["qrtx"]["state"] == "Completed"
    request = front.gateway.requests[-1]
    assert (request.priority, request.seed, request.tags) == (70, 5, ("bell",))
    assert request.client.startswith("qiskit-version-2/qiskit_ibm_runtime-")
    assert "Completed" in job.logs()
    job.update_tags(["new"])
    again = service.job(job.job_id())
    assert again.tags == ["new"]
    assert again.inputs["version"] == 2


def test_jobs_are_listed_page_by_page(service: QiskitRuntimeService, bell: QuantumCircuit) -> None:
    before = len(service.jobs(limit=None))
    sampler = SamplerV2(service.backend("fake_manila@aer"))
    ids = [sampler.run([bell], shots=10).job_id() for _ in range(3)]
    assert [job.job_id() for job in service.jobs(limit=3)] == ids[::-1]
    assert len(service.jobs(limit=None)) == before + 3
    assert service.jobs(limit=5, skip=10**6) == []
    assert len(service.jobs(limit=None, pending=True)) == 0


def test_usage_is_told(service: QiskitRuntimeService) -> None:
    usage = service.usage()
    assert usage["usage_consumed_seconds"] >= 2.0
    assert usage["usage_limit_reached"] is False


def test_cancel_and_failure_raise_what_the_client_documents(
    service: QiskitRuntimeService, bell: QuantumCircuit, front: Front
) -> None:
    front.gateway.answer = None
    sampler = SamplerV2(service.backend("fake_manila@aer"))
    try:
        cancelled = sampler.run([bell], shots=10)
        cancelled.cancel()
        assert cancelled.status() == "CANCELLED"
        with pytest.raises(RuntimeInvalidStateError):
            cancelled.cancel()
        failed = sampler.run([bell], shots=10)
        error = ErrorInfo("compile_failed", "no such gate", "CompileError")
        front.gateway.loop.call_soon_threadsafe(front.gateway.fail, failed.job_id(), error)
        with pytest.raises(RuntimeJobFailureError, match="1003; no such gate"):
            failed.result()
        service.delete_job(failed.job_id())
    finally:
        front.gateway.answer = front._answer


def test_a_refused_job_names_the_field(service: QiskitRuntimeService, bell: QuantumCircuit) -> None:
    sampler = SamplerV2(service.backend("fake_manila@aer"))
    sampler.options.experimental = {"qrtx": {"priority": 1000}}
    with pytest.raises(Exception, match=r"priority must be a whole number from 0 to 100.*validation_failed"):
        sampler.run([bell], shots=10)


def test_a_round_trip_is_short_because_the_poll_is_held(
    service: QiskitRuntimeService, bell: QuantumCircuit, front: Front
) -> None:
    front.gateway.answer = None
    sampler = SamplerV2(service.backend("fake_manila@aer"))
    try:
        job = sampler.run([bell], shots=10)
        document = sampler_results(SHOTS, "meas")

        def later() -> None:
            front.gateway.loop.call_later(0.1, front.gateway.complete, job.job_id(), document)

        front.gateway.loop.call_soon_threadsafe(later)
        started = time.monotonic()
        job.result()
        # a client that slept between polls would need half a second
        assert time.monotonic() - started < 0.45
    finally:
        front.gateway.answer = front._answer
