"""How the runtime's actors are found: by name, in one namespace, from any process of the cluster."""

from __future__ import annotations

from typing import Any

import ray

__all__ = [
    "DEVICE_AGENT_PREFIX",
    "NAMESPACE",
    "SCHEDULER",
    "STATE_MANAGER",
    "SUPERVISOR",
    "compiler_name",
    "device_agent_name",
    "find_actor",
]

NAMESPACE = "qrtx"
SCHEDULER = "qrtx-scheduler"
STATE_MANAGER = "qrtx-state-manager"
SUPERVISOR = "qrtx-supervisor"
DEVICE_AGENT_PREFIX = "qrtx-device-"


def compiler_name(index: int) -> str:
    """Name of the compiler actor `index`."""
    return f"qrtx-compiler-{index}"


def device_agent_name(entry: int, index: int) -> str:
    """Name of agent `index` of the device entry `entry` of the configuration."""
    return f"{DEVICE_AGENT_PREFIX}{entry}-{index}"


def find_actor(name: str) -> Any | None:
    """The handle of a live named actor of the runtime, or None."""
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return None
