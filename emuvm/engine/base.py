"""What an engine is: the seam between the kernel side and whatever executes guest instructions.

Owns: the Engine and Memory protocols, the Stop values, and what a region's backing means to engines. Must not know Unicorn, nor
the kernel.

The engine runs, we act between runs: `Engine.run()` returns a Stop, the kernel does what it says and runs again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol

from emuvm.abi.arch import Arch
from emuvm.abi.tuples import NamedTuple
from emuvm.mm.types import File, Vma, VmFlag


class Access(Enum):
    """The kind of a memory access."""

    READ = "read"
    WRITE = "write"
    EXEC = "exec"


class SyscallStop(NamedTuple):
    """The guest made a system call. pc is already behind the instruction; `args` are the six raw argument registers."""

    number: int
    args: tuple[int, ...]


class FaultStop(NamedTuple):
    """A memory access failed. Nothing was stored. pc is at the instruction (for EXEC: at `address`).

    `address` is the first byte that failed, `size` the bytes from there on that the access wanted, 0: not known. `mapped` tells a
    forbidden access to a region from a hole (or a page that is withheld), `bus` a page of a file mapping that lies wholly behind
    the end of the file.
    """

    address: int
    access: Access
    size: int
    mapped: bool
    bus: bool = False


class Trap(Enum):
    """CPU exceptions that are not memory faults, named by what Linux makes of them."""

    ILLEGAL = "illegal instruction"
    BREAKPOINT = "breakpoint"
    DIVIDE = "division error"
    PROTECTION = "general protection"
    ALIGNMENT = "misaligned access"
    OTHER = "exception"


class TrapStop(NamedTuple):
    """A CPU exception. `number` is the engine's own exception number."""

    trap: Trap
    number: int


class LimitStop(NamedTuple):
    """`Engine.stop()` was called (from another thread, a timer, or a hook)."""


class BudgetStop(NamedTuple):
    """The budget of blocks is spent (`Engine.begin`)."""


class BreakStop(NamedTuple):
    """pc is where `Engine.break_at` said."""

    pc: int


Stop = SyscallStop | FaultStop | TrapStop | LimitStop | BudgetStop | BreakStop

FastCall = Callable[[int, tuple[int, ...]], "int | None"]
"""(number, args) -> the raw result register value, or None: stop the run and deliver a SyscallStop.

It runs inside the engine's hook: it must not touch registers or the pc, nor take away memory the guest executes.
"""


class HostFile(Protocol):
    """What `File.file` offers when its pages can be mapped from a host file."""

    def fileno(self) -> int: ...

    def size(self) -> int:
        """Bytes in the file now."""


class Residency:
    """Bits of `Memory.residency` and `Memory.resident`."""

    PRESENT = 1
    """In memory: what mincore tells. File pages may be so without being mapped, in the page cache."""
    PRIVATE = 2
    """A private copy: anonymous memory that was written, a written private file page. Without PRESENT: swapped out."""
    FILE = 4
    """Belongs to a file or shared object."""
    MAPPED = 8
    """Counts as resident set (RSS): somebody touched it here, and it is not the zero page that untouched memory reads from."""


def no_peek(address: int, length: int) -> bytes | None:
    """`Memory.peek` of memory that cannot tell at one look."""
    return None


def no_poke(address: int, data: bytes) -> bool:
    """`Memory.poke` of such memory."""
    return False


