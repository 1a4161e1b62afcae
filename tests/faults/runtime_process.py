"""``python -m tests.faults.runtime_process FOLDER [AGENTS [SECONDS]]``: a whole runtime on a storage folder, until its input
ends or it is killed. `AGENTS` serve the first device; so many `SECONDS` of run are between two checkpoints.

A line ``preempt AGENT JOB ATTEMPT`` of the input is carried out.
"""

from __future__ import annotations

import json
import os
import sys

from qrtx_ray.config import load_settings
from qrtx_ray.launch import LocalRuntime


def main(folder: str, agents: str = "1", checkpoint_s: str = "60") -> None:
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    overrides = {
        "storage.path": folder,
        "server.port": 0,
        "quantum_state.checkpoint_interval": float(checkpoint_s),
        "devices": [
            {"name": "fake_manila@aer", "count": int(agents)},
            {"name": "fake_sherbrooke@aer_ideal", "count": 1},
        ],
    }
    with LocalRuntime(load_settings(env={"HOME": folder}, overrides=overrides)) as runtime:
        facts = {
            "url": runtime.url,
            "token": runtime.token,
            "pids": list(runtime.pids.values()),
            "actors": runtime.pids,
        }
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()
        from .tools import actor  # imports Ray, which must see its environment first

        for line in sys.stdin:
            _, agent, job, attempt = line.split()
            actor(agent).preempt.remote(job, int(attempt))


if __name__ == "__main__":
    main(*sys.argv[1:])
