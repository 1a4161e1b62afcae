"""Bodies for files, and where a runtime is found."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from qrtx_ray.client.connection import Connection, find_connection, forget_connection, write_connection
from qrtx_ray.client.events import EventReader
from qrtx_ray.client.messages import file_body, job_body
from qrtx_ray.errors import AuthenticationError, DeviceUnavailable, ValidationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OPENQASM 3.0;\n", "qasm3"),
        ("// old\nOPENQASM 2.0;\n", "qasm2"),
        ("qubit q;", "qasm3"),
        ("OPENQASM 3.2;", "qasm3"),
    ],
)
def test_the_version_of_qasm_is_read_from_its_first_statement(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "a.qasm"
    path.write_text(text)
    assert file_body(path, device="manila")["circuits"] == [{"format": expected, "source": text}]


def test_a_file_gives_the_job_a_name_that_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / ("für (2)" + "x" * 100 + ".qasm")
    path.write_text("OPENQASM 3.0;")
    assert file_body(path, device="manila")["name"] == "f_r _2_" + "x" * 57
    assert file_body(path, device="manila", name="mine")["name"] == "mine"


def test_qpy_is_sent_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.qpy"
    path.write_bytes(b"\x00\xff")
    assert file_body(path, device="manila", shots=3) == {
        "device": "manila",
        "circuits": [{"format": "qpy", "source": base64.b64encode(b"\x00\xff").decode()}],
        "shots": 3,
        "name": "a",
    }


def test_a_jobspec_may_be_overridden(tmp_path: Path) -> None:
    examples = Path(__file__).parents[2] / "examples"
    body = file_body(examples / "ghz.job.yaml", device="other", shots=5)
    assert (body["device"], body["shots"], body["seed"], body["priority"]) == ("other", 5, 7, 60)


def test_nothing_is_sent_that_was_not_said() -> None:
    assert job_body("OPENQASM 3.0;", "manila") == {
        "device": "manila",
        "program": "sampler",
        "circuits": [{"format": "qasm3", "source": "OPENQASM 3.0;"}],
    }


def test_an_event_may_have_several_lines_of_data() -> None:
    reader = EventReader()
    lines = ["id: 3", "data: {", 'data: "a": 1}', "retry: 5", ": comment", "", ""]
    assert [value for line in lines for value in reader.feed(line)] == [("message", {"a": 1})]
    assert reader.last_id == 3


def test_a_connection_is_found_below_the_storage_folder(tmp_path: Path) -> None:
    environment = {"QRTX_STORAGE_PATH": str(tmp_path), "HOME": str(tmp_path)}
    with pytest.raises(DeviceUnavailable, match="start one with 'qrtx up'"):
        find_connection(environment=environment)
    connection = Connection("http://127.0.0.1:1", "secret", "http://127.0.0.1:2", 3, str(tmp_path))
    write_connection(connection)
    with pytest.raises(AuthenticationError):
        find_connection(environment=environment)
    (tmp_path / "token").write_text("secret\n")
    assert find_connection(environment=environment) == connection
    assert "secret" not in (tmp_path / "connection.json").read_text()
    assert (tmp_path / "connection.json").stat().st_mode & 0o077 == 0
    assert "secret" not in repr(connection)
    forget_connection(tmp_path)
    forget_connection(tmp_path)
    assert not (tmp_path / "connection.json").exists()


def test_the_environment_wins_over_the_file_and_arguments_over_both(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("from a file")
    environment = {"QRTX_URL": "http://there:1/", "QRTX_TOKEN_FILE": str(tmp_path / "t"), "HOME": str(tmp_path)}
    assert find_connection(environment=environment) == Connection("http://there:1", "from a file")
    environment["QRTX_TOKEN"] = "given"
    assert find_connection(environment=environment).token == "given"
    assert find_connection("http://here", "mine", environment) == Connection("http://here", "mine")


@pytest.mark.parametrize("url", ["somewhere", "ftp://x", "file:///etc/passwd"])
def test_a_url_must_be_one(url: str) -> None:
    with pytest.raises(ValidationError, match="must begin with http"):
        find_connection(url, "t", {})


def test_the_official_client_keeps_the_port() -> None:
    environment = Connection("http://h:1", "t").runtime_environment("crn:x")
    assert "experimental" in environment["QISKIT_IBM_URL"]
    assert environment["QISKIT_IBM_INSTANCE"] == "crn:x"
    assert json.dumps(environment).count("http://h:1") == 4
