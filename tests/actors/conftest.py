"""A cluster of plain objects in the place of Ray's."""

from __future__ import annotations

import pytest

from .ray_double import Cluster

FINDERS = ("link", "device", "errands", "metadata_recorder")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    actors = Cluster()
    for module in FINDERS:
        monkeypatch.setattr(f"qrtx_ray.actors.{module}.find_actor", actors.find)
    return actors
