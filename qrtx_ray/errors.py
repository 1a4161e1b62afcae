"""Everything that can go wrong, as one small tree with stable codes.

::

    QrtxError
      x ValidationError            the request is wrong; sending it again will not help
        - PayloadTooLarge            a size limit
        - DecodeError                bytes that are not what they claim to be
      x CompileError               the circuit cannot be made to run on the device
      x AllocationError            no place for the job
        - QueueFull                  the bounded queue is full
        - QuotaQueued                the tenant has as many unfinished jobs as it may
        - QuotaQpuSeconds            the tenant has used the QPU time of the period, or would by this job
        - FrontUnavailable           the HTTP front is away for a moment; it is being started again
        - DeviceUnavailable          the device is unknown to the cluster or offline
        - QueueTimeout               waited longer than the job allows
        - PauseTimeout               was paused longer than may be
        - QpuTimeExceeded            would be charged more QPU time than the job allows
        - DeadlineUnmeetable         cannot end before its deadline
        - FidelityFloorUnmet         the predicted fidelity is below what the job accepts
        - NoSuitableDevice           none of the devices it may go to can run the job
      x ExecuteError               the run failed
        - ExecutionTimeout           ran longer than the job allows
        - ResourceExhausted          needs more memory than the device has
        - WorkerDied                 the child process died (signal, memory, crash)
        - AttemptLost                the device agent that ran it is gone
      x PersistError               the store or the file system refused
        - StoreFull                  no space
        - StoreReadOnly              the store takes no changes now; what it holds can be read
        - StoreSlow                  commits take so long that no more work is accepted
        - StoreConflict              somebody else changed the row, or a newer scheduler took over
        - CheckpointDamaged          a checkpoint is not what was kept
        - CheckpointIncompatible     a checkpoint that this version cannot read
      x AuthenticationError        no token, or a wrong one
      x PermissionDenied           the token does not allow this
      x NotFound                   no such job, device, program (or another tenant's)
        - CheckpointNotFound         there is no such checkpoint any more
      x Conflict                   the request contradicts the present state
        - InvalidState               e.g. cancelling a finished job
        - IdempotencyConflict        the key was used with another body
        - StateChanged               the named state is not the one that the writer had read
      x InternalError              a bug of ours; the text says nothing of the inside

Errors cross process and actor boundaries as :class:`ErrorInfo`, plain data; exceptions are rebuilt from it, so that a
pickled exception never has to be trusted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

__all__ = [
    "AllocationError",
    "AttemptLost",
    "AuthenticationError",
    "CheckpointDamaged",
    "CheckpointIncompatible",
    "CheckpointNotFound",
    "CompileError",
    "Conflict",
    "DeadlineUnmeetable",
    "DecodeError",
    "DeviceUnavailable",
    "ErrorInfo",
    "ExecuteError",
    "ExecutionTimeout",
    "FidelityFloorUnmet",
    "FrontUnavailable",
    "IdempotencyConflict",
    "InternalError",
    "InvalidState",
    "NoSuitableDevice",
    "NotFound",
    "PauseTimeout",
    "PayloadTooLarge",
    "PermissionDenied",
    "PersistError",
    "QpuTimeExceeded",
    "QrtxError",
    "QueueFull",
    "QueueTimeout",
    "QuotaQpuSeconds",
    "QuotaQueued",
    "ResourceExhausted",
    "StateChanged",
    "StoreConflict",
    "StoreFull",
    "StoreReadOnly",
    "StoreSlow",
    "ValidationError",
    "WorkerDied",
]


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as data.

    Args:
        code: Stable identifier of the kind of error, e.g. ``"queue_full"``.
        message: One sentence for the user; names the field and the limit where there is one.
        category: ``ValidationError``, ``CompileError``, ``AllocationError``, ``ExecuteError``, ``PersistError`` or
            ``RequestError`` (everything that never became a job).
        retryable: Whether the same request may succeed later.
        field: Dotted path of the offending field, e.g. ``"pubs[0].shots"``.
        limit: The bound that was crossed, as text with its unit.
    """

    code: str
    message: str
    category: str
    retryable: bool = False
    field: str | None = None
    limit: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ErrorInfo:
        return cls(**data)


