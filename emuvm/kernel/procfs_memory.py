"""What /proc/PID tells of the memory: maps, smaps, pagemap, and the figures for statm, status and stat.

Owns: names of regions, how many pages are there and whose they are, the text. Must not know how the files are read
(`procfs_files`) nor other facts of the process. A page is counted where the engine says it was touched. Source:
fs/proc/task_mmu.c, Linux 6.18.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emuvm.abi.errno import Errno
from emuvm.abi.structs import Stat
from emuvm.abi.tuples import NamedTuple
from emuvm.engine.base import Residency
from emuvm.errors import GuestError
from emuvm.kernel import hostfd, vsyscall
from emuvm.mm.maps import line
from emuvm.mm.types import Anon, File, Vma, VmFlag
from emuvm_loaders import FileSource

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_GUARD = 0x800
"""VM_MAYBE_GUARD: madvise(MADV_GUARD_INSTALL) was used in the region."""
_HUGE = 2 << 20
_LETTERS = (
    (VmFlag.SHARED, "sh"), (VmFlag.MAYREAD, "mr"), (VmFlag.MAYWRITE, "mw"), (VmFlag.MAYEXEC, "me"), (VmFlag.MAYSHARE, "ms"),
    (VmFlag.GROWSDOWN, "gd"), (VmFlag.PFNMAP, "pf"), (_GUARD, "gu"), (VmFlag.LOCKED, "lo"), (VmFlag.IO, "io"), (VmFlag.SEQ_READ, "sr"),
    (VmFlag.RAND_READ, "rr"), (VmFlag.DONTCOPY, "dc"), (VmFlag.DONTEXPAND, "de"), (VmFlag.LOCKONFAULT, "lf"), (VmFlag.ACCOUNT, "ac"),
    (VmFlag.NORESERVE, "nr"), (VmFlag.HUGETLB, "ht"), (VmFlag.SYNC, "sf"), (VmFlag.WIPEONFORK, "wf"), (VmFlag.DONTDUMP, "dd"),
    (VmFlag.MIXEDMAP, "mm"), (VmFlag.HUGEPAGE, "hg"), (VmFlag.NOHUGEPAGE, "nh"), (VmFlag.MERGEABLE, "mg"), (VmFlag.DROPPABLE, "dp"),
    (VmFlag.SEALED, "sl"),
)  # fmt: skip
"""The letters of VmFlags behind rd, wr and ex, in the order of the bits."""
_NOT_HUGE = VmFlag.NOHUGEPAGE | VmFlag.IO | VmFlag.DONTEXPAND | VmFlag.PFNMAP | VmFlag.MIXEDMAP | VmFlag.HUGETLB


class Place(NamedTuple):
    """Where a mapped file lies: its device and inode, and its name as maps shows it."""

    device: tuple[int, int]
    inode: int
    name: str


# -- names ----------------------------------------------------------------------------------------------------------------


def region_at(proc: Process, key: int) -> Vma | None:
    """The first region that ends above `key` (find_vma)."""
    if key >= proc.space.end:
        return None
    found: Vma | None = proc.space.query(key)
    return found if found is not None else proc.space.region_above(key)


def place(proc: Process, vma: Vma) -> Place | None:
    """Device, inode and name of what a region maps; None for private memory."""
    if not isinstance(vma.backing, File):
        return None
    found = _status(vma.backing.file)
    name = _shown(path_of(proc, vma.backing.file))
    return Place((0, 0), 0, name) if found is None else Place(found.dev, found.ino, name)


def _status(file: Any) -> Stat | None:
    """The status of a mapped file; None for what has none."""
    try:
        if hasattr(file, "stat"):
            return file.stat()  # type: ignore[no-any-return]
        return hostfd.stat(file.fileno()) if hasattr(file, "fileno") else None
    except GuestError:
        return None


def path_of(proc: Process, file: Any) -> bytes:
    """What a mapped file is called now: renaming shows, and so does removing."""
    path: str | bytes = file if isinstance(file, str) else getattr(file, "path", b"")
    known = path if isinstance(path, bytes) else path.encode(errors="surrogateescape")
    if not hasattr(file, "fileno"):
        return known
    link = hostfd.link(file.fileno())
    if not link.startswith(b"/") or link.startswith(b"/memfd:"):
        return known or link
    inside: bytes = proc.fs.root.inside(link) if proc.fs is not None else link
    return inside or known


def _shown(path: bytes) -> str:
    return path.replace(b"\n", b"\\012").decode("utf-8", "surrogateescape")


def program(proc: Process) -> bytes:
    """What /proc/PID/exe leads to: the file that the program's code was mapped from, where it is now."""
    vma = proc.space.query(proc.plan.start_code) if proc.plan is not None else None
    if vma is not None and isinstance(vma.backing, File) and isinstance(vma.backing.file, FileSource):
        return path_of(proc, vma.backing.file)
    exe: bytes = proc.exe
    return exe


