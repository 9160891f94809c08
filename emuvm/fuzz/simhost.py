"""A host that is the same every time: identity, clocks, random bytes and sizes that depend on a seed only.

Owns: what a guest is told that is not in its own memory or files, and its time. Must not know the harness.

Time goes by with the blocks that are executed, a little with every look at a clock, and at once when the guest waits: nothing outside
it can happen meanwhile. A guest that waits without end is `Stuck`. Timers ring after so many blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from emuvm.errors import EmuvmError, Stuck
from emuvm.fuzz import host_tree
from emuvm.fuzz.simfiles import InputFile, OutputFile, SimFilesystem
from emuvm.kernel import hostfd
from emuvm.kernel.boot import Host, Options
from emuvm.kernel.credentials import Credentials, Ids
from emuvm.kernel.filetable import FileTable
from emuvm.kernel.fs import Filesystem
from emuvm.kernel.host_system import HostSystem
from emuvm.kernel.report import Reporter

if TYPE_CHECKING:
    from emuvm.engine.unicorn_blocks import Blocks
    from emuvm.kernel.process import Process
    from emuvm.kernel.siginfo import SignalInfo

_SECOND = 1_000_000_000
BLOCK, LOOK = 5, 1000
"""Nanoseconds that a block, and a look at a clock, take."""
_EPOCH, _BOOT = 1_700_000_000 * _SECOND, 1000 * _SECOND
"""What the wall clock and the monotonic one show at first."""
_DAY = 86400.0
_NEVER = 1 << 62
_UNLIMITED = (1 << 64) - 1
_LIMITS = {3: (8 << 20, _UNLIMITED), 4: (0, _UNLIMITED), 6: (63000, 63000), 7: (1024, 1 << 20), 8: (8 << 20, 8 << 20)}
"""RLIMIT_STACK, CORE, NPROC, NOFILE, MEMLOCK; everything else is unlimited."""
_GIB = 1 << 30
_NOTICES = 100


class SimSystem(HostSystem):
    """The system of one guest. Everything that changes is an attribute, so that a snapshot brings it back."""

    def __init__(self, seed: int) -> None:
        self.pid, self.ppid = 1000, 999
        self._seed = hashlib.sha256(b"emuvm %d" % seed).digest()
        self._start = _EPOCH + seed % (1 << 24) * _SECOND
        self.overdue = False
        self._drawn = 0
        """Blocks of random bytes given out."""
        self._other = 0
        """Nanoseconds that did not go by with blocks."""
        self._given = self._withheld = self._before = 0
        """Blocks: of the engine's budget in all, of it not yet handed to the engine, and executed before."""
        self._alarm = _NEVER
        """When the bell rings, in nanoseconds since the start."""
        self.engine: Blocks | None = None

    # -- blocks and time ----------------------------------------------------------------------------------------------------

    def begin(self, budget: int) -> None:
        """The engine may execute so many blocks from now on, if they are counted."""
        if self.engine is None:
            return
        self._before = self.blocks()
        self.engine.begin(budget)
        self._given, self._withheld = budget, 0
        self._ration()

    def settle(self) -> None:
        """The engine's count is nobody's until `begin`: a snapshot is about to be taken."""
        self._before, self._given, self._withheld = self.blocks(), 0, 0

    def blocks(self) -> int:
        """Blocks executed so far."""
        if not self._given:
            return self._before
        assert self.engine is not None
        left: int = self.engine.state.left
        return self._before + self._given - self._withheld - left

    def _elapsed(self) -> int:
        return self.blocks() * BLOCK + self._other

    def _ration(self) -> None:
        """Hand the engine no more blocks than there are before the bell rings."""
        if not self._given:
            return
        assert self.engine is not None
        state = self.engine.state
        budget = state.left + self._withheld
        state.left = min(budget, max(1, (self._alarm - self._elapsed()) // BLOCK + 1))
        self._withheld = budget - state.left

    def blocks_spent(self) -> bool:
        """Was it the bell? Then it rings."""
        if not self._withheld:
            return False
        if self._alarm <= self._elapsed():
            self._ring()
        self._ration()
        return True

    def _ring(self) -> None:
        self._alarm = _NEVER
        self._sound()

    def _sound(self) -> None:
        """Replaced by `bell`."""

    def bell(self, ring: Callable[[], None]) -> SimBell:
        self._sound = ring  # type: ignore[method-assign]
        return SimBell(self)

    def ring_at(self, at: float) -> None:
        """Ring at a monotonic time in seconds."""
        self._alarm = round(at * _SECOND) - _BOOT
        self._ration()

    def _skip(self, seconds: float) -> None:
        """The guest waits, and nothing happens."""
        if seconds >= _DAY:
            raise Stuck("the program waits for something that does not come")
        self._other += max(1, round(seconds * _SECOND))
        self._ration()

    def ticks(self) -> int:
        """What a counter of the CPU shows: nanoseconds."""
        return self.monotonic_ns()

    def has_clock(self, clock: int) -> bool:
        return clock in (0, 1, 2, 3, 4, 5, 6, 7, 11)

    def clock(self, clock: int) -> int:
        self._other += LOOK
        return self.unseen(clock)

    def unseen(self, clock: int) -> int:
        now = self._elapsed()
        return now + (self._start if clock in (0, 5, 11) else _BOOT if clock in (1, 4, 6, 7) else 0)

    def resolution(self, clock: int) -> int:
        return 4_000_000 if clock in (5, 6) else 1

    def monotonic_ns(self) -> int:
        self._other += LOOK
        return _BOOT + self._elapsed()

    def monotonic(self) -> float:
        return self.monotonic_ns() / _SECOND

    def cpu_times(self) -> tuple[int, int]:
        return self._elapsed(), 0

    def usage(self) -> tuple[int, ...]:
        return (4096, *(0 for _ in range(13)))

    def sleep(self, seconds: float) -> None:
        self._skip(seconds)

    def wait(self, wanted: Iterable[tuple[int, int]], seconds: float | None) -> dict[int, int]:
        found = hostfd.wait(wanted, 0)
        if not found and seconds != 0:
            self._skip(_DAY if seconds is None else seconds)
        return found

    def readable(self, fd: int, seconds: float) -> bool:
        if fd >= 0 and hostfd.readable(fd, 0):
            return True
        self._skip(seconds)
        return False

    def stop(self, number: int) -> None:
        raise Stuck("the program stopped itself")

    # -- what does not change -----------------------------------------------------------------------------------------------

    def random(self, length: int) -> bytes:
        first, self._drawn = self._drawn, self._drawn + -(-length // 32)
        pieces = [hashlib.sha256(self._seed + number.to_bytes(8, "little")).digest() for number in range(first, self._drawn)]
        return b"".join(pieces)[:length]

    @property
    def pgid(self) -> int:
        return self.pid

    @cached_property
    def credentials(self) -> Credentials:
        return Credentials(Ids(1000, 1000, 1000, 1000), Ids(1000, 1000, 1000, 1000), [1000])

    def parent(self) -> int:
        return self.ppid

    def adopted(self, pid: int) -> None:
        self.ppid = pid

    def session(self, pid: int = 0) -> int:
        return self._own(pid)

    def group_of(self, pid: int) -> int:
        return self._own(pid)

    def _own(self, pid: int) -> int:
        if pid not in (0, self.pid):
            raise ProcessLookupError(3, "No such process")
        return self.pid

    def process_exists(self, pid: int) -> bool:
        return pid in (self.pid, self.ppid, 1)

    def may_signal(self, pid: int) -> bool:
        return False

    def owner(self, pid: int) -> int:
        return 0

    def nice(self, which: int = 0, who: int = 0) -> int:
        return 0

    def limit(self, number: int) -> tuple[int, int]:
        return _LIMITS.get(number, (_UNLIMITED, _UNLIMITED))

    @property
    def ignored_signals(self) -> int:
        return 0

    @cached_property
    def total_memory(self) -> int:
        return 16 * _GIB

    def overcommit(self) -> int:
        return 0

    def lowest_address(self) -> int:
        return 0x1_0000

    def speculation(self, feature: int) -> int:
        return 0

    def cpus(self, pid: int = 0) -> set[int]:
        return {0}

    def cpuset(self) -> set[int]:
        return {0}

    def clock_state(self, modes: int) -> tuple[int, bytes]:
        return 0, modes.to_bytes(4, "little").ljust(208, b"\0")

    def online(self) -> int:
        return 1

    def cpu_mask_size(self) -> int:
        return 8

    def processor(self) -> tuple[int, int]:
        return 0, 0

    def uname(self) -> tuple[str, str, str, str]:
        return "Linux", "emuvm", "6.12.0", "#1 SMP"

    def domain(self) -> str:
        return "(none)"

    def memory(self) -> dict[str, int]:
        return {"MemTotal": 16 * _GIB, "MemFree": 8 * _GIB, "Shmem": 0, "Buffers": 0, "SwapTotal": 0, "SwapFree": 0}

    def load(self) -> tuple[tuple[float, float, float], int]:
        return (0.0, 0.0, 0.0), 1


class SimBell:
    """Rings when the guest's time has come; see `SimSystem`."""

    def __init__(self, system: SimSystem) -> None:
        self._system = system

    def set(self, at: float) -> None:
        self._system.ring_at(at)

    def close(self) -> None:
        """The process has ended."""


class QuietReporter(Reporter):
    """Keeps what the program died of, and a few notices."""

    def __init__(self) -> None:
        super().__init__()
        self.info: SignalInfo | None = None

    def text(self, text: str) -> None:
        if len(self.lines) < _NOTICES:
            self.lines.append(text)

    def death(self, proc: Process, info: SignalInfo) -> None:
        self.info = info


class SimHost(Host):
    """Everything around one guest. `program` is what the guest calls its program. `root`: a directory of the real host as its /, which
    it may only read. Close it when done. EmuvmError: no such program, or files that cannot be."""

    def __init__(self, program: str | Path, files: Mapping[str, bytes], seed: int, root: str | None) -> None:
        self.bytes = host_tree.program(program)
        self.sim = SimSystem(seed)
        self.stdin = InputFile()
        self.stdout, self.stderr = OutputFile(b"/output", 3), OutputFile(b"/errors", 4)
        self.quiet = QuietReporter()
        self._root = root
        self.program = str(Path(program).resolve()) if root is not None else f"/bin/{Path(program).name}"
        self._tree = host_tree.Tree({} if root is not None else files)
        if root is None:
            self._tree.put(self.program, self.bytes, 0o755)
        elif files:
            self._tree.close()
            raise EmuvmError("files in memory and a root of the host: one of them")

    def files(self) -> FileTable:
        return FileTable((self.stdin, self.stdout, self.stderr))

    def filesystem(self, options: Options, reporter: Reporter) -> Filesystem:
        return super().filesystem(options, reporter) if self._root is not None else SimFilesystem(self._tree, self.sim, reporter)

    def system(self) -> HostSystem:
        return self.sim

    def reporter(self, write: Callable[[str], object] | None) -> Reporter:
        return self.quiet

    @property
    def death(self) -> SignalInfo | None:
        """What the last run died of, by a signal."""
        return self.quiet.info

    def open_input(self, path: str) -> int:
        """A descriptor of the file that holds the input; the caller closes it."""
        if self._root is not None:
            raise EmuvmError("the input cannot be a file below a root of the host: use stdin")
        self._tree.put(path, b"")
        return self._tree.opened(path)

    def keep(self, without: frozenset[str]) -> None:
        """Files are to come back as they are now, but for some."""
        self._tree.keep(without)

    @property
    def touched(self) -> bool:
        """May files have changed?"""
        return self._tree.touched

    def restore(self) -> None:
        """Bring the files back."""
        self._tree.restore()

    def differences(self) -> list[str]:
        """Paths of files that are not as they were."""
        return self._tree.differences()

    def close(self) -> None:
        """The files are gone."""
        self._tree.close()
