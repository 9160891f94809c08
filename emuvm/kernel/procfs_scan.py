"""PAGEMAP_SCAN: the ioctl of /proc/PID/pagemap that looks for pages of some kind (Linux 6.7).

Owns: struct pm_scan_arg, the categories of pages, what is reported. Must not know how pages are counted (`procfs_pages`). Nothing
is ever write-protected by userfaultfd here. Source: fs/proc/task_mmu.c:do_pagemap_scan, Linux 6.18.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import GuestError
from emuvm.kernel.procfs_pages import runs
from emuvm.mm.types import Vma, VmFlag

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

REQUEST = 0xC060_6610
"""_IOWR('f', 16, struct pm_scan_arg), see `procfs_query.REQUEST`."""
_FIELDS, _SIZE, _WALK_END = "12Q", 96, 32
_WRITE_PROTECT, _CHECK = 1, 2
_WP_ALLOWED, _WRITTEN, _OF_FILE, _PRESENT, _SWAPPED, _ZERO, _GUARD = 1, 2, 4, 8, 16, 32, 256
_KNOWN = 0x1FF
_KINDS = {
    "anon": _PRESENT | _WRITTEN, "file": _PRESENT | _WRITTEN | _OF_FILE, "shmem": _PRESENT | _WRITTEN | _OF_FILE,
    "zero": _PRESENT | _WRITTEN | _ZERO,
}  # fmt: skip
"""What is not write-protected counts as written."""
_NO_LIMIT = (1 << 64) - 1
_TABLE = 21
"""A page table spans 1 << 21 bytes."""


class _Arguments(NamedTuple):
    """struct pm_scan_arg."""

    size: int
    flags: int
    start: int
    end: int
    walk_end: int
    vec: int
    vec_len: int
    max_pages: int
    inverted: int
    mask: int
    any_of: int
    returned: int

    def wants(self, categories: int) -> bool:
        """Is such a page one that is looked for?"""
        found = categories ^ self.inverted
        return found & self.mask == self.mask and (not self.any_of or bool(found & self.any_of))


def scan(proc: Process, address: int) -> int:
    """Serve the ioctl: how many ranges were stored. EFAULT, EINVAL the arguments; EPERM write-protection was insisted on."""
    order = ">" if proc.arch.big_endian else "<"
    wanted = _checked(proc, _Arguments(*struct.unpack(order + _FIELDS, proc.mem.read(address, _SIZE))))
    ranges: list[list[int]] = []
    try:
        walk_end = _walk(proc, wanted, ranges) or wanted.end
    except GuestError:
        proc.mem.write_u64(address + _WALK_END, wanted.end)
        raise
    stored = b"".join(struct.pack(order + "3Q", *found) for found in ranges)
    if stored:
        proc.mem.write(wanted.vec, stored)
    proc.mem.write_u64(address + _WALK_END, walk_end)
    return len(ranges)


def _checked(proc: Process, given: _Arguments) -> _Arguments:
    page = proc.space.page_size
    unknown = (given.inverted | given.mask | given.any_of | given.returned) & ~_KNOWN
    if given.size != _SIZE or given.flags & ~(_WRITE_PROTECT | _CHECK) or unknown or given.start % page:
        raise GuestError(Errno.EINVAL, f"size {given.size}, flags {given.flags:#x}, start {given.start:#x}")
    proc.mem.access_ok(given.start, given.end - given.start & _NO_LIMIT)
    if not given.vec and given.vec_len:
        raise GuestError(Errno.EINVAL, "room without a place")
    if given.vec:
        proc.mem.access_ok(given.vec, given.vec_len * 24)
    return given._replace(end=-(-given.end // page) * page, max_pages=given.max_pages or _NO_LIMIT)


def _walk(proc: Process, wanted: _Arguments, ranges: list[list[int]]) -> int:
    """Look at every page; where the walk ended early, or 0."""
    page, found = proc.space.page_size, 0
    for start, end, categories in _pieces(proc, wanted):
        if not wanted.wants(categories) or not wanted.vec_len:
            continue
        pages, stop = (end - start) // page, 0
        if found + pages > wanted.max_pages:
            pages = wanted.max_pages - found
            end = stop = start + pages * page
        kind = categories & wanted.returned
        if pages and ranges and ranges[-1][1] == start and ranges[-1][2] == kind:
            ranges[-1][1] = end
        elif pages and len(ranges) < wanted.vec_len:
            ranges.append([start, end, kind])
        elif pages:
            return start
        found += pages
        if stop:
            return stop
    return 0


def _pieces(proc: Process, wanted: _Arguments) -> Iterator[tuple[int, int, int]]:
    """(start, end, categories) of all that is mapped in the range, ascending."""
    start, end = wanted.start, min(wanted.end, proc.space.end)
    for vma in proc.space.regions(start, end - start) if start < end else ():
        if wanted.flags & _CHECK:
            raise GuestError(Errno.EPERM, "nothing is write-protected by userfaultfd")
        if wanted.flags & _WRITE_PROTECT or vma.flags & VmFlag.PFNMAP:
            continue
        if wanted.inverted & wanted.mask & _WP_ALLOWED != wanted.mask & _WP_ALLOWED:
            continue
        yield from _region(proc, vma, max(vma.start, start), min(vma.end, end))


def _region(proc: Process, vma: Vma, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    withheld = proc.engine.memory.withheld
    marks = [(low, high, _KINDS[kind]) for low, high, kind in runs(proc, vma, start, end)]
    marks += [(low, high, _SWAPPED | _WRITTEN | _GUARD) for low, high in (withheld(start, end) if withheld is not None else ())]
    tables = _tables(proc, start, end)
    place = start
    for low, high, categories in [*sorted(marks), (end, end, 0)]:
        if place < low:
            yield from _empty(place, low, tables)
        if max(place, low) < high:
            yield max(place, low), high, categories
        place = max(place, high)


def _tables(proc: Process, start: int, end: int) -> list[int]:
    """Which page tables there are, ascending: those with something in them, by the number of the range they span."""
    low, high = start >> _TABLE << _TABLE, min((end + (1 << _TABLE) - 1) >> _TABLE << _TABLE, proc.space.end)
    there: set[int] = set()
    for vma in proc.space.regions(low, high - low):
        pieces = [run[:2] for run in runs(proc, vma, max(vma.start, low), min(vma.end, high))]
        pieces += proc.mm.guards.within(max(vma.start, low), min(vma.end, high))
        for first, last in pieces:
            there.update(range(first >> _TABLE, (last - 1 >> _TABLE) + 1))
    return sorted(there)


def _empty(start: int, end: int, tables: list[int]) -> Iterator[tuple[int, int, int]]:
    """Pages that are not there. Where there is a page table for them they count as written, elsewhere as nothing."""
    for number in tables[bisect_left(tables, start >> _TABLE) :]:
        low, high = max(number << _TABLE, start), min(number + 1 << _TABLE, end)
        if low >= end:
            break
        if start < low:
            yield start, low, 0
        yield low, high, _WRITTEN
        start = high
    if start < end:
        yield start, end, 0
