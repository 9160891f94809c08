"""How much of the guest's memory is there: smaps, pagemap, and the figures for statm, status and stat.

Owns: how pages are counted and shared out among the regions that map them, and the text. Must not know names of regions
(`procfs_memory`) nor how the files are read. The engine tells which pages were touched. Source: fs/proc/task_mmu.c, Linux 6.18.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.tuples import NamedTuple
from emuvm.engine.base import Residency
from emuvm.errors import GuestError
from emuvm.kernel import hostfd
from emuvm.kernel.procfs_memory import Lines, encoded, identity, onward, past_the_end
from emuvm.mm import rules
from emuvm.mm.maps import line
from emuvm.mm.types import File, Vma, VmFlag

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_HUGE = 2 << 20
_LETTERS = (
    (VmFlag.SHARED, "sh"), (VmFlag.MAYREAD, "mr"), (VmFlag.MAYWRITE, "mw"), (VmFlag.MAYEXEC, "me"), (VmFlag.MAYSHARE, "ms"),
    (VmFlag.GROWSDOWN, "gd"), (VmFlag.PFNMAP, "pf"), (VmFlag.MAYBE_GUARD, "gu"), (VmFlag.LOCKED, "lo"), (VmFlag.IO, "io"),
    (VmFlag.SEQ_READ, "sr"), (VmFlag.RAND_READ, "rr"), (VmFlag.DONTCOPY, "dc"), (VmFlag.DONTEXPAND, "de"), (VmFlag.LOCKONFAULT, "lf"),
    (VmFlag.ACCOUNT, "ac"), (VmFlag.NORESERVE, "nr"), (VmFlag.HUGETLB, "ht"), (VmFlag.SYNC, "sf"), (VmFlag.WIPEONFORK, "wf"),
    (VmFlag.DONTDUMP, "dd"), (VmFlag.MIXEDMAP, "mm"), (VmFlag.HUGEPAGE, "hg"), (VmFlag.NOHUGEPAGE, "nh"), (VmFlag.MERGEABLE, "mg"),
    (VmFlag.DROPPABLE, "dp"), (VmFlag.SEALED, "sl"),
)  # fmt: skip
"""The letters of VmFlags behind rd, wr and ex, in the order of the bits."""
_NOT_HUGE = VmFlag.NOHUGEPAGE | VmFlag.IO | VmFlag.DONTEXPAND | VmFlag.PFNMAP | VmFlag.MIXEDMAP | VmFlag.HUGETLB


# -- what is there --------------------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """Pages side by side of the same kind: 'anon' (a private copy), 'file', 'shmem', or 'zero' (the page untouched memory shows)."""

    start: int
    end: int
    kind: str

    @property
    def of_file(self) -> bool:
        return self.kind in ("file", "shmem")


def runs(proc: Process, vma: Vma, start: int, end: int) -> list[Run]:
    """What is present of [start, end), which lies in the region, ascending."""
    return _sorted_out(vma, proc.engine.memory.resident(start, end, cached=False))


def _sorted_out(vma: Vma, pieces: list[tuple[int, int, int]]) -> list[Run]:
    found, of_object = [], ""
    for low, high, bits in pieces:
        kind = "anon" if bits & Residency.PRIVATE else "zero"
        if bits & (Residency.PRIVATE | Residency.FILE) == Residency.FILE:
            if not bits & Residency.MAPPED:
                continue  # in the page cache only
            kind = of_object = of_object or ("shmem" if is_shmem(vma) else "file")
        found.append(Run(low, high, kind))
    return found


def present(proc: Process, regions: list[Vma]) -> Iterator[tuple[Vma, list[Run]]]:
    """What is present of each region; they ascend. The engine is asked once."""
    pieces = proc.engine.memory.resident(regions[0].start, regions[-1].end, cached=False) if regions else []
    at = 0
    for vma in regions:
        mine: list[tuple[int, int, int]] = []
        while at < len(pieces) and pieces[at][0] < vma.end:
            low, high, bits = pieces[at]
            if high > vma.start:
                mine.append((max(low, vma.start), min(high, vma.end), bits))
            if high > vma.end:
                break
            at += 1
        yield vma, _sorted_out(vma, mine) if mine else []


def is_shmem(vma: Vma) -> bool:
    """Does a region map a memory object, or a file of a file system that lies in memory?"""
    if not isinstance(vma.backing, File):
        return bool(vma.flags & VmFlag.MAYSHARE)
    file = vma.backing.file
    return hasattr(file, "fileno") and hostfd.link(file.fileno()).startswith((b"/memfd:", b"/dev/shm/"))


class Usage(NamedTuple):
    """Bytes: what statm, status and stat tell. `tables`: page tables that the pages present need."""

    total: int
    data: int
    stack: int
    exec: int
    locked: int
    text: int
    anon: int
    file: int
    shmem: int
    tables: int
    peak: int
    peak_rss: int

    @property
    def rss(self) -> int:
        return self.anon + self.file + self.shmem


_TABLE_SHIFTS = (21, 30, 39)
"""What a page of page tables spans at each level below the top, with pages of 4 KiB and 512 entries."""


def usage(proc: Process) -> Usage:
    """The figures of the whole address space. The peak of what is present is what was ever seen here, see `remember_peak`."""
    page = proc.space.page_size
    anon = file = shmem = 0
    spans: set[int] = set()
    for start, end, bits in proc.engine.memory.resident(proc.space.start, proc.space.end, cached=False):
        if bits & Residency.PRIVATE:
            anon += end - start
        elif bits & Residency.FILE:
            if not bits & Residency.MAPPED:
                continue  # in the page cache only
            for vma in proc.space.regions(start, end - start):
                size = min(end, vma.end) - max(start, vma.start)
                if is_shmem(vma):
                    shmem += size
                else:
                    file += size
        spans.update(range(start >> _TABLE_SHIFTS[0], (end - 1 >> _TABLE_SHIFTS[0]) + 1))
    tables = len(spans) + sum(len({at >> shift - _TABLE_SHIFTS[0] for at in spans}) for shift in _TABLE_SHIFTS[1:])
    totals, plan, kept = proc.mm.totals, proc.plan, proc.kept
    text = (plan.end_code + page - 1 & -page) - (plan.start_code & -page) if plan is not None else 0
    kept.peak_rss = max(kept.peak_rss, anon + file + shmem)
    return Usage(
        totals.total, totals.data, totals.stack, totals.exec, totals.locked, text, anon, file, shmem, tables * page,
        totals.peak, kept.peak_rss,
    )  # fmt: skip


def remember_peak(proc: Process) -> None:
    """Much memory is about to go: note how much was there (mm/mm.h:update_hiwater_rss).

    The program's memory is part of emuvm's, so while the peak of that has not grown, neither has the program's by much.
    """
    known = proc.system.usage()[0]
    if proc.kept.peak_known < 0:
        usage(proc)
    elif known >= proc.kept.peak_known + 1024:
        proc.kept.peak_known = known
        usage(proc)


def statm(proc: Process) -> bytes:
    page, now = proc.space.page_size, usage(proc)
    values = (now.total, now.rss, now.file + now.shmem, now.text, 0, now.data + now.stack, 0)
    return b" ".join(b"%d" % (value // page) for value in values) + b"\n"


# -- shared pages ---------------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """Bytes [start, end) of a file that `mapped` regions show, `written` of which may have written to it."""

    start: int
    end: int
    mapped: int
    written: int


class Sharing:
    """How often the pages of files are mapped by some regions, which ascend."""

    def __init__(self, proc: Process, regions: list[Vma]) -> None:
        self._names: dict[int, object] = {}
        edges: dict[object, list[tuple[int, int, int]]] = {}
        for vma, found in present(proc, regions):
            if not any(run.of_file for run in found):
                continue
            shift, written, rows = vma.backing.offset - vma.start, int(_is_written(vma)), edges.setdefault(self._name(vma), [])
            for run in found:
                if run.of_file:
                    rows += ((run.start + shift, 1, written), (run.end + shift, -1, -written))
        self._parts = {name: list(_between(rows)) for name, rows in edges.items()}
        self._starts = {name: [part.start for part in parts] for name, parts in self._parts.items()}

    def _name(self, vma: Vma) -> object:
        file = vma.backing.file
        name = self._names.get(id(file))
        if name is None:
            name = self._names[id(file)] = _name(file)
        return name

    def parts(self, vma: Vma, run: Run) -> Iterator[Part]:
        """The parts of a run of file pages, as addresses. What has become present since is the run's alone."""
        name, shift = self._name(vma), vma.backing.offset - vma.start
        parts, place = self._parts.get(name, []), run.start
        index = max(bisect_right(self._starts.get(name, []), run.start + shift) - 1, 0)
        while place < run.end:
            part = parts[index] if index < len(parts) else Part(run.end + shift, run.end + shift, 0, 0)
            index += 1
            low, high = max(part.start - shift, place), min(part.end - shift, run.end)
            if place < min(low, run.end):
                yield Part(place, min(low, run.end), 1, int(_is_written(vma)))
                place = min(low, run.end)
            if low < high:
                yield Part(low, high, part.mapped, part.written)
                place = high


