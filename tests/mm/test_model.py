"""AddressSpace against the naive model: seeded random operations, every region, result, update and refusal compared."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from emuvm.errors import EmuvmError, Hole, SpaceError
from emuvm.mm import AddressSpace, File, Kind, Snapshot, Update, Vma

from .model import Back, Joins, Model, Never, Region, Step, describe, place

BIG = [0, 1, 2, 3, 5, 7, 1 << 63, (1 << 64) - 1]


class Refusal(Exception):
    """The injected refusal."""


def five(vma: Vma | None) -> tuple[int, int, int, int, Back] | None:
    return None if vma is None else (vma.start, vma.end, vma.prot, vma.flags, describe(vma.backing))


def regions(space: AddressSpace) -> list[Region]:
    return [(v.start, v.end, v.prot, v.flags, describe(v.backing), v.base, v.length) for v in space]


def step(update: Update) -> Step:
    return (update.kind.value, update.start, update.end, five(update.old), five(update.new))


class Shadow:
    """A subscriber that keeps its own pages from the updates alone, inverse ones included, as an engine would."""

    def __init__(self, page: int) -> None:
        self.page = page
        self.pages: dict[int, tuple[int, int, Back]] = {}

    def content(self, vma: Vma) -> dict[int, tuple[int, int, Back]]:
        return {at: (vma.prot, vma.flags, describe(vma.backing, at - vma.start)) for at in range(vma.start, vma.end, self.page)}

    def apply(self, update: Update) -> None:
        """Updates must fit what is there: MAP into free pages, the others onto exactly what they say is old."""
        old, new = update.old, update.new
        if update.kind is Kind.MAP:
            assert old is None and new is not None
        elif update.kind is Kind.UNMAP:
            assert old is not None and new is None
        else:
            assert old is not None and new is not None and old.size == new.size
        assert (update.start, update.end) == ((old or new).start, (old or new).end)  # type: ignore[union-attr]
        if update.kind is Kind.PROTECT:
            assert old is not None and new is not None and old.start == new.start and old.prot != new.prot
        if old is not None:
            for at, expected in self.content(old).items():
                assert self.pages.pop(at) == expected
        if new is not None:
            for at, page in self.content(new).items():
                assert at not in self.pages
                self.pages[at] = page


class Pair:
    """A space, its model, two shadows, and a refusing subscriber between them."""

    def __init__(self, page: int, start: int, count: int) -> None:
        self.space = AddressSpace(start, count * page, page, context="context")
        self.model = Model(start, count * page, page)
        self.first, self.last = Shadow(page), Shadow(page)
        self.steps: list[Step] = []
        self.refuse_at = -1
        self.number = 0
        self.undoing = False
        self.commits = 0
        self.removed: list[tuple[int, int]] = []
        self.space.subscribe(self.first.apply)
        self.space.subscribe(self.middle, committed=self.committed)
        self.space.subscribe(self.last.apply)

    def middle(self, update: Update) -> None:
        assert update.context == "context"
        assert regions(self.space) == self.before, "the old state is shown during delivery"
        if self.undoing:
            return
        if self.number == self.refuse_at:
            self.undoing = True
            raise Refusal
        self.number += 1
        self.steps.append(step(update))

    def committed(self) -> None:
        self.commits += 1
        assert not self.undoing

    def attempt(self, call: Callable[[], Any], refuse_at: int) -> Any:
        self.before = regions(self.space)
        self.steps, self.number, self.refuse_at, self.undoing = [], 0, refuse_at, False
        self.commits = 0
        self.removed.clear()
        return call()

    def same(self) -> None:
        self.space.check()
        assert regions(self.space) == self.model.regions()
        pages = {at: (page.prot, page.flags, page.back) for at, page in self.model.pages.items()}
        assert self.first.pages == pages and self.last.pages == pages


Call = tuple[Callable[[], Any], Callable[[Model], Any]]


def run(pair: Pair, call: Callable[[], Any], expect: Callable[[Model], tuple[Any, list[Step]]]) -> None:
    """The model first, on a copy; then every refusal; then the operation itself."""
    model = pair.model.copy()
    error: type[BaseException] | None = None
    result: Any = None
    steps: list[Step] = []
    try:
        result, steps = expect(model)
    except SpaceError as failure:
        error = type(failure)
    if error is not None:
        with pytest.raises(error):
            pair.attempt(call, -1)
        assert pair.steps == [] and pair.commits == 0 and pair.removed == []
        return pair.same()
    for number in range(len(steps)):
        with pytest.raises(Refusal):
            pair.attempt(call, number)
        assert pair.commits == 0 and pair.removed == []
        pair.same()
    pair.model = model
    if isinstance(result, Hole):
        with pytest.raises(Hole) as hole:
            pair.attempt(call, -1)
        assert hole.value.address == result.address
    else:
        assert pair.attempt(call, -1) == result
    assert pair.steps == steps
    assert pair.commits == (1 if steps else 0)
    gone = [old[4] for kind, _low, _high, old, _new in steps if kind == "unmap" and old is not None]
    objects = [back for back in gone if back and ("Joins" in back or back[0] == "Never")]
    assert [name for name, _offset in pair.removed] == [b[-1] if b[0] == "plain" else b[1] for b in objects]
    return pair.same()


class Random:
    """Random operations on a pair, biased to where things are."""

    def __init__(self, seed: int, page: int, start: int, count: int) -> None:
        self.r = random.Random(seed)
        self.pair = Pair(page, start, count)
        self.page, self.start, self.count = page, start, count
        self.names = 0
        self.snaps: list[tuple[Snapshot, Model]] = []

    def address(self) -> int:
        edges = [edge for vma in self.pair.space for edge in (vma.start, vma.end)]
        if edges and self.r.random() < 0.5:
            at = self.r.choice(edges) + self.page * self.r.choice([-1, 0, 0, 1])
        else:
            at = self.start + self.page * self.r.randrange(-1, self.count + 1)
        return max(at, 0)

    def length(self) -> int:
        pages = self.r.choice([1, 1, 2, 2, 3, 5, self.count // 2])
        return self.page * pages - (self.r.randrange(self.page) if self.r.random() < 0.3 else 0)

    def backing(self) -> Any:
        kind = self.r.randrange(7)
        if kind < 2:
            return None
        if kind < 4:
            return File(self.r.choice("ab"), self.page * self.r.randrange(4))
        if kind == 4:
            return self.r.choice(["heap", "stack", 7])
        self.names += 1
        return (Never if kind == 5 else Joins)(self.names if kind == 5 else self.r.randrange(2), 0, self.pair.removed)

    def attributes(self) -> tuple[int, int]:
        return self.r.choice(BIG), self.r.choice([0, 0, 0, 8])

    def limit(self) -> tuple[int, int] | None:
        if self.r.random() < 0.5:
            return None
        low, high = sorted((self.address(), self.address()))
        return low, high + self.r.randrange(2)

    def one(self) -> None:
        kinds = "map_any map_any map_at map_at unmap protect protect filter move snap restore clear".split()
        getattr(self, "do_" + self.r.choice(kinds))()

    def do_map_any(self) -> None:
        length, (prot, flags), backing, hint = self.length(), self.attributes(), self.backing(), self.r.choice([0, self.address()])
        limit, align, top = self.limit(), self.r.choice([1, 1, 2, 4, 8]) * self.page, self.r.random() < 0.5
        space = self.pair.space
        free = space.find_free(length, hint=hint, limit=limit, align=align, top_down=top)

        def expect(model: Model) -> tuple[Any, list[Step]]:
            at, steps = model.map_any(length, prot, flags, backing, hint, limit, align, top)
            assert free == at
            return at, steps

        run(
            self.pair,
            lambda: space.map_any(length, prot, flags, hint=hint, backing=backing, limit=limit, align=align, top_down=top),
            expect,
        )

    def do_map_at(self) -> None:
        at, length, (prot, flags), backing, swap = self.address(), self.length(), self.attributes(), self.backing(), self.r.random() < 0.7
        run(
            self.pair,
            lambda: self.pair.space.map_at(at, length, prot, flags, backing=backing, replace=swap),
            lambda model: (at, model.map_at(at, length, prot, flags, backing, swap)),
        )

    def do_unmap(self) -> None:
        at, length = self.address(), self.length()
        run(self.pair, lambda: self.pair.space.unmap(at, length), lambda model: (None, model.unmap(at, length)))

    def do_clear(self) -> None:
        if self.r.random() < 0.1:
            run(self.pair, self.pair.space.clear, lambda model: (None, model.wipe(model.start, model.end)))

    def do_protect(self) -> None:
        prot = self.r.choice(BIG)
        self.protect(prot, lambda old: prot)

    def do_filter(self) -> None:
        skip, bit = self.r.choice(BIG), self.r.choice([1, 2, 1 << 63])

        def ask(old: int) -> int | None:
            return None if old == skip else old ^ bit

        self.protect(ask, ask)

    def protect(self, prot: Any, new: Callable[[int], int | None]) -> None:
        at, length, holes = self.address(), self.length(), self.r.choice(["error", "skip", "stop"])

        def expect(model: Model) -> tuple[Any, list[Step]]:
            steps, hole = model.protect(at, length, new, holes)
            return (None if hole is None else Hole(hole, "")), steps

        run(self.pair, lambda: self.pair.space.protect(at, length, prot, holes=holes), expect)  # type: ignore[arg-type]

    def do_move(self) -> None:
        at, length, to = self.address(), self.length(), self.address()
        run(self.pair, lambda: self.pair.space.move(at, length, to), lambda model: (None, model.move(at, length, to)))

    def do_snap(self) -> None:
        self.snaps = [*self.snaps[-2:], (self.pair.space.snapshot(), self.pair.model.copy())]

    def do_restore(self) -> None:
        if not self.snaps:
            return
        snap, model = self.r.choice(self.snaps)
        pair = self.pair
        assert [v.start for v in snap] == [region[0] for region in model.regions()] and len(snap) == len(model.regions())
        recorder: list[Update] = []
        stop = pair.space.subscribe(recorder.append)
        number = 0
        while True:
            try:
                pair.attempt(lambda: pair.space.restore(snap), number)
                break
            except Refusal:
                pair.same()
                recorder.clear()
                number += 1
        stop()
        gone = [update.old.backing for update in recorder if update.kind is Kind.UNMAP and update.old is not None]
        assert [name for name, _offset in pair.removed] == [backing.name for backing in gone if isinstance(backing, Never)]
        pages = model.pages
        for update in recorder:
            if update.kind is not Kind.MAP:
                for at in range(update.start, update.end, self.page):
                    old = pair.model.pages[at]
                    assert at not in pages or (old.prot, old.flags, old.back) != (pages[at].prot, pages[at].flags, pages[at].back)
        order = [update.kind is not Kind.UNMAP for update in recorder]
        assert order == sorted(order)
        pair.model = model.copy()
        pair.same()

    def look(self) -> None:
        space, listed = self.pair.space, self.pair.model.regions()
        assert len(space) == len(listed) and bool(space)
        assert [v.start for v in reversed(space)] == [region[0] for region in reversed(listed)]
        assert space.maps().count("\n") == len(listed)
        for at in range(self.start - 2 if self.start else 0, space.end + 2, max(self.page // 2, 1)):
            vma = space.query(at)
            hit = [region for region in listed if region[0] <= at < region[1]]
            above = space.region_above(at)
            assert (above and above.start) == next((region[0] for region in listed if region[0] >= at), None)
            assert (vma.start, vma.end) == hit[0][:2] if vma else not hit
        low, high = sorted((self.r.randrange(self.start, space.end), self.r.randrange(self.start, space.end)))
        size = high - low + 1
        inside = [region for region in listed if region[0] <= high and region[1] > low]
        assert [v.start for v in space.regions(low, size)] == [region[0] for region in inside]
        assert space.overlaps(low, size) == bool(inside)
        free = [at for at in range(low, high + 1) if not any(region[0] <= at < region[1] for region in inside)] if size <= 512 else None
        gaps = space.gaps(low, size)
        if free is not None:
            assert [at for start, end in gaps for at in range(start, end)] == free
        assert all(one[1] < two[0] for one, two in pairwise(gaps))
        assert sum(end - start for start, end in gaps) == size - sum(min(r[1], high + 1) - max(r[0], low) for r in inside)


SHAPES = [(1, 0, 24), (1, 4096, 40), (16, 0x70, 20), (4096, 0, 16), (4096, 0x7FFF_0000_0000, 24), (65536, (1 << 64) - 12 * 65536, 12)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_random_operations(shape: tuple[int, int, int], seed: int) -> None:
    work = Random(seed, *shape)
    for _ in range(120):
        work.one()
        work.look()


@pytest.mark.parametrize("top_down", [False, True])
def test_placement_in_a_crowd(top_down: bool) -> None:
    """Thousands of regions (a deep tree) and gaps of many sizes, against the oracle over the list of gaps."""
    r = random.Random(7)
    space = AddressSpace(0x1000, 1 << 30, 16)
    at = 0x1000
    for number in range(5000):
        at += 16 * r.choice([0, 1, 1, 2, 3, 40 if number % 500 == 0 else 1])
        size = 16 * r.randrange(1, 5)
        space.map_at(at, size, 1, number % 2)
        at += size
    space.check()
    for _ in range(400):
        need = 16 * r.choice([1, 2, 3, 4, 30, 41, 10000])
        align = 16 << r.randrange(6)
        low = r.randrange(0x1000, at + 0x1000)
        high = r.choice([low + r.randrange(0x2000), 1 << 29, 1 << 40])
        best: int | None = None
        for start, end in space.gaps(0x1000, 1 << 30):
            start, end = max(start, low), min(end, high)
            spot = (end - need) // align * align if top_down else -(-start // align) * align
            if start <= spot and spot + need <= end and (best is None or top_down):
                best = spot
        assert space.find_free(need, limit=(low, high), align=align, top_down=top_down) == best
    for _ in range(3000):
        space.unmap(0x1000 + 16 * r.randrange((at - 0x1000) // 16), 16 * r.randrange(1, 200))
    space.check()


def test_the_oracle_itself() -> None:
    taken = {32, 48}
    assert place(taken.__contains__, 0, 128, 16, 32, 0, None, 1, False) == 0
    assert place(taken.__contains__, 0, 128, 16, 48, 0, None, 1, False) == 64
    assert place(taken.__contains__, 0, 128, 16, 32, 80, None, 1, True) == 80
    assert place(taken.__contains__, 0, 128, 16, 32, 0, (16, 100), 32, True) == 64
    assert place(taken.__contains__, 0, 128, 16, 32, 0, (16, 80), 32, False) is None


def test_emuvm_errors_carry_an_errno() -> None:
    space = AddressSpace(0, 0x10000)
    with pytest.raises(EmuvmError) as error:
        space.protect(0, 4096, 1)
    assert error.value.errno == 12  # type: ignore[attr-defined]
