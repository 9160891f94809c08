"""Files of a simulated host: the input of a run, its output, random bytes, and a root in memory.

Owns: how these behave as open files. Must not know when the input changes, nor where the root lies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Mode, Open
from emuvm.abi.structs import Stat
from emuvm.errors import GuestError
from emuvm.kernel import hostfd
from emuvm.kernel.files import HostOpenFile, MappedFile, OpenFile
from emuvm.kernel.fs import Filesystem
from emuvm_loaders import FileSource

if TYPE_CHECKING:
    from emuvm.fuzz.host_tree import Tree
    from emuvm.fuzz.simhost import SimSystem
    from emuvm.kernel.report import Reporter

KEPT_OUTPUT = 1 << 16
"""Bytes of an output that are kept; more is taken and forgotten."""
_SHARED_DEVICES = {b"/dev/null": b"/dev/null", b"/dev/zero": b"/dev/zero", b"/dev/full": b"/dev/full"}
_THEN = (1_700_000_000, 0)
_RANDOM = (b"/dev/urandom", b"/dev/random")


class _Positioned(OpenFile):
    """A file with an offset whose bytes emuvm has."""

    prompt = True

    def __init__(self, flags: int, path: bytes, inode: int) -> None:
        super().__init__(flags, path)
        self.offset = 0
        self._inode = inode

    def size(self) -> int:
        return 0

    def stat(self) -> Stat:
        size = self.size()
        return Stat((0, 1), self._inode, Mode.S_IFREG | 0o644, 1, 1000, 1000, (0, 0), size, 4096, size + 511 >> 9, _THEN, _THEN, _THEN)

    def seek(self, offset: int, whence: int) -> int:
        offset += (0, self.offset, self.size())[whence] if 0 <= whence <= 2 else -1 << 63
        if offset < 0:
            raise GuestError(Errno.EINVAL, f"offset {offset}")
        self.offset = offset
        return offset


class InputFile(_Positioned):
    """The input, as a regular file open for reading. It may be mapped."""

    is_regular = True

    def __init__(self, path: bytes = b"/input") -> None:
        super().__init__(Open.O_RDONLY | Open.O_LARGEFILE, path, 2)
        self.data = b""
        self._mapped: MappedFile | None = None
        self.at_hand = True

    def size(self) -> int:
        return len(self.data)

    def read(self, length: int) -> bytes:
        found = self.data[self.offset : self.offset + length]
        self.offset += len(found)
        return found

    def pread(self, length: int, offset: int) -> bytes:
        return self.data[offset : offset + length]

    def peek(self, length: int) -> bytes:
        return self.data[self.offset : self.offset + length]

    def skip(self, length: int) -> int:
        self.offset += length
        return length

    def forget(self) -> None:
        """The bytes have changed: mappings made from now on show them."""
        self._mapped, self.at_hand = None, True

    def mappable(self) -> MappedFile:
        if self._mapped is None:
            fd = hostfd.memory_file(len(self.data), "input")
            if self.data:
                hostfd.pwrite(fd, self.data, 0)
            self._mapped = MappedFile(fd, self.path)
            self.at_hand = False
        return self._mapped


class OutputFile(_Positioned):
    """What the program writes, in the order of writing."""

    accepts = True

    def __init__(self, name: bytes, inode: int) -> None:
        super().__init__(Open.O_WRONLY | Open.O_APPEND | Open.O_LARGEFILE, name, inode)
        self.data = bytearray()
        self.written = 0

    def size(self) -> int:
        return self.written

    def write(self, data: bytes) -> int:
        room = KEPT_OUTPUT - len(self.data)
        if room > 0:
            self.data += data[:room]
        self.written += len(data)
        self.offset = self.written
        return len(data)


class RandomFile(OpenFile):
    """/dev/urandom of the simulated host."""

    prompt = True

    def __init__(self, flags: int, path: bytes, system: SimSystem) -> None:
        super().__init__(flags, path)
        self._system = system

    def read(self, length: int) -> bytes:
        return self._system.random(min(length, 1 << 20))

    def write(self, data: bytes) -> int:
        return len(data)

    def stat(self) -> Stat:
        return Stat((0, 1), 5, Mode.S_IFCHR | 0o666, 1, 0, 0, (1, 9), 0, 4096, 0, _THEN, _THEN, _THEN)


class ProgramSource(FileSource):
    """A program's file, of whose size the harness may be sure: nobody but the guest reaches it, and a program that runs is not changed."""

    __slots__ = ("_size",)
    fixed = True

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._size = super().size()

    def size(self) -> int:
        return self._size


class SimFilesystem(Filesystem):
    """A root that is made for one guest: it may change everything in it. The tree is told when it does."""

    source = ProgramSource

    def __init__(self, tree: Tree, system: SimSystem, reporter: Reporter) -> None:
        self._tree, self._system = tree, system
        super().__init__(tree.path, (), False, reporter)
        self.umask = 0o22
        self.cwd = b"/"

    def may_change(self, fd: int) -> bool:
        self._tree.touched = True
        return True

    def open(self, path: bytes, flags: int, mode: int, mask: int) -> HostOpenFile:
        if path in _SHARED_DEVICES and not flags & Open.O_PATH:
            return HostOpenFile(hostfd.open_device(_SHARED_DEVICES[path], flags & Open.O_ACCMODE), flags & ~Open.O_CREAT, path)
        if path in _RANDOM and not flags & Open.O_PATH:
            return RandomFile(flags & ~Open.O_CREAT, path, self._system)  # type: ignore[return-value]
        return super().open(path, flags, mode, mask)
