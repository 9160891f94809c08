"""What the kernel did (tests/mm/record), done again by LinuxMm behind the handlers of the memory calls, without an engine.

After every call the result and all areas must be the recorded ones: ranges, rights, file offsets, objects, VmFlags.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emuvm.abi.arch import X86_64
from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.kernel import filemap, files, hostfd, shmem
from emuvm.kernel.files import OpenFile
from emuvm.kernel.registry import bind, find
from emuvm.mm.layout import Layout
from emuvm.mm.limits import Limits
from emuvm.mm.linux import LinuxMm
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import Anon, File, Update, Vma, VmFlag

VECTORS = sorted((Path(__file__).parent / "vectors").glob("*.jsonl.gz"))
MIN_ADDR = 0x10000
MAX_MAP_COUNT = 65530
FLAGS = {
    "sh": VmFlag.SHARED, "mr": VmFlag.MAYREAD, "mw": VmFlag.MAYWRITE, "me": VmFlag.MAYEXEC, "ms": VmFlag.MAYSHARE,
    "gd": VmFlag.GROWSDOWN, "pf": VmFlag.PFNMAP, "gu": VmFlag.MAYBE_GUARD, "lo": VmFlag.LOCKED, "io": VmFlag.IO, "sr": VmFlag.SEQ_READ,
    "rr": VmFlag.RAND_READ, "dc": VmFlag.DONTCOPY, "de": VmFlag.DONTEXPAND, "lf": VmFlag.LOCKONFAULT, "ac": VmFlag.ACCOUNT,
    "nr": VmFlag.NORESERVE, "ht": VmFlag.HUGETLB, "sf": VmFlag.SYNC, "wf": VmFlag.WIPEONFORK, "dd": VmFlag.DONTDUMP,
    "mm": VmFlag.MIXEDMAP, "hg": VmFlag.HUGEPAGE, "nh": VmFlag.NOHUGEPAGE, "mg": VmFlag.MERGEABLE, "dp": VmFlag.DROPPABLE,
    "sl": VmFlag.SEALED,
}  # fmt: skip
"""fs/proc/task_mmu.c:show_smap_vma_flags, but for access rights."""
LIMITS = {9: "address_space", 2: "data", 8: "memlock", 3: "stack"}


class Content:
    """A file in areas. `key`: equal for all openings of one inode."""

    def __init__(self, size: int, key: object, *, places_itself: bool = False) -> None:
        self._size = size
        self.key = key
        self.places_itself = places_itself

    def fileno(self) -> int:
        return -1

    def size(self) -> int:
        return self._size


class Shared(Content):
    """A shared anonymous object."""

    def __init__(self, size: int) -> None:
        super().__init__(size, self)


class Zero:
    """/dev/zero in a private area."""

    key = "zero"
    places_itself = True


class Opened(OpenFile):
    """One of the files of a recording."""

    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__(row["mode"], b"")
        self._kind, self._sealed = row["kind"], bool(row["sealed"])
        self.is_zero = self._kind == "zero"
        self.noexec = self._kind == "none"
        self.is_regular = self._kind in ("memfd", "disk")
        self.host_fd = row["fd"] if self._kind == "disk" else -1
        self.map_limit = (1 << 63) - 1 if self._kind in ("memfd", "disk") else (1 << 64) - 1
        self._content: Any = Zero() if self.is_zero else Content(row["size"], row["inode"], places_itself=self._kind == "disk")

    def mappable(self) -> Any:
        if self._kind == "none":
            raise GuestError(Errno.ENODEV, "a directory")
        return self._content

    def write_sealed(self) -> bool:
        return self._sealed


class Touched:
    """Pages without contents: it tells which private areas were written to."""

    withheld: Callable[[int, int], list[tuple[int, int]]] | None = None

    def __init__(self, space: AddressSpace) -> None:
        self._space = space
        self.written: list[int] = []

    def take_written(self) -> list[int]:
        written, self.written = self.written, []
        return written

    def residency(self, start: int, end: int) -> bytes:
        return bytes(end - start >> 12)

    def populate(self, start: int, end: int, *, write: bool) -> None:
        for vma in self._space.regions(start, end - start):
            if write and not vma.flags & VmFlag.SHARED:
                self.written.append(max(vma.start, start))

    def discard(self, address: int, length: int) -> None:
        return

    def may_free(self, start: int, end: int) -> None:
        return

    def page_out(self, start: int, end: int) -> None:
        return

    def punch(self, address: int, length: int) -> None:
        return

    def withdraw(self, start: int, end: int) -> None:
        return


class Mirror:
    """What a subscriber knows: rights by range. It must agree with the space after every change."""

    def __init__(self, space: AddressSpace) -> None:
        self._space = space
        self._ranges = [(vma.start, vma.end, vma.prot) for vma in space]
        space.subscribe(self._update, committed=self._committed)

    def _update(self, update: Update) -> None:
        for vma in (update.old, update.new):
            assert vma is None or vma.start < vma.end, f"{update} says nothing"
        if update.old is not None:
            self._take(update.old)
        if update.new is not None:
            new = update.new
            assert not any(low < new.end and new.start < high for low, high, _ in self._ranges), f"{update}: the place is not free"
            self._ranges.append((new.start, new.end, new.prot))

    def _take(self, old: Vma) -> None:
        covered, kept = 0, []
        for low, high, prot in self._ranges:
            first, last = max(low, old.start), min(high, old.end)
            if first >= last:
                kept.append((low, high, prot))
                continue
            assert prot == old.prot, f"{old} had other rights"
            covered += last - first
            kept += [part for part in ((low, first, prot), (last, high, prot)) if part[0] < part[1]]
        assert covered == old.end - old.start, f"{old} was not there"
        self._ranges = kept

    def _committed(self) -> None:
        self._ranges = joined(self._ranges)
        assert self._ranges == joined((vma.start, vma.end, vma.prot) for vma in self._space)


def joined(ranges: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Neighbours with equal rights as one."""
    out: list[tuple[int, int, int]] = []
    for low, high, prot in sorted(ranges):
        if out and out[-1][1:] == (low, prot):
            out[-1] = (out[-1][0], high, prot)
        else:
            out.append((low, high, prot))
    return out


