"""What a child can see and do, and that it never outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import pytest_asyncio

from qrtx_ray.errors import ExecuteError
from qrtx_ray.sandbox import SandboxLimits

from .conftest import ENTRY, runs, sandbox_of, wait_until

LIMITS = SandboxLimits(memory_bytes=512 * 2**20, nice=7, threads=3)
QISKIT = ("qiskit", "qiskit.qpy", "qiskit.qasm2", "qiskit_aer")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def warm():
    """A sandbox with Qiskit and Aer loaded, as the compiler and the engines have it."""
    os.environ["QRTX_TOKEN"] = "secret"
    async with sandbox_of(limits=LIMITS, preload=QISKIT) as box:
        yield box
    del os.environ["QRTX_TOKEN"]


async def look(box):
    return await box.call({"do": "look", "modules": ["qiskit_aer", "qiskit", "ray", "pytest"]}, deadline_s=5)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_child_starts_in_an_empty_folder_with_one_descriptor_beside_the_standard_ones(warm):
    seen = await look(warm)
    assert seen["files"] == []
    assert seen["descriptors"] == [0, 1, 2, 3]
    assert seen["session"]
    assert seen["no_new_privileges"] == "1"
    assert seen["nice"] == min(19, os.nice(0) + 7)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_child_has_the_libraries_and_nothing_of_the_parent(warm):
    seen = await look(warm)
    assert seen["modules"] == ["qiskit_aer", "qiskit"]
    assert seen["main"].endswith("zygote.py")


@pytest.mark.asyncio(loop_scope="module")
async def test_the_environment_holds_the_thread_counts_and_no_secret(warm):
    environment = (await look(warm))["environment"]
    assert "secret" not in environment.values()
    assert environment["OMP_NUM_THREADS"] == environment["RAYON_NUM_THREADS"] == "3"
    assert environment["OPENBLAS_NUM_THREADS"] == "1"
    assert environment["HOME"] == environment["TMPDIR"]
    assert Path(environment["QISKIT_SETTINGS"]).read_text().splitlines()[1] == "min_qpy_version = 13"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_child_without_a_network_sees_no_interface_but_its_own_loopback(warm):
    names = (await look(warm))["interfaces"]
    assert names == ["lo"] or not warm._forker.network_left


@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_can_be_written_anywhere(warm):
    import errno

    assert (await warm.call({"do": "write"}, deadline_s=5))["refused"] == [errno.EFBIG, errno.EFBIG]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_panic_of_a_rust_library_is_an_error_and_costs_the_process(warm):
    pid = warm.pid
    with pytest.raises(ExecuteError, match="PanicException"):
        await warm.call({"do": "panic"}, deadline_s=10)
    assert await warm.call({"do": "echo"}, deadline_s=5) == {"do": "echo"}
    assert warm.pid != pid


@pytest.mark.asyncio(loop_scope="module")
async def test_qpy_older_than_version_13_is_refused(warm):
    assert await warm.call({"do": "old_qpy"}, deadline_s=5) == {"refused": True}


@pytest.mark.asyncio(loop_scope="module")
async def test_the_libraries_do_not_count_against_the_memory_of_a_job(warm):
    size = 100 * 2**20
    with pytest.raises(ExecuteError, match="where at most"):
        await warm.call({"do": "big_reply", "size": size}, deadline_s=10)


PARENT = """
    import asyncio, sys
    from qrtx_ray.sandbox import Sandbox, SandboxLimits

    async def main():
        box = Sandbox({entry!r}, {{}}, SandboxLimits())
        await box.start()
        spare = await box._spare
        answer = await box.call({{"do": "pid"}}, deadline_s=5)
        print(answer["pid"], spare.pid, answer["zygote"], box._forker._folder.name, flush=True)
        await box.call({{"do": "spin"}}, deadline_s=60)

    asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_and_zygote_die_with_the_parent(number):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = textwrap.dedent(PARENT).format(entry=ENTRY)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        words = parent.stdout.readline().split()
        pids = [int(word) for word in words[:3]]
        assert all(runs(pid) for pid in pids)
        parent.send_signal(number)
        # About 0.03 s on an idle machine; wait_until allows for a busy one.
        wait_until(lambda: not any(runs(pid) for pid in pids[:2]))
        wait_until(lambda: not runs(pids[2]))
    wait_until(lambda: not Path(words[3]).exists())


def test_limits_travel_as_plain_data():
    assert SandboxLimits.from_dict(LIMITS.to_dict()) == LIMITS


def test_only_what_libraries_need_is_passed_on(tmp_path):
    outer = {
        "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "1",
        "AWS_SECRET_ACCESS_KEY": "x",
        "LD_PRELOAD": "x",
        "PYTHONPATH": "x",
    }
    passed = LIMITS.environment(tmp_path, outer)
    assert passed["PATH"] == "/bin"
    assert passed["CUDA_VISIBLE_DEVICES"] == "1"
    assert "x" not in passed.values()
