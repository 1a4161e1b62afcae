"""The built-in ideal engine passes the conformance suite."""

from __future__ import annotations

import pytest

from qrtx_ray.engines.registry import engine_for

from .conformance import IdealEngineConformance


class TestAerIdeal(IdealEngineConformance):
    @pytest.fixture(scope="class")
    def engine(self):
        return engine_for("aer_ideal")
