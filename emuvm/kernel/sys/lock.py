"""Locking memory, and sealing it.

Owns: decoding of these calls. Must not know what a lock does (`mm.locking`). Sources: mm/mlock.c, mm/mseal.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.flags_mm import Memory, mcl_for
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall
from emuvm.kernel.sys.mem import enomem, untagged
from emuvm.mm import locking

if TYPE_CHECKING:
    from emuvm.kernel.process import Process


@syscall("mlock", "ptr size", note="counted and made present; the host locks nothing")
@enomem
def mlock(proc: Process, addr: int, length: int) -> int:
    locking.mlock(proc.mm, untagged(proc, addr), length)
    return 0


@syscall("mlock2", "ptr size int", note="counted and made present; the host locks nothing")
@enomem
def mlock2(proc: Process, addr: int, length: int, flags: int) -> int:
    if flags & ~Memory.MLOCK_ONFAULT:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    locking.mlock(proc.mm, untagged(proc, addr), length, onfault=bool(flags))
    return 0


@syscall("munlock", "ptr size")
@enomem
def munlock(proc: Process, addr: int, length: int) -> int:
    locking.munlock(proc.mm, untagged(proc, addr), length)
    return 0


@syscall("mlockall", "int", note="counted and made present; the host locks nothing")
@enomem
def mlockall(proc: Process, flags: int) -> int:
    bits = mcl_for(proc.arch.name)
    if not flags or flags & ~(bits.MCL_CURRENT | bits.MCL_FUTURE | bits.MCL_ONFAULT) or flags == bits.MCL_ONFAULT:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    current, future, onfault = (bool(flags & bit) for bit in (bits.MCL_CURRENT, bits.MCL_FUTURE, bits.MCL_ONFAULT))
    locking.mlockall(proc.mm, current=current, future=future, onfault=onfault)
    return 0


@syscall("munlockall", "")
@enomem
def munlockall(proc: Process) -> int:
    locking.mlockall(proc.mm, current=False, future=False, onfault=False)
    return 0


@syscall("mseal", "ptr size ulong")
@enomem
def mseal(proc: Process, addr: int, length: int, flags: int) -> int:
    if proc.arch.bits != 64 or proc.mm.kernel < (6, 10):
        raise GuestError(Errno.ENOSYS, "no mseal")
    locking.mseal(proc.mm, untagged(proc, addr), length, flags)
    return 0
