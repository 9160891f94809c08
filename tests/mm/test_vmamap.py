"""The tree under the address space: deep trees from few regions, against sorted lists."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest

from emuvm.mm import AddressSpace, gapsearch, vmamap
from emuvm.mm.types import Vma

from .test_model import Random


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes of at most 8 items, so that a few dozen regions make a tree of several levels."""
    monkeypatch.setattr(vmamap, "WIDTH", 8)
    monkeypatch.setattr(vmamap, "_LEAN", 2)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("seed", range(4))
def test_random_operations_on_deep_trees(seed: int) -> None:
    work = Random(seed, 1, 0x100, 150)
    for at in range(0x100, 0x100 + 150, 3):
        work.pair.attempt(lambda at=at: work.pair.space.map_at(at, 2, at % 5), -1)  # type: ignore[misc]
        work.pair.model.map(at, at + 2, at % 5, 0, None)
    for _ in range(60):
        work.one()
    work.look()


def region(start: int, end: int) -> Vma:
    return Vma(start, end, start, 0, None, start, end - start)


def height(root: vmamap.Root) -> int:
    node, levels = root, 0
    while node is not None and not node.leaf:
        node, levels = node.items[0], levels + 1
    return levels


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("seed", range(3))
def test_every_question_against_a_sorted_list(seed: int) -> None:
    r = random.Random(seed)
    root: vmamap.Root = None
    listed: list[Vma] = []
    for _ in range(250):
        low = r.randrange(1, 3000)
        high = low + r.choice([1, 2, 20, 400 if r.random() < 0.1 else 30])
        inside = [vma for vma in listed if low <= vma.start < high]
        start, new = low, []
        floor = max([vma.end for vma in listed if vma.start < low], default=0)
        top = min([vma.start for vma in listed if vma.start >= high], default=1 << 40)
        while start < high and r.random() < 0.75:
            end = start + r.randrange(1, 6)
            if start >= floor and end <= min(top, high + 5) and start < high:
                new.append(region(start, end))
            start = end + r.choice([0, 1, 3, 10])
        before, kept = root, list(listed)
        root = vmamap.replace(root, low, high, new)
        listed = sorted([vma for vma in listed if vma not in inside] + new, key=lambda vma: vma.start)
        vmamap.check(root)
        assert list(vmamap.ascending(root)) == listed and list(vmamap.descending(root)) == listed[::-1]
        assert list(vmamap.ascending(before)) == kept, "an edit changed the tree it started from"
        starts = [vma.start for vma in listed]
        for at in (low - 1, low, high - 1, high, r.randrange(0, 3500), *starts[:1], *(vma.end for vma in listed[-1:])):
            assert vmamap.find(root, at) == next((vma for vma in listed if vma.start <= at < vma.end), None)
            place = bisect_left(starts, at)
            assert vmamap.above(root, at) == (listed[place] if place < len(listed) else None)
        only_before, only_after = vmamap.difference(before, root)
        assert [v for v in only_before if v not in only_after] == [v for v in kept if v not in listed]
        assert [v for v in only_after if v not in only_before] == [v for v in listed if v not in kept]
        low, high = sorted(r.sample(range(3500), 2))
        assert vmamap.overlapping(root, low, high) == [vma for vma in listed if vma.start < high and vma.end > low]
        free = [True] * 3600
        for vma in listed:
            free[vma.start : vma.end] = [False] * (vma.end - vma.start)
        need, mask = r.choice([1, 2, 3, 8, 60]), r.choice([0, 1, 7])
        fits = [at for at in range(low, high - need + 1) if not at & mask and all(free[at : at + need])]
        assert gapsearch.lowest_gap(root, low, high, need, mask) == (fits[0] if fits else None)
        assert gapsearch.highest_gap(root, low, high, need, mask) == (fits[-1] if fits else None)


def test_the_tree_stays_shallow_and_shares_what_did_not_change() -> None:
    space = AddressSpace(0, 1 << 40, 1)
    for number in range(20_000):
        space.map_at(number * 4, 3, 1)
    assert height(space.snapshot()._root) == 2
    before = space.snapshot()
    space.map_at(4 * 10_000 + 1, 1, 7)
    one, two = vmamap.difference(before._root, space.snapshot()._root)
    assert len(one) == 1 and len(two) == 3
    r = random.Random(3)
    order = list(range(20_000))
    r.shuffle(order)
    for count, number in enumerate(order):
        space.unmap(number * 4, 4)
        if count % 4000 == 0:
            space.check()
    assert len(space) == 0 and list(space) == []
    space.restore(before)
    assert len(space) == 20_000
    space.unmap(4, 1 << 20)
    assert len(space) == 1 and height(space.snapshot()._root) == 0


def test_the_tree_check_finds_what_is_wrong() -> None:
    def tree() -> vmamap.Node:
        root = vmamap.replace(None, 0, 1 << 20, [region(at, at + 1 + at % 3) for at in range(0, 4000, 4)])
        assert root is not None and not root.leaf
        vmamap.check(root)
        return root

    for attribute, wrong in (("lo", 1), ("hi", 7), ("gap", 99), ("size", 5)):
        root = tree()
        setattr(root, attribute, wrong)
        with pytest.raises(AssertionError):
            vmamap.check(root)
    root = tree()
    root.items[3].keys = root.items[3].items = root.items[3].gaps = []
    with pytest.raises(AssertionError, match="node width"):
        vmamap.check(root)
    for name in ("keys", "gaps", "items"):
        root = tree()
        getattr(root.items[3], name).pop()
        with pytest.raises(AssertionError):
            vmamap.check(root)
        root = tree()
        values = getattr(root.items[3], name)
        values[4] = values[6] if name != "gaps" else 77
        with pytest.raises(AssertionError):
            vmamap.check(root)
