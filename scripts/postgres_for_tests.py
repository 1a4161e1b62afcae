"""A PostgreSQL server for the tests: `python scripts/postgres_for_tests.py COMMAND …` starts one, runs the command with
QRTX_TEST_POSTGRES_URL set, and stops the server again, whatever came of the command.

The server is an installed one (/usr/lib/postgresql/*/bin, or what stands on PATH); where there is none and we are root
on a machine with apt, it is installed. It runs as an unprivileged user in a folder of its own, which goes with it, and
listens on a free loopback port, with a password.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

URL = "QRTX_TEST_POSTGRES_URL"
_USER = "postgres"  # made by the package; what a root's server runs as
_PATIENCE_S = 60


class Server:
    """A server with an empty database. Not started yet.

    Args:
        folder: An existing folder of its own, in which the user it runs as may look.
        programs: Where `initdb` and `pg_ctl` are.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self._data = folder / "data"
        self._log = folder / "log"
        self._programs = programs
        self._port = _free_port()
        password = secrets.token_urlsafe(16)
        self.url = f"postgresql://{_USER}:{password}@127.0.0.1:{self._port}/postgres"
        word = folder / "password"
        word.write_text(password)
        if os.geteuid() == 0:
            account = pwd.getpwnam(_USER)
            for path in (folder, word):
                os.chown(path, account.pw_uid, account.pw_gid)
        self._run(
            *("initdb", "--pgdata", str(self._data), "--username", _USER, "--pwfile", str(word)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )
        word.unlink()

    def start(self) -> None:
        """Start it, and wait until it takes connections; after a crash it recovers first."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        self._control("start", "--wait", "--log", str(self._log), "--options", options)

    def stop(self, mode: str = "fast") -> None:
        """End it; `immediate` is a crash: nothing is written on the way out."""
        self._control("stop", "--wait", "--mode", mode)

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "--pgdata", str(self._data), "--timeout", str(_PATIENCE_S), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", _USER, "--", *command]
        # The server must not inherit a pipe: who reads it would wait for the server's end.
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            check=False,
        )
        if done.returncode:
            said = self._log.read_text() if self._log.exists() else ""
            raise RuntimeError(f"{program} {arguments[-1]} ended with {done.returncode}\n{said[-2000:]}")


@contextmanager
def running() -> Iterator[Server]:
    """A started server in a temporary folder; gone after the block."""
    programs = installed()
    if programs is None:
        raise RuntimeError("there is no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="qrtx-postgres-"))
    try:
        server = Server(folder, programs)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def installed() -> Path | None:
    """The folder of the newest server's programs, or None."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    on_path = shutil.which("pg_ctl")
    return None if on_path is None else Path(on_path).resolve().parent


def _install() -> None:
    # The package makes and starts a cluster of its own unless it is told not to.
    settings = Path("/etc/postgresql-common/createcluster.conf")
    if not settings.exists():
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text("create_main_cluster = false\n")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "-qq", "update"], env=environment, check=True)
    command = ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", "postgresql"]
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ended(_: int, __: FrameType | None) -> None:
    raise SystemExit(143)


def main(command: Sequence[str]) -> int:
    if not command:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    signal.signal(signal.SIGTERM, _ended)
    if installed() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
    with running() as server:
        return subprocess.run(command, env={**os.environ, URL: server.url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
