"""A process at a moment, and the way back, at the cost of what changed.

Owns: which parts a process has and in which order they go back. Must not know how each does it: regions (`LinuxMm.restore`, by the
update callbacks), contents (`engine.checkpoint`), registers (`UnicornEngine.save`), the kernel's objects (`fuzz.state`), descriptors
(`FileTable.hold`).

    regions -> shared objects -> contents -> descriptors -> the kernel's objects -> registers

What is outside the process does not go back: files of the host and their contents, pipes to others, the time. Descriptors do, with
their offsets, what waits in the program's own pipes, counters and timers, and what an epoll watches (`OpenFile.outside`); but a file that
is open for writing only keeps its place, for what was written to it stays, and a pipe whose end was open then does not end for its reader.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from emuvm.engine.checkpoint import Checkpoint
from emuvm.engine.unicorn import UnicornEngine
from emuvm.engine.unicorn_paged import PagedMemory
from emuvm.errors import EmuvmError
from emuvm.fuzz.objects import Objects
from emuvm.fuzz.state import State

if TYPE_CHECKING:
    from emuvm.kernel.process import Process


class Snapshot:
    """A process as it was when `take` was called. Several may be kept, in any order, and restored any number of times; `close` them.

    The process must not be running, neither for `take` nor for `restore`. Who subscribed to the space since `take` is forgotten.
    """

    def __init__(self, proc: Process, presence: bool = False) -> None:
        engine = proc.engine
        if not isinstance(engine, UnicornEngine) or not isinstance(engine.memory, PagedMemory):
            raise EmuvmError("snapshots need the paged engine")
        self.proc = proc
        self._engine = engine
        self._closed = False
        self._presence = presence
        proc.mm.sync()
        self._space = proc.space.snapshot()
        self._listeners = proc.space.listeners()
        self._objects = Objects(proc)
        # Who watches others comes last: what becomes ready meanwhile would be told in another order.
        files = sorted(dict.fromkeys(file for _, file in proc.files.items()), key=lambda file: file.watches)
        self._outside = [(file, kept) for file in files if (kept := file.outside()) is not None]
        self._state = State(proc, proc.mm, proc.files, proc.fs, proc.signals)
        self._guards: tuple[list[int], list[int]] = proc.mm.guards.state()
        self._registers = engine.save()
        self._contents = Checkpoint(engine.memory, presence=presence)
        self._held = proc.files.hold()  # last: what fails before leaves nothing behind

    @classmethod
    def take(cls, proc: Process, *, presence: bool = False) -> Snapshot:
        """The process as it is now. EmuvmError: its engine cannot. `presence`: pages that were only read go back to being absent, too,
        as mincore and smaps tell; each restore then costs some hundred microseconds.
        """
        return cls(proc, presence)

    def restore(self) -> None:
        """Make the process what it was. EngineError when the engine refuses a change of regions: then nothing has happened."""
        if self._closed:
            raise EmuvmError("the snapshot is closed")
        proc = self.proc
        if not proc.space.is_at(self._space):
            proc.mm.restore(self._space)
        proc.space.listeners(self._listeners)
        if self._objects:
            for start, end in self._objects.restore(self._presence or self._contents.unsure()):
                self._contents.doubt(start, end)
        self._contents.restore()
        proc.files.close_others(self._held)
        guards, timers = proc.mm.guards.state(), proc.timers
        self._state.restore()
        if guards != self._guards:
            self._withdraw(guards)
        if timers is not proc.timers and timers is not None:
            timers.close()
        if proc.timers is not None:
            proc.timers.check()
        for file, kept in self._outside:
            file.bring_back(kept)
        self._engine.restore(self._registers)

    def _withdraw(self, guards: tuple[list[int], list[int]]) -> None:
        """Guard pages have come or gone: the engine is to ask again."""
        for starts, ends in (guards, self._guards):
            for start, end in zip(starts, ends, strict=True):
                self.proc.engine.memory.withdraw(start, end)

    def save(self, path: str | Path) -> list[str]:
        """Write the process of the snapshot to a file (FORMAT.md); what of it cannot come back, in words. EmuvmError."""
        from emuvm.fuzz.savefile import save

        return save(self, path)

    @classmethod
    def load(cls, path: str | Path, *, presence: bool = False, **how: Any) -> Snapshot:
        """A snapshot of a new process that is made of such a file or of an ELF core file; `presence` as for
        `take`, `how` as for `fuzz.resume.resume`.

        Close the snapshot's `proc`, too, when done. LoadError, ResumeError.
        """
        from emuvm.fuzz.resume import resume

        proc = resume(path, **how)
        try:
            return cls.take(proc, presence=presence)
        except BaseException:
            proc.close()
            raise

    def differences(self) -> list[str]:
        """Everything that differs from the snapshot, in words. Compares every byte, region, register and object: slow."""
        proc, found = self.proc, []
        now, then = list(proc.space), list(self._space)
        found += [f"region {vma}" for vma in now if vma not in then] + [f"no region {vma}" for vma in then if vma not in now]
        found += [f"contents of page {page:#x}" for page in self._contents.differences()]
        found += self._state.differences()
        found += [f"what the host has of {file.name!r}" for file, kept in self._outside if file.outside() != kept]
        if _registers(self._engine) != self._saved_registers():
            found.append("registers")
        return found

    def _saved_registers(self) -> Any:
        now = self._engine.save()
        self._engine.restore(self._registers)
        saved = _registers(self._engine)
        self._engine.restore(now)
        return saved

    def close(self) -> None:
        """Let go of the copies. The process goes on as it is."""
        if not self._closed:
            self._closed = True
            self._contents.close()
            self.proc.files.let_go(self._held)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _registers(engine: UnicornEngine) -> tuple[list[int], bytes]:
    """What a guest can see of the CPU."""
    names = GENERAL[engine.arch.name]
    return engine.get_many(names), engine.fpu_state()


GENERAL: dict[str, tuple[str, ...]] = {
    "x86_64": tuple("rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip eflags fs_base gs_base".split()),
    "arm64": (*(f"x{n}" for n in range(31)), "sp", "pc", "nzcv", "tpidr_el0"),
}
