"""Three levels of quantum state, and what becomes of them when agents die."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from ray.exceptions import ActorDiedError

from qrtx_ray.actors import state_manager
from qrtx_ray.actors.state_manager import StateManagerActor
from qrtx_ray.errors import CheckpointDamaged, CheckpointNotFound, NotFound, PersistError, StateChanged
from qrtx_ray.model import TaskState
from qrtx_ray.store.checkpoints import CheckpointDraft, CheckpointStore

from .building import checkpoint, job_id, record, settings, until
from .objects import objects
from .ray_double import Cluster

__all__ = ["objects"]


WANTED = {
    "quantum_state.level1_cache_size": 10,
    "quantum_state.level2_object_bytes": 3000,
    "quantum_state.checkpoint_retention": 100.0,
}


@pytest.fixture
async def manager(tmp_path, monkeypatch, objects):
    return StateManagerActor(settings(tmp_path, **WANTED).to_dict())


@pytest.fixture
def files(tmp_path):
    return CheckpointStore(str(tmp_path))


@pytest.fixture
def agents(monkeypatch):
    """The agents of the cluster, by name."""
    actors = Cluster()
    monkeypatch.setattr("qrtx_ray.actors.state_manager.find_actor", actors.find)
    return actors


class Agent:
    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation

    async def status(self):
        if self.incarnation == "dead":
            raise ActorDiedError
        return {"incarnation": self.incarnation}


def draft(number: int = 1, attempt: int = 1, sequence: int = 1) -> CheckpointDraft:
    about = {"engine": "aer", "state_version": 1}
    return CheckpointDraft(job_id(number), attempt, sequence, 0.5, "slices", 1000.5, about)


async def hand_over(manager, files, objects, said, body=b"half"):
    ref, data = files.pack(said, body)
    assert await manager.keep_checkpoint(ref, [objects.put(np.frombuffer(data, np.uint8))])
    return ref


async def parked(work):
    """The task of `work`, which is waiting."""
    task = asyncio.create_task(work)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def holders(manager):
    return sorted((lease["agent"], lease["group"]) for lease in await manager.live_qubits())


async def test_a_group_waits_until_there_is_room_for_its_qubits(manager):
    await manager.occupy("d", "a", "1", "g1", {"j1": 6, "j2": 2})
    waiting = await parked(manager.occupy("d", "b", "1", "g2", {"j3": 5}))
    assert await holders(manager) == [("a", "g1")]
    assert await manager.vacate("a", "1", "g1")
    await waiting
    assert await holders(manager) == [("b", "g2")]
    assert (await manager.live_qubits("d"))[0]["qubits"] == {"j3": 5}
    assert await manager.live_qubits("other") == []


async def test_a_group_larger_than_the_limit_runs_alone(manager):
    await manager.occupy("d", "a", "1", "g1", {"j": 127})
    waiting = await parked(manager.occupy("d", "b", "1", "g2", {"j": 1}))
    await manager.vacate("a", "1", "g1")
    await waiting


async def test_asking_for_the_next_group_ends_a_lease_whose_return_was_lost(manager):
    await manager.occupy("d", "a", "1", "g1", {"j": 10})
    await manager.occupy("d", "a", "1", "g2", {"j": 10})
    assert await holders(manager) == [("a", "g2")]
    assert not await manager.vacate("a", "1", "g1"), "the late return"


async def test_a_new_process_of_an_agent_frees_what_the_dead_one_held_and_waited_for(manager):
    await manager.occupy("d", "a", "1", "g1", {"j": 10})
    other = await parked(manager.occupy("d", "b", "1", "g2", {"j": 10}))
    await manager.occupy("d", "a", "2", "g3", {"j": 0})
    await other
    dead = await parked(manager.occupy("d", "a", "2", "g4", {"j": 10}))
    third = await parked(manager.occupy("d", "a", "3", "g5", {"j": 10}))
    await dead  # it is told, and gets nothing
    await manager.vacate("b", "1", "g2")
    await third
    assert await holders(manager) == [("a", "g5")]


async def test_an_agent_that_was_given_up_blocks_nobody(manager):
    await manager.occupy("d", "a", "1", "g1", {"j": 10})
    waiting = await parked(manager.occupy("d", "b", "1", "g2", {"j": 10}))
    assert not await manager.reclaim("a", "0")
    assert await manager.reclaim("a", "1")
    await waiting
    assert await holders(manager) == [("b", "g2")]


async def test_a_caller_that_left_leaves_no_lease(manager):
    await manager.occupy("d", "a", "1", "g1", {"j": 10})
    waiting = await parked(manager.occupy("d", "b", "1", "g2", {"j": 10}))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await manager.vacate("a", "1", "g1")
    assert await holders(manager) == []


async def test_a_stored_state_is_found_by_its_key_and_comes_back_exactly(manager):
    arrays = {"amplitudes": np.exp(1j * np.arange(64)) / 8, "counts": np.arange(5, dtype=np.uint16)}
    ref = await manager.store_state(job_id(1), arrays, {"shots": 7})
    assert await manager.find_state(job_id(1)) == ref
    restored, metadata = await manager.load_state(ref)
    assert metadata == {"shots": 7}
    for name, array in arrays.items():
        assert restored[name].dtype == array.dtype
        assert np.array_equal(restored[name], array)


async def test_a_damaged_state_is_refused_and_a_deleted_one_is_gone(manager, tmp_path):
    ref = await manager.store_state(job_id(1), {"a": np.zeros(100)}, {})
    [file] = (tmp_path / "quantum_states").rglob("*.state")
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(PersistError):
        await manager.load_state(ref)
    await manager.delete_state(job_id(1))
    with pytest.raises(NotFound):
        await manager.find_state(job_id(1))
    with pytest.raises(NotFound):
        await manager.load_state(ref)


# ------------------------------------------------------------------------------------------------- fences and leaks


async def test_every_lease_has_a_larger_number_also_after_a_restart_of_the_manager(manager, tmp_path):
    first = await manager.occupy("d", "a", "1", "g1", {"j": 1})
    second = await manager.occupy("d", "b", "1", "g2", {"j": 1})
    assert [lease["fence"] for lease in await manager.live_qubits()] == [first, second]
    restarted = StateManagerActor(settings(tmp_path, **WANTED).to_dict())
    assert first < second < await restarted.occupy("d", "a", "1", "g1", {"j": 1})


async def test_an_incarnation_that_has_a_successor_gets_nothing_and_disturbs_nothing(manager):
    await manager.occupy("d", "a", "1", "g1", {"j": 1})
    await manager.occupy("d", "a", "2", "g2", {"j": 1})
    assert await manager.occupy("d", "a", "1", "g3", {"j": 1}) is None
    assert not await manager.vacate("a", "1", "g2")
    assert not await manager.reclaim("a", "1")
    assert await holders(manager) == [("a", "g2")]


async def test_an_incarnation_that_was_only_silent_may_come_back(manager):
    first = await manager.occupy("d", "a", "1", "g1", {"j": 1})
    await manager.reclaim("a", "1")
    assert await manager.occupy("d", "a", "1", "g2", {"j": 1}) > first


async def test_a_scheduler_that_was_replaced_reclaims_nothing(manager):
    await manager.occupy("d", "a", "1", "g1", {"j": 1})
    await manager.occupy("d", "b", "1", "g2", {"j": 1})
    assert await manager.reclaim("b", "1", 7)
    assert not await manager.reclaim("a", "1", 6)
    assert await holders(manager) == [("a", "g1")]
    assert await manager.reclaim("a", "1", 7)


async def test_qubits_are_counted_by_device(manager):
    await manager.occupy("d", "a", "1", "g1", {"j": 2, "k": 1})
    await manager.occupy("d", "b", "1", "g2", {"j": 1})
    await manager.occupy("e", "c", "1", "g3", {"j": 5})
    assert (await manager.status())["live_qubits"] == {"d": 4, "e": 5}


async def test_what_agents_hold_that_are_gone_is_found_by_looking(manager, agents):
    for name, incarnation in (("lives", "1"), ("reborn", "2"), ("dead", "dead"), ("away", "1")):
        agents.add(name, Agent(incarnation))
    agents.handles["away"].away = True
    for name in ("lives", "reborn", "dead", "away", "unknown"):
        await manager.occupy("d", name, "1", "g", {"j": 1})
    now = (await manager.live_qubits())[0]["since"]
    assert (await manager.sweep(now))["reclaimed"] == 0, "a lease just granted is not looked at"
    assert (await manager.sweep(now + 60))["reclaimed"] == 3
    assert await holders(manager) == [("away", "g"), ("lives", "g")]


# ------------------------------------------------------------------------------------------------------- checkpoints


async def test_a_checkpoint_handed_over_is_durable_and_the_managers_own(manager, files, objects):
    ref = await hand_over(manager, files, objects, draft())
    assert files.read(ref).body == b"half"
    objects.lose(0)  # the agent's, with the agent
    [held] = await manager.fetch_checkpoint(ref)
    assert files.read_packed(ref, (await held).data).body == b"half"
    assert (await manager.status())["held_checkpoint_bytes"] == ref.size_bytes


async def test_one_that_was_changed_on_the_way_is_not_kept(manager, files, objects):
    ref, data = files.pack(draft(), b"half")
    with pytest.raises(CheckpointDamaged):
        await manager.keep_checkpoint(ref, [objects.put(np.frombuffer(data[:-1] + b"x", np.uint8))])
    assert files.names(ref.job_id) == []
    assert await manager.fetch_checkpoint(ref) is None


async def test_without_room_in_the_object_store_the_file_is_enough(manager, files, objects):
    ref, data = files.pack(draft(), b"half")
    ours = objects.put(np.frombuffer(data, np.uint8))
    objects.full = True
    assert await manager.keep_checkpoint(ref, [ours])
    assert await manager.fetch_checkpoint(ref) is None
    assert files.read(ref).body == b"half"


async def test_those_used_last_are_held_up_to_a_size(manager, files, objects):
    body = np.random.default_rng(1).bytes(2900)
    refs = [await hand_over(manager, files, objects, draft(number), body) for number in (1, 2, 3)]
    assert await manager.fetch_checkpoint(refs[0]) is not None
    refs.append(await hand_over(manager, files, objects, draft(4), body))
    assert [await manager.fetch_checkpoint(ref) is not None for ref in refs] == [True, False, True, True]
    assert (await manager.status())["held_checkpoint_bytes"] <= 12_000
    assert files.read(refs[1]).body == body


async def test_superseded_checkpoints_go_from_files_and_objects(manager, files, objects):
    refs = [await hand_over(manager, files, objects, draft(sequence=number)) for number in (1, 2, 3, 4)]
    assert await manager.keep_only(job_id(1), [refs[2], refs[1]])
    assert files.names(job_id(1)) == ["checkpoint-1-4", "checkpoint-1-3", "checkpoint-1-2"], (
        "one is newer than the word"
    )
    assert [await manager.fetch_checkpoint(ref) is not None for ref in refs] == [False, True, True, True]


async def test_those_of_a_job_that_was_restored_are_compared_with_its_own_only(manager, files, objects):
    old = checkpoint(job_id(2), attempt=3)
    first, second, third = [await hand_over(manager, files, objects, draft(sequence=number)) for number in (5, 6, 7)]
    await manager.keep_only(job_id(1), [second, old])
    found = [await manager.fetch_checkpoint(ref) is not None for ref in (first, second, third)]
    assert found == [False, True, True], "the newest may be durable and not yet valid"


async def test_a_jobs_checkpoints_are_described_newest_first(manager, files):
    first, second = files.write(draft(), b"a"), files.write(draft(sequence=2), b"b")
    said = await manager.checkpoints(job_id(1))
    assert [item["sequence"] for item in said] == [2, 1]
    assert said[0] == {
        "attempt": 1,
        "sequence": 2,
        "progress": 0.5,
        "kind": "slices",
        "at": 1000.5,
        "size_bytes": second.size_bytes,
        "sha256": second.sha256,
        "expires_at": None,
        "about": {"engine": "aer", "state_version": 1},
        "parent": None,
        "restored_from": None,
    }
    await manager.record_metadata([record(1, TaskState.CANCELLED, finished_at=1010.0, checkpoints=(first,))])
    assert [item["expires_at"] for item in await manager.checkpoints(job_id(1))] == [1110.0]
    assert await manager.checkpoints(job_id(2)) == []
    with pytest.raises(NotFound):
        await manager.checkpoints("..")


async def test_a_job_that_completed_needs_no_checkpoints(manager, files, objects, tmp_path):
    refs = [await hand_over(manager, files, objects, draft(sequence=number)) for number in (1, 2)]
    other = files.write(draft(2), b"other")
    for _ in range(2):
        await manager.record_metadata([record(1, TaskState.COMPLETED, finished_at=1010.0, checkpoints=tuple(refs))])
    assert [entry.name for entry in (tmp_path / "circuit_fs" / job_id(1)).iterdir()] == ["meta.json"]
    assert await manager.fetch_checkpoint(refs[1]) is None
    assert files.read(other).body == b"other"


@pytest.mark.parametrize("state", [TaskState.CANCELLED, TaskState.FAILED, TaskState.TIMEOUT])
async def test_the_valid_checkpoints_of_a_job_that_ended_otherwise_stay_for_their_time(manager, files, state):
    valid, *_ = [files.write(draft(sequence=number), b"x") for number in (1, 2, 3)]
    for _ in range(2):
        await manager.record_metadata([record(1, state, finished_at=1010.5, checkpoints=(valid,))])
    assert files.names(job_id(1)) == ["checkpoint-1-1"], "whatever the record does not name has nobody who would use it"
    assert (await manager.sweep(1110.0))["expired"] == 0
    assert files.read(valid).body == b"x"
    assert (await manager.sweep(1111.0))["expired"] == 1
    with pytest.raises(CheckpointNotFound):
        files.read(valid)


async def test_what_comes_after_the_end_of_its_job_goes_at_once(manager, files, objects):
    valid = files.write(draft(), b"x")
    await manager.record_metadata([record(1, TaskState.CANCELLED, finished_at=1010.5, checkpoints=(valid,))])
    late = await hand_over(manager, files, objects, draft(sequence=2))
    written = files.write(draft(sequence=3), b"by the agent itself")
    await manager.note_checkpoints([written, valid])
    assert files.names(job_id(1)) == ["checkpoint-1-1"]
    assert await manager.fetch_checkpoint(late) is None


async def test_only_so_many_ends_are_remembered(manager, monkeypatch):
    monkeypatch.setattr(state_manager, "REMEMBERED_ENDS", 2)
    await manager.forget([job_id(number) for number in range(5)])
    await manager.record_metadata([record(1, TaskState.CANCELLED, finished_at=1010.5)])
    await manager.forget([job_id(4)])
    assert list(manager._ended) == [job_id(1), job_id(4)]


async def test_what_came_late_to_a_manager_that_has_forgotten_is_found_by_looking(manager, files, tmp_path):
    valid = files.write(draft(), b"x")
    await manager.record_metadata([record(1, TaskState.CANCELLED, finished_at=1010.5, checkpoints=(valid,))])
    files.write(draft(sequence=2), b"late")
    (tmp_path / "circuit_fs" / job_id(1) / ".checkpoint-1-3.abc.tmp").write_bytes(b"unfinished")
    restarted = StateManagerActor(settings(tmp_path, **WANTED).to_dict())
    assert (await restarted.sweep(1020.0))["leftovers"] == 1
    assert sorted(entry.name for entry in (tmp_path / "circuit_fs" / job_id(1)).iterdir()) == [
        "checkpoint-1-1",
        "meta.json",
    ]
    files.write(draft(sequence=2), b"late")
    assert (await restarted.sweep(1030.0))["leftovers"] == 0, "not every time"


async def test_the_manager_looks_by_itself_and_goes_on_after_a_refusal(tmp_path, monkeypatch, files):
    monkeypatch.setattr(state_manager, "SWEEP_S", 0.005)
    broken = ["once"]
    expire = CheckpointStore.expire

    def refuse_once(self, now):
        if broken:
            raise PersistError(broken.pop())
        return expire(self, now)

    monkeypatch.setattr(CheckpointStore, "expire", refuse_once)
    ref = files.write(draft(), b"x")
    files.retain(job_id(1), [ref], 1.0)
    manager = StateManagerActor(settings(tmp_path, **WANTED).to_dict())
    await until(lambda: files.names(job_id(1)) == [])
    assert await manager.ping()


async def test_named_states_are_kept_for_tenants(manager):
    first = await manager.put_named_state("alice", "loop", b"one", "")
    assert await manager.get_named_state("alice", "loop") == (b"one", first)
    with pytest.raises(StateChanged):
        await manager.put_named_state("alice", "loop", b"two", "")
    [said] = await manager.named_states("alice")
    assert (said["name"], said["etag"], said["size_bytes"]) == ("loop", first, 3)
    await manager.delete_named_state("alice", "loop", first)
    assert await manager.named_states("alice") == []


async def test_metadata_of_finished_jobs_is_written_and_forgotten_with_the_job(manager, tmp_path):
    done = record(1, TaskState.COMPLETED, finished_at=1010.5, attempt=2, qpu_s=2.5, result_sha256="ab", result_bytes=3)
    await manager.record_metadata([done, record(2, TaskState.CANCELLED, finished_at=1011.0)])
    await manager.record_metadata([done])
    path = tmp_path / "circuit_fs" / done.id / "meta.json"
    document = json.loads(path.read_text("utf-8"))
    assert document["finished"] == "1970-01-01T00:16:50.500000+00:00"
    assert (document["state"], document["attempts"], document["qpu_s"]) == ("Completed", 2, 2.5)
    assert document["results"] == {"sha256": "ab", "bytes": 3}
    assert (document["checkpoints"], document["partial"], document["restored_from"]) == ([], False, None)
    await manager.forget([done.id, job_id(77)])
    assert not path.parent.exists()