class QrtxError(Exception):
    """Base of all errors the runtime reports.

    Class attributes `code` (stable), `category`, `http_status` and `retryable` classify; the instance adds the text.
    """

    code: ClassVar[str] = "internal"
    category: ClassVar[str] = "RequestError"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, field: str | None = None, limit: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.limit = limit

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (self.info().to_dict(),))

    def info(self) -> ErrorInfo:
        """The error as plain data."""
        return ErrorInfo(self.code, self.message, self.category, self.retryable, self.field, self.limit)

    @staticmethod
    def from_info(info: ErrorInfo) -> QrtxError:
        """The exception for `info`; an unknown code becomes the nearest class of its category."""
        kind = _BY_CODE.get(info.code) or _BY_CATEGORY.get(info.category, InternalError)
        return kind(info.message, field=info.field, limit=info.limit)


class ValidationError(QrtxError):
    code = "validation_failed"
    category = "ValidationError"
    http_status = 400


class PayloadTooLarge(ValidationError):
    code = "payload_too_large"
    http_status = 413


class DecodeError(ValidationError):
    code = "decode_failed"


class CompileError(QrtxError):
    code = "compile_failed"
    category = "CompileError"
    http_status = 422


class AllocationError(QrtxError):
    code = "allocation_failed"
    category = "AllocationError"
    http_status = 503


class QueueFull(AllocationError):
    code = "queue_full"
    http_status = 429
    retryable = True


class QuotaQueued(AllocationError):
    code = "quota_queued"
    http_status = 429
    retryable = True


class QuotaQpuSeconds(AllocationError):
    code = "quota_qpu_seconds"
    http_status = 429
    retryable = True


class FrontUnavailable(AllocationError):
    code = "front_unavailable"
    retryable = True


class DeviceUnavailable(AllocationError):
    code = "device_unavailable"
    retryable = True


class QueueTimeout(AllocationError):
    code = "queue_timeout"


class PauseTimeout(AllocationError):
    code = "pause_timeout"


class QpuTimeExceeded(AllocationError):
    code = "max_qpu_time_exceeded"
    http_status = 422


class DeadlineUnmeetable(AllocationError):
    code = "deadline_unmeetable"
    http_status = 422


class FidelityFloorUnmet(AllocationError):
    code = "fidelity_floor_unmet"
    http_status = 422


class NoSuitableDevice(AllocationError):
    code = "no_suitable_device"
    http_status = 422


class ExecuteError(QrtxError):
    code = "execution_failed"
    category = "ExecuteError"
    http_status = 500


class ExecutionTimeout(ExecuteError):
    code = "execution_timeout"


class ResourceExhausted(ExecuteError):
    code = "resource_exhausted"


class WorkerDied(ExecuteError):
    code = "worker_died"


class AttemptLost(ExecuteError):
    code = "attempt_lost"
    retryable = True


class PersistError(QrtxError):
    code = "persist_failed"
    category = "PersistError"
    http_status = 503
    retryable = True


class StoreFull(PersistError):
    code = "store_full"
    http_status = 507


class StoreReadOnly(PersistError):
    code = "store_read_only"


class StoreSlow(PersistError):
    code = "store_slow"


class StoreConflict(PersistError):
    code = "store_conflict"
    retryable = False


class CheckpointDamaged(PersistError):
    code = "checkpoint_damaged"
    http_status = 500
    retryable = False


class CheckpointIncompatible(PersistError):
    code = "checkpoint_incompatible"
    http_status = 409
    retryable = False


class AuthenticationError(QrtxError):
    code = "unauthenticated"
    http_status = 401


class PermissionDenied(QrtxError):
    code = "permission_denied"
    http_status = 403


class NotFound(QrtxError):
    code = "not_found"
    http_status = 404


class CheckpointNotFound(NotFound):
    code = "checkpoint_not_found"


class Conflict(QrtxError):
    code = "conflict"
    http_status = 409


class InvalidState(Conflict):
    code = "invalid_state"


class IdempotencyConflict(Conflict):
    code = "idempotency_conflict"


class StateChanged(Conflict):
    code = "state_changed"
    http_status = 412


class InternalError(QrtxError):
    code = "internal"


def _tree(root: type[QrtxError]) -> list[type[QrtxError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


_BY_CODE = {kind.code: kind for kind in _tree(QrtxError)[1:]}
_BY_CATEGORY = {
    "ValidationError": ValidationError,
    "CompileError": CompileError,
    "AllocationError": AllocationError,
    "ExecuteError": ExecuteError,
    "PersistError": PersistError,
}


def _rebuild(data: dict[str, Any]) -> QrtxError:
    return QrtxError.from_info(ErrorInfo.from_dict(data))
