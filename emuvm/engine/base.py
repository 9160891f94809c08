"""What an engine is: the seam between the kernel side and whatever executes guest instructions.

Owns: the Engine and Memory protocols and the Stop values. Must not know Unicorn, nor the kernel.

The engine runs, we act between runs: `Engine.run()` returns a Stop, the kernel does what it says and runs again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

from emuvm.abi.arch import Arch
from emuvm.abi.tuples import NamedTuple


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

    `address` is the first byte that failed, `mapped` tells a forbidden access to a region from a hole, `bus` a page of a
    file mapping that lies wholly behind the end of the file.
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


Stop = SyscallStop | FaultStop | TrapStop | LimitStop

FastCall = Callable[[int, tuple[int, ...]], "int | None"]
"""(number, args) -> the raw result register value, or None: stop the run and deliver a SyscallStop.

It runs inside the engine's hook: it must not touch registers or the pc, nor take away memory the guest executes.
"""


class HostFile(Protocol):
    """What `File.file` offers when its pages can be mapped from a host file."""

    def fileno(self) -> int: ...

    def size(self) -> int:
        """Bytes in the file now."""


class Memory(Protocol):
    """Guest page contents behind a space, whatever the rights. Subscribed to the space; addresses are guest addresses.

    Every method raises EngineError for a range that is not wholly mapped in the space.
    """

    def read(self, address: int, length: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None:
        """Store bytes; drops translated code of the pages written if they may hold any."""

    def discard(self, address: int, length: int) -> None:
        """MADV_DONTNEED: private anonymous pages read zero again, private file pages the file. Shared pages are left alone."""

    def punch(self, address: int, length: int) -> None:
        """MADV_REMOVE: the pages of a shared mapping read zero, for everybody who maps the object. EngineError when the host cannot."""

    withheld: Callable[[int, int], list[tuple[int, int]]] | None
    """(start, end) -> the parts of the range, ascending and clipped, that are mapped but may not be accessed (MADV_GUARD_INSTALL).
    An access there faults as if nothing were mapped (`FaultStop.mapped` is False). None: there are none."""

    def take_written(self) -> list[int]:
        """Addresses of private pages in the order of their first write, by the guest or by `write`, since the last call.

        For Linux's anon_vma: a page may come again, and only the first write to a region need be told. Cheap when nothing is new.
        """

    def residency(self, start: int, end: int) -> bytes:
        """A byte for each page of [start, end): 1 present in memory, 2 holds a private copy (anonymous memory that was written, a
        written private file page), 4 belongs to a file or shared object. Whole pages; 0 where nothing is or nothing was touched."""

    def populate(self, start: int, end: int, *, write: bool) -> None:
        """Touch every page of [start, end), which is mapped throughout and not behind the end of a file: MAP_POPULATE, mlock."""

    def withdraw(self, start: int, end: int) -> None:
        """Whether the pages may be accessed has changed (`withheld`): ask again at the next access."""

    def verify(self) -> None:
        """Raise EmulatorBug when what the engine holds differs from the space."""

    def close(self) -> None: ...


class Engine(Protocol):
    """A CPU over a Memory."""

    arch: Arch
    memory: Memory
    fast_call: FastCall | None

    def run(self) -> Stop:
        """Execute from pc until something happens. An exception raised in any hook is re-raised here, unchanged."""

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

    def reset(self) -> None:
        """All registers as in a new engine."""

    def set_result(self, value: int) -> None:
        """Store a system call's raw result (negative: -errno) as this architecture returns it."""

    def close(self) -> None: ...
