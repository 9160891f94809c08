"""When Linux makes one area out of two: the merge rules of mm/vma.c as functions of values.

Owns: which neighbours may become one, and what the one looks like. Must not know the map they live in, limits, or calls.

    merge_new         [prev][ new ][next]    a range that was free, or that moved here          (vma_merge_new_range)
    merge_existing    [prev][ piece ][next]  part of an area whose attributes change            (vma_merge_existing_range)

An area's anon_vma is a number, 0 before the first write to it, negative when the area came from a parent that had written to it:
its anon_vma_chain has more than one entry then, and nobody else may take part in it. Up to Linux 6.14 a written area did not merge
into an unwritten neighbour; since 6.15 it does.
"""

from __future__ import annotations

from typing import Any

from emuvm.abi.errno import Errno
from emuvm.abi.tuples import make
from emuvm.errors import GuestError
from emuvm.mm.layout import HUGE
from emuvm.mm.types import Anon, File, Vma, VmFlag

SPECIAL = VmFlag.IO | VmFlag.DONTEXPAND | VmFlag.PFNMAP | VmFlag.MIXEDMAP
"""Areas with one of these never merge."""
NEVER_LOCKED = SPECIAL | VmFlag.HUGETLB | VmFlag.DROPPABLE
"""Areas that mlock passes over (vma_supports_mlock)."""
NEVER_MERGEABLE = SPECIAL | VmFlag.SHARED | VmFlag.MAYSHARE | VmFlag.HUGETLB | VmFlag.DROPPABLE
"""Areas whose pages are never merged with equal ones (mm/ksm.c:vma_ksm_compatible)."""
STICKY = VmFlag.MAYBE_GUARD
"""Flags that do not stand in the way of a merge, and which the result has if a part had it (since Linux 6.18.y)."""
LOCKS = VmFlag.LOCKED | VmFlag.LOCKONFAULT
Kernel = tuple[int, int]
"""A Linux version whose rules are followed."""
KERNEL: Kernel = (6, 18)
"""The newest whose rules are known."""


def anon_of(vma: Vma) -> int:
    """The area's anon_vma, or 0."""
    backing = vma.backing
    return backing.anon if type(backing) is Anon or type(backing) is File else 0


def anonymous(vma: Vma) -> bool:
    """Is it anonymous memory in the kernel's sense (vma_is_anonymous)? A private mapping of /dev/zero is, though it has a file."""
    backing = vma.backing
    if type(backing) is File:
        return not vma.flags & VmFlag.MAYSHARE and not hasattr(backing.file, "fileno")
    return True


def copied(vma: Vma) -> bool:
    """Are the pages of a private area copied for a child, also those that were only read (mm/memory.c:vma_needs_copy)?"""
    return bool(anon_of(vma) or vma.flags & VmFlag.MAYBE_GUARD)


def has_file(vma: Vma) -> bool:
    """Does the area have a vm_file?"""
    return type(vma.backing) is File


def offset_of(vma: Vma) -> int:
    """vm_pgoff in bytes."""
    backing = vma.backing
    return backing.offset if type(backing) is Anon or type(backing) is File else vma.start


def huge_page(vma: Vma) -> int:
    """The size of an area's pages, if it is one of hugetlbfs; else 0."""
    return getattr(getattr(vma.backing, "file", None), "huge", HUGE) if vma.flags & VmFlag.HUGETLB else 0


def secret(vma: Vma) -> bool:
    """Is it a memfd_secret's, whose pages nobody but the program itself can take hold of (get_user_pages fails)?"""
    return getattr(getattr(vma.backing, "file", None), "secret", False)


def may_split(vma: Vma, address: int) -> None:
    """EINVAL: a huge page would be cut in two (mm/hugetlb.c:hugetlb_vm_op_split)."""
    if vma.flags & VmFlag.HUGETLB and address & huge_page(vma) - 1:
        raise GuestError(Errno.EINVAL, "within a huge page")


def same_memory(one: Vma, other: Vma) -> bool:
    """Do two areas with one range show the same memory, whatever else they are? Private anonymous memory is known by its place."""
    if (one.flags ^ other.flags) & (VmFlag.SHARED | VmFlag.MAYSHARE):
        return False
    mine, theirs = one.backing, other.backing
    if type(mine) is File and type(theirs) is File:
        return bool(mine.file == theirs.file and mine.offset == theirs.offset)
    return type(mine) is not File and type(theirs) is not File


def with_anon(vma: Vma, anon: int) -> Vma:
    """The area with an anon_vma."""
    backing = vma.backing
    if type(backing) is File:
        if backing.anon == anon:
            return vma
        backing = File(backing.file, backing.offset, anon)
    elif type(backing) is Anon:
        if backing.anon == anon:
            return vma
        backing = Anon(backing.offset, anon, backing.name)
    else:
        if not anon:
            return vma
        backing = Anon(vma.start, anon)
    return Vma(vma.start, vma.end, vma.prot, vma.flags, backing, vma.base, vma.length)


