"""A process whose engine has no CPU: tests make its system calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from emuvm.abi.arch import X86_64
from emuvm.abi.numbers import numbers
from emuvm.engine.memory import MemoryEngine
from emuvm.kernel.filetable import FileTable
from emuvm.kernel.fs import Filesystem
from emuvm.kernel.process import Process
from emuvm.kernel.report import Reporter
from emuvm.mm.linux import LinuxMm
from emuvm.mm.space import AddressSpace

N = numbers("x86_64")
BASE = 0x100000


class Guest:
    """`call` makes one system call and returns the signed result."""

    def __init__(self) -> None:
        self.space = AddressSpace(0, X86_64.task_size)
        self.engine = MemoryEngine(X86_64, self.space)
        self.proc = Process(X86_64, self.space, LinuxMm(self.space, X86_64), self.engine)
        self.space.map_at(BASE, 0x4000, 3)

    def call(self, name: str, *args: int) -> int:
        raw = (*(a & (1 << 64) - 1 for a in args), *[0] * (6 - len(args)))
        self.proc.dispatcher.call(N[name], raw)
        return self.signed(self.engine.get("rax"))

    def fast(self, name: str, *args: int) -> int | None:
        result = self.proc.dispatcher.fast(N[name], (*args, *[0] * (6 - len(args))))
        return None if result is None else self.signed(result)

    @staticmethod
    def signed(value: int) -> int:
        return value - (1 << 64) if value >> 63 else value


class FileGuest(Guest):
    """A guest with files. Byte strings among the arguments are put into its memory."""

    def __init__(self, root: str = "/", writable: tuple[str, ...] = (), allow_all: bool = False) -> None:
        super().__init__()
        self.proc.reporter = Reporter()
        self.proc.files = FileTable()
        self.proc.fs = Filesystem(root, writable, allow_all, self.proc.reporter)
        self.proc.exe, self.proc.name = b"/bin/guest", b"guest"

    def path(self, name: str, *args: int | bytes | str) -> int:
        """A call whose string arguments go through guest memory."""
        at, words = BASE, []
        for arg in args:
            if isinstance(arg, int):
                words.append(arg)
                continue
            data = (arg.encode() if isinstance(arg, str) else arg) + b"\0"
            self.engine.memory.write(at, data)
            words.append(at)
            at += len(data)
        return self.call(name, *words)

    def content(self, path: str, flags: int = 0) -> bytes | int:
        """What can be read from a path, or -errno."""
        fd = self.path("open", path, flags, 0)
        if fd < 0:
            return fd
        count = self.call("read", fd, BASE + 0x1000, 0x2000)
        self.call("close", fd)
        return self.engine.memory.read(BASE + 0x1000, count) if count >= 0 else count

    def close(self) -> None:
        self.proc.files.close_all()
        self.proc.fs.root.close()


@contextmanager
def files(root: str = "/", writable: tuple[str, ...] = (), allow_all: bool = False) -> Iterator[FileGuest]:
    guest = FileGuest(root, writable, allow_all)
    try:
        yield guest
    finally:
        guest.close()