def _between(edges: list[tuple[int, int, int]]) -> Iterator[Part]:
    """The parts between sorted edges at which the counts change."""
    mapped = written = place = 0
    for at, more, writers in sorted(edges):
        if mapped and at > place:
            yield Part(place, at, mapped, written)
        mapped, written, place = mapped + more, written + writers, at


def _name(file: object) -> object:
    """Equal for the same file, however often it was opened."""
    return identity(file) or id(file)


def _others(proc: Process, vma: Vma) -> list[Vma]:
    """Other regions that map some of the same file's bytes."""
    if not isinstance(vma.backing, File):
        return []
    mine, start = _name(vma.backing.file), vma.backing.offset
    end = start + vma.end - vma.start
    return [
        other
        for other in proc.space
        if isinstance(other.backing, File)
        and other.start != vma.start
        and other.backing.offset < end
        and other.backing.offset + other.end - other.start > start
        and (other.backing.file is vma.backing.file or _name(other.backing.file) == mine)
    ]


def _is_written(vma: Vma) -> bool:
    """May the region's pages have been written for everybody? Which of them were is not told: all that may have been are."""
    return bool(vma.flags & VmFlag.SHARED) and bool(vma.prot & 2)


# -- smaps ----------------------------------------------------------------------------------------------------------------


