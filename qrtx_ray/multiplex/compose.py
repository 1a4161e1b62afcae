"""From a group to what one engine call gets, and from its answers back to the members.

An engine child has handled what tenants sent, so its answers are not taken on trust: an answer counts only for a member
that is at work and has none yet. Whatever else comes is counted and dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from qrtx_ray.model import JobId, Member

__all__ = ["Demultiplexer", "compose"]


def compose(
    device: str,
    members: Sequence[Member],
    *,
    noise_id: str = "",
    checkpoints: Mapping[JobId, bytes] = MappingProxyType({}),
    bulk_bytes: Mapping[JobId, int] = MappingProxyType({}),
) -> dict[str, Any]:
    """The message for an engine child; plain data.

    Args:
        noise_id: The noise the device has now.
        checkpoints: What was kept of members that made way before: the bodies.
        bulk_bytes: Sizes of the states that belong to these, and lie in the memory shared for the call.
    """
    return {
        "device": device,
        "noise_id": noise_id,
        "members": [
            {
                "job_id": member.job_id,
                "seed": member.seed,
                "executable": member.executable,
                "checkpoint": checkpoints.get(member.job_id, b""),
                "bulk_bytes": bulk_bytes.get(member.job_id, 0),
                "checkpoint_every_s": member.checkpoint_every_s,
            }
            for member in members
        ],
    }


class Demultiplexer:
    """Sorts answers to the members of a group.

    Args:
        members: Everybody who waits for an outcome.

    Attributes:
        outcomes: What came, by job.
        refused: Answers that belonged to nobody who was waiting for one.
    """

    def __init__(self, members: Iterable[Member]) -> None:
        self._waiting: dict[JobId, Member] = {member.job_id: member for member in members}
        self._at_work: frozenset[JobId] = frozenset()
        self.outcomes: dict[JobId, Mapping[str, Any]] = {}
        self.refused = 0

    @property
    def waiting(self) -> list[Member]:
        """Members without an outcome, in the group's order."""
        return list(self._waiting.values())

    def begin(self, batch: Iterable[Member]) -> None:
        """From now on answers are for members of `batch`."""
        self._at_work = frozenset(member.job_id for member in batch)

    def end(self) -> None:
        """Nobody is at work."""
        self._at_work = frozenset()

    def at_work(self, job_id: JobId) -> bool:
        """Whether the member is in the batch that runs now and still waits."""
        return job_id in self._at_work and job_id in self._waiting

    def accept(self, outcome: Mapping[str, Any]) -> bool:
        """Take an answer of the child. Returns whether it counted."""
        job_id = outcome.get("job_id")
        if not isinstance(job_id, str) or not self.at_work(job_id):
            self.refused += 1
            return False
        self.settle(job_id, outcome)
        return True

    def accept_all(self, outcomes: object) -> None:
        """Take the answers of a reply. It repeats what came early: the first answer of a member is the one that counts."""
        for outcome in outcomes if isinstance(outcomes, list) else ():
            job_id = outcome.get("job_id") if isinstance(outcome, Mapping) else None
            if not isinstance(job_id, str):
                self.refused += 1
            elif job_id not in self.outcomes:
                self.accept(outcome)

    def settle(self, job_id: JobId, outcome: Mapping[str, Any]) -> None:
        """Give a waiting member its outcome."""
        del self._waiting[job_id]
        self.outcomes[job_id] = outcome

    def waits(self, job_id: JobId, attempt: int) -> Member | None:
        """The member, while that attempt has no outcome."""
        member = self._waiting.get(job_id)
        return member if member is not None and member.attempt == attempt else None

    def drop(self, job_id: JobId, attempt: int) -> bool:
        """Let a member go without an outcome (it was stopped). Returns whether that attempt was waiting."""
        if self.waits(job_id, attempt) is None:
            return False
        del self._waiting[job_id]
        return True
