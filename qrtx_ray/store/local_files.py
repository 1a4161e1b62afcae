"""Atomic files in a local folder, with direct system calls: nothing between us and the fsync.

A file is written beside its place under a name of its own, then brought there in one step: by rename(2) where the
newer content wins, by link(2) where the first one does. link(2) fails when the name is taken, so of two writers one
wins, and a reader never sees a part. Names that begin with a dot are those unfinished files.
"""

# pathlib costs as much as the system calls made here.
# ruff: noqa: PTH102, PTH104, PTH108, PTH110, PTH123, PTH208

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from qrtx_ray.errors import PersistError, StoreConflict, StoreFull

if TYPE_CHECKING:
    from qrtx_ray.store.files import Streamed

__all__ = ["LocalFiles"]

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
# ioctl_iflags(2); the numbers of x86-64 and 64-bit Arm.
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602
_TOP_OF_HIERARCHY = 0x00020000
_FLAGS = struct.Struct("l")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class LocalFiles:
    """Files below ``<root>/<folder>`` (made with mode 0700, files 0600)."""

    def __init__(self, root: str, folder: str) -> None:
        self.root = Path(root).absolute() / folder
        self._base = str(self.root)
        with _translated():
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _spread_subfolders(self._base)
            _sync_folder(str(self.root.parent))

    def read(self, path: str) -> bytes | None:
        with _translated():
            try:
                file = os.open(f"{self._base}/{path}", os.O_RDONLY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                return None
            with open(file, "rb", buffering=0) as opened:
                return opened.read()

    def replace(self, path: str, data: bytes, *, durable: bool) -> None:
        folder, _, name = f"{self._base}/{path}".rpartition("/")
        draft = f"{folder}/.{name}.{uuid4().hex}.tmp"
        with _translated():
            if not durable and self._first(folder, name, data):
                return
            try:
                self._write(folder, draft, data, durable=durable)
                os.rename(draft, f"{folder}/{name}")
            except OSError:
                _unlink(draft)
                raise
            if durable:
                self._sync(folder)

    def _first(self, folder: str, name: str, data: bytes) -> bool:
        """Write a file that need not last and is not there yet, under its own name: a draft and a rename cost a third more.
        Returns False when it is there.
        """
        target = f"{folder}/{name}"
        try:
            self._write(folder, target, data, durable=False)
        except FileExistsError:
            return False
        except OSError:
            _unlink(target)
            raise
        return True

    def create(self, path: str, data: bytes, *, attempt: int) -> bool:
        folder, _, name = f"{self._base}/{path}".rpartition("/")
        draft = f"{folder}/.{name}.{attempt}.{uuid4().hex}.tmp"
        with _translated():
            try:
                self._write(folder, draft, data, durable=True)
                created = self._link(draft, f"{folder}/{name}")
            finally:
                _unlink(draft)
            if attempt > 1:
                _remove_drafts(folder, name, attempt)
            # Also when another writer was first: it may have died between its link and its own flush.
            self._sync(folder)
        return created

    def stream(self, path: str, content: Streamed) -> None:
        folder, _, name = f"{self._base}/{path}".rpartition("/")
        draft = f"{folder}/.{name}.{uuid4().hex}.tmp"
        with _translated():
            try:
                file = self._new(folder, draft)
                try:
                    os.lseek(file, content.head_bytes, os.SEEK_SET)
                    for piece in content.rest():
                        _write_all(file, piece)
                    os.lseek(file, 0, os.SEEK_SET)
                    _write_all(file, content.head())
                    os.fsync(file)
                finally:
                    os.close(file)
                os.rename(draft, f"{folder}/{name}")
                self._sync(folder)
            except FileNotFoundError:
                raise StoreConflict("the folder was removed during the write") from None
            except BaseException:
                _unlink(draft)
                raise

    @contextmanager
    def open(self, path: str) -> Iterator[_Reading | None]:
        reading = None
        with _translated(), suppress(FileNotFoundError, NotADirectoryError):
            reading = _Reading(os.open(f"{self._base}/{path}", os.O_RDONLY | os.O_CLOEXEC))
        try:
            yield reading
        finally:
            if reading is not None:
                reading.close()

    def sweep(self, path: str, names: Callable[[str], bool], drafts: Callable[[str], bool]) -> int:
        folder, removed = f"{self._base}/{path}", 0
        for entry in self._entries(path):
            if not entry.startswith("."):
                if names(entry):
                    self.remove(f"{path}/{entry}")
                    removed += 1
            elif entry.endswith(".tmp") and drafts(entry[1:].partition(".")[0]):
                _unlink(f"{folder}/{entry}")
        return removed

    def folders(self) -> Iterator[tuple[str, list[str]]]:
        for name in self._entries(""):
            yield name, self._entries(name)

    def remove(self, path: str) -> None:
        target = f"{self._base}/{path}"
        with _translated():
            try:
                os.unlink(target)
            except FileNotFoundError:
                return
            except (IsADirectoryError, PermissionError):
                with suppress(FileNotFoundError):
                    shutil.rmtree(target)

    def exists(self, path: str) -> bool:
        return os.path.exists(f"{self._base}/{path}")

    def free_bytes(self) -> int | None:
        with _translated():
            said = os.statvfs(self._base)
        return said.f_bavail * said.f_frsize

    def names(self, path: str) -> list[str]:
        return [name for name in self._entries(path) if not name.startswith(".")]

    def _entries(self, path: str) -> list[str]:
        with _translated():
            try:
                return os.listdir(f"{self._base}/{path}")
            except (FileNotFoundError, NotADirectoryError):
                return []

    def _write(self, folder: str, draft: str, data: bytes, *, durable: bool) -> None:
        file = self._new(folder, draft)
        try:
            _write_all(file, data)
            if durable:
                os.fsync(file)
        finally:
            os.close(file)

    def _new(self, folder: str, draft: str) -> int:
        try:
            return os.open(draft, _NEW, 0o600)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            return os.open(draft, _NEW, 0o600)

    def _link(self, draft: str, target: str) -> bool:
        try:
            os.link(draft, target)
        except FileExistsError:
            return False
        except FileNotFoundError:
            # A later attempt removed our draft, which it does only after the file is in its place; or the job is gone.
            if os.path.exists(target):
                return False
            raise StoreConflict("the folder was removed, or a later attempt took over, during the write") from None
        return True

    def _sync(self, folder: str) -> None:
        """Flush the names in `folder`, and the name of `folder` itself, which may be as new."""
        _sync_folder(folder)
        if folder != self._base:
            _sync_folder(self._base)


class _Reading:
    def __init__(self, file: int) -> None:
        self._file = file
        self.size_bytes = os.fstat(file).st_size

    def close(self) -> None:
        os.close(self._file)

    def read_into(self, target: memoryview) -> int:
        filled = 0
        with _translated():
            while filled < len(target) and (count := os.readv(self._file, [target[filled:]])):
                filled += count
        return filled


def _write_all(file: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _spread_subfolders(folder: str) -> None:
    """Tell ext4 that the subfolders of `folder` have nothing to do with each other (``chattr +T``).

    It then places them all over the disk. Otherwise all go into one group of inodes, and making a file means stepping over
    every inode of the group that was deleted in the last minutes: where old jobs are removed while new ones come, the files
    of a job then take several times as long. Other file systems do not know the flag, and need none.
    """
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = bytearray(_FLAGS.size)
            fcntl.ioctl(descriptor, _GET_FLAGS, flags)
            _FLAGS.pack_into(flags, 0, _FLAGS.unpack(flags)[0] | _TOP_OF_HIERARCHY)
            fcntl.ioctl(descriptor, _SET_FLAGS, flags)
        finally:
            os.close(descriptor)


def _sync_folder(folder: str) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _unlink(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


def _remove_drafts(folder: str, name: str, attempt: int) -> None:
    prefix = f".{name}."
    for entry in os.listdir(folder):
        if entry.startswith(prefix) and entry.endswith(".tmp"):
            number = entry[len(prefix) :].partition(".")[0]
            if number.isdecimal() and int(number) < attempt:
                _unlink(f"{folder}/{entry}")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise StoreFull("no space is left for files; nothing of the call was kept") from error
        if error.errno in {errno.EPERM, errno.ENOTSUP} and error.filename2 is not None:
            raise PersistError("the folder's file system has no hard links; use one that has") from error
        name = errno.errorcode.get(error.errno or 0, "unknown error")
        msg = f"the file system refused ({name})"
        raise PersistError(msg) from error
