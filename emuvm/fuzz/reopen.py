"""Files of a saved process, opened anew: descriptors, what regions map, contents of files in memory.

Owns: how each kind of file comes back, and the list of what does not. Must not know registers, areas or pages.

A file that is mapped privately must have the bytes it had: it is recognised by size and time, or by its contents, which the saved file
may have too; then these stand in for a file that is gone or changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open, convert_open
from emuvm.errors import EmuvmError, EngineError, GuestError
from emuvm.fuzz.lastpage import put_tail
from emuvm.fuzz.simfiles import InputFile, OutputFile, RandomFile
from emuvm.fuzz.simhost import SimSystem
from emuvm.kernel import hostfd, hostfs, procfs
from emuvm.kernel.files import HostOpenFile, MappedFile, OpenFile
from emuvm.kernel.filetable import FileTable
from emuvm.kernel.memfd import MemFile, Sealed
from emuvm.kernel.shmem import HugeMemory, SharedMemory
from emuvm.kernel.sysv import Attachment, Segment
from emuvm.mm.layout import HUGE
from emuvm_loaders import LoadError, Source, printable
from emuvm_loaders.snapshot import Saved

if TYPE_CHECKING:
    from emuvm.kernel.fs import Filesystem
    from emuvm.kernel.process import Process
    from emuvm.kernel.report import Reporter

_KEPT = (
    Open.O_ACCMODE | Open.O_APPEND | Open.O_NONBLOCK | Open.O_DSYNC | Open.O_SYNC | Open.O_DIRECT | Open.O_NOATIME | Open.O_PATH
    | Open.O_DIRECTORY | Open.O_NOFOLLOW | Open.O_LARGEFILE
)  # fmt: skip
"""What a file may say of how it was open: nothing that creates."""
_PIPE = Open.O_ACCMODE | Open.O_NONBLOCK | Open.O_DIRECT
_DELETED = b" (deleted)"
_PIECE = 1 << 20
_SET_SIZE = 1031
"""F_SETPIPE_SZ."""


class ResumeError(EmuvmError):
    """Something of a process cannot be brought back. `missing`: a sentence for each thing."""

    def __init__(self, missing: list[str]) -> None:
        self.missing = missing
        super().__init__("; ".join(missing))


@contextmanager
def told() -> Iterator[None]:
    """What guest, engine or host refuse while a process is made again is a ResumeError."""
    try:
        yield
    except (MemoryError, OverflowError):
        raise ResumeError(["this host has not the memory for it"]) from None
    except (GuestError, EngineError) as error:
        raise ResumeError([str(error)]) from None


class LostFile(OpenFile):
    """Stands for an open file that could not be brought back: it can be closed, and everything else is EIO."""

    def read(self, length: int) -> bytes:
        raise GuestError(Errno.EIO, "the file was not brought back")

    def write(self, data: bytes) -> int:
        raise GuestError(Errno.EIO, "the file was not brought back")


def encoded(text: str) -> bytes:
    """A guest's bytes."""
    return text.encode("utf-8", "surrogateescape")


