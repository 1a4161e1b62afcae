"""What a sandboxed child may use, and the environment that must stand before its libraries are loaded."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["SandboxLimits", "release_reserve"]

_RESERVE_BYTES = 32 * 2**20
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "NUMBA_CACHE_DIR", "TZ", "VIRTUAL_ENV")
_PASSED_ON_PREFIXES = ("CUDA_", "NVIDIA_")


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Limits of one child. There is no limit of CPU seconds: a child lives long, a call has a deadline.

    Args:
        memory_bytes: Address space beyond what the libraries hold when the child is forked. (Qiskit and Aer map
            1.2 GiB of address space by being imported, 90 MiB of it resident.)
        file_size_bytes: Largest file it may write; 0: it can write nothing at all. Replies go through the socket.
        open_files: Descriptors.
        frame_bytes: Largest frame in either direction.
        threads: OpenMP and Rust threads of the libraries.
        nice: Added to the niceness, so that those who must answer are scheduled before those who compute.
        start_timeout_s: From the request for a child to its handler standing; the libraries' import included.
    """

    memory_bytes: int = 2 * 2**30
    file_size_bytes: int = 0
    open_files: int = 64
    frame_bytes: int = 64 * 2**20
    threads: int = 1
    nice: int = 10
    start_timeout_s: float = 60.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SandboxLimits:
        return cls(**data)

    def environment(self, folder: Path, outer: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of the zygote; of `outer` only what libraries need, so no secret is passed on.

        Args:
            folder: Private folder with ``settings.conf`` and the empty folder ``home``.
            outer: The environment of the parent.
        """
        kept = {key: value for key, value in outer.items() if key in _PASSED_ON or key.startswith(_PASSED_ON_PREFIXES)}
        threads = str(self.threads)
        return kept | {
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "home"),
            "QISKIT_SETTINGS": str(folder / "settings.conf"),
            "QISKIT_PARALLEL": "FALSE",
            "OMP_NUM_THREADS": threads,
            # Threads that spin while they wait make two processes on two cores five times slower.
            "OMP_WAIT_POLICY": "PASSIVE",
            "RAYON_NUM_THREADS": threads,
            # OpenBLAS and MKL start their threads when they are loaded, and a zygote must have one thread.
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            # Each arena reserves 64 MiB of address space.
            "MALLOC_ARENA_MAX": "2",
            "PYTHONDONTWRITEBYTECODE": "1",
            # The order of a set of names must not decide how a circuit is laid out.
            "PYTHONHASHSEED": "0",
        }

    def apply(self) -> None:
        """Limit the calling process; for good, as hard limits cannot be raised again."""
        _limit(resource.RLIMIT_AS, _address_space_bytes() + self.memory_bytes, reserve=_RESERVE_BYTES)
        _limit(resource.RLIMIT_FSIZE, self.file_size_bytes)
        _limit(resource.RLIMIT_NOFILE, self.open_files)
        _limit(resource.RLIMIT_CORE, 0)
        os.nice(self.nice)


def release_reserve() -> None:
    """Let the process use a little more memory: enough to say that it ran out of it."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _limit(which: int, value: int, *, reserve: int = 0) -> None:
    hard = resource.getrlimit(which)[1]
    soft, top = (
        (value, value + reserve) if hard == resource.RLIM_INFINITY else (min(value, hard), min(value + reserve, hard))
    )
    resource.setrlimit(which, (soft, top))


def _address_space_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()
