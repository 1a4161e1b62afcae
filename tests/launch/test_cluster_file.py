"""`cluster.yaml` and the Serve config file against Ray's own schemas."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from qrtx_ray.client import find_connection
from qrtx_ray.serve_app import Arguments

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cluster() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text("utf-8"))
    return document


def test_ray_accepts_the_cluster_file(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(cluster)
    validate_config(prepared)
    assert prepared["max_workers"] == len(cluster["provider"]["worker_ips"])


def test_every_start_command_asks_for_a_token(cluster: dict[str, Any]) -> None:
    for part in ("head_start_ray_commands", "worker_start_ray_commands"):
        starting = [command for command in cluster[part] if 'ray" start' in command or 'serve" run' in command]
        assert starting
        assert all("RAY_AUTH_MODE=token" in command for command in starting)


def test_scripts_on_the_head_find_the_runtime(cluster: dict[str, Any]) -> None:
    (starting,) = [command for command in cluster["head_start_ray_commands"] if "--head" in command]
    exported = starting.partition("export ")[2].partition(";")[0]
    environment = dict(word.split("=", 1) for word in shlex.split(exported))
    assert environment.keys() >= {"QRTX_URL", "QRTX_STORAGE_PATH", "RAY_AUTH_MODE"}
    assert find_connection(token="t", environment=environment).url == "http://127.0.0.1:8000"


def test_the_serve_file_builds_our_application() -> None:
    from ray.serve.schema import ServeDeploySchema

    document = yaml.safe_load((ROOT / "examples" / "serve.yaml").read_text("utf-8"))
    (application,) = ServeDeploySchema.model_validate(document).applications
    assert application.import_path == "qrtx_ray.serve_app:build"
    assert Arguments.model_validate(application.args).profile == "optimized"
