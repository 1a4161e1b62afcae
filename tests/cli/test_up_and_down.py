"""`qrtx up`, `env`, `status`, `down` for real: processes of their own, a shell, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

QRTX = [sys.executable, "-m", "qrtx_ray.cli.main"]
JOBS = Path(__file__).parents[2] / "examples" / "ray_job.py"
PATIENCE_S = 90.0


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A person's, with a storage folder of its own and nothing of the session's runtime."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("QRTX_", "RAY_", "QISKIT_"))}
    root = str(Path(__file__).parents[2])
    return kept | {
        "QRTX_STORAGE_PATH": str(tmp_path_factory.mktemp("up")),
        "QRTX_SERVER__DASHBOARD_PORT": "0",
        "PYTHONPATH": os.pathsep.join(filter(None, [root, kept.get("PYTHONPATH")])),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]]),
    }


def told(environment: dict[str, str], *words: str) -> str:
    ended = subprocess.run([*QRTX, *words], env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def processes_of(environment: dict[str, str]) -> dict[int, str]:
    """Living processes that were started below this `qrtx up`: they have inherited its storage folder."""
    mark = f"QRTX_STORAGE_PATH={environment['QRTX_STORAGE_PATH']}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


@pytest.fixture(scope="module")
def up(environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    out = Path(environment["QRTX_STORAGE_PATH"]) / "up.log"
    with out.open("w") as file:
        process = subprocess.Popen(
            [*QRTX, "up", "--port", "0"], env=environment, stdout=file, stderr=subprocess.STDOUT, text=True
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while "next, in another terminal" not in out.read_text():
            assert process.poll() is None, out.read_text()
            assert time.monotonic() < deadline, out.read_text()
            time.sleep(0.1)
        yield process, out
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)


def test_up_says_where_everything_is(up: tuple[subprocess.Popen[str], Path], environment: dict[str, str]) -> None:
    lines = up[1].read_text().splitlines()
    assert any(line.startswith("ready      http://127.0.0.1:") for line in lines)
    assert any(line.startswith("dashboard  http://127.0.0.1:") for line in lines)
    assert f"data       {environment['QRTX_STORAGE_PATH']}" in lines
    assert not any("INFO" in line or "raylet" in line for line in lines)


def test_the_environment_is_all_the_official_client_needs(
    up: tuple[subprocess.Popen[str], Path], environment: dict[str, str]
) -> None:
    script = (
        "from qiskit_ibm_runtime import QiskitRuntimeService as S; print(S().backend('fake_manila@aer').num_qubits)"
    )
    shell = f'eval "$({sys.executable} -m qrtx_ray.cli.main env)" && {sys.executable} -W ignore -c "{script}"'
    ended = subprocess.run(
        ["sh", "-c", shell], env=environment, check=False, capture_output=True, text=True, timeout=60
    )
    assert (ended.stdout, ended.returncode) == ("5\n", 0), ended.stderr


def test_the_status_is_ready(up: tuple[subprocess.Popen[str], Path], environment: dict[str, str]) -> None:
    assert told(environment, "status").splitlines()[0].endswith("  ready")


def test_a_second_runtime_with_the_same_storage_is_refused(
    up: tuple[subprocess.Popen[str], Path], environment: dict[str, str]
) -> None:
    second = subprocess.run(
        [*QRTX, "up", "--port", "0"], env=environment, check=False, capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 1
    assert f"is up already (process {up[0].pid})" in second.stderr


def test_what_listens_beyond_this_machine_is_rays_and_asks_for_a_token(
    up: tuple[subprocess.Popen[str], Path], environment: dict[str, str]
) -> None:
    listening = open_ports(processes_of(environment))
    assert not [command for command in listening.values() if "haproxy" in command]
    assert listening, "Ray's own ports are there"
    # Ray's workers write their titles over the memory that shows their environment; they have it from the raylet, which does not.
    untouched = {pid: command for pid, command in listening.items() if pid != up[0].pid and "ray::" not in command}
    assert any("raylet" in command for command in untouched.values())
    assert [command for pid, command in untouched.items() if not asks_for_token(pid)] == []


def asks_for_token(pid: int) -> bool:
    """Whether the process was started with token authentication, or is gone."""
    try:
        return b"RAY_AUTH_MODE=token" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return True


def open_ports(processes: dict[int, str]) -> dict[int, str]:
    """Those of the processes, with their command lines, that listen on more than the loopback interface."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for row in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = row.split()
            loopback = local.startswith(("0100007F:", "0" * 24 + "01000000:"))
            if state == "0A" and not loopback:
                inodes.add(f"socket:[{rest[5]}]")
    out = {}
    for pid, command in processes.items():
        with contextlib.suppress(OSError):
            if any(str(link.readlink()) in inodes for link in Path(f"/proc/{pid}/fd").iterdir()):
                out[pid] = command
    return out


def test_a_script_submitted_to_ray_finds_the_runtime(
    up: tuple[subprocess.Popen[str], Path], environment: dict[str, str]
) -> None:
    line = next(line for line in up[1].read_text().splitlines() if "ray job submit" in line)
    given = dict(word.split("=", 1) for word in line.split() if "=" in word)
    words = ["ray", "job", "submit", "--working-dir", str(JOBS.parent), "--", sys.executable, JOBS.name]
    ended = subprocess.run(words, env=environment | given, check=False, capture_output=True, text=True, timeout=90)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "fake_manila@aer: Completed, P(0000)+P(1111) = 0." in ended.stdout
    assert "fake_sherbrooke@aer: Completed" in ended.stdout


def test_down_ends_every_process(up: tuple[subprocess.Popen[str], Path], environment: dict[str, str]) -> None:
    assert len(processes_of(environment)) > 10
    assert told(environment, "down") == "stopped\n"
    assert up[0].wait(10) == 0
    assert up[1].read_text().endswith("· shutting down\nstopped\n")
    deadline = time.monotonic() + 10
    while left := processes_of(environment):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    again = subprocess.run([*QRTX, "down"], env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert (again.returncode, "no runtime is up" in again.stderr) == (1, True)
