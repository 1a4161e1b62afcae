from __future__ import annotations

import pytest

from tests.scheduler.driving import Driver


@pytest.fixture
def driver() -> Driver:
    return Driver()