class Reopened:
    """The files of one process. `table` is filled; `missing` tells what could not be opened, `notes` what is not quite as it was."""

    def __init__(self, saved: Saved, fs: Filesystem, table: FileTable) -> None:
        self.saved, self.fs, self.table = saved, fs, table
        self.header = saved.header
        self.segments: list[Segment] = []
        self.missing: list[str] = []
        self.notes: list[str] = []
        self.settled = False
        self._files: dict[int, OpenFile] = {}
        self._inodes: dict[int, tuple[int, Sealed]] = {}
        """Of files in memory by number of their contents: a descriptor, closed at the end, and their seals."""
        self._shared: dict[int, SharedMemory] = {}
        self._pipes: dict[int, tuple[int, int]] = {}
        """Both ends of each, closed at the end: the process has its own."""

    # -- descriptors --------------------------------------------------------------------------------------------------------

    def descriptors(self, proc: Process, given: Mapping[int, OpenFile]) -> None:
        """Fill the table with what the process had open, or what is given instead."""
        table, header = self.table, self.header
        streams = dict(table.items())
        for file in streams.values():
            file.users += 1  # they stay while others take their places
        for fd in streams:
            table.close(fd)
        table.limit = 1 << 30
        given_of: dict[int, OpenFile] = {number: given[fd] for fd, number, _ in header["descriptors"] if fd in given}
        for fd, number, cloexec in header["descriptors"]:
            if number not in self._files:
                self._files[number] = given_of[number] if number in given_of else self._open(proc, fd, header["open"][number], streams)
            table.replace(fd, self._files[number], cloexec)
        for fd in streams:
            file = streams[fd]
            file.users -= 1
            if not file.users:
                file.close()
        state = header["files"]
        table.limit, table.size_limit = state["limit"], state["size_limit"]
        vars(table)["_highest"] = max(state["highest"], vars(table)["_highest"] if header["descriptors"] else -1)

    def _open(self, proc: Process, fd: int, entry: Mapping[str, Any], streams: dict[int, OpenFile]) -> OpenFile:
        """An open file description as it was; a LostFile where that cannot be."""
        try:
            file = self._made(proc, entry, streams)
        except (GuestError, LoadError) as error:
            why = error.reason if isinstance(error, LoadError) else error.why or error.errno.name
            self.missing.append(f"descriptor {fd} was {printable(entry['path']) or 'a standard stream'}: {why}")
            file = LostFile(entry["flags"], encoded(entry["path"]))
        return file

    def _made(self, proc: Process, entry: Mapping[str, Any], streams: dict[int, OpenFile]) -> OpenFile:
        kind, path, flags = entry["kind"], encoded(entry["path"]), entry["flags"] & _KEPT
        if kind == "stream":
            if entry["offset"] not in streams:
                raise GuestError(Errno.EBADF, f"this process has no standard stream {entry['offset']}")
            return streams[entry["offset"]]
        if kind == "file":
            return self._host_file(entry, path, flags)
        if kind == "memfd":
            memory = self._memfd(entry["content"], path, flags)
            memory.seek(entry["offset"], 0)
            return memory
        if kind == "pipe":
            return self._pipe(entry["content"], flags, entry["offset"])
        if kind == "made":
            return self._made_up(proc, entry, path, flags)
        if kind == "input":
            given = InputFile(path)
            given.data, given.offset = self._bytes(entry["content"]), entry["offset"]
            return given
        if kind == "output":
            output = OutputFile(path, 3)
            output.written = output.offset = entry["offset"]
            return output
        if kind == "random" and isinstance(proc.system, SimSystem):
            return RandomFile(flags, path, proc.system)
        raise GuestError(Errno.EIO, printable(entry["what"]) or "it cannot be opened anew")

    def _host_file(self, entry: Mapping[str, Any], path: bytes, flags: int) -> OpenFile:
        content = entry["content"]
        if content is None or self.header["contents"][content]["named"]:
            # Without waiting, whatever has come to lie there.
            file: OpenFile = self.fs.open(self.fs.absolute(path), flags | Open.O_NONBLOCK, 0, 0)
        elif self.header["contents"][content]["data"] is None:
            raise GuestError(Errno.ENOENT, "it had no name any more, and its bytes were not saved")
        else:
            self.notes.append(f"{printable(path)} had no name any more: it comes back in memory")
            file = HostOpenFile(self._reopened(content, flags), flags, path)
            if file.is_regular:
                vars(file)["_mapped"] = MappedFile(hostfd.duplicate(file.host_fd), path + _DELETED)
        if not flags & Open.O_PATH:
            file.set_status(flags)
        file.flags = flags
        if entry["offset"]:
            file.seek(entry["offset"], 0)
        return file

    def _pipe(self, number: int, flags: int, size: int) -> OpenFile:
        """One end of a pipe; what waits in it is read again."""
        if number not in self._pipes:
            ends = self._pipes[number] = hostfd.pipe(hostfd.NONBLOCK)
            if 0 < size <= _PIECE:
                hostfd.control(ends[1], _SET_SIZE, size)
            data = self._bytes(number)
            if data and hostfd.write(ends[1], data) != len(data):
                raise GuestError(Errno.ENOSPC, f"the {len(data)} bytes in it do not fit")
        mine = self._pipes[number][flags & Open.O_ACCMODE != Open.O_RDONLY]
        file = HostOpenFile(hostfs.reopen(mine, convert_open(flags & _PIPE, Open, hostfd.HOST_OPEN)), flags, b"")
        return file

    def _made_up(self, proc: Process, entry: Mapping[str, Any], path: bytes, flags: int) -> OpenFile:
        words = path.split(b"/")
        if words[1:2] == [b"proc"] and words[2:3] == [b"%d" % self.header["process"]["pid"]]:
            path = b"/".join([b"", b"proc", b"self", *words[3:]])
        name = procfs.inner(proc, path)
        if name is None:
            raise GuestError(Errno.ENOENT, "no such file of the kernel's")
        file: Any = procfs.open_file(proc, name, encoded(entry["path"]), flags)
        file.offset = entry["offset"]
        return file  # type: ignore[no-any-return]

    def change_directory(self, path: str) -> None:
        """The current directory, if it is still there."""
        try:
            self.fs.change_directory(encoded(path))
        except GuestError as error:
            self.missing.append(f"its directory was {printable(path)}: {error.why or error.errno.name}")

    # -- contents -----------------------------------------------------------------------------------------------------------

    def fill(self, fd: int, number: int) -> None:
        """Store contents in an empty file of the host."""
        content = self.header["contents"][number]
        size = content["size"]
        hostfd.ftruncate(fd, size)
        for position, block in content["data"] or ():
            data = self.saved.block(block)
            if position < size:
                hostfd.pwrite(fd, data[: size - position], position)
            put_tail(fd, size, data[max(0, size - position) :])

    def _bytes(self, number: int) -> bytes:
        content = self.header["contents"][number]
        data = bytearray()
        for position, block in content["data"]:
            data += bytes(position - len(data)) + self.saved.block(block)
        if content["size"] != len(data):
            raise LoadError(f"an input of {len(data)} bytes, not {content['size']}")
        return bytes(data)

    def _inode(self, number: int) -> tuple[int, Sealed]:
        found = self._inodes.get(number)
        if found is None:
            content = self.header["contents"][number]
            fd = hostfd.memory_file(content["size"])
            found = self._inodes[number] = fd, Sealed(content["seals"])
            self.fill(fd, number)
        return found

    def _reopened(self, number: int, flags: int) -> int:
        """A descriptor of a file in memory with an offset of its own."""
        wanted = flags & (Open.O_ACCMODE | Open.O_APPEND | Open.O_NONBLOCK | Open.O_PATH)
        return hostfs.reopen(self._inode(number)[0], convert_open(wanted, Open, hostfd.HOST_OPEN))

    def _memfd(self, number: int, path: bytes, flags: int) -> MemFile:
        return MemFile(self._reopened(number, flags), flags, path, self._inode(number)[1])

    # -- what regions map -----------------------------------------------------------------------------------------------------

    def mapping(self, number: int) -> Any:
        """What stands in regions for one mapped file; None: plain memory, because it is gone."""
        entry = self.header["mapped"][number]
        path = encoded(entry["path"])
        try:
            return self._mapping(entry, path)
        except (GuestError, LoadError, EmuvmError) as error:
            if isinstance(error, LoadError) and entry["kind"] not in ("file", "source"):
                raise
            why = error.reason if isinstance(error, LoadError) else getattr(error, "why", "") or str(error)
            self.missing.append(f"{printable(path)} was mapped: {why}")
            return None

    def _mapping(self, entry: Mapping[str, Any], path: bytes) -> Any:
        kind, content = entry["kind"], entry["content"]
        opened = None if entry["open"] is None else self._files.get(entry["open"])
        if kind == "segment":
            if entry["segment"] >= len(self.segments):
                raise LoadError("System V segments without their table")
            return Attachment(self.segments[entry["segment"]])
        if kind in ("huge", "gigantic"):
            return HugeMemory(HUGE if kind == "huge" else 1 << 30, path)
        if kind == "memory":
            if content not in self._shared:
                self._shared[content] = SharedMemory(self.header["contents"][content]["size"], path)
                self.fill(self._shared[content].fileno(), content)
            return self._shared[content]
        if kind == "memfd":
            return opened.mappable() if isinstance(opened, MemFile) else self._briefly(self._memfd(content, path, Open.O_RDWR))
        if kind == "zero":
            if opened is not None and opened.is_zero:
                return opened.mappable()
            return self._briefly(self.fs.open(self.fs.absolute(path or b"/dev/zero"), Open.O_RDONLY, 0, 0))
        if kind == "source":
            return self._source(path, content)
        if opened is None and content is not None and not self.header["contents"][content]["named"]:
            return self._copy(path, content, "had no name any more")
        if opened is None:
            flags = Open.O_RDWR if entry["write"] else Open.O_RDONLY
            try:
                opened = self.fs.open(self.fs.absolute(path), flags, 0, 0)
                opened.users = -1
            except GuestError:
                return self._copy(path, content, "is gone")
        if isinstance(opened, LostFile):
            return self._copy(path, content, "is gone")
        try:
            if content is None or entry["write"] or not opened.is_regular or self._same(opened.host_fd, content):
                return opened.mappable()
        finally:
            if opened.users < 0:
                opened.close()
        return self._copy(path, content, "has changed")

    @staticmethod
    def _briefly(file: OpenFile) -> Any:
        """What a file is mapped as, without keeping it open."""
        try:
            return file.mappable()
        finally:
            file.close()

    def _source(self, path: bytes, content: int | None) -> Any:
        """A program, as execve maps it."""
        try:
            source: Source = self.fs.open_program(path)[0]
        except GuestError:
            return self._copy(path, content, "is gone")
        fileno = getattr(source, "fileno", None)
        if content is None or (fileno is not None and self._same(fileno(), content)):
            return source
        return self._copy(path, content, "has changed")

    def _same(self, fd: int, number: int) -> bool:
        """Does a file of the host have these contents?"""
        content, status = self.header["contents"][number], hostfd.stat(fd)
        if status.size != content["size"]:
            return False
        if status.mtime[0] * 1_000_000_000 + status.mtime[1] == content["mtime"]:
            return True
        place = 0
        for position, block in content["data"] or ():
            data = self.saved.block(block)
            if not _zeros(fd, place, position) or hostfd.pread(fd, len(data), position) != data:
                return False
            place = position + len(data)
        return content["data"] is not None and _zeros(fd, place, status.size)

    def _copy(self, path: bytes, content: int | None, why: str) -> MappedFile:
        """The bytes of a file that is gone, in memory."""
        if content is None or self.header["contents"][content]["data"] is None:
            raise GuestError(Errno.ENOENT, f"the file {why}, and its bytes were not saved")
        self.notes.append(f"{printable(path)} {why}: a copy in memory stands in its place")
        named = self.header["contents"][content]["named"]
        return MappedFile(hostfd.duplicate(self._inode(content)[0]), path if named else path + _DELETED)

    # -- the end ------------------------------------------------------------------------------------------------------------

    def settle(self, before: tuple[str, ...], partial: bool, reporter: Reporter) -> None:
        """ResumeError when something is missing, unless that is wanted; else notices."""
        missing = list(dict.fromkeys([*(printable(note) for note in before if "does not come back" not in note), *self.missing]))
        if self.missing and not partial:
            raise ResumeError(self.missing)
        for note in [*missing, *dict.fromkeys(self.notes)]:
            reporter.line(note)
        self.settled = True

    def close(self) -> None:
        """Let go of what was only needed on the way."""
        for number, (fd, _) in self._inodes.items():
            hostfd.change_mode(fd, self.header["contents"][number]["mode"] & 0o777)
            hostfd.close(fd)
        for ends in self._pipes.values():
            for fd in ends:
                hostfd.close(fd)
        self._inodes, self._pipes = {}, {}


def _zeros(fd: int, start: int, end: int) -> bool:
    """Is this part of a file all zero?"""
    return all(not any(hostfd.pread(fd, min(_PIECE, end - low), low)) for low in range(start, end, _PIECE))
