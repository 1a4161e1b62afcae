"""Every command of `qrtx` against the running house, as a person types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Parameter

from qrtx_ray import __version__
from qrtx_ray.cli.main import main
from qrtx_ray.client import QrtxClient
from qrtx_ray.launch import LocalRuntime

pytestmark = pytest.mark.cluster

IDEAL = "fake_manila@aer_ideal"
BELL3 = """OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
h q[0];
cx q[0], q[1];
c = measure q;
"""
BELL2 = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@pytest.fixture
def qrtx(
    runtime: LocalRuntime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    monkeypatch.setenv("QRTX_URL", runtime.url)
    monkeypatch.setenv("QRTX_TOKEN", runtime.token)
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), said.out, said.err)

    return call


def test_the_version_is_told(qrtx: Callable[..., Outcome]) -> None:
    assert qrtx("version").out == f"{__version__}\n"


def test_help_names_every_command(qrtx: Callable[..., Outcome]) -> None:
    told = qrtx("--help").out
    commands = "up down env status devices demo submit watch results cancel jobs history version"
    commands += " explain estimate usage reserve reservations release export-trace simulate"
    commands += " pause resume checkpoint checkpoints migrate restore drain undrain agents"
    assert all(command in told for command in commands.split())


@pytest.mark.parametrize(("name", "text"), [("three.qasm", BELL3), ("two.qasm", BELL2)])
def test_a_qasm_file_runs_and_its_counts_are_shown(qrtx: Callable[..., Outcome], name: str, text: str) -> None:
    Path(name).write_text(text)
    ran = qrtx("submit", name, "-d", IDEAL, "--shots", "500", "--seed", "3", "--wait")
    assert ran.code == 0
    assert "Completed" in ran.out
    rows = {line.split()[0]: int(line.split()[1]) for line in ran.lines if line[:2] in {"00", "11", "01", "10"}}
    assert rows.keys() == {"00", "11"}
    assert sum(rows.values()) == 500


def test_a_qpy_file_runs(qrtx: Callable[..., Outcome]) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    with Path("one.qpy").open("wb") as file:
        qpy.dump(circuit, file)
    ran = qrtx("submit", "one.qpy", "-d", IDEAL, "--shots", "40", "--wait")
    assert ran.code == 0
    assert any(line.split()[:3] == ["1", "40", "1.0000"] for line in ran.lines if line)


def test_a_jobspec_brings_its_device_and_shots(qrtx: Callable[..., Outcome]) -> None:
    examples = Path(__file__).parents[2] / "examples"
    job_id = qrtx("submit", str(examples / "ghz.job.yaml")).out.strip()
    followed = qrtx("watch", job_id)
    assert followed.code == 0
    assert [job_id, "Completed"] in [line.split() for line in followed.lines]
    document = json.loads(qrtx("results", job_id, "--json").out)
    assert sum(document["pubs"][0]["registers"]["c"]["counts"].values()) == 2000
    every_shot = json.loads(qrtx("results", job_id, "--memory").out)
    assert len(every_shot["pubs"][0]["registers"]["c"]["memory"]) == 2000


def test_jobs_are_listed_and_filtered(qrtx: Callable[..., Outcome]) -> None:
    Path("bell.qasm").write_text(BELL3)
    sent = qrtx("submit", "bell.qasm", "-d", IDEAL, "--name", "listed_b", "--priority", "80")
    job_id = sent.out.strip()
    assert sent.err == ""
    qrtx("watch", job_id)
    row = next(line for line in qrtx("jobs", "-n", "5").lines if line.startswith(job_id))
    assert "listed_b" in row
    assert "Completed" in row
    assert job_id in qrtx("jobs", "--state", "Completed", "--device", IDEAL).out
    assert job_id not in qrtx("jobs", "--state", "Failed").out
    assert qrtx("jobs", "--tag", "none such").out == "no jobs\n"


def test_history_tells_the_way_of_a_job(qrtx: Callable[..., Outcome]) -> None:
    Path("bell.qasm").write_text(BELL3)
    job_id = qrtx("submit", "bell.qasm", "-d", IDEAL).out.strip()
    qrtx("watch", job_id)
    told = qrtx("history", job_id).lines
    assert told[1].split()[1:3] == ["–", "Pending"]
    assert told[-1].split()[1:3] == ["Completing", "Completed"]


def test_a_failed_job_says_why_and_ends_with_1(qrtx: Callable[..., Outcome]) -> None:
    Path("wide.qasm").write_text(BELL3.replace("qubit[2]", "qubit[6]"))
    ran = qrtx("submit", "wide.qasm", "-d", IDEAL, "--wait")
    assert ran.code == 1
    assert "has 6 qubits, at most 5 are accepted here" in ran.out
    job_id = ran.lines[0].split()[0]
    assert qrtx("watch", job_id).code == 1
    refused = qrtx("results", job_id)
    assert refused.code == 1
    assert "at most 5" in refused.err


def test_a_job_that_has_ended_cannot_be_cancelled(qrtx: Callable[..., Outcome]) -> None:
    Path("bell.qasm").write_text(BELL3)
    job_id = qrtx("submit", "bell.qasm", "-d", IDEAL).out.strip()
    qrtx("watch", job_id)
    refused = qrtx("cancel", job_id)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("error (invalid_state): ")


def swept(rows: int) -> tuple[QuantumCircuit, list[list[float]]]:
    """A noisy parameter sweep; rows decide how long it takes."""
    angle = Parameter("a")
    circuit = QuantumCircuit(6)
    for layer in range(4):
        for qubit in range(6):
            circuit.rx(angle, qubit)
        for qubit in range(layer % 2, 5, 2):
            circuit.cz(qubit, qubit + 1)
    circuit.measure_all()
    return circuit, [[0.01 * row] for row in range(rows)]


def test_a_long_job_shows_its_progress(qrtx: Callable[..., Outcome], runtime: LocalRuntime) -> None:
    circuit, values = swept(9000)
    with QrtxClient(runtime.url, runtime.token) as client:
        job_id = client.submit(circuit, "fake_sherbrooke@aer", shots=1, parameters=values).id
    followed = qrtx("watch", job_id)
    assert followed.code == 0
    shown = [int(line.split()[2].rstrip("%")) for line in followed.lines if line.endswith("%")]
    assert shown
    assert shown == sorted(shown)
    assert all(0 < percent <= 100 for percent in shown)


def test_a_running_job_is_cancelled(qrtx: Callable[..., Outcome], runtime: LocalRuntime) -> None:
    circuit, values = swept(9000)
    with QrtxClient(runtime.url, runtime.token) as client:
        job_id = client.submit(circuit, "fake_sherbrooke@aer", shots=1, parameters=values).id
        next(status for status in client.watch(job_id) if status.state == "Executing")
    cancelled = qrtx("cancel", job_id)
    assert cancelled.code == 0
    assert cancelled.out.startswith(job_id)
    followed = qrtx("watch", job_id)
    assert followed.code == 1
    assert "Cancelled" in followed.out


def test_devices_are_found_by_name_and_alias(qrtx: Callable[..., Outcome]) -> None:
    assert len(qrtx("devices", "--all").lines) == 1 + 2 * 68
    row = qrtx("devices", "fake_manila@aer").lines[1].split()
    assert row[:3] == ["fake_manila@aer", "5", "online"]
    assert row[-1] == "manila"
    assert qrtx("devices", "sherbrooke").lines[1].split()[1] == "127"


def test_the_status_is_ready(qrtx: Callable[..., Outcome], runtime: LocalRuntime) -> None:
    told = qrtx("status")
    assert told.code == 0
    assert told.lines[0] == f"{runtime.url}  ready"
    assert any(line.startswith("qrtx-device-0-0") for line in told.lines)


def test_the_environment_lines_are_for_a_shell(qrtx: Callable[..., Outcome], runtime: LocalRuntime) -> None:
    lines = qrtx("env").lines
    assert all(line.startswith("export ") for line in lines)
    assert f"export QISKIT_IBM_URL={runtime.url}/experimental/api/v1" in lines
    assert f"export QRTX_TOKEN={runtime.token}" in lines


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("submit", "missing.qasm", "-d", IDEAL), 1, "error (validation_failed): missing.qasm is not a file"),
        (("submit", "bell.qasm"), 1, "error (validation_failed): a device is needed for a circuit file"),
        (("submit", "bell.qasm", "-d", "nowhere"), 1, "there is no such device"),
        (("submit", "bell.qasm", "-d", IDEAL, "--shots", "0"), 1, "shots"),
        (("submit", "bell.txt", "-d", IDEAL), 1, ".txt is no file this runtime reads"),
        (("watch", "nonesuch"), 1, "error (not_found): "),
        (("results", "../../v1/health"), 1, "error (not_found): "),
        (("jobs", "--state", "Nonsense"), 1, "error (validation_failed): "),
        (("submit",), 2, "Missing argument"),
        (("fly",), 2, "No such command"),
    ],
)
def test_what_is_wrong_is_said_on_standard_error(
    qrtx: Callable[..., Outcome], words: tuple[str, ...], code: int, told: str
) -> None:
    Path("bell.qasm").write_text(BELL3)
    Path("bell.txt").write_text(BELL3)
    ended = qrtx(*words)
    assert (ended.code, ended.out) == (code, "")
    assert told in ended.err


def test_a_wrong_token_and_a_wrong_place_are_told_apart(
    qrtx: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QRTX_TOKEN", "wrong")
    assert qrtx("jobs").err.startswith("error (unauthenticated): ")
    monkeypatch.setenv("QRTX_URL", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in qrtx("jobs").err
    monkeypatch.setenv("QRTX_URL", "ftp://somewhere")
    assert "must begin with http" in qrtx("jobs").err
    monkeypatch.delenv("QRTX_URL")
    monkeypatch.setenv("QRTX_STORAGE_PATH", str(Path.cwd()))
    assert "start one with 'qrtx up'" in qrtx("jobs").err
    assert "no runtime is up" in qrtx("down").err
