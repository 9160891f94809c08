"""adjtimex and clock_adjtime: how the host's clock is kept right. It is told, and not changed.

Must not know how the host keeps time. Source: kernel/time/ntp.c, posix-timers.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.controls import Clock
from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_SIZE = 208
"""Bytes of struct timex of 64 bits."""
_OFFSET_READ, _ADJTIME = 0x2000, 0x8000
_OF_FILE = 3
"""The low bits of the clock of a device that is open; other negative numbers are clocks of processes."""
_PARTIAL = "EPERM unless it only asks; ENOSYS to 32-bit programs"


@syscall("adjtimex", "ptr", level="partial", note=_PARTIAL)
def adjtimex(proc: Process, at: int) -> int:
    if proc.arch.bits != 64 or proc.arch.big_endian:
        raise GuestError(Errno.ENOSYS, "another struct timex")
    modes = int.from_bytes(proc.mem.read(at, _SIZE)[:4], "little")
    if modes & _ADJTIME:
        if not modes & 1:
            raise GuestError(Errno.EINVAL, f"modes {modes:#x}")
        asks = bool(modes & _OFFSET_READ)
    else:
        asks = not modes
    if not asks:
        raise GuestError(Errno.EPERM, "the host's clock is not the program's to set")
    state, data = proc.system.clock_state(modes)
    proc.mem.write(at, data)
    return state


@syscall("clock_adjtime", "int ptr", level="partial", note=_PARTIAL)
def clock_adjtime(proc: Process, clock: int, at: int) -> int:
    if proc.arch.bits == 64:
        proc.mem.check(at, _SIZE, 1)
    if clock != Clock.CLOCK_REALTIME:
        known = clock & 7 != _OF_FILE if clock < 0 else proc.system.has_clock(clock)
        raise GuestError(Errno.EOPNOTSUPP if known else Errno.EINVAL, f"clock {clock}")
    return adjtimex(proc, at)
