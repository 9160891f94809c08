"""What a space remembers of snapshots: the trees that edits led to, and the ways back."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable

import pytest

from emuvm.mm import ways
from emuvm.mm.delivery import Again, Subscriber
from emuvm.mm.space import AddressSpace
from emuvm.mm.totals import Totals
from emuvm.mm.types import Anon, File, Kind, Update, Vma, VmFlag

PAGE = 4096


class Listener:
    """Keeps the rights of each page, by single updates or at once."""

    def __init__(self, space: AddressSpace, prepares: bool = True) -> None:
        self.pages: dict[int, Vma | None] = {}
        self.single = self.committed = self.at_once = 0
        self.refuses = False
        self.prepares = prepares
        self.stop = space.subscribe(self.update, committed=self.done, prepare=self.prepare)

    def update(self, update: Update) -> None:
        if self.refuses:
            raise RuntimeError("no")
        self.single += 1
        self.apply(update)

    def apply(self, update: Update) -> None:
        for vma, gone in ((update.old, True), (update.new, False)):
            for page in range(vma.start, vma.end, PAGE) if vma is not None else ():
                self.pages[page] = None if gone else vma

    def done(self) -> None:
        self.committed += 1

    def prepare(self, updates: list[Update]) -> Again | None:
        def again() -> None:
            self.at_once += 1
            for update in updates:
                self.apply(update)

        return again if self.prepares else None

    def rights(self) -> dict[int, int]:
        return {page: vma.prot for page, vma in self.pages.items() if vma is not None}


def wanted(space: AddressSpace) -> dict[int, int]:
    return {page: vma.prot for vma in space for page in range(vma.start, vma.end, PAGE)}


def filled() -> AddressSpace:
    space = AddressSpace(0, 1 << 40)
    for page in (16, 32, 48):
        space.map_at(page * PAGE, 8 * PAGE, 3, backing=Anon(page * PAGE))
    return space


def change(space: AddressSpace) -> None:
    space.unmap(18 * PAGE, 3 * PAGE)
    space.protect(32 * PAGE, 2 * PAGE, 1)
    space.map_at(60 * PAGE, 4 * PAGE, 3, backing=Anon(60 * PAGE))


def follow(space: AddressSpace, listener: Listener) -> None:
    for vma in space:
        listener.apply(Update(Kind.MAP, vma.start, vma.end, None, vma))


def test_a_way_that_was_gone_before_is_gone_at_once() -> None:
    space = filled()
    snap, before = space.snapshot(), list(space)
    listener = Listener(space)
    follow(space, listener)
    space.restore(snap)  # from now on it remembers
    for turn in range(4):
        change(space)
        single, committed = listener.single, listener.committed
        space.restore(snap)
        assert list(space) == before
        assert listener.rights() == wanted(space)
        assert listener.at_once == max(0, turn)
        assert (listener.single > single, listener.committed > committed) == (turn == 0, turn == 0)


def test_who_has_to_see_each_update_sees_it_and_so_do_the_others() -> None:
    space = filled()
    snap = space.snapshot()
    space.restore(snap)
    listeners = [Listener(space), Listener(space, prepares=False)]
    for listener in listeners:
        follow(space, listener)
    for _ in range(3):
        change(space)
        before = [(listener.single, listener.committed) for listener in listeners]
        space.restore(snap)
        for listener, (single, committed) in zip(listeners, before, strict=True):
            assert (listener.single, listener.committed, listener.at_once) == (single + 3, committed + 1, 0)
            assert listener.rights() == wanted(space)
    listeners[1].stop()
    change(space)
    space.restore(snap)
    assert listeners[0].at_once == 1, "who is subscribed now decides"
    Listener(space, prepares=False)
    change(space)
    space.restore(snap)
    assert listeners[0].at_once == 1


def test_a_refused_way_is_not_taken_for_granted() -> None:
    space = filled()
    snap = space.snapshot()
    space.restore(snap)
    listener = Listener(space)
    change(space)
    changed = list(space)
    listener.refuses = True
    for _ in range(2):
        with pytest.raises(RuntimeError):
            space.restore(snap)
        assert list(space) == changed
    listener.refuses = False
    space.restore(snap)
    change(space)
    space.restore(snap)
    assert listener.at_once == 1


def test_another_idea_of_what_may_stay_or_another_context_is_another_way() -> None:
    space = filled()
    snap = space.snapshot()
    space.restore(snap)
    listener = Listener(space)

    def nothing(_old: Vma, _new: Vma) -> bool:
        return False

    for same, context, at_once in ((None, 1, 0), (None, 1, 1), (nothing, 1, 1), (nothing, 1, 2), (nothing, 2, 2)):
        space.context = context
        change(space)
        space.restore(snap, *([same] if same else []))
        assert listener.at_once == at_once


def test_other_changes_are_another_way() -> None:
    space = filled()
    snap, before = space.snapshot(), list(space)
    listener = Listener(space)
    follow(space, listener)
    for seed in [random.Random(1).randrange(6) for _ in range(60)]:
        rng = random.Random(seed)
        for _ in range(rng.randrange(1, 6)):
            start, length = rng.randrange(70) * PAGE, rng.randrange(1, 12) * PAGE
            kind = rng.randrange(3)
            if kind == 0:
                space.unmap(start, length)
            elif kind == 1:
                space.map_at(start, length, rng.randrange(8), backing=rng.choice((None, Anon(start))))
            else:
                space.protect(start, length, rng.randrange(8), holes="skip")
        space.check()
        assert listener.rights() == wanted(space)
        space.restore(snap)
        space.check()
        assert list(space) == before and listener.rights() == wanted(space)
    assert listener.at_once > 40


class Disk:
    pass


def test_files_are_not_kept_for_being_remembered() -> None:
    space = filled()
    snap = space.snapshot()
    listener = Listener(space)
    for _ in range(3):
        disk = Disk()
        alive = weakref.ref(disk)
        space.map_at(80 * PAGE, 2 * PAGE, 3, backing=File(disk))
        change(space)  # of a tree with a file
        space.restore(snap)
        del disk
        gc.collect()
        assert alive() is None
    assert listener.at_once == 0


@pytest.mark.parametrize("kind", [Disk, type("Same", (), {"__eq__": lambda *_: True, "__hash__": lambda _: 1})])
def test_files_of_the_snapshot_itself_may_be_remembered(kind: type) -> None:
    """If they are equal only to themselves: another one that claims to be equal is another one."""
    space = filled()
    space.map_at(80 * PAGE, 4 * PAGE, 3, backing=File(kind()))
    snap, before = space.snapshot(), list(space)
    space.restore(snap)
    listener = Listener(space)
    follow(space, listener)
    for turn in range(4):
        space.protect(81 * PAGE, 2 * PAGE, 1)
        change(space)
        space.restore(snap)
        assert list(space) == before and listener.rights() == wanted(space)
        assert listener.at_once == (turn if kind is Disk else 0)
    other = kind()
    space.map_at(80 * PAGE, 4 * PAGE, 3, backing=File(other))
    assert [vma.backing.file is other for vma in space if type(vma.backing) is File] == [True]


def test_books_without_updates_are_a_way_too() -> None:
    """What differs only in who wrote first is no update, and put back without anybody's being told."""
    space = filled()
    snap, before = space.snapshot(), list(space)
    space.restore(snap)
    listener = Listener(space)
    for _ in range(3):
        old = before[0]
        space.rewrite([(old.start, old.start + 1, [old._replace(backing=Anon(old.start, 7))])], [])
        assert next(iter(space)).backing == Anon(old.start, 7)
        space.restore(snap, same)
        assert list(space) == before
    assert (listener.single, listener.committed, listener.at_once) == (0, 0, 0)


    assert ways.Way(same, None, [], []).at_once((Subscriber(listener.update, None),)) == [], "nobody has to be told"