class Replay:
    """One recording: its process, and the calls as they are made in it."""

    def __init__(self, header: dict[str, Any], kernel: tuple[int, int] = (6, 18)) -> None:
        self.space = AddressSpace(0, X86_64.task_size)
        self.space.checking, self.space.merging = True, False
        limits = Limits(commit=header["commit"], max_map_count=MAX_MAP_COUNT - header["far"])
        layout = Layout.of(X86_64, self.space)._replace(min_addr=MIN_ADDR, mmap_base=int(header["mmap_base"], 16))
        self.inodes: dict[str, object] = {"0": None}
        self.rows = {int(row.split("-")[0], 16): row for row in header["map"]}
        for row in header["map"]:
            vma = self._own(row)
            self.space.rewrite([(vma.start, vma.end, [vma])], [])
        self.pages = Touched(self.space)
        self.mm = LinuxMm(self.space, X86_64, limits, layout, pages=self.pages, kernel=kernel)
        self.mm.attach_pages(self.pages)
        self.mirror = Mirror(self.space)
        self.mm.deny_write_exec = bool(header["mdwe"])
        self.mm.set_brk(int(header["start_brk"], 16))
        self.mm.data_bytes = header["data"]
        self.fds = {row["fd"]: Opened(row) for row in header["files"]}
        self._proc = SimpleNamespace(
            arch=X86_64, space=self.space, mm=self.mm, personality=0, files=SimpleNamespace(opened=self._opened),
            kept=SimpleNamespace(peak_known=1 << 60), system=SimpleNamespace(usage=lambda: (0,)), mem=SimpleNamespace(deferred=False),
        )  # fmt: skip
        self._calls: dict[str, Callable[[tuple[int, ...]], int]] = {"touch": self._touch, "rlimit": self._rlimit}

    def _opened(self, fd: int) -> Opened:
        if fd not in self.fds:
            raise GuestError(Errno.EBADF, "no such descriptor")
        return self.fds[fd]

    def _own(self, row: str) -> Vma:
        """An area of the recorder."""
        span, rights, offset, inode, letters = row.split(" ")
        start, end = (int(edge, 16) for edge in span.split("-"))
        prot = sum(bit for bit, letter in ((1, "r"), (2, "w"), (4, "x")) if letter in rights)
        flags = sum(FLAGS[letters[n : n + 2]] for n in range(0, len(letters), 2))
        backing: Any = Anon(start, anon=start if prot & 2 else 0)
        if inode != "0":
            content = self.inodes.setdefault(inode, Content(1 << 40, inode))
            backing = File(content, int(offset, 16), anon=start if prot & 2 else 0)
            self.inodes[inode] = content
        return Vma(start, end, prot, flags, backing, start, end - start)

    def _touch(self, args: tuple[int, ...]) -> int:
        """A copy of one byte into memory, or out of it."""
        addr, write = args
        page = addr & -4096
        if page >= self.space.end:
            return -Errno.EFAULT
        vma = self.space.query(page)
        if vma is None and self.mm.grow_stack(addr):
            vma = self.space.query(page)
        if vma is None or not vma.prot & (2 if write else 7) or self.mm.guards.within(page, page + 4096):
            return -Errno.EFAULT
        if page >= self.mm.end_of_file(vma):
            if write:
                self.mm.written_beyond(vma)
            return -Errno.EFAULT
        if write and not vma.flags & VmFlag.SHARED:
            self.pages.written.append(page)
        return 1

    def _rlimit(self, args: tuple[int, ...]) -> int:
        setattr(self.mm.limits, LIMITS[args[0]], args[1])
        return 0

    def call(self, name: str, args: tuple[int, ...]) -> int:
        """The result of a call, or a negative errno."""
        function = self._calls.get(name)
        if function is None:
            spec = find(name)
            assert spec is not None
            function = self._calls[name] = bind(spec, self._proc, 64, None)  # type: ignore[arg-type]
        try:
            return function(args)
        except GuestError as error:
            return -error.errno

    def row(self, vma: Vma) -> str:
        """An area as the recording writes it."""
        prot, flags, backing = vma.prot, vma.flags, vma.backing
        rights = "".join(c if prot & bit else "-" for c, bit in (("r", 1), ("w", 2), ("x", 4))) + ("s" if flags & VmFlag.MAYSHARE else "p")
        offset, inode = (backing.offset, self.inode(backing.file)) if type(backing) is File else (0, "0")
        return f"{vma.start:x}-{vma.end:x} {rights} {offset:x} {inode} {letters(flags)}"

    def inode(self, file: Any) -> str:
        """The recorded number of an object; the first row that shows it tells."""
        key = getattr(file, "key", file)
        return next((number for number, known in self.inodes.items() if known == key or known == file), "new")

    def learn(self, rows: list[str]) -> None:
        """Numbers of objects that appeared: areas at the same place belong together."""
        for row in rows:
            number = row.split(" ")[3]
            if number in self.inodes:
                continue
            vma = self.space.query(int(row.split("-")[0], 16))
            if vma is not None and type(vma.backing) is File and self.inode(vma.backing.file) == "new":
                self.inodes[number] = getattr(vma.backing.file, "key", vma.backing.file)