def with_flags(vma: Vma, prot: int, flags: int) -> Vma:
    """The area with other rights and flags."""
    return make(Vma, (vma.start, vma.end, prot, flags, vma.backing, vma.base, vma.length))


def _continues(left: Vma, right: Vma) -> bool:
    one, two = left.backing, right.backing
    if type(one) is File:
        return type(two) is File and one.file == two.file and one.offset + (left.end - left.start) == two.offset
    if type(one) is Anon and type(two) is Anon:
        return one.offset + (left.end - left.start) == two.offset and one.name == two.name
    if type(two) is File or not (one is None or type(one) is Anon) or not (two is None or type(two) is Anon):
        return bool(one == two) and type(two) is not File
    return offset_of(left) + (left.end - left.start) == offset_of(right) and _name(one) == _name(two)


def _name(backing: Any) -> bytes | None:
    return backing.name if type(backing) is Anon else None


def _alike(left: Vma, right: Vma) -> bool:
    """is_mergeable_vma for two neighbours."""
    if left.end != right.start or left.prot != right.prot:
        return False
    return (left.flags == right.flags or not (left.flags ^ right.flags) & ~STICKY) and _continues(left, right)


def _joins(target: int, source: int, kernel: Kernel) -> bool:
    """is_mergeable_anon_vma: may an area with anon_vma `source` become part of one with `target`?"""
    if target == source:
        return True
    if not source:
        return target > 0
    return not target and source > 0 and kernel >= (6, 15)


def _agree(one: Vma, two: Vma) -> bool:
    """are_anon_vmas_compatible."""
    first, second = anon_of(one), anon_of(two)
    return not first or not second or first == second


def _removable(vma: Vma) -> bool:
    """can_merge_remove_vma: areas that tell their owner when they close stay."""
    backing = vma.backing
    return type(backing) is not File or not getattr(backing.file, "close_hook", False)


def fuse(left: Vma, right: Vma, anon: int) -> Vma:
    """One area over both, which are neighbours."""
    start, _, prot, flags, backing, base, length = left
    if base != right.base or length != right.length:
        end = max(base + length, right.base + right.length)
        base = min(base, right.base)
        length = end - base
    one = make(Vma, (start, right.end, prot, flags | right.flags & STICKY, backing, base, length))
    return one if anon_of(left) == anon else with_anon(one, anon)


def merge_new(prev: Vma | None, new: Vma, following: Vma | None, kernel: Kernel) -> tuple[Vma, bool, bool]:
    """(the area that results, was `prev` taken in, was `following`)."""
    if new.flags & SPECIAL:
        return new, False, False
    anon = anon_of(new)
    left = prev is not None and _alike(prev, new) and _joins(anon_of(prev), anon, kernel)
    right = following is not None and _alike(new, following) and _joins(anon_of(following), anon, kernel)
    if left and right and prev is not None and following is not None:
        right = _agree(prev, following) and _removable(following)
    result = new
    if right and following is not None:
        anon = anon_of(following) or anon
        result = fuse(new, following, anon)
    if left and prev is not None:
        result = fuse(prev, result, anon_of(prev) or anon)
    return result, left, right


def merge_existing(prev: Vma | None, piece: Vma, following: Vma | None, *, whole: bool, kernel: Kernel) -> tuple[bool, bool]:
    """(does `piece`, with its new attributes, join `prev`; does it join `following`).

    `prev` is given only when the piece begins where its area does, `following` only when it ends there; `whole`: both.
    """
    left = prev is not None and _alike(prev, piece) and _joins(anon_of(prev), anon_of(piece), kernel)
    right = following is not None and _alike(piece, following) and _joins(anon_of(following), anon_of(piece), kernel)
    if not (left or right) or piece.flags & SPECIAL:
        return False, False
    if left and right and prev is not None and following is not None:
        right = _agree(prev, following)
    if whole and not _removable(piece):
        return False, False
    return left, right


def reusable(old: Vma, left: Vma, right: Vma) -> int:
    """The anon_vma of `old`, one of two neighbours, if the other may have it at its first write (mm/vma.c:reusable_anon_vma)."""
    if left.end != right.start or (left.flags ^ right.flags) & ~STICKY:
        return 0
    if (left.backing.file if type(left.backing) is File else None) != (right.backing.file if type(right.backing) is File else None):
        return 0
    if offset_of(left) + left.end - left.start != offset_of(right):
        return 0
    return max(anon_of(old), 0)
