"""What a start prepares: the environment of Ray, and who has a storage folder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qrtx_ray.config import load_settings
from qrtx_ray.errors import DeviceUnavailable
from qrtx_ray.launch.environment import authentication, free_port, loopback_haproxy, ray_environment, variables
from qrtx_ray.launch.occupancy import Occupancy


def test_a_storage_folder_has_one_runtime(tmp_path: Path) -> None:
    first, second = Occupancy(tmp_path), Occupancy(tmp_path)
    assert second.holder() is None
    first.take()
    assert second.holder() == os.getpid()
    with pytest.raises(DeviceUnavailable, match=rf"is up already \(process {os.getpid()}\)"):
        second.take()
    first.leave()
    first.leave()
    assert second.holder() is None
    second.take()
    second.leave()


def test_the_lock_ends_with_its_process_however_it_ends(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib; from qrtx_ray.launch.occupancy import Occupancy;"
        "Occupancy(pathlib.Path(sys.argv[1])).take(); print('taken', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        assert Occupancy(tmp_path).holder() == process.pid
        process.kill()
    assert Occupancy(tmp_path).holder() is None


def test_ray_asks_for_a_token_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    wanted = authentication(tmp_path / "run")
    token = tmp_path / "run" / "ray_token"
    assert wanted == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    assert token.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    assert authentication(tmp_path) == {"RAY_AUTH_MODE": "token"}
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert authentication(tmp_path) == {"RAY_AUTH_MODE": "disabled"}


def test_ray_that_is_imported_already_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setitem(sys.modules, "ray", sys)
    assert authentication(tmp_path) == {}


def test_variables_are_set_for_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QRTX_URL", "before")
    monkeypatch.delenv("QRTX_TOKEN_FILE", raising=False)
    with variables({"QRTX_URL": "inside", "QRTX_TOKEN_FILE": "f"}):
        assert (os.environ["QRTX_URL"], os.environ["QRTX_TOKEN_FILE"]) == ("inside", "f")
    assert os.environ["QRTX_URL"] == "before"
    assert "QRTX_TOKEN_FILE" not in os.environ


def test_what_the_environment_says_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(env={"HOME": str(tmp_path)}, overrides={"performance.haproxy": "off"})
    monkeypatch.delenv("RAY_worker_niceness", raising=False)
    assert ray_environment(settings, tmp_path)["RAY_worker_niceness"] == "0"
    assert "RAY_SERVE_ENABLE_HA_PROXY" not in ray_environment(settings, tmp_path)
    monkeypatch.setenv("RAY_worker_niceness", "5")
    assert ray_environment(settings, tmp_path)["RAY_worker_niceness"] == "5"


def test_a_port_that_is_taken_is_not_offered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) not in {0, port}
    assert free_port(port) == port


def test_haproxys_other_ports_are_kept_on_the_loopback_interface(tmp_path: Path) -> None:
    """The launcher rewrites the generated configuration before it starts the real program, here `cat`."""
    written = tmp_path / "haproxy.cfg"
    written.write_text("frontend a\n    bind :9101\n    bind *:8404\n    bind 127.0.0.1:8000\n    bind *:80 ssl\n")
    script = loopback_haproxy(tmp_path / "run", {"RAY_SERVE_HAPROXY_BINARY_PATH": "/bin/echo"})
    assert script is not None
    subprocess.run([script, "-f", written], check=True, capture_output=True)
    assert written.read_text().split("\n")[1:5] == [
        "    bind 127.0.0.1:9101",
        "    bind 127.0.0.1:8404",
        "    bind 127.0.0.1:8000",
        "    bind *:80 ssl",
    ]


@pytest.mark.parametrize("whole", [True, False])
def test_a_front_that_is_away_is_not_a_job_that_does_not_exist(tmp_path: Path, *, whole: bool) -> None:
    line = "    http-request return status 404 content-type text/plain lf-string \"Path '%[path]' not found.\""
    written = tmp_path / "haproxy.cfg"
    written.write_text(f"    errorfile 502 /x/500.http\n{line}\n")
    script = loopback_haproxy(tmp_path / "run", {"RAY_SERVE_HAPROXY_BINARY_PATH": "/bin/echo"}, whole=whole)
    assert script is not None
    subprocess.run([script, "-f", written], check=True, capture_output=True)
    cannot_deliver, said = written.read_text().splitlines()
    head, _, document = Path(cannot_deliver.split()[-1]).read_bytes().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Content-Length: %d" % len(document) in head
    assert json.loads(document)["error"]["code"] == "front_unavailable"
    if not whole:
        assert said == line
        return
    before, body, after = said.split("'")
    assert before == "    http-request return status 503 content-type application/json hdr Retry-After 1 string "
    assert json.loads(body)["error"]["code"] == "front_unavailable"
    assert json.loads(body)["error"]["retryable"]
    assert not after


def test_haproxy_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = loopback_haproxy(tmp_path, {"RAY_SERVE_HAPROXY_BINARY_PATH": "/bin/sleep"})
    parent = (
        f"import subprocess, sys; p = subprocess.Popen([{str(script)!r}, '60']); print(p.pid, flush=True); p.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        started = Path("/proc") / process.stdout.readline().strip()
        deadline = time.monotonic() + 20
        while b"sleep" not in (started / "cmdline").read_bytes().split(b"\0")[0]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    while started.exists() and ") Z " not in (started / "stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