def same(_old: Vma, _new: Vma) -> bool:
    return True


def test_what_is_remembered_goes_with_the_snapshot() -> None:
    space = filled()
    disk = Disk()
    alive = weakref.ref(disk)
    space.map_at(80 * PAGE, 2 * PAGE, 3, backing=File(disk))
    snap = space.snapshot()
    change(space)
    space.restore(snap)
    change(space)
    space.restore(snap)
    space.unmap(80 * PAGE, 2 * PAGE)
    del snap, disk
    gc.collect()
    assert alive() is None
    space.check()


def test_so_many_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "_MOST", 8)
    space = filled()
    snap, before = space.snapshot(), list(space)
    listener = Listener(space)
    follow(space, listener)
    for page in range(100):
        space.unmap((16 + page % 40) * PAGE, PAGE)
        space.protect(48 * PAGE, PAGE, page % 8, holes="skip")
        space.restore(snap)
        assert list(space) == before and listener.rights() == wanted(space)
        known = snap._ways
        assert known is not None and max(len(known._trees), len(known._known), len(known._ways)) <= 9
    single = listener.at_once
    for _ in range(12):
        change(space)
        space.restore(snap)
    assert listener.at_once > single + 5, "what is old gave way"


@pytest.mark.parametrize("order", [(0, 1, 0, 1, 1, 1, 1, 0, 0, 0, 1), (1, 1, 1, 0, 0, 0)])
def test_several_snapshots(order: tuple[int, ...]) -> None:
    space = filled()
    listener = Listener(space)
    follow(space, listener)
    snaps = [space.snapshot()]
    space.protect(16 * PAGE, 4 * PAGE, 5)
    snaps.append(space.snapshot())
    states = [list(snap) for snap in snaps]
    for which in order:
        change(space)
        space.restore(snaps[which])
        assert list(space) == states[which] and listener.rights() == wanted(space)
    assert listener.at_once >= 2


@pytest.mark.parametrize("start", [0, 1, 2])
def test_totals_at_once_are_those_of_single_updates(start: int) -> None:
    space = AddressSpace(0, 1 << 40)
    totals = Totals(space)
    kinds: list[Callable[[], None]] = [
        lambda: space.map_any(4 * PAGE, 3, VmFlag.GROWSDOWN) and None,
        lambda: space.map_any(5 * PAGE, 5, VmFlag.LOCKED) and None,
        lambda: space.map_any(9 * PAGE, 3) and None,
        lambda: space.protect(0, 3 * PAGE, 4, holes="skip"),
        lambda: space.unmap(2 * PAGE, 2 * PAGE),
    ]
    for kind in kinds[:start]:
        kind()
    snap = space.snapshot()
    was = vars(totals).copy()
    for kind in kinds[start:] * 2:
        kind()
    peak = totals.peak
    space.restore(snap)
    assert vars(totals) == {**was, "peak": peak}
    totals.peak = 0
    for kind in kinds[start:] * 2:
        kind()
    assert totals.peak == peak
    space.restore(snap)
    assert vars(totals) == {**was, "peak": peak}
    for kind in kinds[start:] * 2:
        kind()
    totals.peak = 0
    space.restore(snap)
    assert vars(totals) == {**was, "peak": totals.total}
