"""Shared memory objects at a moment: what stands behind shared anonymous mappings, memfds and System V segments.

Owns: their sizes and bytes. Must not know who maps them. Pages that a region of the snapshot shows go back with the memory; this is for
the rest: what was written with write(2) or by a mapping that is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emuvm.engine.hostmem import data_ranges
from emuvm.kernel import hostfd
from emuvm.kernel.memfd import MemFile
from emuvm.mm.types import File, Vma

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

PAGE, PUNCH = 4096, 3
"""Bytes of a page; FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE."""


class Objects:
    """The objects that the process maps or has open now."""

    def __init__(self, proc: Process) -> None:
        fds: dict[Any, int] = {}
        for vma in _showing(proc):
            fds.setdefault(_identity(vma.backing.file.fileno()), vma.backing.file.fileno())
        for _, file in proc.files.items():
            if isinstance(file, MemFile):
                fds.setdefault(_identity(file.host_fd), file.host_fd)
        for segment in proc.ipc or ():
            fds.setdefault(_identity(segment.memory.fileno()), segment.memory.fileno())
        self._proc = proc
        self._kept = [(fd, hostfd.stat(fd).size, _stamp(fd), _data(fd)) for fd in fds.values()]

    def __bool__(self) -> bool:
        return bool(self._kept)

    def restore(self, unsure: bool) -> list[tuple[int, int]]:
        """Put the bytes back; the ranges of memory that may show others now. `unsure`: memory may have been written that is one of these.

        Where a file was made shorter the kernel has thrown away private copies of its pages, too.
        """
        again, touched = [], False
        for fd, size, stamp, pieces in self._kept:
            if unsure or _stamp(fd) != stamp:
                touched = True
                _put(fd, size, pieces)
                stamp = _stamp(fd)
            again.append((fd, size, stamp, pieces))
        self._kept = again
        return [(vma.start, vma.end) for vma in _showing(self._proc)] if touched else []


def _showing(proc: Process) -> list[Vma]:
    """The regions that map such an object."""
    return [vma for vma in proc.space if type(vma.backing) is File and getattr(vma.backing.file, "restorable", False)]


def _put(fd: int, size: int, pieces: list[tuple[int, bytes]]) -> None:
    if hostfd.stat(fd).size != size:
        hostfd.ftruncate(fd, size)
    place = 0
    for low, data in [*pieces, (size + -size % PAGE, b"")]:
        if place < low:
            hostfd.allocate(fd, PUNCH, place, low - place)
        if data:
            hostfd.pwrite(fd, data, low)
        place = low + len(data) + -len(data) % PAGE


def _identity(fd: int) -> tuple[tuple[int, int], int]:
    found = hostfd.stat(fd)
    return found.dev, found.ino


def _stamp(fd: int) -> tuple[Any, ...]:
    """Changes with every write(2) and truncation, though not with stores to mappings."""
    found = hostfd.stat(fd)
    return found.size, found.mtime, found.ctime


def _data(fd: int) -> list[tuple[int, bytes]]:
    """(position, bytes) of everything that is not a hole."""
    return [(low, hostfd.pread(fd, high - low, low)) for low, high in data_ranges(fd, 0, hostfd.stat(fd).size)]