_letters: dict[int, str] = {}


def letters(flags: int) -> str:
    """VmFlags in the kernel's order."""
    found = _letters.get(flags)
    if found is None:
        found = _letters[flags] = "".join(name for name, flag in FLAGS.items() if flags & flag)
        assert not flags & ~sum(FLAGS.values()), f"flags {flags:#x} have no letters"
    return found


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="ascii") as file:
        for line in file:
            yield json.loads(line)


def replay(path: Path) -> str:
    """What differs first, or nothing."""
    source = lines(path)
    header = next(source)
    for number, row in enumerate(header["files"]):
        row["inode"] = f"memfd{number}"
        if number and header["files"][number - 1]["kind"] == row["kind"] and row["mode"] != 2:
            row["inode"] = header["files"][number - 1]["inode"]
    run = Replay(header)
    ours: dict[int, str] = {}
    shown = None
    for number, step in enumerate(source, 1):
        name, args = step["c"], tuple(int(word, 16) for word in step["a"])
        wanted = step["r"] if isinstance(step["r"], int) else int(step["r"], 16)
        result = run.call(name, args)
        gone = {int(start, 16): run.rows.pop(int(start, 16)) for start in step["-"]}
        for row in step["+"]:
            run.rows[int(row.split("-")[0], 16)] = row
        run.learn(step["+"])
        if shown is not run.space._root:
            shown = run.space._root
            ours = {vma.start: run.row(vma) for vma in run.space}
        if result != wanted or ours != run.rows:
            return explain(path, number, step, result, gone, run, ours)
    return ""


def explain(path: Path, number: int, step: dict[str, Any], result: int, gone: dict[int, str], run: Replay, ours: dict[int, str]) -> str:
    there = set(run.rows.values())
    here = set(ours.values())
    shown = f"{-result}" if result < 0 else f"{result:#x}"
    text = [f"{path.name}:{number + 1}: {step['c']}({', '.join('0x' + a for a in step['a'])}) = {step['r']}, here {shown}"]
    text += [f"  kernel only: {row}" for row in sorted(there - here)]
    text += [f"  emuvm only:  {row}" for row in sorted(here - there)]
    text += [f"  before: {row}" for row in gone.values()]
    return "\n".join(text)


@pytest.fixture(autouse=True)
def no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins(monkeypatch)


def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared objects without memory of the host."""
    monkeypatch.setattr(shmem, "SharedMemory", Shared)
    monkeypatch.setattr(filemap, "SharedMemory", Shared)
    monkeypatch.setattr(files, "filesystem", lambda fd: min(files.SYNCHRONOUS) if fd >= 0 else 0)
    monkeypatch.setattr(hostfd, "fdatasync", lambda fd: None)


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.name.split(".")[0])
def test_the_kernel_did_the_same(path: Path) -> None:
    difference = replay(path)
    assert not difference, difference


def main(count: int = 1000) -> int:
    """For the mutation check: as `pytest -x` on the first recordings, but quicker to start."""
    stand_ins(pytest.MonkeyPatch())
    for path in VECTORS[:count]:
        if replay(path):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