class _Sums:
    """The rows of smaps for one region or, added up, for all; bytes, Pss in 1/4096 bytes."""

    def __init__(self) -> None:
        self.rss = self.pss = self.pss_dirty = self.pss_anon = self.pss_file = self.pss_shmem = 0
        self.shared_clean = self.shared_dirty = self.private_clean = self.private_dirty = 0
        self.anonymous = self.locked = 0

    def add(self, size: int, kind: str, mapped: int, dirty: bool, locked: bool) -> None:
        """Count `size` bytes of pages that are mapped `mapped` times (fs/proc/task_mmu.c:smaps_account)."""
        share = (size << 12) // mapped
        self.rss += size
        self.pss += share
        setattr(self, f"pss_{kind}", getattr(self, f"pss_{kind}") + share)
        if dirty:
            self.pss_dirty += share
        if kind == "anon":
            self.anonymous += size
        if locked:
            self.locked += share
        row = ("shared" if mapped > 1 else "private") + ("_dirty" if dirty else "_clean")
        setattr(self, row, getattr(self, row) + size)

    def text(self, rollup: bool) -> str:
        more = (self.pss_anon, self.pss_file, self.pss_shmem) if rollup else ()
        values = (
            self.rss, self.pss >> 12, self.pss_dirty >> 12, *(share >> 12 for share in more), self.shared_clean, self.shared_dirty,
            self.private_clean, self.private_dirty, self.rss, self.anonymous, self.locked >> 12,
        )  # fmt: skip
        return (_ROLLUP if rollup else _ROWS) % tuple([value >> 10 for value in values])


def _rows(names: str) -> str:
    """Lines for a figure each, to be filled in; 0 where there is an exclamation mark."""
    return "".join(f"{name.strip('!') + ':':<16}{'       0' if name.endswith('!') else '%8d'} kB\n" for name in names.split())


_TAIL = (
    " Shared_Clean Shared_Dirty Private_Clean Private_Dirty Referenced Anonymous KSM! LazyFree! AnonHugePages! ShmemPmdMapped!"
    " FilePmdMapped! Shared_Hugetlb! Private_Hugetlb! Swap! SwapPss! Locked"
)
_ROWS, _ROLLUP = _rows("Rss Pss Pss_Dirty" + _TAIL), _rows("Rss Pss Pss_Dirty Pss_Anon Pss_File Pss_Shmem" + _TAIL)
_SIZES = _rows("Size KernelPageSize MMUPageSize")


def _account(sums: _Sums, vma: Vma, found: Iterable[Run], sharing: Sharing | None) -> None:
    locked = bool(vma.flags & VmFlag.LOCKED)
    for run in found:
        if run.kind == "anon":
            sums.add(run.end - run.start, run.kind, 1, True, locked)
        elif run.of_file and sharing is not None:
            for part in sharing.parts(vma, run):
                sums.add(part.end - part.start, run.kind, part.mapped, part.written > 0, locked)


def vm_flags(vma: Vma) -> str:
    """VmFlags: two letters and a blank for each."""
    return _letters(vma.prot & 7, vma.flags)


@lru_cache(256)
def _letters(rights: int, flags: int) -> str:
    letters = [name for bit, name in ((1, "rd"), (2, "wr"), (4, "ex")) if rights & bit]
    letters += [name for bit, name in _LETTERS if flags & bit]
    return "".join(name + " " for name in letters)


def never_huge(proc: Process) -> bool:
    """prctl(PR_SET_THP_DISABLE) without exception for those that ask."""
    return proc.controls.get("thp_disable", 0) == 1


def huge_eligible(proc: Process, vma: Vma) -> bool:
    """May the region hold huge pages when only those get them that asked (mm/huge_memory.c:__thp_vma_allowable_orders)?"""
    if never_huge(proc):
        return False
    if isinstance(vma.backing, File) or not vma.flags & VmFlag.HUGEPAGE or vma.flags & (_NOT_HUGE | VmFlag.MAYSHARE):
        return False
    return vma.end & -_HUGE >= (vma.start + _HUGE - 1 & -_HUGE) + _HUGE


