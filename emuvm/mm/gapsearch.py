"""Finding room in a region tree: the lowest or the highest free range of a size.

Owns: the two searches. Must not know how trees are made; it reads the sums that `vmamap` keeps in their nodes, so only
nodes that hold a gap of the size wanted are looked into.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from emuvm.mm.vmamap import Node, Root

_STRIDE = 16
"""How many gaps are looked at in one go: the largest of them is found quicker than each is compared."""
_ON = -1
"""Nothing here, look further."""
_OFF = -2
"""Nothing here, and the limit is passed."""


def lowest_gap(root: Root, lo: int, hi: int, need: int, mask: int) -> int | None:
    """The lowest address in [lo, hi) with `need` free bytes, address & mask == 0 (mask = alignment - 1)."""
    place = lo + mask & ~mask
    if place + need > hi:
        return None
    if root is None or place + need <= root.lo:
        return place
    if lo < root.hi:
        found = _up(root, lo, hi, need, mask) if root.gap >= need else _ON
        if found >= 0:
            return found
        if found == _OFF:
            return None
        place = root.hi + mask & ~mask
    return place if place + need <= hi else None


def _up(node: Node, lo: int, hi: int, need: int, mask: int) -> int:
    keys, items, gaps, leaf = node.keys, node.items, node.gaps, node.leaf
    first = bisect_right(keys, lo)
    if first:
        first -= 1
    if not leaf and gaps[first] >= need:
        found = _up(items[first], lo, hi, need, mask)
        if found != _ON:
            return found
    count = len(keys)
    for stride in range(first + 1, count, _STRIDE):
        if max(gaps[stride : stride + _STRIDE]) < need:
            continue
        for k in range(stride, min(stride + _STRIDE, count)):
            if gaps[k] < need:
                continue
            place: int = items[k - 1].end if leaf else items[k - 1].hi
            if place < lo:
                place = lo
            place = place + mask & ~mask
            if place + need > hi:
                return _OFF
            if place + need <= keys[k]:
                return place
            if not leaf:
                found = _up(items[k], lo, hi, need, mask)
                if found != _ON:
                    return found
    return _ON


def highest_gap(root: Root, lo: int, hi: int, need: int, mask: int) -> int | None:
    """The highest address in [lo, hi) with `need` free bytes, address & mask == 0."""
    place = hi - need & ~mask
    if place < lo:
        return None
    if root is None or place >= root.hi:
        return place
    if hi > root.lo:
        found = _down(root, lo, hi, need, mask) if root.gap >= need else _ON
        if found >= 0:
            return found
        if found == _OFF:
            return None
        place = root.lo - need & ~mask
    return place if place >= lo else None


def _wide(gaps: list[int], k: int, need: int) -> int:
    """The place of the last of gaps[:k] that is wide enough, or -1."""
    while k:
        low = k - _STRIDE if k > _STRIDE else 0
        if max(gaps[low:k]) >= need:
            k -= 1
            while gaps[k] < need:
                k -= 1
            return k
        k = low
    return -1


def _down(node: Node, lo: int, hi: int, need: int, mask: int) -> int:
    keys, items, gaps, leaf = node.keys, node.items, node.gaps, node.leaf
    k = bisect_left(keys, hi) + 1
    if k > len(keys):
        k = len(keys)
    while k:
        k -= 1
        if gaps[k] < need:
            k = _wide(gaps, k, need) + 1
            continue
        if not leaf and items[k].gap >= need and items[k].lo < hi:
            found = _down(items[k], lo, hi, need, mask)
            if found != _ON:
                return found
        if k:
            end = keys[k]
            place: int = (end if end < hi else hi) - need & ~mask
            if place < lo:
                return _OFF
            floor: int = items[k - 1].end if leaf else items[k - 1].hi
            if place >= floor:
                return place
    return _ON