def mapped_files(proc: Process) -> list[bytes]:
    """The names in map_files: the ranges of regions that map files."""
    return [b"%x-%x" % (vma.start, vma.end) for vma in proc.space if isinstance(vma.backing, File)]


def mapped_file(proc: Process, name: bytes) -> bytes | None:
    """Where a name in map_files leads."""
    for vma in proc.space:
        if isinstance(vma.backing, File) and name == b"%x-%x" % (vma.start, vma.end):
            return path_of(proc, vma.backing.file)
    return None


def name_of(proc: Process, vma: Vma) -> str:
    """What the kernel calls memory that is no file's (fs/proc/task_mmu.c:get_vma_name)."""
    vdso = getattr(proc, "vdso", 0)
    if vdso and vma.start == vdso:
        return "[vdso]"
    if vma.start < proc.mm.brk_now and vma.end > proc.mm.start_brk:
        return "[heap]"
    stack = proc.stack_info
    if stack is not None and vma.start <= stack.start <= vma.end:
        return "[stack]"
    if isinstance(vma.backing, Anon) and vma.backing.name is not None:
        return f"[anon:{vma.backing.name.decode('utf-8', 'surrogateescape')}]"
    return ""


def map_line(proc: Process, vma: Vma) -> str:
    """A region's line in maps, without the newline."""
    where = place(proc, vma)
    if where is None:
        return line(vma, name=name_of(proc, vma))
    name = where.name
    given = getattr(vma.backing, "name", None)
    if given is not None:
        name = f"[anon_shmem:{given.decode('utf-8', 'surrogateescape')}]"
    return line(vma, device=where.device, inode=where.inode, name=name)


def maps(proc: Process, key: int) -> tuple[bytes, int] | None:
    """The records of maps; the key is an address."""
    vma = region_at(proc, key)
    if vma is not None:
        return _bytes(map_line(proc, vma) + "\n"), vma.end
    return _gate(proc, key, lambda gate: f"{line(gate, name='[vsyscall]')}\n")


def _gate(proc: Process, key: int, text: Callable[[Vma], str]) -> tuple[bytes, int] | None:
    """The record of x86-64's vsyscall page, behind all others. It lies outside of what the program can map."""
    if proc.arch.name != "x86_64" or key > vsyscall.PAGE:
        return None
    gate = Vma(vsyscall.PAGE, vsyscall.PAGE + 4096, 4, 0, None, vsyscall.PAGE, 4096)
    return _bytes(text(gate)), gate.end


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# -- pages ----------------------------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """Pages side by side of the same kind: 'anon' (a private copy), 'file', 'shmem', or 'zero' (the page untouched memory shows)."""

    start: int
    end: int
    kind: str


def runs(proc: Process, vma: Vma, start: int, end: int) -> list[Run]:
    """What is present of [start, end), which lies in the region, ascending."""
    found, of_object = [], ""
    for low, high, bits in proc.engine.memory.resident(start, end):
        kind = "anon" if bits & Residency.PRIVATE else "zero"
        if bits & (Residency.PRIVATE | Residency.FILE) == Residency.FILE:
            if not bits & Residency.MAPPED:
                continue  # in the page cache only
            kind = of_object = of_object or ("shmem" if is_shmem(vma) else "file")
        found.append(Run(low, high, kind))
    return found


def is_shmem(vma: Vma) -> bool:
    """Does a region map a memory object, or a file of a file system that lies in memory?"""
    if not isinstance(vma.backing, File):
        return bool(vma.flags & VmFlag.MAYSHARE)
    file = vma.backing.file
    return hasattr(file, "fileno") and hostfd.link(file.fileno()).startswith((b"/memfd:", b"/dev/shm/"))


