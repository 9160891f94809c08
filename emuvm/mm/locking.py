"""mlock and its kin, msync, mseal, and which pages are in memory (mm/mlock.c, mm/msync.c, mm/mseal.c, mm/mincore.c, Linux 6.18).

Owns: their checks, order and partial effects. Must not know how areas are cut or merged. There is nothing to lock on the host: a
locked area is one that is populated and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.flags_mm import Memory
from emuvm.errors import EngineError, GuestError
from emuvm.mm import rules
from emuvm.mm.areas import Change
from emuvm.mm.rules import LOCKS
from emuvm.mm.types import Vma, VmFlag

if TYPE_CHECKING:
    from emuvm.mm.linux import LinuxMm

_WORD = 1 << 64


def mlock(mm: LinuxMm, addr: int, length: int, *, onfault: bool = False) -> None:
    """EPERM not allowed at all; ENOMEM over RLIMIT_MEMLOCK, a hole (what precedes it is locked), or a page that cannot be touched;
    EINVAL the range wraps (do_mlock).
    """
    limits = mm.limits
    if not limits.may_lock():
        raise GuestError(Errno.EPERM, "RLIMIT_MEMLOCK is zero")
    start, length = _pages(mm, addr, length)
    mm.sync()
    if not limits.ipc_lock and length + mm.totals.locked - _locked_within(mm, start, length) > limits.memlock & -4096:
        raise GuestError(Errno.ENOMEM, "RLIMIT_MEMLOCK")
    _apply(mm, start, length, LOCKS if onfault else int(VmFlag.LOCKED))
    place = start
    for vma in mm.space.regions(start, length) if length else ():
        place = max(vma.start, start)
        try:
            present = mm.touch(vma, place, min(vma.end, start + length))
        except (EngineError, MemoryError) as error:
            raise GuestError(Errno.EAGAIN, str(error)) from error
        if not present:
            raise GuestError(Errno.ENOMEM, "a page cannot be made present")


def munlock(mm: LinuxMm, addr: int, length: int) -> None:
    """ENOMEM a hole; EINVAL the range wraps."""
    start, length = _pages(mm, addr, length)
    mm.sync()
    _apply(mm, start, length, 0)


def _pages(mm: LinuxMm, addr: int, length: int) -> tuple[int, int]:
    """The whole pages around a byte range, as (start, length)."""
    mask = mm.space.page_size - 1
    return addr & ~mask, (length + (addr & mask) + mask & ~mask) % _WORD


def _locked_within(mm: LinuxMm, start: int, length: int) -> int:
    """count_mm_mlocked_page_nr, in bytes."""
    stop = min(start + length, mm.space.end)
    if start >= stop:
        return 0
    found = mm.space.regions(start, stop - start)
    return sum(min(vma.end, stop) - max(vma.start, start) for vma in found if vma.flags & VmFlag.LOCKED)


def _relock(flags: int) -> Change:
    """A change to these lock flags (mlock_fixup)."""

    def change(vma: Vma) -> Vma | None:
        new = vma.flags & ~LOCKS | flags
        if new == vma.flags or vma.flags & rules.NEVER_LOCKED or rules.secret(vma):
            return None
        return rules.with_flags(vma, vma.prot, new)

    return change


def _apply(mm: LinuxMm, start: int, length: int, flags: int) -> None:
    """apply_vma_lock_flags."""
    end = start + length
    if end >= _WORD:
        raise GuestError(Errno.EINVAL, "the range wraps")
    if not length:
        return
    if start >= mm.space.end:
        raise GuestError(Errno.ENOMEM, "nothing is mapped there")
    walk = mm.areas.modify(start, min(end, mm.space.end), _relock(flags))
    if walk.error is not None:
        raise walk.error
    if walk.hole or end > mm.space.end:
        raise GuestError(Errno.ENOMEM, "part of the range is not mapped")


def mlockall(mm: LinuxMm, *, current: bool, future: bool, onfault: bool) -> None:
    """EPERM not allowed at all; ENOMEM over RLIMIT_MEMLOCK. With none of them: munlockall, which cannot fail."""
    limits, flags = mm.limits, LOCKS if onfault else int(VmFlag.LOCKED)
    if current or future:
        if not limits.may_lock():
            raise GuestError(Errno.EPERM, "RLIMIT_MEMLOCK is zero")
        if current and mm.totals.total > limits.memlock & -4096 and not limits.ipc_lock:
            raise GuestError(Errno.ENOMEM, "RLIMIT_MEMLOCK")
    mm.sync()
    mm.def_flags = mm.def_flags & ~LOCKS | (flags if future else 0)
    if future and not current:
        return
    change = _relock(flags if current else 0)
    place = mm.space.start
    while True:
        # Area by area, so that one that cannot be cut or merged is passed over.
        vma = mm.space.query(place) or mm.space.region_above(place)
        if vma is None:
            break
        mm.areas.modify(vma.start, vma.end, change)
        place = vma.end
    if current:
        mm.populate(mm.space.start, mm.space.end)


def msync(mm: LinuxMm, addr: int, length: int, flags: int) -> Iterator[tuple[Vma, int, int]]:
    """The parts of shared file mappings that MS_SYNC has to write back; the caller does it while it takes them.

    EINVAL flags or address, ENOMEM wrapping range, or holes, at the end; EBUSY invalidating locked memory.
    """
    mask = mm.space.page_size - 1
    known = Memory.MS_ASYNC | Memory.MS_INVALIDATE | Memory.MS_SYNC
    if flags & ~known or addr & mask or flags & (Memory.MS_ASYNC | Memory.MS_SYNC) == Memory.MS_ASYNC | Memory.MS_SYNC:
        raise GuestError(Errno.EINVAL, "flags, or a misaligned address")
    length = (length + mask & ~mask) % _WORD
    end = addr + length
    if end >= _WORD:
        raise GuestError(Errno.ENOMEM, "the range wraps")
    hole = False
    place, stop = addr, min(end, mm.space.end)
    for vma in mm.space.regions(addr, stop - addr) if addr < stop else ():
        hole |= vma.start > place
        if flags & Memory.MS_INVALIDATE and vma.flags & VmFlag.LOCKED:
            raise GuestError(Errno.EBUSY, "locked memory")
        low, place = max(vma.start, addr), min(vma.end, stop)
        if flags & Memory.MS_SYNC and vma.flags & VmFlag.SHARED and rules.has_file(vma):
            yield vma, low, place
    if hole or place < end:
        raise GuestError(Errno.ENOMEM, "part of the range is not mapped")


def mseal(mm: LinuxMm, addr: int, length: int, flags: int) -> None:
    """EINVAL flags, misaligned or wrapping range; ENOMEM a hole, and nothing is sealed then (do_mseal)."""
    mask = mm.space.page_size - 1
    rounded = (length + mask & ~mask) % _WORD
    end = addr + rounded
    if flags or addr & mask or (length and not rounded) or end >= _WORD:
        raise GuestError(Errno.EINVAL, "flags, or a misaligned or wrapping range")
    if end == addr:
        return
    if end > mm.space.end or mm.space.gaps(addr, end - addr):
        raise GuestError(Errno.ENOMEM, "part of the range is not mapped")
    mm.sync()

    def change(vma: Vma) -> Vma | None:
        return None if vma.flags & VmFlag.SEALED else rules.with_flags(vma, vma.prot, vma.flags | VmFlag.SEALED)

    walk = mm.areas.modify(addr, end, change)
    if walk.error is not None:
        raise walk.error


_LOWEST = bytes(bits & 1 for bits in range(256))


def in_memory(mm: LinuxMm, addr: int, pages: int) -> Iterator[bytes]:
    """mincore's answer, a byte a page, in the pieces the kernel copies out one by one; ENOMEM at a hole."""
    page = mm.space.page_size
    end = addr + pages * page
    while addr < end:
        vma = mm.space.query(addr)
        if vma is None:
            raise GuestError(Errno.ENOMEM, f"nothing is mapped at {addr:#x}")
        stop = min(end, vma.end, addr + page * page)
        yield mm.pages.residency(addr, stop).translate(_LOWEST)
        addr = stop
