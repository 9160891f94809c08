"""The regions of the guest's memory as /proc/PID names them: maps, map_files, exe.

Owns: names, devices and inodes of regions, the text of maps. Must not know how the files are read (`procfs_files`), nor which
pages are there (`procfs_pages`). Source: fs/proc/task_mmu.c, Linux 6.18.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from emuvm.abi.structs import Stat
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import GuestError
from emuvm.kernel import hostfd, vsyscall
from emuvm.kernel.files import MappedFile
from emuvm.mm.maps import line
from emuvm.mm.types import Anon, File, Vma
from emuvm_loaders import FileSource

if TYPE_CHECKING:
    from emuvm.kernel.process import Process


_SPARE = 64
"""So many texts of lines more than twice the regions may be kept."""
_FEW = 200
"""Below this it is cheaper to pass over all regions than to look one up."""


class Place(NamedTuple):
    """Where a mapped file lies: its device and inode, and its name."""

    device: tuple[int, int]
    inode: int
    name: bytes


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
    found = identity(vma.backing.file)
    name = path_of(proc, vma.backing.file)
    given = getattr(vma.backing, "name", None)
    if given is not None:
        name = b"[anon_shmem:%s]" % given
    return Place((0, 0), 0, name) if found is None else Place(*found, name)


def identity(file: Any) -> tuple[tuple[int, int], int] | None:
    """Device and inode of a mapped file, equal however often it was opened; None for what has none."""
    if isinstance(file, MappedFile):
        return file.identity
    try:
        found: Stat
        if hasattr(file, "stat"):
            found = file.stat()
        elif hasattr(file, "fileno"):
            found = hostfd.stat(file.fileno())
        else:
            return None
    except GuestError:
        return None
    return found.dev, found.ino


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


def name_of(proc: Process, vma: Vma) -> bytes:
    """What the kernel calls memory that is no file's (fs/proc/task_mmu.c:get_vma_name)."""
    vdso = getattr(proc, "vdso", 0)
    if vdso and vma.start == vdso:
        return b"[vdso]"
    if vma.start < proc.mm.brk_now and vma.end > proc.mm.start_brk:
        return b"[heap]"
    stack = proc.stack_info
    if stack is not None and vma.start <= stack.start <= vma.end:
        return b"[stack]"
    if isinstance(vma.backing, Anon) and vma.backing.name is not None:
        return b"[anon:%s]" % vma.backing.name
    return b""


class Lines:
    """The lines of maps at one moment: what is asked of the host is asked once for each file. Texts are kept from one time to the next."""

    def __init__(self, proc: Process) -> None:
        self._proc = proc
        self._places: dict[int, tuple[Any, Place]] = {}
        self._kept = proc.kept.map_lines
        stack = proc.stack_info
        named = proc.mm.start_brk, proc.mm.brk_now, proc.vdso, stack.start if stack is not None else 0
        if proc.kept.map_names != named or len(self._kept) > 2 * len(proc.space) + _SPARE:
            self._kept.clear()
            proc.kept.map_names = named

    def __call__(self, vma: Vma) -> bytes:
        """A region's line, with the newline."""
        kept = self._kept.get(vma.start)
        backing = vma.backing
        if not isinstance(backing, File):
            # The same region, which never changes, has the same line.
            if kept is None or kept[0] is not vma:
                text = line(vma, name=name_of(self._proc, vma).decode("utf-8", "surrogateescape")) + "\n"
                kept = self._kept[vma.start] = vma, encoded(text)
            return kept[1]
        found = self._places.get(id(backing.file))
        if found is None:
            # The file is kept so that its id stays its own.
            found = self._places[id(backing.file)] = backing.file, cast("Place", place(self._proc, vma))
        where = found[1]
        # Not the region itself: it would keep a file open that is mapped no more.
        key = (vma.end, vma.prot, vma.flags, backing.offset, where)
        if kept is None or kept[0] != key:
            name = where.name.replace(b"\n", b"\\012").decode("utf-8", "surrogateescape")
            kept = self._kept[vma.start] = key, encoded(line(vma, device=where.device, inode=where.inode, name=name) + "\n")
        return kept[1]


def onward(proc: Process, key: int) -> Iterator[Vma]:
    """The regions that end above `key`, ascending."""
    if len(proc.space) < _FEW:
        for vma in proc.space:
            if vma.end > key:
                yield vma
        return
    while (found := region_at(proc, key)) is not None:
        yield found
        key = found.end


def maps(proc: Process, key: int) -> Iterator[tuple[bytes, int]]:
    """The records of maps; the key is an address."""
    lines = Lines(proc)
    for vma in onward(proc, key):
        yield lines(vma), vma.end
    yield from past_the_end(proc, key, lambda gate, head: head + b"\n")


def past_the_end(proc: Process, key: int, text: Callable[[Vma, bytes], bytes]) -> Iterator[tuple[bytes, int]]:
    """The record of x86-64's vsyscall page, made of its region and its line. It lies behind all that the program can map."""
    if proc.arch.name == "x86_64" and key <= vsyscall.PAGE:
        yield text(_GATE, _GATE_LINE), _GATE.end


_GATE = Vma(vsyscall.PAGE, vsyscall.PAGE + 4096, 4, 0, None, vsyscall.PAGE, 4096)
_GATE_LINE = line(_GATE, name="[vsyscall]").encode()


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
