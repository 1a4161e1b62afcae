"""Apart again: every answer goes to the member it is for, and to nobody else."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.model import Member
from qrtx_ray.multiplex.compose import Demultiplexer, compose


def members(count: int) -> list[Member]:
    return [Member(f"job{n}", attempt=n + 1, seed=n, timeout_s=1.0, executable=bytes([n])) for n in range(count)]


def test_the_message_holds_what_the_engine_needs_and_nothing_of_tenants_or_attempts():
    group = [member if n else replace(member, checkpoint_every_s=30.0) for n, member in enumerate(members(2))]
    message = compose(
        "fake_manila@aer", group, noise_id="seed.1", checkpoints={"job1": b"half"}, bulk_bytes={"job1": 64}
    )
    assert message == {
        "device": "fake_manila@aer",
        "noise_id": "seed.1",
        "members": [
            {"job_id": "job0", "seed": 0, "executable": b"\x00"}
            | {"checkpoint": b"", "bulk_bytes": 0, "checkpoint_every_s": 30.0},
            {"job_id": "job1", "seed": 1, "executable": b"\x01"}
            | {"checkpoint": b"half", "bulk_bytes": 64, "checkpoint_every_s": 0.0},
        ],
    }


def test_an_answer_counts_once_and_only_while_its_member_is_at_work():
    demux = Demultiplexer(members(3))
    answer = {"job_id": "job0", "results": b"a"}
    assert not demux.accept(answer), "nobody is at work yet"
    demux.begin(members(2))
    assert demux.accept(answer)
    assert not demux.accept(answer | {"results": b"b"})
    assert not demux.accept({"job_id": "job2"}), "not in this batch"
    assert not demux.accept({"job_id": ["job1"]})
    assert not demux.accept({})
    demux.end()
    assert not demux.accept({"job_id": "job1"})
    assert demux.outcomes == {"job0": answer}
    assert [member.job_id for member in demux.waiting] == ["job1", "job2"]
    assert demux.refused == 6


def test_a_reply_repeats_early_answers_and_the_first_one_counts():
    demux = Demultiplexer(members(2))
    demux.begin(members(2))
    demux.accept({"job_id": "job0", "results": b"early"})
    demux.accept_all([{"job_id": "job0", "results": b"late"}, {"job_id": "job1"}, "noise", {"job_id": 3}])
    assert demux.outcomes["job0"]["results"] == b"early"
    assert demux.waiting == []
    assert demux.refused == 2


def test_only_the_very_attempt_waits():
    demux = Demultiplexer(members(2))
    assert demux.waits("job1", 2) == members(2)[1]
    assert demux.waits("job1", 1) is None
    assert demux.waits("job9", 1) is None
    demux.drop("job1", 2)
    assert demux.waits("job1", 2) is None


def test_a_dropped_member_gets_no_outcome_any_more():
    demux = Demultiplexer(members(2))
    demux.begin(members(2))
    assert not demux.drop("job0", 9), "another attempt"
    assert demux.drop("job0", 1)
    assert not demux.drop("job0", 1)
    assert not demux.accept({"job_id": "job0"})


@settings(deadline=None, derandomize=True)
@given(count=st.integers(1, 12), order=st.randoms(use_true_random=False), split=st.integers(1, 12))
def test_demux_after_merge_gives_everybody_their_own(count, order, split):
    """Whatever the batches and the order of the answers: demux(merge(x)) == x."""
    group = members(count)
    demux = Demultiplexer(group)
    while batch := demux.waiting[:split]:
        message = compose("d", batch)
        demux.begin(batch)
        answers = [{"job_id": entry["job_id"], "results": entry["executable"]} for entry in message["members"]]
        order.shuffle(answers)
        demux.accept_all(answers)
        demux.end()
    assert {job: outcome["results"] for job, outcome in demux.outcomes.items()} == {
        member.job_id: member.executable for member in group
    }
    assert demux.refused == 0
