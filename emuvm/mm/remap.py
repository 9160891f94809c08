"""mremap and remap_file_pages (mm/mremap.c, mm/mmap.c, Linux 6.18).

Owns: their checks, order and partial effects. Must not know how areas are cut or merged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emuvm.abi.errno import Errno
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import GuestError
from emuvm.mm import rules
from emuvm.mm.cut import advance
from emuvm.mm.layout import place
from emuvm.mm.types import Anon, File, Vma, VmFlag

if TYPE_CHECKING:
    from emuvm.mm.linux import LinuxMm

_HEADROOM = 3
"""A move may cut so many areas more than it makes: it keeps this far from the limit."""


class Remap(NamedTuple):
    """What an mremap call asks for, decoded. `fixed` (MREMAP_FIXED) and `dontunmap` take their new address from `to`."""

    old: int
    old_length: int
    new_length: int
    maymove: bool = False
    fixed: bool = False
    dontunmap: bool = False
    to: int = 0


def mremap(mm: LinuxMm, call: Remap) -> int:
    """Grow, shrink or move a mapping; its address then.

    EINVAL arguments; EFAULT nothing mapped, or the old range is not inside one region; EPERM sealed; EAGAIN RLIMIT_MEMLOCK; ENOMEM no
    room, a limit. With `fixed` the target is unmapped first and stays so when a later step fails; a move of several areas that fails
    midway has moved the first ones.
    """
    mask = mm.space.page_size - 1
    call = call._replace(old_length=_round(call.old_length, mask), new_length=_round(call.new_length, mask))
    _check(mm, call)
    mm.sync()
    if call.fixed and call.old_length == call.new_length and mm.kernel >= (6, 17):
        return _move_all(mm, call)
    vma = mm.space.query(call.old)
    call = _check_area(mm, call, vma)
    assert vma is not None
    return _to(mm, call) if call.fixed or call.dontunmap else _at(mm, call, vma)


def _round(length: int, mask: int) -> int:
    """PAGE_ALIGN, which wraps."""
    return length + mask & ~mask & (1 << 64) - 1


def _check(mm: LinuxMm, call: Remap) -> None:
    """check_mremap_params."""
    mask, task_size = mm.space.page_size - 1, mm.layout.task_size
    if call.old & mask or call.new_length == 0 or call.new_length > task_size:
        raise GuestError(Errno.EINVAL, "misaligned, empty or too long")
    if not call.fixed and not call.dontunmap:
        return
    if call.to > task_size - call.new_length or call.to & mask or not call.maymove:
        raise GuestError(Errno.EINVAL, "new address, or no MREMAP_MAYMOVE")
    if call.dontunmap and call.old_length != call.new_length:
        raise GuestError(Errno.EINVAL, "MREMAP_DONTUNMAP keeps the size")
    old_end = call.old + call.old_length & (1 << mm.arch.bits) - 1
    if old_end > call.to and call.to + call.new_length > call.old:
        raise GuestError(Errno.EINVAL, "the ranges overlap")
    if len(mm.space) + 2 >= mm.limits.max_map_count - _HEADROOM:
        raise GuestError(Errno.ENOMEM, "max_map_count")


def _check_area(mm: LinuxMm, call: Remap, vma: Vma | None) -> Remap:
    """check_prep_vma; the call as it goes on, in whole huge pages."""
    if vma is None:
        raise GuestError(Errno.EFAULT, "nothing is mapped at the old address")
    if vma.flags & VmFlag.SEALED:
        raise GuestError(Errno.EPERM, "sealed")
    if vma.flags & VmFlag.HUGETLB:
        call = _in_huge_pages(call, rules.huge_page(vma) - 1)
    old_length, new_length = call.old_length, call.new_length
    if new_length <= old_length and not call.fixed and not call.dontunmap:
        return call
    if not old_length and not vma.flags & (VmFlag.SHARED | VmFlag.MAYSHARE):
        raise GuestError(Errno.EINVAL, "old length zero duplicates shared mappings only")
    if call.dontunmap and vma.flags & (VmFlag.DONTEXPAND | VmFlag.PFNMAP):
        raise GuestError(Errno.EINVAL, "a special mapping")
    if min(old_length, new_length) > vma.end - call.old if new_length < old_length else old_length > vma.end - call.old:
        raise GuestError(Errno.EFAULT, "the old range crosses the end of its region")
    if new_length <= old_length:
        return call
    if (rules.offset_of(vma) + call.old - vma.start) + new_length >> 12 >= 1 << 64:
        raise GuestError(Errno.EINVAL, "the offset wraps")
    if vma.flags & (VmFlag.DONTEXPAND | VmFlag.PFNMAP):
        raise GuestError(Errno.EFAULT, "a special mapping")
    delta = new_length - old_length
    if not mm.limits.lock_fits(mm.totals, vma.flags, delta):
        raise GuestError(Errno.EAGAIN, "RLIMIT_MEMLOCK")
    mm.limits.expand(mm.totals, delta, vma.prot, vma.flags)
    return call


def _in_huge_pages(call: Remap, mask: int) -> Remap:
    """align_hugetlb. The new address is looked at even where it is not used."""
    call = call._replace(old_length=_round(call.old_length, mask), new_length=_round(call.new_length, mask))
    if call.old & mask or call.to & mask or call.new_length > call.old_length:
        raise GuestError(Errno.EINVAL, "not aligned to huge pages, or growing")
    return call


def _move_all(mm: LinuxMm, call: Remap) -> int:
    """remap_move: every area in the range goes on its own, holes stay holes."""
    start, end = call.old, call.old + call.old_length
    result = 0
    goal, last_end, first = call.to, start, True
    place_in = start
    while place_in < end:
        vma = mm.space.query(place_in)
        if vma is None:
            vma = mm.space.region_above(place_in)
        if vma is None or vma.start >= end:
            break
        if first and vma.start > start:
            raise GuestError(Errno.EFAULT, "nothing is mapped at the old address")
        low, high = max(vma.start, start), min(vma.end, end)
        if not _several(vma) and (not first or vma.end < end):
            raise GuestError(Errno.EFAULT, "not together with others")
        goal += 0 if first else vma.start - last_end
        last_end = vma.end
        one = call._replace(old=low, old_length=high - low, new_length=high - low, to=goal)
        at = _to(mm, _check_area(mm, one, vma))
        if first:
            result, first = at, False
        goal = at + high - low
        place_in = high
    if first:
        raise GuestError(Errno.EFAULT, "nothing is mapped at the old address")
    return result


def _several(vma: Vma) -> bool:
    """vma_multi_allowed: what has an address search of its own does not go along with others: /dev/zero, System V segments."""
    if not rules.has_file(vma) or vma.flags & VmFlag.HUGETLB:
        return True
    return not (rules.anonymous(vma) or getattr(vma.backing.file, "close_hook", False))


def _to(mm: LinuxMm, call: Remap) -> int:
    """mremap_to: to a given address."""
    if call.fixed:
        mm.unmap(call.to, call.to + call.new_length)
    vma = mm.space.query(call.old)
    if vma is None:
        raise GuestError(Errno.EFAULT, "the target took the source away")
    if call.new_length < call.old_length:
        mm.unmap(call.old + call.new_length, call.old + call.old_length)
        call = call._replace(old_length=call.new_length)
        vma = mm.space.query(call.old)
        assert vma is not None
    if call.dontunmap:
        mm.limits.expand(mm.totals, call.old_length, vma.prot, vma.flags)
    to = _new_address(mm, call, vma, call.to)
    return _move(mm, call, vma, to)


def _at(mm: LinuxMm, call: Remap, vma: Vma) -> int:
    """mremap_at: where it is, or wherever there is room."""
    old, old_length, new_length = call.old, call.old_length, call.new_length
    if new_length == old_length:
        return old
    if new_length < old_length:
        mm.unmap(old + new_length, old + old_length)
        return old
    delta = new_length - old_length
    if _expandable(mm, vma, old, old_length, delta):
        _charge(mm, vma, delta)
        start = vma.end
        mm.areas.insert(_copy(vma, start, start + delta, start - vma.start))
        _populate_grown(mm, vma, start, delta)
        return old
    if not call.maymove:
        raise GuestError(Errno.ENOMEM, "no room to grow in place")
    return _move(mm, call, vma, _new_address(mm, call, vma, 0))


def _expandable(mm: LinuxMm, vma: Vma, old: int, old_length: int, delta: int) -> bool:
    if old + old_length != vma.end or vma.end + delta > mm.layout.task_size:
        return False
    return not mm.space.overlaps(vma.end, delta)


def _charge(mm: LinuxMm, vma: Vma, length: int) -> None:
    if vma.flags & VmFlag.ACCOUNT:
        mm.limits.enough_memory(length)


def _new_address(mm: LinuxMm, call: Remap, vma: Vma, hint: int) -> int:
    """vrm_set_new_addr."""
    if call.fixed:
        mm.check_fixed(call.to, call.new_length)
        return call.to
    shared = bool(vma.flags & VmFlag.MAYSHARE)
    in_file = rules.has_file(vma) and getattr(vma.backing.file, "places_itself", False)
    offset = rules.offset_of(vma) + call.old - vma.start if in_file else 0
    found = place(
        mm.space, mm.layout, call.new_length, hint, anonymous=in_file or (not rules.has_file(vma) and not shared),
        kernel=mm.kernel, align_at=offset, in_file=in_file,
    )  # fmt: skip
    if found < mm.lowest and not mm.raw_io:
        raise GuestError(Errno.EPERM, "below mmap_min_addr")
    return found


def _copy(vma: Vma, start: int, end: int, inside: int) -> Vma:
    """An area like `vma` at [start, end), with what lies `inside` bytes into it at its beginning."""
    backing = Anon(vma.start) if vma.backing is None else vma.backing
    return Vma(start, end, vma.prot, vma.flags, advance(backing, inside), start, end - start)


def _move(mm: LinuxMm, call: Remap, vma: Vma, to: int) -> int:
    """move_vma."""
    old, old_length, new_length = call.old, call.old_length, call.new_length
    if len(mm.space) >= mm.limits.max_map_count - _HEADROOM:
        raise GuestError(Errno.ENOMEM, "max_map_count")
    _charge(mm, vma, new_length if call.dontunmap else new_length - old_length)
    new = _copy(vma, to, to + new_length, old - vma.start)
    if rules.anonymous(vma) and not rules.anon_of(vma) and type(new.backing) in (Anon, File):
        # Never written to: it counts as mapped here, which makes it more likely to merge.
        new = new._replace(backing=new.backing._replace(offset=to))
    if old_length:
        _relocate(mm, _copy(vma, old, old + old_length, old - vma.start), new, keep=call.dontunmap)
        if call.dontunmap and vma.flags & VmFlag.LOCKED:
            # What stays is no longer locked, but Linux counts it on (dontunmap_complete).
            mm.totals.count_lost_locks(vma.end - vma.start)
    else:
        mm.areas.insert(new)
    if new_length > old_length:
        _populate_grown(mm, vma, to + old_length, new_length - old_length)
    return to


def _relocate(mm: LinuxMm, old: Vma, new: Vma, *, keep: bool) -> None:
    """Move an area; its guards are at the new place before it is there, so that an engine never shows what they hide."""
    before = mm.guards.state()
    for low, high in mm.guards.within(old.start, old.end):
        mm.guards.add(low - old.start + new.start, high - old.start + new.start)
    try:
        mm.areas.relocate(old, new, keep=keep)
    except BaseException:
        mm.guards.restore(before)
        raise


def _populate_grown(mm: LinuxMm, vma: Vma, start: int, length: int) -> None:
    if vma.flags & VmFlag.LOCKED:
        mm.populate(start, start + length)


def remap_file_pages(mm: LinuxMm, start: int, size: int, page: int, remap: Callable[[Vma, int, int, int], Any]) -> None:
    """Check a remap_file_pages call; `remap(vma, start, size, offset)` maps the file there again (mm/mmap.c).

    EINVAL: an empty or wrapping range, not a shared mapping of one file with equal attributes throughout.
    """
    mask = mm.space.page_size - 1
    start, size = start & ~mask, size & ~mask
    word = 1 << 64
    if (start + size) % word <= start or page + (size >> 12) >= word:
        raise GuestError(Errno.EINVAL, "the range or the offset wraps, or is empty")
    vma = mm.space.query(start)
    if vma is None or not vma.flags & VmFlag.SHARED:
        raise GuestError(Errno.EINVAL, "not a shared mapping")
    behind = vma.end
    while behind < start + size:
        following = mm.space.query(behind)
        if following is None or not _same_file(vma, following):
            raise GuestError(Errno.EINVAL, "not one file with equal attributes throughout")
        behind = following.end
    remap(vma, start, size, page << 12)


def _same_file(vma: Vma, other: Vma) -> bool:
    if vma.prot != other.prot or vma.flags != other.flags:
        return False
    return type(vma.backing) is File and type(other.backing) is File and vma.backing.file == other.backing.file
