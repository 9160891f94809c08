"""The ways an input reaches a program.

Owns: placing it, what arguments and files that needs, and which call reads it first. Must not know runs and snapshots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from emuvm.errors import EmuvmError, GuestError, Pause
from emuvm.fuzz.host_tree import refill, shut
from emuvm.kernel.dispatch import Bound, Watcher
from emuvm.kernel.files import OpenFile
from emuvm.mm.linux import MapRequest

if TYPE_CHECKING:
    from emuvm.fuzz.simhost import SimHost
    from emuvm.kernel.process import Process

PLACES = ("stdin", "@@", "argv", "mmap")
PATH = "/input"
_READING = frozenset("read pread64 readv preadv preadv2 mmap mmap2 lseek fstat newfstatat statx sendfile splice copy_file_range".split())
"""Calls that look at a file: its size, too, would otherwise be the set-up's."""


class Place:
    """This base knows functions only: `begin` says where runs begin if nobody does."""

    begin: str | int = "entry"
    names: frozenset[str] = frozenset()
    """Files of the guest that change with the input."""
    reading = _READING

    @staticmethod
    def make(wanted: object, at: str | int | None, host: SimHost, max_len: int) -> Place:
        """By name, or around a function. EmuvmError: no such way."""
        if callable(wanted):
            return Placed(wanted)
        if wanted == "stdin":
            return Stdin(host)
        if wanted == "@@" or (wanted == "mmap" and at in (None, "first-read")):
            return InFile(host)
        if wanted == "mmap":
            return InMemory(max_len)
        if wanted == "argv":
            return Argument(max_len)
        raise EmuvmError(f"input {wanted!r}: one of {', '.join(PLACES)}, or a function")

    def arguments(self, argv: Sequence[bytes]) -> list[bytes]:
        """The arguments that the program gets."""
        return list(argv)

    def prepare(self, proc: Process, first: bytes) -> None:
        """The program is about to start; `first` is the input until the moment where runs begin."""
        self.put(proc, first)

    def put(self, proc: Process, data: bytes) -> None:
        """Place it for the run that begins."""

    def close(self) -> None:
        """Nothing will be placed any more."""

    def is_input(self, file: OpenFile) -> bool:
        """Is this open file the input?"""
        return False

    def watcher(self, proc: Process) -> Watcher:
        """Pauses before the first call that looks at the input."""
        mapping = ("mmap", "mmap2")

        def watch(name: str, bound: Bound) -> Bound:
            place = 4 if name in mapping else 0

            def call(args: tuple[int, ...]) -> int:
                fd = args[place] & 0xFFFF_FFFF
                try:
                    looked_at = self.is_input(proc.files.get(fd))
                except GuestError:
                    looked_at = False
                if looked_at:
                    raise Pause("the input is about to be read")
                return bound(args)

            return call

        return watch


class Placed(Place):
    """By somebody's function."""

    def __init__(self, put: Callable[[Process, bytes], object]) -> None:
        self._put = put

    def put(self, proc: Process, data: bytes) -> None:
        self._put(proc, data)


class Stdin(Place):
    """As standard input, a file."""

    begin = "first-read"

    def __init__(self, host: SimHost) -> None:
        self._file = host.stdin

    def put(self, proc: Process, data: bytes) -> None:
        self._file.data = data
        self._file.forget()

    def is_input(self, file: OpenFile) -> bool:
        return file is self._file


class InFile(Place):
    """A file whose path takes the place of "@@" in the arguments."""

    begin = "first-read"
    names = frozenset((PATH,))

    def __init__(self, host: SimHost) -> None:
        self._fd = host.open_input(PATH)

    def arguments(self, argv: Sequence[bytes]) -> list[bytes]:
        path = PATH.encode()
        return [arg.replace(b"@@", path) for arg in argv] if any(b"@@" in arg for arg in argv[1:]) else [*argv, path]

    def put(self, proc: Process, data: bytes) -> None:
        refill(self._fd, data)

    def is_input(self, file: OpenFile) -> bool:
        return file.path == PATH.encode()

    def close(self) -> None:
        if self._fd >= 0:
            shut(self._fd)
            self._fd = -1


class Argument(Place):
    """As the argument that is "@@", or one more. There is room for `max_len` bytes; a NUL byte ends it."""

    begin = "entry"

    def __init__(self, max_len: int) -> None:
        self._room = min(max_len, 128 * 1024 - 1)
        self._index = 0
        self._address = 0

    def arguments(self, argv: Sequence[bytes]) -> list[bytes]:
        found = list(argv) if b"@@" in argv[1:] else [*argv, b"@@"]
        self._index = found.index(b"@@", 1)
        found[self._index] = b"A" * self._room
        return found

    def prepare(self, proc: Process, first: bytes) -> None:
        self._address = proc.mem.read_word(proc.stack_info.start + (1 + self._index) * proc.arch.bits // 8)
        self.put(proc, first)

    def put(self, proc: Process, data: bytes) -> None:
        proc.engine.memory.write(self._address, data[: self._room].partition(b"\0")[0] + b"\0")


class InMemory(Place):
    """As memory: the function where runs begin gets address and length as its first two arguments. Behind the last byte nothing is
    mapped, so that reading too much faults."""

    begin = "main"

    def __init__(self, max_len: int) -> None:
        self._room = max(1, max_len)
        self._end = 0
        self._registers: tuple[str, ...] = ()

    def prepare(self, proc: Process, first: bytes) -> None:
        page = proc.arch.page_size
        length = self._room + -self._room % page
        start = proc.mm.mmap(MapRequest(0, length + page, 0))
        proc.mm.mprotect(start, length, 3)
        self._end = start + length
        self._registers = ("rdi", "rsi") if proc.arch.name == "x86_64" else ("x0", "x1")

    def put(self, proc: Process, data: bytes) -> None:
        at = self._end - len(data)
        if data:
            proc.engine.memory.write(at, data)
        proc.engine.set_many(self._registers, (at, len(data)))
