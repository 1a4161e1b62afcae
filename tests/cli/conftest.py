"""Commands as a person types them, against the real application over a gateway in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from qrtx_ray.api.app import create_app
from qrtx_ray.cli import control, draining, jobs, planning, service
from qrtx_ray.cli.main import main
from qrtx_ray.client import QrtxClient
from qrtx_ray.testing import FakeGateway
from tests.api.conftest import ALICE, DEVICES, QASM, SETTINGS
from tests.client.inside import Inside

MODULES: tuple[ModuleType, ...] = (control, draining, jobs, planning, service)


@dataclass(frozen=True)
class Told:
    """What a command answered."""

    code: int
    out: str
    err: str


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway(DEVICES.values())


@pytest.fixture
def typed(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Told]:
    front = Inside(create_app(gateway, SETTINGS, DEVICES))
    monkeypatch.chdir(tmp_path)
    Path("bell.qasm").write_text(QASM)

    def call(*words: str, token: str = ALICE) -> Told:
        for module in MODULES:
            monkeypatch.setattr(module, "QrtxClient", lambda: QrtxClient("http://testserver", token, transport=front))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capsys.readouterr()
        return Told(int(ended.value.code or 0), said.out, said.err)

    return call
