"""Every test here breaks the shared runtime; afterwards it is whole again. Figures are shown at the end of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from qrtx_ray.client import QrtxClient
from qrtx_ray.launch import LocalRuntime

from .tools import AGENT, BELL, COMPILER, DEVICE, OTHER, OTHER_AGENT, SCHEDULER, STATE_MANAGER, ask, until

Report = Callable[[str, float], None]
FIGURES = pytest.StashKey[list[tuple[str, float]]]()


@pytest.fixture
def whole(runtime: LocalRuntime, client: QrtxClient) -> Iterator[None]:
    """Wait until every actor answers and a job completes on every agent."""
    yield
    for name in (SCHEDULER, STATE_MANAGER, COMPILER, AGENT, OTHER_AGENT):
        ask(name)
    until(lambda: client.health()["ready"] and len(client.health()["agents"]) == 2, 30, 0.1)
    for device in (DEVICE, OTHER):
        assert client.wait(client.submit(BELL, device, shots=8).id, 60).state == "Completed"


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Report:
    """Takes a figure in seconds."""
    figures = request.config.stash.setdefault(FIGURES, [])
    return lambda name, seconds: figures.append((name, seconds))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash.get(FIGURES, [])
    if figures:
        terminalreporter.section("recovery")
    for name, seconds in figures:
        terminalreporter.line(f"{name:<60} {seconds:8.3f} s")
