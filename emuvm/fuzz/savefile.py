"""A process written to a file: `save` in the format that emuvm_loaders.snapshot reads, `save_core` as an ELF core file.

Owns: which parts of a process go into which section. Must not know how they come back (`fuzz.resume`), nor registers and memory as such.
FORMAT.md beside this file describes the format. What cannot be put into a file is told in words, in its `notes`.

    registers, areas with their flags, pages with contents, presence, signals, limits, descriptors   -> header, blocks
    bytes of memfds, shared memory, System V segments, mapped files                                  -> `contents`, shared by who shows them
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from emuvm.abi.flags import Open
from emuvm.engine.base import Residency, is_shared
from emuvm.engine.hostmem import data_ranges
from emuvm.errors import EmuvmError, GuestError
from emuvm.fuzz.coredump import save_core
from emuvm.fuzz.lastpage import tail
from emuvm.fuzz.simfiles import InputFile, OutputFile, RandomFile
from emuvm.fuzz.simhost import SimSystem
from emuvm.fuzz.snapshot import Snapshot
from emuvm.kernel import hostfd, hostfs, hostpipe
from emuvm.kernel.files import HostOpenFile, OpenFile, ZeroDevice
from emuvm.kernel.memfd import HugeFile, MemFile, SecretFile
from emuvm.kernel.procfs_files import MadeDirectory, MadeFile
from emuvm.kernel.shmem import HugeMemory
from emuvm.kernel.signals import Pending
from emuvm.kernel.sysv import Attachment
from emuvm.mm.layout import HUGE
from emuvm.mm.types import Anon, File, Vma, VmFlag
from emuvm_loaders.snapshot import BLOCK, HEAD, MAGIC, PLAN, REGISTERS, VERSION

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

__all__ = ["EMBED", "save", "save_core"]

EMBED = 64 << 20
"""Mapped files of at most so many bytes are put into the file, in case they are gone when the process comes back."""
_SETTABLE = Open.O_APPEND | Open.O_NONBLOCK | Open.O_DIRECT | Open.O_NOATIME
_GET_SIZE = 1032
"""F_SETPIPE_SZ, F_GETPIPE_SZ."""
_STACK = "sp start arg_start arg_end env_start env_end execfn random vma_start".split()


def save(process: Process | Snapshot, path: str | Path, *, embed: int = EMBED) -> list[str]:
    """Write a process that stands still, or a snapshot's, to a file; what of it cannot come back, in words.

    `embed`: mapped files up to so many bytes go into the file, too. EmuvmError: the process has ended, or the file cannot be written;
    then a file that was there before is as it was.
    """
    if isinstance(process, Snapshot):
        with Snapshot.take(process.proc) as now:
            process.restore()
            try:
                return save(process.proc, path, embed=embed)
            finally:
                now.restore()
    if process.ended is not None:
        raise EmuvmError("the process has ended: there is nothing to go on with")
    target = Path(path)
    unfinished = target.with_name(target.name + ".part")
    try:
        try:
            with unfinished.open("wb") as out:
                notes = _Writer(process, out, embed).write()
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise EmuvmError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    return notes


def _text(data: bytes | str) -> str:
    return data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")


class _Writer:
    """One file being written."""

    def __init__(self, proc: Process, out: BinaryIO, embed: int) -> None:
        self.proc, self.out, self.embed = proc, out, embed
        self.place = HEAD.size
        self.blocks: list[tuple[int, int, int, int]] = []
        self.notes: list[str] = []
        self.contents: list[dict[str, Any]] = []
        self.mapped: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] = []
        self._content_of: dict[Any, int] = {}
        self._mapped_of: dict[int, int] = {}
        self._open_of: dict[int, int] = {}

    def write(self) -> list[str]:
        """All of it."""
        proc, mm = self.proc, self.proc.mm
        mm.sync()
        self.out.write(bytes(HEAD.size))
        descriptors = [(fd, self._opened(file, fd), proc.files.cloexec(fd)) for fd, file in proc.files.items()]
        segments = [self._segment(segment) for segment in proc.ipc or ()]
        areas = [self._area(vma) for vma in proc.space]
        pages, touched = self._memory()
        stack, plan = proc.stack_info, proc.plan
        if proc.restart_block is not None:
            self.notes.append("a call that a signal interrupted does not go on where it was (restart_syscall gives EINTR)")
        header = {
            "arch": proc.arch.name,
            "kernel": mm.kernel,
            "registers": dict(zip(REGISTERS[proc.arch.name], proc.engine.get_many(REGISTERS[proc.arch.name]), strict=True)),
            "fpu": proc.engine.fpu_state().hex(),
            "areas": areas,
            "pages": pages,
            "touched": touched,
            "guards": list(zip(*mm.guards.state(), strict=True)),
            "contents": self.contents,
            "mapped": self.mapped,
            "open": self.open,
            "descriptors": descriptors,
            "files": {"limit": proc.files.limit, "size_limit": proc.files.size_limit, "highest": getattr(proc.files, "_highest")},  # noqa: B009
            "segments": segments,
            "ipc": self._ipc(),
            "mm": self._mm(),
            "process": self._process(),
            "credentials": self._credentials(),
            "stack": None if stack is None else {**{name: getattr(stack, name) for name in _STACK}, "auxv": stack.auxv.hex()},
            "plan": None if plan is None else {name: getattr(plan, name) for name in (*PLAN.split(), "read_implies_exec")},
            "signals": self._signals(),
            "timers": self._timers(),
            "simulated": self._simulated(),
            "notes": self.notes,
            "blocks": self.blocks,
        }
        text = json.dumps(header, separators=(",", ":")).encode("ascii")
        self.out.write(text)
        head = HEAD.pack(MAGIC, VERSION, 0, self.place, len(text), zlib.crc32(text), 0, 0)[:-4]
        self.out.seek(0)
        self.out.write(head + zlib.crc32(head).to_bytes(4, "little"))
        return list(dict.fromkeys(self.notes))

    def _block(self, data: bytes) -> int:
        """Store at most BLOCK bytes; the number of the block."""
        stored = zlib.compress(data, 1)
        self.out.write(stored)
        self.blocks.append((self.place, len(stored), len(data), zlib.crc32(data)))
        self.place += len(stored)
        return len(self.blocks) - 1

    # -- memory -------------------------------------------------------------------------------------------------------------

    def _area(self, vma: Vma) -> tuple[Any, ...]:
        backing = vma.backing
        described: dict[str, Any] | None = None
        if isinstance(backing, Anon):
            name = None if backing.name is None else _text(backing.name)
            described = {"mapped": None, "offset": backing.offset, "anon": backing.anon, "name": name}
        elif isinstance(backing, File):
            described = {"mapped": self._shown(vma), "offset": backing.offset, "anon": backing.anon, "name": None}
        elif backing is not None:
            self.notes.append(f"the area at {vma.start:#x} comes back as plain memory")
        return vma.start, vma.end, vma.prot, vma.flags, vma.base, vma.length, described

    def _memory(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """([(address, block)] of pages with contents of their own, ranges that are present without)."""
        memory = self.proc.engine.memory
        pages: list[tuple[int, int]] = []
        touched: list[tuple[int, int]] = []
        for vma in self.proc.space:
            for start, end, bits in memory.resident(vma.start, vma.end, cached=False):
                if bits & Residency.PRIVATE and not is_shared(vma):
                    for low in range(start, end, BLOCK):
                        pages.append((low, self._block(memory.read(low, min(BLOCK, end - low)))))
                elif bits & Residency.PRESENT:
                    touched.append((start, end))
        return pages, touched

    def _shown(self, vma: Vma) -> int:
        """The number of what a region's File maps."""
        file = vma.backing.file
        found = self._mapped_of.get(id(file))
        if found is None:
            found = self._mapped_of[id(file)] = len(self.mapped)
            self.mapped.append(self._mapping(file))
        if vma.flags & VmFlag.SHARED:
            self.mapped[found]["write"] = True
        return found

    def _mapping(self, file: Any) -> dict[str, Any]:
        opened = [(item, n) for item, n in self._open_files() if getattr(item, "_mapped", None) is file]
        entry: dict[str, Any] = {
            "kind": "file", "path": _text(getattr(file, "path", "")), "content": None, "open": opened[0][1] if opened else None,
            "write": False, "segment": None,
        }  # fmt: skip
        if isinstance(file, ZeroDevice):
            entry["kind"] = "zero"
        elif isinstance(file, Attachment):
            numbers = [n for n, segment in enumerate(self.proc.ipc or ()) if segment is file.segment]
            entry["content"] = self._content(file.fileno())
            if numbers:
                entry.update(kind="segment", segment=numbers[0])
            else:
                entry["kind"] = "memory"
        elif isinstance(file, HugeMemory):
            entry["kind"] = "huge" if file.huge == HUGE else "gigantic"
        elif getattr(file, "restorable", False):
            inode = file.inode
            number = self._content(file.fileno(), seals=None if inode is None else inode.seals)
            entry.update(kind="memory" if inode is None else "memfd", content=number)
        elif hasattr(file, "fileno"):
            entry["kind"] = "file" if hasattr(file, "identity") else "source"
            entry["content"] = self._content(file.fileno(), most=self.embed)
        else:
            self.notes.append(f"a mapping of {entry['path'] or file!r} comes back empty")
            entry.update(kind="zero")
        return entry

    def _open_files(self) -> list[tuple[OpenFile, int]]:
        return [(file, self._open_of[id(file)]) for _, file in self.proc.files.items() if id(file) in self._open_of]

    def _content(self, fd: int, *, seals: int | None = None, most: int | None = None) -> int:
        """The number of a file's bytes. `most`: a larger one is only described."""
        status = hostfd.stat(fd)
        key = _identity(fd)
        if key not in self._content_of:
            self._content_of[key] = len(self.contents)
            data = None
            if most is None or status.size <= most:
                data = [
                    (low, self._block(piece))
                    for start, end in data_ranges(fd, 0, status.size)
                    for low in range(start, min(end, status.size), BLOCK)
                    if (piece := hostfd.pread(fd, min(BLOCK, end - low), low))
                ]
            if data is not None and most is None and (behind := tail(fd, status.size)):
                data.append((status.size, self._block(behind)))
            self.contents.append(
                {
                    "size": status.size, "mode": status.mode & 0o7777, "mtime": _nanoseconds(status.mtime), "named": status.nlink > 0,
                    "seals": 0, "data": data,
                }
            )  # fmt: skip
        number = self._content_of[key]
        if seals is not None:
            self.contents[number]["seals"] = seals
        return number

    def _mm(self) -> dict[str, Any]:
        mm = self.proc.mm
        return {
            "start_brk": mm.start_brk, "brk_now": mm.brk_now, "data_bytes": mm.data_bytes, "def_flags": mm.def_flags, "lowest": mm.lowest,
            "anon_names": mm.anon_names, "deny_write_exec": mm.deny_write_exec, "raw_io": mm.raw_io,
            "last_anon": getattr(mm.areas, "_last_anon"),  # noqa: B009 - the next number, which nobody else asks for
            "peak": mm.totals.peak, "lost_locks": mm.totals.lost_locks,
            "limits": {name: int(value) for name, value in vars(mm.limits).items()},
        }  # fmt: skip

    # -- System V -----------------------------------------------------------------------------------------------------------

    def _segment(self, segment: Any) -> dict[str, Any]:
        if segment.huge:
            self.notes.append(f"segment {segment.id} comes back with small pages, not huge ones")
        fields = "key id sequence size mode uid gid cuid cgid atime dtime ctime cpid lpid attached".split()
        return {**{name: getattr(segment, name) for name in fields}, "content": self._content(segment.memory.fileno())}

    def _ipc(self) -> dict[str, Any] | None:
        ipc = self.proc.ipc
        if ipc is None:
            return None
        state = vars(ipc)
        watched = self.proc.space in state["_spaces"]
        return {"next": state["_next"], "last": state["_last"], "sequence": state["_sequence"], "watched": watched}

    # -- descriptors --------------------------------------------------------------------------------------------------------

    def _opened(self, file: OpenFile, fd: int) -> int:
        """The number of an open file description."""
        found = self._open_of.get(id(file))
        if found is None:
            found = self._open_of[id(file)] = len(self.open)
            entry: dict[str, Any] = {"kind": "lost", "path": _text(file.name), "flags": file.flags, "offset": 0}
            entry.update(content=None, what="")
            self.open.append(entry)
            self._describe(entry, file, fd)
            if entry["kind"] == "lost":
                self.notes.append(f"descriptor {fd} does not come back: {entry['what']}")
        return found

    def _describe(self, entry: dict[str, Any], file: OpenFile, fd: int) -> None:
        if isinstance(file, (HugeFile, SecretFile)):
            entry["what"] = "a memfd of huge pages" if file.is_huge else "a memfd_secret"
        elif isinstance(file, MemFile):
            seals = file.inode.seals
            entry.update(kind="memfd", offset=file.seek(0, 1), content=self._content(file.host_fd, seals=seals), flags=_flags(file))
        elif isinstance(file, HostOpenFile) and (stream := self._stream(file, fd)) is not None:
            entry.update(kind="stream", path="", offset=stream)
        elif type(file) is HostOpenFile and file.is_pipe and not file.path:
            size = hostfd.control(file.host_fd, _GET_SIZE)
            entry.update(kind="pipe", path="", flags=_flags(file), content=self._pipe(file.host_fd), offset=size)
        elif isinstance(file, HostOpenFile):
            self._describe_host_file(entry, file)
        elif isinstance(file, InputFile):
            bytes_of = {"size": len(file.data), "mode": 0o644, "seals": 0, "mtime": 0, "named": True, "data": self._pieces(file.data)}
            self.contents.append(bytes_of)
            entry.update(kind="input", offset=file.offset, content=len(self.contents) - 1)
        elif isinstance(file, OutputFile):
            entry.update(kind="output", offset=file.written)
        elif isinstance(file, RandomFile):
            entry.update(kind="random")
        elif isinstance(file, (MadeFile, MadeDirectory)):
            entry.update(kind="made", path=_text(file.path), offset=file.offset)
        else:
            entry["what"] = f"{entry['path'] or 'a file'}, of a kind that only emuvm's caller knows"

    def _describe_host_file(self, entry: dict[str, Any], file: HostOpenFile) -> None:
        if file.is_pipe or entry["path"].startswith(("pipe:", "socket:", "anon_inode:")) or type(file) is not HostOpenFile:
            entry["what"] = f"{entry['path']}, which is shared with others or known to the host only"
            return
        entry.update(kind="file", path=_text(file.path), flags=file.flags if file.flags & Open.O_PATH else _flags(file))
        if (file.is_regular or file.is_directory) and not file.flags & Open.O_PATH:
            try:
                entry["offset"] = file.seek(0, 1)
            except GuestError:
                entry["offset"] = 0
        if file.is_regular and not file.flags & Open.O_PATH and not file.stat().nlink:
            fd = hostfs.reopen(file.host_fd, Open.O_RDONLY)  # the program's own may be for writing only
            try:
                entry["content"] = self._content(fd, most=self.embed)
            finally:
                hostfd.close(fd)

    def _stream(self, file: HostOpenFile, fd: int) -> int | None:
        """Which of this process's standard streams it is."""
        if file.path:
            return None
        key = _identity(file.host_fd)
        same = [number for number, own in self._streams() if own == key]
        return None if not same else fd if fd in same else same[0]

    def _streams(self) -> list[tuple[int, Any]]:
        streams = hostfd.standard_streams()
        try:
            return [(number, _identity(fd)) for number, fd in streams]
        finally:
            for _, fd in streams:
                hostfd.close(fd)

    def _pipe(self, fd: int) -> int:
        """The number of what waits in a pipe, which goes on waiting there."""
        key = _identity(fd)
        if key not in self._content_of:
            data = hostpipe.peek(fd)
            self._content_of[key] = len(self.contents)
            described = {"size": len(data), "mode": 0o600, "seals": 0, "mtime": 0, "named": True, "data": self._pieces(data)}
            self.contents.append(described)
        return self._content_of[key]

    def _pieces(self, data: bytes) -> list[tuple[int, int]]:
        return [(low, self._block(data[low : low + BLOCK])) for low in range(0, len(data), BLOCK)]

    # -- the rest -----------------------------------------------------------------------------------------------------------

    def _process(self) -> dict[str, Any]:
        proc, kept = self.proc, self.proc.kept
        names = "pid tid ppid clear_child_tid robust_list umask personality dumpable vdso no_new_privs controls".split()
        return {
            **{name: getattr(proc, name) for name in names},
            **{name: getattr(kept, name) for name in ("oom_score_adj", "coredump_filter", "timer_slack", "peak_rss")},
            "name": _text(proc.name), "exe": _text(proc.exe), "cwd": _text(proc.fs.cwd),
            "rlimits": [(number, *limits) for number, limits in sorted(proc.rlimits.items())], "policies": kept.policies,
        }  # fmt: skip

    def _credentials(self) -> dict[str, Any]:
        found = self.proc.system.credentials
        names = "groups inheritable permitted effective bounding ambient securebits changes".split()
        return {"uids": found.uids, "gids": found.gids, **{name: getattr(found, name) for name in names}}

    def _signals(self) -> dict[str, Any]:
        signals = self.proc.signals
        pending = [*self._pending(signals.thread, True), *self._pending(signals.process, False)]
        return {
            "actions": [(number, *action) for number, action in sorted(signals.actions.items())],
            "mask": signals.mask, "saved_mask": signals.saved_mask, "altstack": signals.altstack, "trap": signals.trap,
            "faulted": signals.faulted, "pending": pending,
        }  # fmt: skip

    def _pending(self, queue: Pending, thread: bool) -> list[tuple[Any, ...]]:
        out: list[tuple[Any, ...]] = []
        for infos in queue.queued.values():
            for info in infos:
                fields = None if info.fields is None else info.fields.hex()
                out.append((thread, info.signal, info.code, info.address, info.why, fields, info.errno))
        return out

    def _timers(self) -> list[tuple[int, int, int]]:
        """(which, nanoseconds left, interval) of the interval timers that run."""
        timers = self.proc.timers
        if timers is None:
            return []
        if any(timer.expiry for timer in timers.posix.values()):
            self.notes.append("POSIX timers do not come back")
        return [(which, timer.left(), timer.interval) for which, timer in timers.intervals.items() if timer.left()]

    def _simulated(self) -> dict[str, Any] | None:
        """The seed and the time of a simulated host."""
        system = self.proc.system
        if not isinstance(system, SimSystem):
            return None
        state = vars(system)
        return {
            "seed": state["_seed"].hex(), "start": state["_start"], "drawn": state["_drawn"], "other": state["_other"],
            "blocks": system.blocks(),
        }  # fmt: skip


def _flags(file: HostOpenFile) -> int:
    """As F_GETFL tells them now, and what only open said."""
    return file.flags & ~_SETTABLE | file.status() & _SETTABLE


def _identity(fd: int) -> tuple[tuple[int, int], int]:
    status = hostfd.stat(fd)
    return status.dev, status.ino


def _nanoseconds(time: tuple[int, int]) -> int:
    return time[0] * 1_000_000_000 + time[1]