class Usage(NamedTuple):
    """Bytes: what statm, status and stat tell."""

    total: int
    data: int
    stack: int
    exec: int
    locked: int
    text: int
    anon: int
    file: int
    shmem: int
    peak: int
    peak_rss: int

    @property
    def rss(self) -> int:
        return self.anon + self.file + self.shmem


def usage(proc: Process) -> Usage:
    """The figures of the whole address space. The peak of what is present is what was ever seen here, see `remember_peak`."""
    page = proc.space.page_size
    sizes = {"anon": 0, "file": 0, "shmem": 0, "zero": 0}
    for vma in proc.space:
        for run in runs(proc, vma, vma.start, vma.end):
            sizes[run.kind] += run.end - run.start
    anon, file, shmem = sizes["anon"], sizes["file"], sizes["shmem"]
    totals, plan = proc.mm.totals, proc.plan
    text = (plan.end_code + page - 1 & -page) - (plan.start_code & -page) if plan is not None else 0
    proc.kept.peak_rss = max(proc.kept.peak_rss, anon + file + shmem)
    return Usage(
        totals.total, totals.data, totals.stack, totals.exec, totals.locked, text, anon, file, shmem, totals.peak, proc.kept.peak_rss
    )


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


_TABLE_SHIFTS = (21, 30, 39)
"""What a page of page tables spans at each level below the top, with pages of 4 KiB and 512 entries."""


def page_tables(proc: Process) -> int:
    """Bytes of page tables that the pages present need."""
    spans: set[int] = set()
    for vma in proc.space:
        for run in runs(proc, vma, vma.start, vma.end):
            spans.update(range(run.start >> _TABLE_SHIFTS[0], (run.end - 1 >> _TABLE_SHIFTS[0]) + 1))
    tables = len(spans)
    for shift in _TABLE_SHIFTS[1:]:
        tables += len({at >> shift - _TABLE_SHIFTS[0] for at in spans})
    return tables * proc.space.page_size


