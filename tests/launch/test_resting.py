"""A runtime that is told to end: agents come to rest within their time, and what did not is named."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import ray

from qrtx_ray.launch import resting
from qrtx_ray.launch.resting import Draining, Rest, rest_file


class Agent:
    """`answer` is what its call comes to: a list, an error, or None when it never does."""

    def __init__(self, answer) -> None:
        self.answer = answer
        self.asked = None
        self.drain = self

    def remote(self, timeout_s, finish_s):
        self.asked = (timeout_s, finish_s)
        return self


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Ray's waiting, for the agents above."""

    def wait(waiting, num_returns, timeout):
        ready = [agent for agent in waiting if agent.answer is not None]
        if not ready:
            time.sleep(0.001)
        return ready, [agent for agent in waiting if agent.answer is None]

    def get(agent):
        if isinstance(agent.answer, Exception):
            raise agent.answer
        return agent.answer

    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(resting, "LOOK_S", 0.01)


def rest_of(timeout_s: float = 0.05, hurried=lambda: False, **answers) -> Rest:
    agents = [(name, Agent(answer)) for name, answer in answers.items()]
    rest = Draining(agents, timeout_s).wait(hurried)
    assert all(agent.asked == (timeout_s, min(2.0, timeout_s / 2)) for _, agent in agents), "all are asked at once"
    return rest


def test_when_all_agents_rest_there_is_nothing_to_say():
    rest = rest_of(a=[], b=[])
    assert (rest.unfinished, rest.silent, rest.words()) == ((), (), "")
    assert rest_of().words() == ""


def test_what_did_not_get_to_the_end_of_its_slice_is_named_and_so_is_who_did_not_answer():
    rest = rest_of(a=[("job-2", 1), ("job-1", 3)], b=ray.exceptions.ActorDiedError(), c=None)
    assert rest.unfinished == ("job-1", "job-2")
    assert rest.silent == ("b", "c")
    assert "job-1, job-2; at the next start" in rest.words()
    assert "no answer from b, c" in rest.words()


def test_many_jobs_are_counted_and_not_all_named():
    words = Rest(unfinished=tuple(f"job-{number}" for number in range(12))).words()
    assert "job-4 and 7 more" in words
    assert "job-5" not in words


def test_an_agent_that_hangs_is_waited_for_no_longer_than_it_may_take():
    began = time.monotonic()
    assert rest_of(0.05, a=None).silent == ("a",)
    assert time.monotonic() - began < 1.0


def test_who_is_in_a_hurry_does_not_wait():
    began = time.monotonic()
    assert rest_of(60.0, lambda: True, a=None).silent == ("a",)
    assert time.monotonic() - began < 1.0


def test_word_of_it_is_left_for_whoever_ended_the_runtime(tmp_path: Path):
    path = rest_file(tmp_path)
    assert Rest.read(path) is None
    rest = Rest(1.5, ("job-1",), ("a",))
    rest.write(path)
    assert Rest.read(path) == rest
    for nonsense in ("", "[]", '{"took_s": "x"}', '{"took_s": 1}'):
        path.write_text(nonsense, "utf-8")
        assert Rest.read(path) is None


def test_a_folder_that_takes_no_files_does_not_keep_a_runtime_from_ending(tmp_path: Path):
    (tmp_path / "run").write_text("in the way", "utf-8")
    Rest().write(rest_file(tmp_path))
