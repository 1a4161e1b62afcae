"""``python -m tests.faults.runtime_process FOLDER``: a whole runtime on a storage folder, until its input ends or it is killed.

A line ``preempt AGENT JOB ATTEMPT`` of the input is carried out.
"""

from __future__ import annotations

import json
import os
import sys

from qrtx_ray.config import load_settings
from qrtx_ray.launch import LocalRuntime


def main(folder: str) -> None:
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    overrides = {
        "storage.path": folder,
        "server.port": 0,
        "devices": [{"name": "fake_manila@aer", "count": 1}, {"name": "fake_sherbrooke@aer_ideal", "count": 1}],
    }
    with LocalRuntime(load_settings(env={"HOME": folder}, overrides=overrides)) as runtime:
        facts = {"url": runtime.url, "token": runtime.token, "pids": list(runtime.pids.values())}
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()
        from .tools import actor  # imports Ray, which must see its environment first

        for line in sys.stdin:
            _, agent, job, attempt = line.split()
            actor(agent).preempt.remote(job, int(attempt))


if __name__ == "__main__":
    main(sys.argv[1])
