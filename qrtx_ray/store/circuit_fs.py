"""CircuitFS: one folder per job with what went in, what was compiled, and what came out.

::

    <url>/circuit_fs/<job id>/input.job.yaml      the job as a specification
                              compiled.aqo.json   the compiled circuits
                              compiled.qasm       the same as OpenQASM text
                              results.json        the result document, exactly as served
                              meta.json           timings, versions, the checksum of the results
                              checkpoint-…        progress of runs, see `store.checkpoints`

Results are written once. Two attempts of one job may both get as far as writing (an agent that was believed lost
comes back late), and an acknowledged digest must match the file for ever, so `results.json` never changes: the first
complete one stays, a later writer is told the digest of that one and reports it. Either is a right result of the job,
because results are determined by the job's seed; which *report* counts is fenced by the scheduler, and whichever
does, its digest is that of the file.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from qrtx_ray.errors import NotFound, PersistError, StoreConflict, ValidationError
from qrtx_ray.model import JobId, is_job_id
from qrtx_ray.store.files import open_files

__all__ = ["COMPILED_JSON", "COMPILED_QASM", "INPUT", "META", "NAMES", "RESULTS", "CircuitFS", "ResultRef"]

INPUT = "input.job.yaml"
COMPILED_JSON = "compiled.aqo.json"
COMPILED_QASM = "compiled.qasm"
RESULTS = "results.json"
META = "meta.json"
NAMES = (INPUT, COMPILED_JSON, COMPILED_QASM, RESULTS, META)


@dataclass(frozen=True, slots=True)
class ResultRef:
    """The durable results of a job: SHA-256 (hex) and bytes of `results.json` as it stands.

    `written` is False when an earlier attempt's results were there already and stayed.
    """

    sha256: str
    size_bytes: int
    written: bool = True


class CircuitFS:
    """The files of all jobs below `url`. Synchronous; any thread.

    Args:
        url: A local path, ``file:///…``, or an object store's URL (see `store.files`).

    Raises:
        ValidationError: A URL of another kind.
        StoreFull: (any writing method) no space.
        PersistError: (any method) the file system refused.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._files = open_files(url, "circuit_fs")

    def write_artefacts(self, job_id: JobId, artefacts: Mapping[str, str | bytes]) -> None:
        """Write or replace files other than the results, each atomically, in the mapping's order.

        They are not flushed: all of them can be made again from the journal.

        Raises:
            NotFound: `job_id` is no identifier of ours.
            ValidationError: A name outside `NAMES`, or the results'.
        """
        _check_id(job_id)
        for name in artefacts:
            _check_name(name)
            if name == RESULTS:
                raise ValidationError("results are written by write_results only", field="name")
        for name, content in artefacts.items():
            data = content.encode() if isinstance(content, str) else content
            self._files.replace(f"{job_id}/{name}", data, durable=False)

    def write_results(self, job_id: JobId, data: bytes, attempt: int) -> ResultRef:
        """Keep the results of `job_id` durably, unless it has some: then those stay and are described.

        When it returns, `results.json` is complete, survives power loss, and has the digest returned. When it raises
        or the process dies, the file is complete or absent.

        Raises:
            NotFound: `job_id` is no identifier of ours.
            StoreConflict: The job's folder was removed meanwhile.
        """
        _check_id(job_id)
        path = f"{job_id}/{RESULTS}"
        if self._files.create(path, data, attempt=attempt):
            return ResultRef(_digest(data), len(data))
        kept = self._files.read(path)
        if kept is None:
            raise StoreConflict("the job's folder was removed while its results were written")
        return ResultRef(_digest(kept), len(kept), written=False)

    def read_results(self, job_id: JobId, sha256: str | None) -> bytes | None:
        """The result document, or None when there is none.

        Args:
            sha256: The digest it must have, hex, from the job's record; None reads unchecked.

        Raises:
            NotFound: `job_id` is no identifier of ours.
            PersistError: The file is not what was acknowledged.
        """
        data = self.read(job_id, RESULTS)
        if data is not None and sha256 is not None and not hmac.compare_digest(_digest(data), sha256.lower()):
            msg = f"results of job {job_id} do not match their checksum"
            raise PersistError(msg)
        return data

    def read(self, job_id: JobId, name: str) -> bytes | None:
        """One file, or None when it is absent.

        Raises:
            NotFound: `job_id` is no identifier of ours.
            ValidationError: A name outside `NAMES`.
        """
        _check_id(job_id)
        _check_name(name)
        return self._files.read(f"{job_id}/{name}")

    def exists(self, job_id: JobId, name: str | None = None) -> bool:
        """Whether the job has a folder, or the file `name` in it.

        Raises:
            NotFound: `job_id` is no identifier of ours.
            ValidationError: A name outside `NAMES`.
        """
        _check_id(job_id)
        if name is None:
            return self._files.exists(job_id)
        _check_name(name)
        return self._files.exists(f"{job_id}/{name}")

    def delete(self, job_id: JobId) -> None:
        """Remove the job's folder with everything in it, unfinished files included; idempotent.

        Raises:
            NotFound: `job_id` is no identifier of ours.
        """
        _check_id(job_id)
        self._files.remove(job_id)

    def list_jobs(self) -> list[JobId]:
        """Jobs that have a folder, oldest first."""
        return sorted(name for name in self._files.names("") if is_job_id(name))


def _check_id(job_id: JobId) -> None:
    if not is_job_id(job_id):
        raise NotFound("no such job", field="job_id")


def _check_name(name: str) -> None:
    if name not in NAMES:
        msg = f"a job's file must be one of {', '.join(NAMES)}"
        raise ValidationError(msg, field="name")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
