"""Processes beside the one that measures: what loads or competes with the runtime must not share an interpreter with it.

A side process is a module with ``prepare(plan) -> run``. It is started with its plan on standard input, gets ready (imports,
circuits, connections), says so, begins when told, and answers with one line of JSON. So several can be started at leisure
and set off together.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any, Self

from benchmarks.report import ROOT

__all__ = ["Side", "serve"]

READY = "ready"
GO = "go"
STOP = "stop"


class Side:
    """The parent's end. A context manager: the process is gone when it is left.

    Args:
        module: Dotted name of the module, run with ``python -m``.
        plan: Plain data for its `prepare`; may hold secrets, it is in no argument list.
        environment: The process's whole environment, or None for this one's.
    """

    def __init__(self, module: str, plan: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> None:
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=None if environment is None else dict(environment),
        )
        self._tell(json.dumps(plan))

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for end in (self._process.stdin, self._process.stdout):
            if end is not None:
                end.close()

    def ready(self) -> None:
        """Wait until it can begin."""
        if self._hear() != READY:
            raise RuntimeError(f"{self._module} said something else before it was ready")

    def go(self) -> None:
        """Let it begin."""
        self._tell(GO)

    def stop(self) -> None:
        """Ask a process that runs until told to come to its end."""
        self._tell(STOP)

    def result(self) -> Any:
        """Wait for its answer."""
        return json.loads(self._hear())

    def run(self) -> Any:
        """Get ready, begin, answer."""
        self.ready()
        self.go()
        return self.result()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._module} ended with status {self._process.wait()} before it answered")
        return line.rstrip("\n")


def serve(prepare: Callable[[dict[str, Any]], Callable[[], Any]]) -> None:
    """The side's own `main`: read the plan, prepare, wait for the word, run, answer."""
    out: IO[str] = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints is no answer
    run = prepare(json.loads(sys.stdin.readline()))
    print(READY, file=out, flush=True)
    if sys.stdin.readline().strip() == GO:
        print(json.dumps(run()), file=out, flush=True)
