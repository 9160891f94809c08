"""An ordered map of regions that never changes: every edit makes a new one.

Owns: where regions lie and where the gaps between them are. Must not know rights, merging, or callbacks.

It is a B+ tree whose nodes are never modified after they were made, so an edit copies the path to the root and shares
the rest. From that follow the three things the address space is built on:

    commit    an edit is one assignment of a new root: there is no half-way state, also not when memory runs out
    snapshot  keeping the old root is enough
    restore   two roots share all nodes that did not change, so their difference is found without walking the rest

Every node knows its lowest start, its highest end and its largest inner gap, so a gap search looks only into nodes that
hold a gap of the size wanted. Gaps are derived from the regions, they are not objects of their own.

              Node(lo, hi, gap)          gaps[i]: the larger of the gap in front of items[i] and the gaps inside it
             /       |        \\
        Node(..)  Node(..)  Node(..)     gap in front of a node's first item: belongs to its parent
        Vma Vma   Vma        Vma Vma
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from emuvm.mm.types import Vma

WIDTH = 64
"""Most items in a node. Measured: 48 to 96 cost about the same; less makes the tree deeper, more makes copies and maxima longer."""
_LEAN = WIDTH // 4


class Node:
    """A leaf (items are regions) or a branch (items are nodes). Half-open [lo, hi); `gap` and `size` sum up what is below."""

    __slots__ = ("gap", "gaps", "hi", "items", "keys", "leaf", "lo", "size")

    def __init__(self, leaf: bool, keys: list[int], items: list[Any], gaps: list[int]) -> None:
        self.leaf = leaf
        self.keys = keys
        self.items = items
        self.gaps = gaps
        self.gap = max(gaps)
        self.lo = keys[0]
        last = items[-1]
        if leaf:
            self.hi: int = last.end
            self.size = len(items)
        else:
            self.hi = last.hi
            self.size = sum([item.size for item in items])


Root = Node | None
"""None is the empty map."""


def find(root: Root, address: int) -> Vma | None:
    """The region that contains `address`."""
    if root is None or address < root.lo:
        return None
    node = root
    while not node.leaf:
        node = node.items[bisect_right(node.keys, address) - 1]
    vma: Vma = node.items[bisect_right(node.keys, address) - 1]
    return vma if address < vma.end else None


def above(root: Root, address: int) -> Vma | None:
    """The lowest region that starts at or above `address`."""
    if root is None:
        return None
    node, later = root, None
    while True:
        first = bisect_left(node.keys, address)
        if first < len(node.keys):
            later = node.items[first]
        if first == 0 or node.leaf:
            break
        node = node.items[first - 1]
    if later is None:
        return None
    while isinstance(later, Node):
        later = later.items[0]
    vma: Vma = later
    return vma


def overlapping(root: Root, lo: int, hi: int) -> list[Vma]:
    """The regions that share a byte with [lo, hi), ascending, whole."""
    found: list[Vma] = []
    if root is None or lo >= root.hi or hi <= root.lo:
        return found
    node = root
    while not node.leaf:
        keys = node.keys
        i = bisect_right(keys, lo)
        if i < len(keys) and keys[i] < hi:
            break
        node = node.items[i - 1 if i else 0]
    if not node.leaf:
        _collect(node, lo, hi, found)
        return found
    keys, items = node.keys, node.items
    first = bisect_right(keys, lo)
    if first and items[first - 1].end > lo:
        first -= 1
    return items[first : bisect_left(keys, hi, first)]


def _collect(node: Node, lo: int, hi: int, found: list[Vma]) -> None:
    items, keys = node.items, node.keys
    first = bisect_right(keys, lo)
    if first:
        first -= 1
    past = bisect_left(keys, hi, first)
    if node.leaf:
        if first < past and items[first].end <= lo:
            first += 1
        found += items[first:past]
        return
    for child in items[first:past]:
        if child.hi > lo:
            _collect(child, lo, hi, found)


def ascending(root: Root) -> Iterator[Vma]:
    """All regions, lowest first."""
    if root is not None:
        if root.leaf:
            yield from root.items
        else:
            for child in root.items:
                yield from ascending(child)


def descending(root: Root) -> Iterator[Vma]:
    """All regions, highest first."""
    if root is not None:
        if root.leaf:
            yield from reversed(root.items)
        else:
            for child in reversed(root.items):
                yield from descending(child)


def replace(root: Root, lo: int, hi: int, regions: list[Vma]) -> Root:
    """The map in which the regions that start in [lo, hi) are gone and `regions` (ascending, fitting there) are present."""
    if root is None:
        nodes = _leaves(regions) if regions else []
    else:
        edited = _edit_leaf(root, lo, hi, regions)
        if edited is not None:
            return edited
        nodes = _edit(root, lo, hi, regions)
    while len(nodes) > 1:
        nodes = _branches(nodes)
    if not nodes:
        return None
    top = nodes[0]
    while not top.leaf and len(top.items) == 1:
        top = top.items[0]
    return top


def _edit_leaf(root: Node, lo: int, hi: int, regions: list[Vma]) -> Node | None:
    """`replace` where all that changes is in one leaf that gets neither too wide nor lean, as most often; else None."""
    path: list[tuple[Node, int]] = []
    node = root
    while not node.leaf:
        keys = node.keys
        i = bisect_right(keys, lo)
        if i < len(keys) and keys[i] < hi:
            return None
        if i:
            i -= 1
        path.append((node, i))
        node = node.items[i]
    keys, items, gaps = node.keys, node.items, node.gaps
    i = bisect_left(keys, lo)
    j = bisect_left(keys, hi, i)
    count = len(keys) + i - j + len(regions)
    if count > WIDTH or count < (_LEAN if path else 1):
        return None
    keys, items, gaps = keys.copy(), items.copy(), gaps.copy()
    stale = 0
    for gap in gaps[i : j + 1]:
        if gap > stale:
            stale = gap
    end = items[i - 1].end if i else -1
    after = keys[j] if j < len(keys) else -1
    starts: list[int] = []
    fresh: list[int] = []
    largest = 0
    for vma in regions:
        start = vma.start
        starts.append(start)
        # The gap in front of a node's first item belongs to its parent.
        gap = start - end if end >= 0 else 0
        fresh.append(gap)
        if gap > largest:
            largest = gap
        end = vma.end
    if after >= 0:
        gap = after - end if end >= 0 else 0
        fresh.append(gap)
        if gap > largest:
            largest = gap
    keys[i:j] = starts
    items[i:j] = regions
    gaps[i : j + 1] = fresh
    leaf = Node.__new__(Node)
    leaf.leaf, leaf.keys, leaf.items, leaf.gaps = True, keys, items, gaps
    # If nothing else changed, what `_largest` says.
    leaf.gap = node.gap if largest == stale else _largest(node.gap, stale, largest, gaps)
    leaf.lo, leaf.hi, leaf.size = keys[0], items[-1].end, count
    node = leaf
    for parent, i in reversed(path):
        node = _exchange(parent, i, node)
    return node


def _edit(node: Node, lo: int, hi: int, regions: list[Vma]) -> list[Node]:
    """`replace` below one node: the nodes of the same height that stand in its place, possibly none."""
    keys, items, gaps = node.keys, node.items, node.gaps
    if node.leaf:
        kept = items[: bisect_left(keys, lo)] + regions + items[bisect_left(keys, hi) :]
        return _leaves(kept) if kept else []
    i = bisect_right(keys, lo)
    if i:
        i -= 1
    j = bisect_left(keys, hi, i) - 1
    if i >= j:
        j = i
        kids = _edit(items[i], lo, hi, regions)
    else:
        kids = _edit(items[i], lo, hi, regions) + _edit(items[j], lo, hi, [])
    start, stop = i, j + 1
    if any(len(kid.items) < _LEAN for kid in kids) or (len(kids) > 1 and i != j):
        # A lean node is joined with a neighbour, so that the tree stays shallow however regions come and go.
        if start > 0:
            start -= 1
            kids.insert(0, items[start])
        if stop < len(items):
            kids.append(items[stop])
            stop += 1
        kids = _join(kids)
    new_items = items[:start] + kids + items[stop:]
    if not new_items:
        return []
    new_keys = keys[:start] + [kid.lo for kid in kids] + keys[stop:]
    fresh = [_weight(new_items, k) for k in range(start, min(start + len(kids) + 1, len(new_items)))]
    return _cut(False, new_keys, new_items, gaps[:start] + fresh + gaps[stop + 1 :])


def _exchange(node: Node, i: int, kid: Node) -> Node:
    """The branch with another node at place `i`: what most edits need, so it copies no more than it must."""
    items = node.items.copy()
    old = items[i]
    items[i] = kid
    gaps = node.gaps
    weight = kid.gap
    if i and (front := kid.lo - items[i - 1].hi) > weight:
        weight = front
    gap = node.gap
    stale = gaps[i]
    if weight != stale:
        gaps = gaps.copy()
        gaps[i] = weight
        gap = _largest(gap, stale, weight, gaps)
    if i + 1 < len(items):
        follower = items[i + 1]
        after = follower.lo - kid.hi
        if after < follower.gap:
            after = follower.gap
        stale = gaps[i + 1]
        if after != stale:
            if gaps is node.gaps:
                gaps = gaps.copy()
            gaps[i + 1] = after
            gap = _largest(gap, stale, after, gaps)
    keys = node.keys
    if kid.lo != keys[i]:
        keys = keys.copy()
        keys[i] = kid.lo
    return _node(False, keys, items, gaps, gap, items[-1].hi, node.size - old.size + kid.size)


def _node(leaf: bool, keys: list[int], items: list[Any], gaps: list[int], gap: int, hi: int, size: int) -> Node:
    """A node whose sums are known already."""
    new = Node.__new__(Node)
    new.leaf = leaf
    new.keys = keys
    new.items = items
    new.gaps = gaps
    new.gap = gap
    new.lo = keys[0]
    new.hi = hi
    new.size = size
    return new


def _largest(before: int, stale: int, fresh: int, gaps: list[int]) -> int:
    """max(gaps), when `fresh` took the place of `stale` in gaps whose largest was `before`."""
    if fresh >= before:
        return fresh
    if stale < before:
        return before
    # Where gaps are alike another one is as large, and finding it is quicker than finding the largest.
    return before if fresh + fresh < before and before in gaps else max(gaps)


def _weight(nodes: Sequence[Node], k: int) -> int:
    """gaps[k] of a branch over `nodes`."""
    inner = nodes[k].gap
    if k == 0:
        return inner
    front = nodes[k].lo - nodes[k - 1].hi
    return front if front > inner else inner


def _join(nodes: list[Node]) -> list[Node]:
    """The same content in nodes none of which is lean, if it suffices."""
    leaf = nodes[0].leaf
    keys: list[int] = []
    items: list[Any] = []
    for node in nodes:
        keys += node.keys
        items += node.items
    if leaf:
        return _leaves(items)
    return _cut(False, keys, items, [_weight(items, k) for k in range(len(items))])


def _leaves(regions: list[Vma]) -> list[Node]:
    keys = [vma.start for vma in regions]
    gaps = [0]
    for k in range(1, len(regions)):
        gaps.append(keys[k] - regions[k - 1].end)
    return _cut(True, keys, regions, gaps)


def _branches(nodes: list[Node]) -> list[Node]:
    return _cut(False, [node.lo for node in nodes], nodes, [_weight(nodes, k) for k in range(len(nodes))])


def _cut(leaf: bool, keys: list[int], items: list[Any], gaps: list[int]) -> list[Node]:
    """Nodes of even width holding these items."""
    count = len(items)
    if count <= WIDTH:
        return [Node(leaf, keys, items, gaps)]
    parts = -(-count // (WIDTH * 3 // 4))
    nodes = []
    for part in range(parts):
        a, b = count * part // parts, count * (part + 1) // parts
        # The gap in front of a node's first item belongs to its parent.
        head = 0 if leaf else items[a].gap
        nodes.append(Node(leaf, keys[a:b], items[a:b], [head, *gaps[a + 1 : b]]))
    return nodes


def difference(one: Root, other: Root) -> tuple[list[Vma], list[Vma]]:
    """(regions only in `one`, regions only in `other`), each ascending. Costs what changed between them, not their size."""
    mine: list[Node] = [one] if one is not None else []
    theirs: list[Node] = [other] if other is not None else []
    while True:
        shared = {id(node) for node in mine} & {id(node) for node in theirs}
        if shared:
            mine = [node for node in mine if id(node) not in shared]
            theirs = [node for node in theirs if id(node) not in shared]
        depth = max([_height(nodes[0]) for nodes in (mine, theirs) if nodes], default=0)
        if depth == 0:
            break
        mine = _expand(mine, depth)
        theirs = _expand(theirs, depth)
    left = [vma for node in mine for vma in node.items]
    right = [vma for node in theirs for vma in node.items]
    same = {id(vma) for vma in left} & {id(vma) for vma in right}
    return [v for v in left if id(v) not in same], [v for v in right if id(v) not in same]


def _height(node: Node) -> int:
    height = 0
    while not node.leaf:
        node = node.items[0]
        height += 1
    return height


def _expand(nodes: list[Node], height: int) -> list[Node]:
    """One level down, for nodes that are `height` above the leaves."""
    if not nodes or _height(nodes[0]) < height:
        return nodes
    return [child for node in nodes for child in node.items]


def check(root: Root) -> None:
    """Assert everything the other functions rely on."""
    if root is not None:
        _check(root, _height(root))


def _check(node: Node, height: int) -> None:
    assert node.leaf == (height == 0), "uneven tree"
    assert 0 < len(node.items) <= WIDTH and len(node.keys) == len(node.items) == len(node.gaps), "node width"
    end = -1
    for k, item in enumerate(node.items):
        start, stop = (item.start, item.end) if node.leaf else (item.lo, item.hi)
        inner = 0 if node.leaf else item.gap
        assert node.keys[k] == start < stop and start >= end, "order"
        assert node.gaps[k] == (max(inner, start - end) if k else inner), "gap"
        end = stop
        if not node.leaf:
            _check(item, height - 1)
    assert (node.lo, node.hi, node.gap) == (node.keys[0], end, max(node.gaps)), "summary"
    assert node.size == (len(node.items) if node.leaf else sum(item.size for item in node.items)), "size"
