"""Device names: ``<metadata>@<executor>``.

The first part says whose topology and calibration the device has, the second what executes its circuits:
``fake_sherbrooke@aer`` behaves as that device did when it was calibrated, ``fake_sherbrooke@aer_ideal`` has its
topology and timing but no noise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from qrtx_ray.errors import ValidationError

__all__ = ["EXECUTORS", "DeviceName"]

EXECUTORS = ("aer", "aer_ideal")

# Metadata names become folder names, so nothing but this alphabet may ever pass.
_METADATA = re.compile(r"[a-z0-9][a-z0-9_]{0,63}\Z")


@dataclass(frozen=True, slots=True, order=True)
class DeviceName:
    """A device name in its two parts.

    Args:
        metadata: Where topology and calibration come from, e.g. ``fake_manila``.
        executor: One of `EXECUTORS`.
    """

    metadata: str
    executor: str

    @classmethod
    def parse(cls, text: str) -> DeviceName:
        """The parts of `text`.

        Raises:
            ValidationError: Not of the form ``<metadata>@<executor>``, or an executor that does not exist. Whether the
                metadata exists is `catalogue`'s question.
        """
        metadata, at, executor = text.partition("@")
        if not at or not _METADATA.match(metadata):
            msg = "device must be <metadata>@<executor>, for example fake_manila@aer"
            raise ValidationError(msg, field="device")
        if executor not in EXECUTORS:
            msg = f"device {metadata} has the executors {', '.join(EXECUTORS)}; none is called as the request says"
            raise ValidationError(msg, field="device", limit=", ".join(EXECUTORS))
        return cls(metadata, executor)

    def __str__(self) -> str:
        return f"{self.metadata}@{self.executor}"
