"""Shared memory of one call: what is too large for a frame, a state vector for one, lies there and is copied by nobody.

The parent makes it, passes its descriptor along with the call, and reads what the child left in it. It is memory without
a name: it is gone with the last process that has it. Its size is sealed, because a child that could shrink it would have
the parent run into memory that is not there.
"""

from __future__ import annotations

import fcntl
import gc
import mmap
import os

__all__ = ["Area", "Mapped", "is_sealed"]

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_NEEDED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class Mapped:
    """The memory behind a descriptor, mapped when it is first asked for, and only as far as that.

    Args:
        descriptor: Of the memory; stays the caller's.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._maps: list[tuple[mmap.mmap, memoryview]] = []

    def view(self, nbytes: int | None = None) -> memoryview | None:
        """The first `nbytes` (None: all), writable; None when there are not so many, or the process may map no more."""
        wanted = self._size if nbytes is None else nbytes
        if not 0 < wanted <= self._size:
            return None
        for _, view in self._maps:
            if view.nbytes >= wanted:
                return view[:wanted]
        try:
            mapped = mmap.mmap(self._descriptor, wanted, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError:
            return None
        view = memoryview(mapped)
        self._maps.append((mapped, view))
        return view[:]

    def close(self) -> None:
        """Unmap. A part that somebody still has a view of goes with that view."""
        maps, self._maps = self._maps, []
        for mapped, view in maps:
            view.release()
            if not _closed(mapped):
                gc.collect()  # an array in a cycle
                _closed(mapped)


class Area(Mapped):
    """Memory for one call, made by the parent. It takes room only where something was written.

    Args:
        size_bytes: Its size, for good.

    Raises:
        OSError: The kernel gives none.
    """

    def __init__(self, size_bytes: int) -> None:
        descriptor = os.memfd_create("qrtx-area", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, size_bytes)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            super().__init__(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self.size_bytes = size_bytes
        self.descriptor = descriptor

    def close(self) -> None:
        """Unmap it and give the descriptor back; idempotent."""
        super().close()
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def is_sealed(descriptor: int) -> bool:
    """Whether the size of the memory behind `descriptor` can change no more."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _NEEDED == _NEEDED
    except OSError:
        return False


def _closed(mapped: mmap.mmap) -> bool:
    try:
        mapped.close()
    except BufferError:
        return False
    return True