class Memory(Protocol):
    """Guest page contents behind a space, whatever the rights. Subscribed to the space; addresses are guest addresses.

    Every method raises EngineError for a range that is not wholly mapped in the space, or when the host refuses; nothing has
    changed then. `residency`, `resident` and `withdraw` take any range. A mapping with SHARED or MAYSHARE is shared.
    """

    peek: Callable[[int, int], bytes | None]
    poke: Callable[[int, bytes], bool]
    """`read` and `write` of what the guest itself may read or write, as one look tells. None, False: ask the space; nothing is done."""

    def read(self, address: int, length: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None:
        """Store bytes; drops translated code of the pages written if they may hold any. EngineError for a shared mapping of a file
        that is open for reading only."""

    def discard(self, address: int, length: int) -> None:
        """MADV_DONTNEED: private anonymous pages read zero again, private file pages the file. Shared pages keep
        their contents; they are no longer present (`resident`), if the mirror can tell.
        """

    def punch(self, address: int, length: int) -> None:
        """MADV_REMOVE: the pages of a shared mapping read zero, for everybody who maps the object. EngineError when the host cannot."""

    protects_in_hooks: bool
    """The space may change the rights of regions that are not executable, before and after, while a hook of the engine runs, if..."""
    in_call: bool
    """... this is set meanwhile: the guest stands in a system call, and what its CPU knows of pages may be dropped at once."""

    def may_free(self, start: int, end: int) -> None:
        """MADV_FREE of private anonymous pages: they may read zero from any moment on, until they are written again. A hint."""

    def page_out(self, start: int, end: int) -> None:
        """MADV_PAGEOUT: the host may take the pages out of memory that it can bring back, and those it may free. A hint."""

    withheld: Callable[[int, int], list[tuple[int, int]]] | None
    """(start, end) -> the parts of the range, ascending and clipped, that are mapped but may not be accessed (MADV_GUARD_INSTALL).
    An access there that the region's rights allow faults as if nothing were mapped (`FaultStop.mapped` is False). None: there are
    none. After every change of the answer `withdraw` must be called. `read` and `write` do not look at it."""

    def withdraw(self, start: int, end: int) -> None:
        """Whether the pages may be accessed has changed (`withheld`): ask again at the next access."""

    def take_written(self) -> list[int]:
        """Private pages (addresses) in the order of their first write, by the guest, `write` or `populate`, since the last call.

        For Linux's anon_vma: of each region of the space only the first write need be told, a page may come again, and pages that
        are not mapped any more are left out: ask before the space changes. Cheap when nothing is new.
        """

    def residency(self, start: int, end: int) -> bytes:
        """`Residency` bits of each page of [start, end), whole pages; 0 where nothing is or nothing was touched."""

    def resident(self, start: int, end: int, *, cached: bool = True) -> list[tuple[int, int, int]]:
        """The same as runs (start, end, bits) with bits that are not 0, ascending: for ranges far larger than what is in them.

        Not `cached`: pages that are in the page cache only may be left out.
        """

    def populate(self, start: int, end: int, *, write: bool) -> None:
        """Touch every page of [start, end), which is mapped throughout and not behind the end of a file: MAP_POPULATE, mlock."""

    def verify(self) -> None:
        """Raise EmulatorBug when what the engine holds differs from the space."""

    def close(self) -> None: ...


def host_file(vma: Vma) -> File | None:
    """The host file behind a region; None for plain memory."""
    backing = vma.backing
    return backing if isinstance(backing, File) and hasattr(backing.file, "fileno") else None


def cannot_shrink(vma: Vma) -> bool:
    """Do the pages that are there stay there? The private pages of a file that says so (`fixed`) do, and those of no file."""
    file = host_file(vma)
    return file is None or getattr(file.file, "fixed", False) and not is_shared(vma)


def is_shared(vma: Vma) -> bool:
    """Does the region show the object itself? Linux clears SHARED for files that are open for reading only, and keeps MAYSHARE."""
    return bool(vma.flags & (VmFlag.SHARED | VmFlag.MAYSHARE))


class HandledFaults(Protocol):
    """Runs the guest's handler for refused accesses, and comes back from it, within one `run`. By `state`:

    armed     to be set before a run, whenever that may be done; not 0 only during one run
    mask      blocked signals, before and after
    sequence  address of the area of restartable sequences (struct rseq); 0: there is none
    count     of faults and returns since somebody set it to 0
    access    of the last fault: the engine's number, 17 for a store, 16 for a load, 0 if there was none; address; code: what the CPU
              says about it (x86-64: error code, arm64: ESR)
    """

    state: Any
    prepared: object
    """For whoever calls `prepare`: for what, and whether that can be answered so."""
    usable: bool

    def prepare(
        self, signal: int, code: int, handler: tuple[int, int, int], stack: tuple[int, int, int], *, alternate: bool, info: bool
    ) -> bool:
        """What a refused access leads to: `handler`: (address, address to return to, signals that it blocks); `stack`: the alternate
        one, for which `alternate` says whether it is to be used; `info`: the handler gets siginfo and ucontext. Can it be done?"""


class Engine(Protocol):
    """A CPU over a Memory."""

    arch: Arch
    memory: Memory
    fast_call: FastCall | None

    def run(self) -> Stop:
        """Execute from pc until something happens. An exception raised in any hook is re-raised here, unchanged."""

    def expect_stops(self) -> None:
        """Someone will call `stop` and let the guest go on: from now on it takes effect between two instructions."""

    def stop(self) -> None:
        """Make the current (or next) run return LimitStop soon. Safe from other threads and signal handlers."""

    def get(self, register: str) -> int:
        """Read a register by its ABI name in lower case ('rax', 'x0', 'pc', 'fs_base', ...); also 'pc' and 'sp' everywhere."""

    def set(self, register: str, value: int) -> None: ...

    def get_many(self, registers: tuple[str, ...]) -> list[int]:
        """The same for several general registers at once. Pass the same tuple each time: its look-up is kept."""

    def set_many(self, registers: tuple[str, ...], values: Sequence[int]) -> None:
        """Store several general registers at once, in order. Values are taken modulo 2**64."""

    def fpu_state(self) -> bytes:
        """Floating point and vector registers, as Linux puts them into a signal frame.

        x86-64: 512 bytes as FXSAVE64 stores them. arm64: 528 bytes, struct fpsimd_context with its head.
        """

    def set_fpu_state(self, state: bytes) -> None:
        """Load what `fpu_state` gave: the first 512 or 528 bytes of `state`; the head, MXCSR_MASK and reserved bytes are not looked at."""

    def handled_faults(self) -> HandledFaults | None:
        """None: this engine stops at every fault."""

    def reset(self) -> None:
        """All registers as in a new engine."""

    def set_result(self, value: int) -> None:
        """Store a system call's raw result (negative: -errno) as this architecture returns it."""

    def close(self) -> None: ...


def fresh_when_read(vma: Vma) -> bool:
    """Does reading a page make it present that was not? The pages of a file on a disk are in the page cache either way; files in
    memory, which say so (`in_memory`), have holes.
    """
    return host_file(vma) is None or is_shared(vma) or getattr(vma.backing.file, "in_memory", False)
