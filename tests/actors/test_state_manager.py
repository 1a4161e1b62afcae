"""Three levels of quantum state, and what becomes of them when agents die."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from qrtx_ray.actors.state_manager import StateManagerActor
from qrtx_ray.errors import NotFound, PersistError
from qrtx_ray.model import TaskState
from qrtx_ray.store.circuit_fs import CircuitFS

from .building import job_id, record, settings


@pytest.fixture
def manager(tmp_path):
    return StateManagerActor(settings(tmp_path, **{"quantum_state.level1_cache_size": 10}).to_dict())


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


@pytest.mark.parametrize("facts", [{"attempt": 2}, {"attempt": 1, "preemptions": 1}])
async def test_kept_progress_is_dropped_when_its_job_has_ended(manager, tmp_path, facts):
    files = CircuitFS(str(tmp_path))
    for number in (1, 2):
        files.write_checkpoint(job_id(number), b"half")
    ended = record(1, TaskState.CANCELLED, finished_at=1011.0, **facts)
    for _ in range(2):
        await manager.record_metadata([ended])
    folder = tmp_path / "circuit_fs"
    assert [entry.name for entry in (folder / ended.id).iterdir()] == ["meta.json"]
    assert (folder / job_id(2) / "checkpoint").exists()


async def test_metadata_of_finished_jobs_is_written_and_forgotten_with_the_job(manager, tmp_path):
    done = record(1, TaskState.COMPLETED, finished_at=1010.5, attempt=2, qpu_s=2.5, result_sha256="ab", result_bytes=3)
    await manager.record_metadata([done, record(2, TaskState.CANCELLED, finished_at=1011.0)])
    await manager.record_metadata([done])
    path = tmp_path / "circuit_fs" / done.id / "meta.json"
    document = json.loads(path.read_text("utf-8"))
    assert document["finished"] == "1970-01-01T00:16:50.500000+00:00"
    assert (document["state"], document["attempts"], document["qpu_s"]) == ("Completed", 2, 2.5)
    assert document["results"] == {"sha256": "ab", "bytes": 3}
    await manager.forget([done.id, job_id(77)])
    assert not path.parent.exists()
