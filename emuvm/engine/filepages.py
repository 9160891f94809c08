"""Which guest pages are pages of host files, and which files have become too short for them.

Owns: the record of file pages that are mapped on the host. Must not know Unicorn, the page table, nor when to map.

A page that lies wholly behind the end of its file is never mapped: touching it would be the host's SIGBUS.
"""

from __future__ import annotations

from typing import Any

from emuvm.abi.tuples import NamedTuple
from emuvm.engine.base import host_file, is_shared
from emuvm.engine.hostmem import HostMemory, Staged, host_unmap
from emuvm.engine.intervals import Intervals
from emuvm.errors import EmulatorBug, EngineError
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import File, Vma

PAGE = 4096
WRITE = 2


class Extent(NamedTuple):
    """File pages that are mapped on the host: the file, and the position of the first byte."""

    file: Any
    offset: int
    shared: bool
    writable: bool


def _advance(extent: Extent, offset: int) -> Extent:
    return Extent(extent.file, extent.offset + offset, extent.shared, extent.writable)


class FilePages(Intervals[Extent]):
    """The file pages, by guest address."""

    def __init__(self, host: HostMemory) -> None:
        super().__init__(_advance)
        self.host = host
        self._needed: tuple[int, dict[Any, int]] = (-1, {})
        """For a state of the record (`changes`): how long each file must be for all of its mapped pages to hold bytes."""

    def stage(self, vma: Vma, backing: File, start: int, end: int) -> Staged | None:
        """The file's pages for [start, end) of a region, as far as the file goes, mapped aside."""
        offset = backing.offset + start - vma.start
        if offset % PAGE:
            raise EngineError(f"file position {offset:#x} is not a multiple of the page size")
        left = backing.file.size() - offset
        if left <= 0:
            return None
        staged = self.host.stage(backing.file.fileno(), offset, min(end - start, left + (-left % PAGE)), shared=is_shared(vma))
        if vma.prot & WRITE and not staged.writable:
            host_unmap(staged.pointer, staged.length)
            raise EngineError(f"{backing.file!r} is open for reading only, and mapped shared")
        return staged

    def covers(self, start: int, end: int, *, writable: bool = False) -> bool:
        """Is [start, end) within one piece of a file, which may be written to if that is asked?"""
        found = self.at(start)
        return found is not None and end <= found[1] and (found[2].writable or not writable)

    def must_be_writable(self, start: int, end: int) -> None:
        """EngineError for shared pages of a file that is open for reading only."""
        for _, _, extent in self.whole(start, end):
            if not extent.writable:
                raise EngineError(f"{extent.file!r} is open for reading only, and mapped shared")

    def install(self, vma: Vma, start: int, staged: Staged) -> None:
        """Put staged pages in place."""
        self.host.install(start, staged)
        extent = Extent(vma.backing.file, vma.backing.offset + start - vma.start, is_shared(vma), staged.writable)
        self.put(start, start + staged.length, extent)

    def shrunk(self) -> list[tuple[int, int]]:
        """Page ranges that lie behind the end of their file by now."""
        known, needed = self._needed
        if known != self.changes:
            needed = {}
            for low, high, extent in self:
                needed[extent.file] = max(needed.get(extent.file, 0), extent.offset + high - low - PAGE + 1)
            self._needed = self.changes, needed
        short = {file: size for file, wanted in needed.items() if (size := file.size()) < wanted}
        out = []
        for low, high, extent in self if short else ():
            if extent.file in short:
                left = max(0, short[extent.file] - extent.offset)
                first = low + left + (-left % PAGE)
                if first < high:
                    out.append((first, high))
        return out

    def of_same_bytes(self, start: int, end: int) -> list[tuple[int, int]]:
        """Where else the bytes of the file pages in [start, end) are mapped, those themselves included."""
        out = []
        for low, high, extent in self.inside(start, end):
            last = extent.offset + high - low
            for first, stop, other in self:
                position = other.offset
                if other.file == extent.file and position < last and extent.offset < position + stop - first:
                    out.append((max(first, first + extent.offset - position), min(stop, first + last - position)))
        return out

    def verify(self, space: AddressSpace) -> None:
        """EmulatorBug unless the space has the same files at the same positions."""
        for start, end, whole in self:
            if space.gaps(start, end - start):
                raise EmulatorBug(f"file pages at {start:#x}-{end:#x}, the space has not")
            for vma in space.regions(start, end - start):
                low = max(start, vma.start)
                extent, backing = _advance(whole, low - start), host_file(vma)
                if backing is None or (backing.file, backing.offset + low - vma.start) != (extent.file, extent.offset):
                    raise EmulatorBug(f"pages of {extent} at {low:#x}, the space has {vma}")
                if extent.shared != is_shared(vma):
                    raise EmulatorBug(f"pages of {extent} at {low:#x} are {'' if extent.shared else 'not '}shared, the space has {vma}")