def statm(proc: Process) -> bytes:
    page, now = proc.space.page_size, usage(proc)
    values = (now.total, now.rss, now.file + now.shmem, now.text, 0, now.data + now.stack, 0)
    return b" ".join(b"%d" % (value // page) for value in values) + b"\n"


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
        rows = [("Rss", self.rss), ("Pss", self.pss >> 12), ("Pss_Dirty", self.pss_dirty >> 12)]
        if rollup:
            rows += [("Pss_Anon", self.pss_anon >> 12), ("Pss_File", self.pss_file >> 12), ("Pss_Shmem", self.pss_shmem >> 12)]
        rows += [
            ("Shared_Clean", self.shared_clean), ("Shared_Dirty", self.shared_dirty), ("Private_Clean", self.private_clean),
            ("Private_Dirty", self.private_dirty), ("Referenced", self.rss), ("Anonymous", self.anonymous), ("KSM", 0), ("LazyFree", 0),
            ("AnonHugePages", 0), ("ShmemPmdMapped", 0), ("FilePmdMapped", 0), ("Shared_Hugetlb", 0), ("Private_Hugetlb", 0), ("Swap", 0),
            ("SwapPss", 0), ("Locked", self.locked >> 12),
        ]  # fmt: skip
        return "".join(_row(name, value) for name, value in rows)


def _row(name: str, size: int) -> str:
    return f"{name + ':':<16}{size >> 10:>8} kB\n"


def _account(proc: Process, sums: _Sums, vma: Vma) -> None:
    locked = bool(vma.flags & VmFlag.LOCKED)
    written = _is_written(vma)
    found = runs(proc, vma, vma.start, vma.end)
    others = _others(proc, vma) if any(run.kind in ("file", "shmem") for run in found) else []
    for run in found:
        if run.kind == "zero":
            continue
        dirty = run.kind == "anon" or written
        if not others or run.kind == "anon":
            sums.add(run.end - run.start, run.kind, 1, dirty, locked)
            continue
        page = proc.space.page_size
        for at in range(run.start, run.end, page):
            mapped, elsewhere = _mapped(proc, others, vma.backing.offset + at - vma.start)
            sums.add(page, run.kind, 1 + mapped, dirty or elsewhere, locked)


def _identity(vma: Vma) -> object:
    """Equal for regions of the same file, however often it was opened; None for private memory."""
    if not isinstance(vma.backing, File):
        return None
    found = _status(vma.backing.file)
    return id(vma.backing.file) if found is None else (found.dev, found.ino)


def _others(proc: Process, vma: Vma) -> list[Vma]:
    """Other regions that map some of the same file's bytes."""
    if not isinstance(vma.backing, File):
        return []
    mine, start = _identity(vma), vma.backing.offset
    end = start + vma.end - vma.start
    return [
        other
        for other in proc.space
        if isinstance(other.backing, File)
        and other.start != vma.start
        and other.backing.offset < end
        and other.backing.offset + other.end - other.start > start
        and _identity(other) == mine
    ]


def _is_written(vma: Vma) -> bool:
    """May the region's pages have been written for everybody? Which of them were is not told: all that may have been are."""
    return bool(vma.flags & VmFlag.SHARED) and bool(vma.prot & 2)


def _mapped(proc: Process, others: list[Vma], offset: int) -> tuple[int, bool]:
    """In how many of the regions the page at a file's offset is present, and whether it was written there."""
    count, written, page = 0, False, proc.space.page_size
    for other in others:
        at = other.start + offset - other.backing.offset
        if other.start <= at < other.end and any(run.kind in ("file", "shmem") for run in runs(proc, other, at, at + page)):
            count += 1
            written = written or _is_written(other)
    return count, written


def vm_flags(proc: Process, vma: Vma) -> str:
    """VmFlags: two letters and a blank for each."""
    withheld = proc.engine.memory.withheld
    guarded = withheld is not None and vma.end <= proc.space.end and withheld(vma.start, vma.end)
    flags = vma.flags | (_GUARD if guarded else 0)
    letters = [name for bit, name in ((1, "rd"), (2, "wr"), (4, "ex")) if vma.prot & bit]
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


def smaps(proc: Process, key: int) -> tuple[bytes, int] | None:
    """The records of smaps; the key is an address."""
    vma = region_at(proc, key)
    if vma is None:
        return _gate(proc, key, lambda gate: _smap(proc, gate, line(gate, name="[vsyscall]"), _Sums()))
    sums = _Sums()
    _account(proc, sums, vma)
    return _bytes(_smap(proc, vma, map_line(proc, vma), sums)), vma.end


def _smap(proc: Process, vma: Vma, head: str, sums: _Sums) -> str:
    page = proc.space.page_size
    sizes = _row("Size", vma.end - vma.start) + _row("KernelPageSize", page) + _row("MMUPageSize", page)
    eligible = f"{'THPeligible:':<16}{int(huge_eligible(proc, vma)):>8}\n"
    return f"{head}\n{sizes}{sums.text(False)}{eligible}VmFlags: {vm_flags(proc, vma)}\n"


def smaps_rollup(proc: Process) -> bytes:
    sums = _Sums()
    first = last = 0
    for vma in proc.space:
        first = first or vma.start
        last = vma.end
        _account(proc, sums, vma)
    head = line(Vma(first, last, 0, 0, None, first, last - first), name="[rollup]")
    return _bytes(f"{head}\n{sums.text(True)}")


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
    others: list[Vma] | None = None

    def put(low: int, high: int, entry: int) -> None:
        at = (low - start) // page * _ENTRY
        data[at : at + (high - low) // page * _ENTRY] = entry.to_bytes(_ENTRY, "little") * ((high - low) // page)

    for run in runs(proc, vma, start, end):
        put(run.start, run.end, _ENTRIES[run.kind])
        if run.kind in ("file", "shmem"):
            others = _others(proc, vma) if others is None else others
            for at in range(run.start, run.end, page) if others else ():
                if _mapped(proc, others, vma.backing.offset + at - vma.start)[0]:
                    put(at, at + page, _PRESENT | _OF_A_FILE)
    withheld = proc.engine.memory.withheld
    for low, high in withheld(start, end) if withheld is not None else ():
        put(low, high, _GUARDED)
    return bytes(data)
