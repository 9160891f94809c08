"""Cutting regions and joining them again: the only place that knows how backings behave.

Owns: split and merge of Vma values. Must not know the map they live in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from emuvm.abi.tuples import NamedTuple, make
from emuvm.mm.arguments import WORD
from emuvm.mm.types import Anon, File, Kind, Update, Vma


class Behaviour(NamedTuple):
    """What a type of backing can do; None where the plain rule applies. The functions take the backing first."""

    split: Callable[[Any, int], Any] | None
    joins: Callable[[Any, Any], bool] | None
    removed: Callable[[Any], None] | None


_PLAIN = Behaviour(None, None, None)
_known: dict[type, Behaviour] = {}


def behaviour(backing: Any) -> Behaviour:
    """The behaviour of a backing, by its type. A type that has neither joins() nor removed() is plain data, whatever else it has."""
    kind = type(backing)
    found = _known.get(kind)
    if found is None:
        joins, removed = getattr(kind, "joins", None), getattr(kind, "removed", None)
        # str and bytes have a split() of their own, which is not ours.
        split = None if kind in (str, bytes, bytearray) else getattr(kind, "split", None)
        found = Behaviour(split, joins, removed) if joins or removed or split else _PLAIN
        _known[kind] = found
    return found


def advance(backing: Any, offset: int) -> Any:
    """The backing of the part that starts `offset` bytes in."""
    if backing is None or offset == 0:
        return backing
    if type(backing) is Anon:
        return backing.split(offset)
    split = behaviour(backing).split
    return backing if split is None else split(backing, offset)


def clip(vma: Vma, start: int, end: int) -> tuple[Vma | None, Vma, Vma | None]:
    """(left rest, the part inside [start, end), right rest). The right cut is made first, then the left one."""
    first, last, prot, flags, backing, base, length = vma
    right: Vma | None = None
    middle_end = last
    if end < last:
        right = make(Vma, (end, last, prot, flags, advance(backing, end - first), base, length))
        middle_end = end
    if start <= first:
        if right is None:
            return None, vma, None
        return None, make(Vma, (first, middle_end, prot, flags, backing, base, length)), right
    left = make(Vma, (first, start, prot, flags, backing, base, length))
    return left, make(Vma, (start, middle_end, prot, flags, advance(backing, start - first), base, length)), right


def join(left: Vma, right: Vma) -> Vma | None:
    """The two as one region, or None if they are not equal neighbours whose backings continue."""
    if left.end != right.start or left.prot != right.prot or left.flags != right.flags:
        return None
    one, two = left.backing, right.backing
    if one is None or two is None:
        if one is not two:
            return None
    elif type(one) is File:
        if type(two) is not File or one.file != two.file or one.anon != two.anon or one.offset + (left.end - left.start) != two.offset:
            return None
    elif type(one) is Anon:
        if type(two) is not Anon or two != one.split(left.end - left.start):
            return None
    else:
        joins = behaviour(one).joins
        if not (joins(one, two) if joins is not None else bool(one == two)):
            return None
    base = min(left.base, right.base)
    end = max(left.base + left.length, right.base + right.length)
    return Vma(left.start, right.end, left.prot, left.flags, left.backing, base, end - base)


def merge(regions: list[Vma]) -> list[Vma]:
    """The same bytes in as few regions as possible; ascending in, ascending out."""
    out: list[Vma] = []
    for vma in regions:
        if out and (one := join(out[-1], vma)) is not None:
            out[-1] = one
        else:
            out.append(vma)
    return out


def pieces(now: list[Vma], then: list[Vma]) -> Iterator[tuple[Vma | None, Vma | None]]:
    """(piece of now, piece of then) over every range in which neither changes, ascending; at least one is not None."""
    edges = sorted({edge for vma in (*now, *then) for edge in (vma.start, vma.end)})
    i = j = 0
    for start, end in zip(edges, edges[1:], strict=False):
        while i < len(now) and now[i].end <= start:
            i += 1
        while j < len(then) and then[j].end <= start:
            j += 1
        old = now[i] if i < len(now) and now[i].start <= start else None
        new = then[j] if j < len(then) and then[j].start <= start else None
        if old is not None or new is not None:
            yield (old and clip(old, start, end)[1], new and clip(new, start, end)[1])


def first_hole(regions: list[Vma], addr: int, end: int) -> int | None:
    """The lowest address in [addr, end) that is in none of the regions around it."""
    for vma in regions:
        if vma.start > addr:
            break
        if vma.end > addr:
            addr = vma.end
    return addr if addr < end else None


def shifted(vma: Vma, shift: int) -> Vma:
    """The region elsewhere, with what of its mapping still fits into 64 bits."""
    base, top = max(vma.base + shift, 0), min(vma.base + vma.length + shift, WORD)
    return Vma(vma.start + shift, vma.end + shift, vma.prot, vma.flags, vma.backing, base, top - base)


def alike(one: Vma, other: Vma) -> bool:
    """Are two regions with one range the same but for their rights?"""
    return one.flags == other.flags and bool(one.backing == other.backing)


def way_back(now: list[Vma], then: list[Vma], same: Callable[[Vma, Vma], bool], context: Any) -> tuple[list[Update], list[Vma]]:
    """(the updates that make regions `then` of `now`, unmaps first; what is unmapped). What is the `same` stays, but for its rights."""
    gone: list[Vma] = []
    others: list[Update] = []
    for old, new in pieces(now, then):
        if old is not None and new is not None and same(old, new):
            if old.prot != new.prot:
                others.append(Update(Kind.PROTECT, old.start, old.end, old, new, context))
            continue
        if old is not None:
            gone.append(old)
        if new is not None:
            others.append(Update(Kind.MAP, new.start, new.end, None, new, context))
    return [Update(Kind.UNMAP, old.start, old.end, old, None, context) for old in gone] + others, gone
