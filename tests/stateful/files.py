"""The folder of job files that outlives every process: checkpoints and results, which may also be damaged."""

from __future__ import annotations

from dataclasses import dataclass, replace

from qrtx_ray.model import CheckpointRef

__all__ = ["Files", "Kept"]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a checkpoint file holds: the seed it belongs to, slices done, the number reached; `sha256` as written."""

    sha256: str
    seed: int
    done: int
    value: int


class Files:
    """Checkpoint files by folder and name, results by job."""

    def __init__(self) -> None:
        self.checkpoints: dict[tuple[str, int, int], Kept] = {}
        self.results: dict[str, set[str]] = {}
        self.damaged: set[tuple[str, int, int]] = set()

    def write(self, job_id: str, attempt: int, sequence: int, progress: float, at: float, kept: Kept) -> CheckpointRef:
        """Make a checkpoint durable."""
        sha256 = _sha256(job_id, attempt, sequence, kept)
        self.checkpoints[job_id, attempt, sequence] = replace(kept, sha256=sha256)
        return CheckpointRef(job_id, attempt, sequence, sha256, 100, progress, at)

    def read(self, ref: CheckpointRef) -> Kept | None:
        """What the file holds, or None when it is missing, damaged, or another one."""
        kept = self.checkpoints.get((ref.job_id, ref.attempt, ref.sequence))
        if kept is None or kept.sha256 != ref.sha256:
            return None
        return kept if kept.sha256 == _sha256(ref.job_id, ref.attempt, ref.sequence, kept) else None

    def damage(self, ref: CheckpointRef, *, lost: bool) -> None:
        """Lose a file, or flip a bit in it."""
        key = (ref.job_id, ref.attempt, ref.sequence)
        kept = self.checkpoints.pop(key, None)
        self.damaged.add(key)
        if kept is not None and not lost:
            self.checkpoints[key] = replace(kept, value=kept.value ^ 1)

    def keep_only(self, job_id: str, refs: tuple[CheckpointRef, ...]) -> None:
        """Drop all checkpoints in the job's folder but these."""
        named = {(ref.job_id, ref.attempt, ref.sequence) for ref in refs}
        for key in [key for key in self.checkpoints if key[0] == job_id and key not in named]:
            del self.checkpoints[key]

    def keep_only_known(self, job_id: str, refs: tuple[CheckpointRef, ...]) -> None:
        """The same, but what is newer than all of `refs` stays: its word may be on its way."""
        newest = max((ref.attempt, ref.sequence) for ref in refs)
        named = {(ref.job_id, ref.attempt, ref.sequence) for ref in refs}
        for key in [key for key in self.checkpoints if key[0] == job_id and key not in named and key[1:] < newest]:
            del self.checkpoints[key]

    def write_results(self, job_id: str, digest: str) -> None:
        self.results.setdefault(job_id, set()).add(digest)


def _sha256(job_id: str, attempt: int, sequence: int, kept: Kept) -> str:
    return f"{job_id}.{attempt}.{sequence}.{kept.seed}.{kept.done}.{kept.value:016x}"