class Smaps:
    """The records of smaps; the key is an address. How often pages are mapped is counted once for each reading of the file."""

    def __init__(self, proc: Process) -> None:
        self._proc = proc
        self._sharing: Sharing | None = None

    def __call__(self, key: int) -> Iterator[tuple[bytes, int]]:
        proc = self._proc
        if not key:
            self._sharing = None
        lines, regions = Lines(proc), onward(proc, key)
        while some := list(islice(regions, _AT_ONCE)):
            for vma, found in present(proc, some):
                if self._sharing is None and any(run.of_file for run in found):
                    self._sharing = Sharing(proc, list(proc.space))
                sums = _Sums()
                _account(sums, vma, found, self._sharing)
                yield _smap(proc, vma, lines(vma), sums), vma.end
        yield from past_the_end(proc, key, lambda gate, head: _smap(proc, gate, head + b"\n", _Sums()))


_AT_ONCE = 6
"""Regions whose records fit into a page, more or less: that is what a read returns."""


def _smap(proc: Process, vma: Vma, head: bytes, sums: _Sums) -> bytes:
    page = (rules.huge_page(vma) or proc.space.page_size) >> 10
    sizes = _SIZES % (vma.end - vma.start >> 10, page, page)
    eligible = f"{'THPeligible:':<16}{int(huge_eligible(proc, vma)):>8}\n"
    return head + f"{sizes}{sums.text(False)}{eligible}VmFlags: {vm_flags(vma)}\n".encode()


def smaps_rollup(proc: Process) -> bytes:
    sums, regions = _Sums(), list(proc.space)
    sharing = Sharing(proc, regions)
    for vma, found in present(proc, regions):
        _account(sums, vma, found, sharing)
    first, last = (regions[0].start, regions[-1].end) if regions else (0, 0)
    head = line(Vma(first, last, 0, 0, None, first, last - first), name="[rollup]")
    return encoded(f"{head}\n{sums.text(True)}")


# -- pagemap --------------------------------------------------------------------------------------------------------------

_PRESENT, _OF_A_FILE, _GUARDED, _EXCLUSIVE = 1 << 63, 1 << 61, 1 << 62 | 1 << 58, 1 << 56
_ENTRY = 8
_ENTRIES = {"anon": _PRESENT | _EXCLUSIVE, "file": _PRESENT | _OF_A_FILE | _EXCLUSIVE, "zero": _PRESENT}
_ENTRIES["shmem"] = _ENTRIES["file"]
"""The entry of a page. Its number in the machine is kept from programs."""


def pagemap(proc: Process, length: int, offset: int) -> bytes:
    """pread(2) of pagemap: 8 bytes for each page. EINVAL unless offset and length are multiples of that."""
    if offset % _ENTRY or length % _ENTRY:
        raise GuestError(Errno.EINVAL, f"{length} bytes at {offset}")
    page = proc.space.page_size
    start = offset // _ENTRY * page
    end = min(start + length // _ENTRY * page, proc.arch.task_size)
    if start >= end:
        return b""
    parts: list[bytes] = []
    at = start
    for vma in proc.space.regions(start, min(end, proc.space.end) - start) if start < proc.space.end else ():
        low, high = max(vma.start, start), min(vma.end, end)
        parts.append(bytes((low - at) // page * _ENTRY))
        parts.append(_entries(proc, vma, low, high))
        at = high
    parts.append(bytes((end - at) // page * _ENTRY))
    data = b"".join(parts)
    return data if not proc.arch.big_endian else b"".join(data[i : i + 8][::-1] for i in range(0, len(data), 8))


def _entries(proc: Process, vma: Vma, start: int, end: int) -> bytes:
    page, data = proc.space.page_size, bytearray((end - start) // proc.space.page_size * _ENTRY)
    sharing: Sharing | None = None

    def put(low: int, high: int, entry: int) -> None:
        at = (low - start) // page * _ENTRY
        data[at : at + (high - low) // page * _ENTRY] = entry.to_bytes(_ENTRY, "little") * ((high - low) // page)

    for run in runs(proc, vma, start, end):
        put(run.start, run.end, _ENTRIES[run.kind])
        if run.of_file:
            sharing = sharing or Sharing(proc, sorted([vma, *_others(proc, vma)]))
            for part in sharing.parts(vma, run):
                if part.mapped > 1:
                    put(part.start, part.end, _PRESENT | _OF_A_FILE)
    withheld = proc.engine.memory.withheld
    for low, high in withheld(start, end) if withheld is not None else ():
        put(low, high, _GUARDED)
    return bytes(data)
