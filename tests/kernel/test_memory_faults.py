"""Memory calls when the engine or the host refuses: every n-th request to them fails once, for every call and every memory.

The guest gets an errno it can expect; space, engine and host agree, counters are right, no descriptor leaks, and the call works
when it is made again. Where Linux does a call in one step, nothing has changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
import unicorn

from emuvm.abi.arch import X86_64
from emuvm.abi.errno import Errno
from emuvm.abi.numbers import numbers
from emuvm.engine.memory import MemoryEngine
from emuvm.engine.unicorn import UnicornEngine
from emuvm.errors import EngineError, GuestError
from emuvm.kernel import hostfd
from emuvm.kernel.filetable import FileTable
from emuvm.kernel.fs import Filesystem
from emuvm.kernel.process import Process
from emuvm.kernel.report import Reporter
from emuvm.mm.linux import LinuxMm
from emuvm.mm.space import AddressSpace
from emuvm.mm.totals import Totals

N = numbers("x86_64")
PAGE = 0x1000
BASE = 0x10_0000
AT = 0x2000_0000
HEAP = 0x4000_0000
FREE = 0x5000_0000
NAME, FD = BASE, 0
ENGINE_CALLS = ("mem_map_ptr", "mem_unmap", "mem_protect", "ctl_remove_cache")
FIXED, SHARED, PRIVATE, ANONYMOUS, POPULATE, LOCKED, GROWSDOWN = 0x10, 1, 2, 0x20, 0x8000, 0x2000, 0x100


class Case(NamedTuple):
    """A call, and whether Linux does it in one step."""

    name: str
    args: tuple[int, ...]
    whole: bool = True
    errors: tuple[int, ...] = (Errno.ENOMEM,)


def page(number: int) -> int:
    return AT + number * PAGE


# Pages of the scene: 0-3 written rw, 4-5 r, 6-7 rw locked, 8-11 shared anonymous, 12-15 memfd shared, 16-19 memfd private,
# 20-23 rw with guards in 21-22, 24-25 hole, 26-29 rw written, 300-301 grows down.
CASES = {
    "anonymous": Case("mmap", (FREE, 4 * PAGE, 3, PRIVATE | ANONYMOUS | FIXED, -1, 0)),
    "anonymous where it fits": Case("mmap", (0, 4 * PAGE, 3, PRIVATE | ANONYMOUS, -1, 0)),
    "over parts": Case("mmap", (page(3), 11 * PAGE, 3, PRIVATE | ANONYMOUS | FIXED, -1, 0)),
    "populated": Case("mmap", (page(24), 2 * PAGE, 3, PRIVATE | ANONYMOUS | FIXED | POPULATE, -1, 0)),
    "locked": Case("mmap", (page(2), 4 * PAGE, 3, PRIVATE | ANONYMOUS | FIXED | LOCKED, -1, 0)),
    "shared": Case("mmap", (page(24), 2 * PAGE, 3, SHARED | ANONYMOUS | FIXED, -1, 0)),
    "shared over": Case("mmap", (page(1), 9 * PAGE, 3, SHARED | ANONYMOUS | FIXED | POPULATE, -1, 0)),
    "file shared": Case("mmap", (page(24), 2 * PAGE, 3, SHARED | FIXED, FD, PAGE)),
    "file private": Case("mmap", (page(5), 3 * PAGE, 3, PRIVATE | FIXED | POPULATE, FD, 0)),
    "unmap a part": Case("munmap", (page(1), 2 * PAGE)),
    "unmap many": Case("munmap", (page(1), 28 * PAGE)),
    "protect a part": Case("mprotect", (page(1), PAGE, 1)),
    "protect many": Case("mprotect", (page(1), 15 * PAGE, 1), whole=False),
    "protect and merge": Case("mprotect", (page(4), 2 * PAGE, 3)),
    "protect files": Case("mprotect", (page(13), 5 * PAGE, 0), whole=False),
    "protect guards": Case("mprotect", (page(20), 4 * PAGE, 1)),
    "grow in place": Case("mremap", (page(20), 4 * PAGE, 6 * PAGE, 0, 0)),
    "grow and move": Case("mremap", (page(0), 4 * PAGE, 9 * PAGE, 1, 0)),
    "grow locked": Case("mremap", (page(6), 2 * PAGE, 5 * PAGE, 1, 0)),
    "grow a shared one": Case("mremap", (page(8), 4 * PAGE, 9 * PAGE, 1, 0)),
    "shrink": Case("mremap", (page(0), 4 * PAGE, PAGE, 0, 0)),
    "move": Case("mremap", (page(0), 4 * PAGE, 4 * PAGE, 3, FREE)),
    "move over": Case("mremap", (page(0), 4 * PAGE, 4 * PAGE, 3, page(18)), whole=False),
    "move guards": Case("mremap", (page(20), 4 * PAGE, 4 * PAGE, 3, FREE)),
    "move many": Case("mremap", (page(0), 20 * PAGE, 20 * PAGE, 3, FREE), whole=False),
    "shrink and move": Case("mremap", (page(0), 4 * PAGE, 2 * PAGE, 3, FREE), whole=False),
    "leave behind": Case("mremap", (page(0), 4 * PAGE, 4 * PAGE, 5, FREE)),
    "leave a part behind": Case("mremap", (page(1), 2 * PAGE, 2 * PAGE, 5, FREE)),
    "leave a file behind": Case("mremap", (page(16), 4 * PAGE, 4 * PAGE, 5, FREE)),
    "leave locked memory behind": Case("mremap", (page(6), PAGE, PAGE, 7, page(18)), whole=False),
    "leave guards behind": Case("mremap", (page(20), 4 * PAGE, 4 * PAGE, 5, FREE)),
    "twice": Case("mremap", (page(8), 0, 2 * PAGE, 3, FREE)),
    "heap up": Case("brk", (HEAP + 9 * PAGE,)),
    "heap down": Case("brk", (HEAP + PAGE,)),
    "forget": Case("madvise", (page(0), 8 * PAGE, 24), whole=False),
    "forget a file": Case("madvise", (page(16), 4 * PAGE, 4)),
    "punch": Case("madvise", (page(9), 2 * PAGE, 9)),
    "punch many": Case("madvise", (page(9), 6 * PAGE, 9), whole=False),
    "guard": Case("madvise", (page(0), 3 * PAGE, 102), whole=False),
    "guard many": Case("madvise", (page(8), 12 * PAGE, 102), whole=False),
    "no guard": Case("madvise", (page(20), 4 * PAGE, 103), whole=False),
    "populate": Case("madvise", (page(0), 6 * PAGE, 22), whole=False),
    "populate to write": Case("madvise", (page(8), 12 * PAGE, 23), whole=False),
    "not to children": Case("madvise", (page(0), 20 * PAGE, 10)),
    "lock": Case("mlock", (page(2), 10 * PAGE), whole=False, errors=(Errno.ENOMEM, Errno.EAGAIN)),
    "unlock": Case("munlock", (page(0), 8 * PAGE)),
    "lock all": Case("mlockall", (3,), whole=False),
    "unlock all": Case("munlockall", ()),
    "seal": Case("mseal", (page(1), 12 * PAGE, 0)),
    "other file pages": Case("remap_file_pages", (page(12), 2 * PAGE, 0, 2, 0)),
    "present": Case("mincore", (page(0), 8 * PAGE, BASE + 0x1000), whole=False),
    "write back": Case("msync", (page(8), 8 * PAGE, 4)),
}
REPEATED_DIFFERENTLY = {"leave behind", "anonymous where it fits"}


class Scene:
    """A process over a memory with some of everything in it."""

    def __init__(self, kind: str, fd_opener: Callable[[Any], int]) -> None:
        self.space = AddressSpace(0, X86_64.task_size)
        self.engine: Any = (
            MemoryEngine(X86_64, self.space) if kind == "plain" else UnicornEngine(X86_64, self.space, adapter=kind)  # type: ignore[arg-type]
        )
        self.mm = LinuxMm(self.space, X86_64)
        self.proc = Process(X86_64, self.space, self.mm, self.engine, reporter=Reporter())
        self.proc.files = FileTable()
        self.proc.fs = Filesystem("/", (), False, self.proc.reporter)
        self.mm.set_brk(HEAP)
        self.call("mmap", BASE, 4 * PAGE, 3, PRIVATE | ANONYMOUS | FIXED, -1, 0)
        self.memory: Any = self.engine.memory
        self.fd = fd_opener(self)
        self.fill()

    def fill(self) -> None:
        anonymous = PRIVATE | ANONYMOUS | FIXED
        for start, pages, prot, flags in (
            (0, 4, 3, anonymous), (4, 2, 1, anonymous), (6, 2, 3, anonymous | LOCKED), (8, 4, 3, SHARED | ANONYMOUS | FIXED),
            (20, 4, 3, anonymous), (26, 4, 3, anonymous), (300, 2, 3, anonymous | GROWSDOWN),
        ):  # fmt: skip
            assert self.call("mmap", page(start), pages * PAGE, prot, flags, -1, 0) == page(start)
        assert self.call("mmap", page(12), 4 * PAGE, 3, SHARED | FIXED, self.fd, 0) == page(12)
        assert self.call("mmap", page(16), 4 * PAGE, 3, PRIVATE | FIXED, self.fd, 0) == page(16)
        assert self.call("brk", HEAP + 4 * PAGE) == HEAP + 4 * PAGE
        for number in (0, 1, 2, 3, 6, 8, 9, 13, 17, 20, 26, 27):
            self.memory.write(page(number), bytes((number + 1,)) * 100)
        self.memory.write(HEAP, b"heap")
        assert self.call("madvise", page(21), 2 * PAGE, 102) == 0
        self.mm.sync()

    def call(self, name: str, *args: int) -> int:
        raw = (*(a & (1 << 64) - 1 for a in args), *[0] * (6 - len(args)))
        self.proc.dispatcher.call(N[name], raw)
        value = int(self.engine.get("rax"))
        return value - (1 << 64) if value >> 63 else value

    def make(self, case: Case) -> int:
        args = case.args
        if case.name == "mmap" and not args[3] & ANONYMOUS:
            args = (*args[:4], self.fd, args[5])
        return self.call(case.name, *args)

    def see(self) -> tuple[Any, ...]:
        """Everything a program can see of its memory."""
        contents = [self.memory.read(vma.start, vma.size) for vma in self.space]
        return list(self.space), contents, self.guards(), self.mm.brk_now, self.mm.def_flags

    def guards(self) -> list[tuple[int, int]]:
        return self.mm.guards.within(0, X86_64.task_size)

    def agree(self) -> None:
        """Space, engine, counters and guards tell the same."""
        self.memory.verify()
        self.space.check()
        fresh, totals = Totals(self.space), self.mm.totals
        assert (fresh.total, fresh.data, fresh.stack, fresh.exec) == (totals.total, totals.data, totals.stack, totals.exec)
        assert fresh.locked + totals.lost_locks == totals.locked
        for start, end in self.guards():
            assert not self.space.gaps(start, end - start), "guards where nothing is mapped"

    def works(self) -> None:
        """Memory can still be mapped, written and given back."""
        at = self.call("mmap", 0, 3 * PAGE, 3, PRIVATE | ANONYMOUS, -1, 0)
        assert at > 0
        self.proc.mem.write(at + PAGE, b"goes on")
        assert self.proc.mem.read(at, 2 * PAGE) == bytes(PAGE) + b"goes on".ljust(PAGE, b"\0")
        assert self.call("munmap", at, 3 * PAGE) == 0
        self.agree()

    def close(self) -> None:
        self.proc.close()


class Refusals:
    """The n-th request to engine or host from now on fails with `error`."""

    def __init__(self, scene: Scene, patch: pytest.MonkeyPatch, wanted: int, error: Callable[[], BaseException]) -> None:
        self.left = wanted
        self._error = error
        memory = scene.memory
        if hasattr(memory, "attempt"):
            attempt = memory.attempt
            patch.setattr(memory, "attempt", lambda call, *args: self.ask(attempt, call, *args))
        else:
            call = memory._call
            patch.setattr(memory, "_call", lambda: self.ask(call))
        if getattr(memory, "engine_regions", None) is not None:
            for name in ENGINE_CALLS:
                patch.setattr(scene.engine.uc, name, self.engine_call(getattr(scene.engine.uc, name)), raising=False)
        made = hostfd.memory_file
        patch.setattr(hostfd, "memory_file", lambda size: self.ask(made, size))

    def ask(self, call: Callable[..., Any], *args: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            raise self._error()
        return call(*args)

    def engine_call(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*args: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise unicorn.UcError(unicorn.UC_ERR_NOMEM)
            return call(*args)

        return asked


def memory_file(scene: Scene) -> int:
    scene.memory.write(NAME, b"file\0")
    fd = scene.call("memfd_create", NAME, 0)
    assert fd >= 0 and scene.call("ftruncate", fd, 6 * PAGE) == 0
    return fd


@pytest.fixture(params=["plain", "paged", "regions"])
def build(request: pytest.FixtureRequest) -> Iterator[Callable[[], Scene]]:
    made: list[Scene] = []

    def make() -> Scene:
        for scene in made:
            scene.close()
        made[:] = [Scene(request.param, memory_file)]
        return made[0]

    yield make
    for scene in made:
        scene.close()


def descriptors() -> int:
    """How many memory files are open. (Others may come and stay: what the host tells about pages.)"""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("/memfd:")
    return count


def refused() -> EngineError:
    return EngineError("refused")


@pytest.mark.parametrize("error", [refused, MemoryError])
@pytest.mark.parametrize("name", CASES)
def test_a_refused_request(name: str, error: Callable[[], BaseException], build: Callable[[], Scene]) -> None:
    case = CASES[name]
    for wanted in range(1, 80):
        scene = build()
        before, opened = scene.see(), descriptors()
        with pytest.MonkeyPatch.context() as patch:
            refusals = Refusals(scene, patch, wanted, error)
            result = scene.make(case)
        scene.agree()
        failed = result == HEAP + 4 * PAGE if case.name == "brk" else result < 0
        if failed:
            assert case.name == "brk" or -result in case.errors
            assert descriptors() <= opened, "a descriptor is left open"
            if case.whole:
                assert scene.see() == before
                again = scene.make(case)
                assert again >= 0 and (case.name != "brk" or again == case.args[0])
                scene.agree()
        elif refusals.left > 0:
            assert wanted > 1 or case.name in NO_REQUESTS or not isinstance(scene.engine, MemoryEngine), "nothing was asked of anybody"
            return
        scene.works()
    pytest.fail("it never succeeds")


NO_REQUESTS = {"mseal", "munlock", "munlockall", "madvise", "msync", "mincore"}


def test_growth_of_a_stack(build: Callable[[], Scene]) -> None:
    """A refused growth is no growth: the copy ends with EFAULT."""
    for wanted in range(1, 20):
        scene = build()
        before = [(vma.start, vma.end) for vma in scene.space]
        with pytest.MonkeyPatch.context() as patch:
            refusals = Refusals(scene, patch, wanted, refused)
            try:
                written = scene.proc.mem.write_some(page(296), b"x")
            except GuestError as error:
                assert error.errno == Errno.EFAULT
                written = 0
        scene.agree()
        if written:
            assert refusals.left > 0
            assert scene.memory.read(page(296), 1) == b"x"
            return
        assert [(vma.start, vma.end) for vma in scene.space] == before
        assert scene.proc.mem.write_some(page(296), b"x") == 1
        scene.agree()
    pytest.fail("it never succeeds")
