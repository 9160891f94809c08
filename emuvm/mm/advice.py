"""madvise and names of areas (mm/madvise.c, Linux 6.18).

Owns: what each advice does to areas and pages, and its refusals. Must not know raw arguments beyond the advice number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.flags_mm import Memory
from emuvm.errors import GuestError
from emuvm.mm import rules
from emuvm.mm.areas import Change
from emuvm.mm.layout import HUGE
from emuvm.mm.types import Anon, Kind, Update, Vma, VmFlag

if TYPE_CHECKING:
    from emuvm.mm.linux import LinuxMm

_WORD = 1 << 64
_READ_AHEAD = VmFlag.SEQ_READ | VmFlag.RAND_READ
_FLAGS = {
    # advice: (flags cleared, flags set)
    Memory.MADV_NORMAL: (_READ_AHEAD, 0),
    Memory.MADV_RANDOM: (_READ_AHEAD, VmFlag.RAND_READ),
    Memory.MADV_SEQUENTIAL: (_READ_AHEAD, VmFlag.SEQ_READ),
    Memory.MADV_DONTFORK: (0, VmFlag.DONTCOPY),
    Memory.MADV_DOFORK: (VmFlag.DONTCOPY, 0),
    Memory.MADV_WIPEONFORK: (0, VmFlag.WIPEONFORK),
    Memory.MADV_KEEPONFORK: (VmFlag.WIPEONFORK, 0),
    Memory.MADV_DONTDUMP: (0, VmFlag.DONTDUMP),
    Memory.MADV_DODUMP: (VmFlag.DONTDUMP, 0),
    Memory.MADV_MERGEABLE: (0, VmFlag.MERGEABLE),
    Memory.MADV_UNMERGEABLE: (VmFlag.MERGEABLE, 0),
    Memory.MADV_HUGEPAGE: (VmFlag.NOHUGEPAGE, VmFlag.HUGEPAGE),
    Memory.MADV_NOHUGEPAGE: (VmFlag.HUGEPAGE, VmFlag.NOHUGEPAGE),
}
_DISCARDS = frozenset(
    (
        Memory.MADV_DONTNEED, Memory.MADV_FREE, Memory.MADV_REMOVE, Memory.MADV_DONTFORK, Memory.MADV_WIPEONFORK,
        Memory.MADV_DONTNEED_LOCKED, Memory.MADV_GUARD_INSTALL,
    )
)  # fmt: skip
"""Refused on sealed areas whose contents they would take away."""


def madvise(mm: LinuxMm, addr: int, length: int, advice: int) -> None:
    """EINVAL unknown advice, misaligned or wrapping range, areas it is not for; EPERM sealed; EACCES; EFAULT (populating).

    Holes are passed over and are ENOMEM at the end; any other error comes at once, what precedes it is done.
    """
    action = _action(mm, advice)
    end = advice_end(mm, addr, length)
    if end == addr:
        return
    mm.sync()
    if advice in (Memory.MADV_POPULATE_READ, Memory.MADV_POPULATE_WRITE):
        _populate(mm, addr, end, write=advice == Memory.MADV_POPULATE_WRITE)
    elif action is None:
        _change_flags(mm, addr, end, advice)
    else:
        _walk(mm, addr, end, advice, action)


Action = Callable[["LinuxMm", Vma, int, int, int], None]


def _action(mm: LinuxMm, advice: int) -> Action | None:
    """What to do with each area; None: its flags change, or the advice has a walk of its own. EINVAL unknown."""
    if advice in _FLAGS or advice in (Memory.MADV_POPULATE_READ, Memory.MADV_POPULATE_WRITE):
        return None
    action = _ACTIONS.get(advice)
    since = _SINCE.get(advice, (0, 0))
    if action is None or mm.kernel < since:
        raise GuestError(Errno.EINVAL, f"advice {advice}")
    return action


def advice_end(mm: LinuxMm, addr: int, length: int) -> int:
    """The end of a range after its argument checks (mm/madvise.c:is_valid_madvise): EINVAL."""
    mask = mm.space.page_size - 1
    rounded = (length + mask & ~mask) % _WORD
    if addr & mask or (length and not rounded) or addr + rounded >= _WORD:
        raise GuestError(Errno.EINVAL, "misaligned or wrapping range")
    return addr + rounded


def _walk(mm: LinuxMm, addr: int, end: int, advice: int, action: Action) -> None:
    """madvise_walk_vmas for advice that leaves the areas as they are."""
    stop = min(end, mm.space.end)
    place, holes = addr, False
    for vma in mm.space.regions(addr, stop - addr) if addr < stop else ():
        holes |= vma.start > place
        low, high = max(vma.start, addr), min(vma.end, stop)
        _not_sealed(vma, advice)
        action(mm, vma, low, high, advice)
        place = high
    if holes or place < end:
        raise GuestError(Errno.ENOMEM, "part of the range is not mapped")


def _not_sealed(vma: Vma, advice: int) -> None:
    """can_madvise_modify: a sealed area that could not be written to keeps its contents."""
    if not vma.flags & VmFlag.SEALED or advice not in _DISCARDS:
        return
    if not rules.anonymous(vma) or vma.prot & 2:
        return
    raise GuestError(Errno.EPERM, "sealed")


# -- flags and names --------------------------------------------------------------------------------------------------------


def _change_flags(mm: LinuxMm, addr: int, end: int, advice: int) -> None:
    clear, add = _FLAGS[advice]

    def change(vma: Vma) -> Vma | None:
        _not_sealed(vma, advice)
        _may_change(vma, advice)
        flags = vma.flags & ~clear | add
        if advice == Memory.MADV_MERGEABLE and vma.flags & rules.NEVER_MERGEABLE:
            return None
        return None if flags == vma.flags else rules.with_flags(vma, vma.prot, flags)

    _modify(mm, addr, end, change)


def _modify(mm: LinuxMm, addr: int, end: int, change: Change) -> None:
    if addr >= mm.space.end:
        raise GuestError(Errno.ENOMEM, "nothing is mapped there")
    walk = mm.areas.modify(addr, min(end, mm.space.end), change, over_holes=True)
    if walk.error is not None:
        if walk.error.errno == Errno.ENOMEM:
            raise GuestError(Errno.EAGAIN, walk.error.why)
        raise walk.error
    if walk.hole or end > mm.space.end:
        raise GuestError(Errno.ENOMEM, "part of the range is not mapped")


def _may_change(vma: Vma, advice: int) -> None:
    flags = vma.flags & ~(VmFlag.DONTEXPAND if vma.flags & VmFlag.HUGETLB else 0)
    bad = (
        (advice == Memory.MADV_DOFORK and flags & rules.SPECIAL)
        or (advice == Memory.MADV_WIPEONFORK and (rules.has_file(vma) or flags & VmFlag.SHARED))
        or (advice == Memory.MADV_KEEPONFORK and flags & VmFlag.DROPPABLE)
        or (advice == Memory.MADV_DODUMP and flags & (rules.SPECIAL | VmFlag.DROPPABLE))
    )
    if bad:
        raise GuestError(Errno.EINVAL, "not for memory of this kind")


def set_name(mm: LinuxMm, addr: int, length: int, name: bytes | None) -> None:
    """prctl(PR_SET_VMA_ANON_NAME): EINVAL range, EBADF file mapping, ENOMEM holes (mm/madvise.c:madvise_set_anon_name)."""
    end = advice_end(mm, addr, length)
    if end == addr:
        return
    mm.sync()

    def change(vma: Vma) -> Vma | None:
        if rules.has_file(vma):
            raise GuestError(Errno.EBADF, "a file mapping")
        backing = vma.backing if type(vma.backing) is Anon else Anon(vma.start)
        return None if backing.name == name else vma._replace(backing=backing._replace(name=name))

    _modify(mm, addr, end, change)


def merge_any(mm: LinuxMm, on: bool) -> None:
    """prctl(PR_SET_MEMORY_MERGE): all areas that can be are mergeable, new ones too, or none; neighbours stay apart (mm/ksm.c)."""
    if on == bool(mm.def_flags & VmFlag.MERGEABLE):
        return
    mm.sync()
    edits, updates = [], []
    for vma in mm.space:
        flags = vma.flags & ~VmFlag.MERGEABLE
        if on and not flags & rules.NEVER_MERGEABLE:
            flags |= VmFlag.MERGEABLE
        if flags != vma.flags:
            new = rules.with_flags(vma, vma.prot, flags)
            edits.append((vma.start, vma.end, [new]))
            updates.append(Update(Kind.PROTECT, vma.start, vma.end, vma, new, mm.space.context))
    if edits:
        mm.space.rewrite(edits, updates)
    mm.def_flags = mm.def_flags & ~VmFlag.MERGEABLE | (VmFlag.MERGEABLE if on else 0)


# -- contents ---------------------------------------------------------------------------------------------------------------


def _nothing(mm: LinuxMm, vma: Vma, start: int, end: int, advice: int) -> None:
    """A hint."""


def _dontneed(mm: LinuxMm, vma: Vma, start: int, end: int, advice: int) -> None:
    forbidden = VmFlag.PFNMAP | (0 if advice == Memory.MADV_DONTNEED_LOCKED else VmFlag.LOCKED)
    if vma.flags & forbidden:
        raise GuestError(Errno.EINVAL, "locked or special memory")
    if vma.flags & VmFlag.HUGETLB:
        rules.may_split(vma, start)
        end &= -rules.huge_page(vma)
    if start < end:
        mm.pages.discard(start, end - start)


def _free(mm: LinuxMm, vma: Vma, start: int, end: int, advice: int) -> None:
    """The data survive until memory is short or MADV_PAGEOUT asks for it, or for good if they are written to again."""
    if vma.flags & (VmFlag.PFNMAP | VmFlag.LOCKED) or not rules.anonymous(vma) or vma.flags & VmFlag.MAYSHARE:
        raise GuestError(Errno.EINVAL, "locked, special, or not private anonymous memory")
    mm.pages.may_free(start, end)


def _remove(mm: LinuxMm, vma: Vma, start: int, end: int, advice: int) -> None:
    if vma.flags & VmFlag.LOCKED or not rules.has_file(vma):
        raise GuestError(Errno.EINVAL, "locked, or no file")
    if vma.flags & (VmFlag.SHARED | VmFlag.MAYWRITE) != VmFlag.SHARED | VmFlag.MAYWRITE:
        raise GuestError(Errno.EACCES, "not a shared writable mapping")
    if not getattr(vma.backing.file, "may_punch", lambda: True)():
        raise GuestError(Errno.EPERM, "sealed against writing")
    mm.pages.punch(start, end - start)


def _reclaim(mm: LinuxMm, vma: Vma, start: int, end: int, advice: int) -> None:
    if vma.flags & (VmFlag.PFNMAP | VmFlag.LOCKED | VmFlag.HUGETLB):
        raise GuestError(Errno.EINVAL, "locked or special memory")
    if advice == Memory.MADV_PAGEOUT:
        mm.pages.page_out(start, end)


def _collapse(mm: LinuxMm, vma: Vma, start: int, end: int, advice: int) -> None:
    """Large pages are not shown, so making one has no effect; only what cannot hold one is refused."""
    if vma.flags & (VmFlag.NOHUGEPAGE | rules.SPECIAL) or (vma.start + HUGE - 1 & -HUGE) + HUGE > vma.end or not rules.anon_of(vma):
        raise GuestError(Errno.EINVAL, "no place for a large page")
    if (start + HUGE - 1 & -HUGE) > (end & -HUGE):
        raise GuestError(Errno.EINVAL, "within one large page: fewer than none are wanted")
    for block in range(start + HUGE - 1 & -HUGE, (end & -HUGE) - HUGE + 1, HUGE):
        if not any(mm.pages.residency(block, block + HUGE)):
            raise GuestError(Errno.EINVAL, "nothing to put into a large page")


def _guard_install(mm: LinuxMm, vma: Vma, start: int, end: int, advice: int) -> None:
    if vma.flags & (rules.SPECIAL | VmFlag.HUGETLB | VmFlag.LOCKED):
        raise GuestError(Errno.EINVAL, "locked or special memory")
    if rules.has_file(vma) and mm.kernel < (6, 15):
        raise GuestError(Errno.EINVAL, "a file mapping")
    # Page tables that hold markers are to be copied by fork, which an anon_vma tells, or a flag.
    if mm.kernel >= (6, 18):
        vma = mm.areas.mark(vma, int(VmFlag.MAYBE_GUARD))
    if rules.anonymous(vma) or mm.kernel < (6, 18):
        mm.areas.written(vma, any_kind=True)
    mm.pages.discard(start, end - start)
    _withdraw(mm, mm.guards.add, start, end)


def _guard_remove(mm: LinuxMm, vma: Vma, start: int, end: int, advice: int) -> None:
    if vma.flags & (rules.SPECIAL | VmFlag.HUGETLB):
        raise GuestError(Errno.EINVAL, "special memory")
    _withdraw(mm, mm.guards.drop, start, end)


def _withdraw(mm: LinuxMm, change: Callable[[int, int], None], start: int, end: int) -> None:
    """Change the guards and let the engine know; it may refuse."""
    before = mm.guards.state()
    change(start, end)
    try:
        mm.pages.withdraw(start, end)
    except BaseException:
        mm.guards.restore(before)
        raise


_ACTIONS: dict[int, Action] = {
    Memory.MADV_WILLNEED: _nothing,
    Memory.MADV_DONTNEED: _dontneed,
    Memory.MADV_DONTNEED_LOCKED: _dontneed,
    Memory.MADV_FREE: _free,
    Memory.MADV_REMOVE: _remove,
    Memory.MADV_COLD: _reclaim,
    Memory.MADV_PAGEOUT: _reclaim,
    Memory.MADV_COLLAPSE: _collapse,
    Memory.MADV_GUARD_INSTALL: _guard_install,
    Memory.MADV_GUARD_REMOVE: _guard_remove,
}
_SINCE = {Memory.MADV_GUARD_INSTALL: (6, 13), Memory.MADV_GUARD_REMOVE: (6, 13)}


def _populate(mm: LinuxMm, addr: int, end: int, *, write: bool) -> None:
    """madvise_populate: area by area, the first trouble ends it."""
    while addr < end:
        vma = mm.space.query(addr)
        if vma is None:
            raise GuestError(Errno.ENOMEM, "part of the range is not mapped")
        if not vma.prot & (2 if write else 1) or vma.flags & (VmFlag.IO | VmFlag.PFNMAP) or rules.secret(vma):
            raise GuestError(Errno.EINVAL, "the right is missing")
        stop = min(end, vma.end)
        if mm.access(vma, addr, stop, write=write) < stop:
            raise GuestError(Errno.EFAULT, "a page cannot be made present")
        addr = stop
