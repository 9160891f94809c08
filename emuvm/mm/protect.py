"""mprotect: arguments, what each area says to other rights, and what has been done when one refuses (mm/mprotect.c).

Owns: that call of `LinuxMm`. Must not know how areas are cut and merged, nor raw flag bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.mm import rules
from emuvm.mm.layout import next_region
from emuvm.mm.limits import INFINITY
from emuvm.mm.types import RIGHTS, Vma, VmFlag

if TYPE_CHECKING:
    from emuvm.mm.linux import LinuxMm

MAY_SHIFT = 4
"""MAYREAD, MAYWRITE, MAYEXEC are the access bits shifted up by this."""


def mprotect(mm: LinuxMm, addr: int, length: int, prot: int, *, growsdown: bool = False, implied_exec: bool = False) -> None:
    """Change access rights (mm/mprotect.c:do_mprotect_pkey). What precedes the failing region stays changed.

    EINVAL misaligned; ENOMEM at the first hole, or a limit; EACCES where the mapping does not allow the right; EPERM sealed.
    `implied_exec`: the personality READ_IMPLIES_EXEC holds and reading is asked for.
    """
    mask, space = mm.space.page_size - 1, mm.space
    if addr & mask:
        raise GuestError(Errno.EINVAL, "address is not page aligned")
    if length == 0:
        return
    end = addr + (length + mask & ~mask)
    if end > INFINITY:
        raise GuestError(Errno.ENOMEM, "the range wraps around")
    if addr >= space.end:
        raise GuestError(Errno.ENOMEM, "nothing is mapped there")
    mm.sync()
    if growsdown or implied_exec or end > space.end or mm.totals.locked or not _protect_inside(mm, addr, end, prot & RIGHTS):
        if growsdown:
            addr = _stack_start(mm, addr, min(end, space.end))
        _protect_each(mm, addr, end, prot, implied_exec)


def _protect_each(mm: LinuxMm, addr: int, end: int, prot: int, implied_exec: bool) -> None:
    """Area by area."""
    beyond, end = end > mm.space.end, min(end, mm.space.end)
    more_data, became_writable = 0, False

    def change(vma: Vma) -> Vma | None:
        wanted = prot & RIGHTS
        if implied_exec and vma.flags & VmFlag.MAYEXEC:
            wanted |= 4
        nonlocal more_data, became_writable
        flags = _protected(mm, vma, vma.end - vma.start, wanted, more_data)
        if flags < 0:
            return None
        if not vma.flags & (VmFlag.SHARED | VmFlag.GROWSDOWN):
            more_data += (vma.end - vma.start) * ((wanted & 2) - (vma.prot & 2)) // 2
        if wanted & 2 and vma.flags & (VmFlag.SHARED | VmFlag.LOCKED) == VmFlag.LOCKED and not vma.prot & 2:
            became_writable = True
        return rules.with_flags(vma, wanted, flags)

    while True:
        vma = mm.space.query(addr) if mm.totals.locked else None
        stop = end if vma is None else min(vma.end, end)
        walk = mm.areas.modify(addr, stop, change)
        if became_writable:
            # Locked memory is written to at once, before the next area's turn: that decides which of them merge.
            mm.populate(addr, stop)
            mm.sync()
            became_writable = False
        addr, more_data = stop, 0
        if stop == end or walk.error is not None or walk.hole:
            break
    if walk.error is not None:
        raise walk.error
    if walk.hole or beyond:
        raise GuestError(Errno.ENOMEM, f"nothing is mapped at {walk.place:#x}")


def _protect_inside(mm: LinuxMm, start: int, end: int, prot: int) -> bool:
    """mprotect of a range in one area, as most are. False: it is not that simple."""
    room = mm.limits.max_map_count - len(mm.space)
    if room < 2:
        return False
    touched = mm.space.around(start, end)
    for place, vma in enumerate(touched):
        if vma.start <= start and end <= vma.end:
            if vma.flags & VmFlag.HUGETLB:
                return False
            flags = _protected(mm, vma, end - start, prot, 0)
            if flags >= 0:
                mm.areas.set_rights(touched, place, start, end, prot, flags)
            return True
    return False


def _stack_start(mm: LinuxMm, addr: int, end: int) -> int:
    vma = next_region(mm.space, addr)
    if vma is None or vma.start >= end:
        raise GuestError(Errno.ENOMEM, "nothing is mapped there")
    if not vma.flags & VmFlag.GROWSDOWN:
        raise GuestError(Errno.EINVAL, "PROT_GROWSDOWN on memory that does not grow down")
    return vma.start


def _protected(mm: LinuxMm, vma: Vma, size: int, prot: int, more_data: int) -> int:
    """One area's turn in mprotect (mprotect_fixup), of which `size` bytes change: its flags then; -1: all stays as it is.

    `more_data`: what the areas before it added to the data.
    """
    flags = vma.flags
    if prot & ~(flags >> MAY_SHIFT) & RIGHTS:
        raise GuestError(Errno.EACCES, "the mapping does not allow that right")
    if mm.deny_write_exec and prot & 4 and (prot & 2 or not vma.prot & 4):
        raise GuestError(Errno.EACCES, "writable and executable")
    if flags & VmFlag.SEALED:
        raise GuestError(Errno.EPERM, "sealed")
    if vma.prot == prot:
        return -1
    if prot & 2:
        limits, totals = mm.limits, mm.totals
        if limits.data != INFINITY and not limits.may_expand(totals, size, prot, flags, more_data):
            if limits.may_expand(totals, size, vma.prot, flags, more_data):
                raise GuestError(Errno.ENOMEM, "RLIMIT_DATA")
        if not vma.prot & 2 and not flags & (VmFlag.ACCOUNT | VmFlag.HUGETLB | VmFlag.SHARED | VmFlag.NORESERVE):
            limits.enough_memory(size)
            flags |= VmFlag.ACCOUNT
    elif flags & VmFlag.ACCOUNT and rules.anonymous(vma) and not rules.anon_of(vma):
        flags &= ~VmFlag.ACCOUNT
    return flags
