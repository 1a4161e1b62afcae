"""Side processes, the load generator against a small server, and CPU time by role."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from benchmarks import http_load
from benchmarks.process_times import Process, by_role, descendants
from benchmarks.side import Side

SHOTS = 7
SIDES = "tests.benchmarks.sides"


class Server(BaseHTTPRequestHandler):
    """Takes jobs and has their results at once; one shot is missing where the body asks for it."""

    protocol_version = "HTTP/1.1"
    taken: ClassVar[list[dict]] = []
    collected: ClassVar[list[int]] = []

    def do_POST(self):
        assert self.headers["Authorization"] == "Bearer secret"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.taken.append(body)
        self._answer(400 if body.get("bad") else 201, {"id": f"{body['number']}-{body.get('missing', 0)}"})

    def do_GET(self):
        parts = urlsplit(self.path)
        if parts.path == "/v1/results":
            outcomes = [self._results(job) for job in parse_qs(parts.query)["job"]]
            self.collected.append(len(outcomes))
            self._answer(200, {"outcomes": outcomes})
        else:
            self._answer(200, self._results(parts.path.split("/")[3]))

    @staticmethod
    def _results(job):
        missing = int(job.split("-")[1])
        counts = {"00": 4, "11": SHOTS - 4 - missing}
        return {"results": {"pubs": [{"registers": {"c": {"counts": counts}}}]}}

    def _answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def url():
    Server.taken.clear()
    Server.collected.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def run(tmp_path, url, mode, *bodies, **more):
    file = tmp_path / "bodies"
    file.write_text("".join(json.dumps(body) + "\n" for body in bodies), "utf-8")
    plan = {"mode": mode, "url": url, "token": "secret", "shots": SHOTS, "bodies": str(file), **more}
    return http_load.prepare(plan)()


def test_every_body_is_sent_once_and_every_result_collected(tmp_path, url):
    bodies = [{"number": number} for number in range(10)]
    answer = run(tmp_path, url, "throughput", *bodies, connections=3)
    assert answer["jobs"] == 10
    assert sorted(body["number"] for body in Server.taken) == list(range(10))
    assert 0 < answer["accepted_s"] <= answer["seconds"]


def test_results_are_collected_as_many_at_once_as_wanted(tmp_path, url):
    bodies = [{"number": number} for number in range(10)]
    answer = run(tmp_path, url, "throughput", *bodies, connections=2, collect=4)
    assert answer["jobs"] == 10
    assert sorted(Server.collected) == [1, 1, 4, 4]
    with pytest.raises(RuntimeError, match="instead of 7"):
        run(tmp_path, url, "throughput", {"number": 1, "missing": 1}, connections=1, collect=4)


@pytest.mark.parametrize(("mode", "key"), [("accept", "accept_s"), ("single", "round_trip_s")])
def test_latencies_are_one_for_each_body(tmp_path, url, mode, key):
    assert len(run(tmp_path, url, mode, {"number": 1}, {"number": 2})[key]) == 2


def test_an_answer_without_all_shots_is_no_figure(tmp_path, url):
    with pytest.raises(RuntimeError, match="instead of 7"):
        run(tmp_path, url, "throughput", {"number": 1, "missing": 1}, connections=1)


def test_a_refusal_is_no_figure(tmp_path, url):
    with pytest.raises(RuntimeError, match="400"):
        run(tmp_path, url, "accept", {"number": 1, "bad": True})


def test_a_side_gets_ready_and_begins_when_told():
    with Side(SIDES, {"number": 21}) as side:
        side.ready()
        side.go()
        assert side.result() == {"doubled": 42}


def test_a_side_that_ends_early_is_named_with_its_status():
    with Side(SIDES, {"end": True}) as side, pytest.raises(RuntimeError, match=f"{SIDES} ended with status 3"):
        side.ready()


def test_a_side_is_gone_when_left():
    with Side(SIDES, {"number": 1}) as side:
        side.ready()
        pid = side.pid
    assert not Path(f"/proc/{pid}").exists()


def test_processor_time_of_descendants_is_counted_by_role():
    burn = "import time\nwhile time.process_time() < 30: pass"
    before = descendants(os.getpid())
    with subprocess.Popen([sys.executable, "-c", burn, "qrtx_ray.engines.worker"]) as child:
        deadline = time.monotonic() + 20
        used: dict[str, float] = {}
        while used.get("engine_child", 0.0) < 0.05 and time.monotonic() < deadline:
            used = by_role(before, descendants(os.getpid()))
        child.kill()
    assert used["engine_child"] >= 0.05
    assert used["driver"] >= 0.0


def test_only_what_was_used_between_two_looks_counts():
    before = [Process(1, 0, "scheduler", 5.0), Process(2, 1, "replica", 1.0)]
    after = [Process(1, 0, "scheduler", 5.5), Process(3, 1, "replica", 0.25)]
    assert by_role(before, after) == {"scheduler": 0.5, "replica": 0.25}
