"""The map of a child: what it lacks, what is wiped, and with what its areas merge."""

from __future__ import annotations

from emuvm.mm import advice, locking, rules
from emuvm.mm.linux import LinuxMm
from emuvm.mm.types import Anon, Update, Vma, VmFlag

from .machine import AT, PAGE, area, machine, put, shape, touch

_DONTFORK, _WIPEONFORK = 10, 18


def born(mm: LinuxMm) -> LinuxMm:
    mm.sync()
    mm.inherited()
    return mm


def anons(mm: LinuxMm) -> list[int]:
    return [rules.anon_of(vma) for vma in mm.space]


def test_written_areas_have_anon_vmas_that_nobody_joins() -> None:
    for kernel in ((6, 1), (6, 14), (6, 18)):
        mm = machine(kernel)
        put(mm, 0, 2)
        touch(mm, 0)
        put(mm, 4, 2)
        born(mm)
        put(mm, 2, 1)
        put(mm, 6, 1)
        assert shape(mm) == [(0, 2, 3), (2, 3, 3), (4, 7, 3)], kernel
        touch(mm, 2)
        mm.sync()
        put(mm, 3, 1)
        assert shape(mm)[:2] == [(0, 2, 3), (2, 7, 3)], "what is its own merges as ever"


def test_pieces_of_one_area_part_for_good() -> None:
    mm = machine((6, 18))
    put(mm, 0, 3)
    touch(mm, 0)
    mm.sync()
    mm.mprotect(AT + PAGE, PAGE, 1)
    assert len(set(anons(mm))) == 1
    born(mm)
    assert len(set(anons(mm))) == 3 and all(anon < 0 for anon in anons(mm))
    mm.mprotect(AT + PAGE, PAGE, 3)
    assert shape(mm) == [(0, 1, 3), (1, 2, 3), (2, 3, 3)]
    mm.mprotect(AT, PAGE // 2, 1)
    mm.mprotect(AT, PAGE // 2, 3)
    assert shape(mm) == [(0, 1, 3), (1, 2, 3), (2, 3, 3)]
    born(mm)
    assert len(set(anons(mm))) == 3, "and those of a grandchild are new"


def test_pieces_that_the_child_cuts_join_again() -> None:
    mm = machine((6, 18))
    put(mm, 0, 3)
    touch(mm, 0)
    born(mm)
    mm.mprotect(AT + PAGE, PAGE, 1)
    assert shape(mm) == [(0, 1, 3), (1, 2, 1), (2, 3, 3)]
    mm.mprotect(AT + PAGE, PAGE, 3)
    assert shape(mm) == [(0, 3, 3)]


def test_no_first_write_takes_an_inherited_anon_vma() -> None:
    mm = machine((6, 18))
    put(mm, 0, 1)
    touch(mm, 0)
    born(mm)
    put(mm, 1, 1, 1)
    mm.mprotect(AT + PAGE, PAGE, 7)
    touch(mm, 1)
    mm.sync()
    first, second = anons(mm)
    assert first < 0 < second
    assert rules.reusable(area(0, 1, Anon(0, -3)), area(0, 1, Anon(0, -3)), area(1, 2, Anon(PAGE))) == 0


def test_what_a_child_lacks() -> None:
    mm = machine((6, 18))
    put(mm, 0, 2)
    put(mm, 4, 2)
    for page in (0, 1, 4, 5):
        touch(mm, page)
    mm.sync()
    advice.madvise(mm, AT + PAGE, PAGE, _DONTFORK)
    advice.madvise(mm, AT + 5 * PAGE, PAGE, _WIPEONFORK)
    mm.guards.add(AT + 5 * PAGE, AT + 6 * PAGE)
    mm.guards.add(AT + 4 * PAGE, AT + 5 * PAGE)
    seen: list[Update] = []
    mm.space.subscribe(seen.append)
    born(mm)
    assert shape(mm) == [(0, 1, 3), (4, 5, 3), (5, 6, 3)]
    assert [(update.start, update.kind.value) for update in seen] == [(AT + PAGE, "unmap")]
    kept, copied, wiped = mm.space
    assert rules.anon_of(kept) < 0 and rules.anon_of(copied) < 0 and rules.anon_of(wiped) == 0
    assert wiped.flags & VmFlag.WIPEONFORK
    assert mm.guards.within(AT, AT + 8 * PAGE) == [(AT + 4 * PAGE, AT + 5 * PAGE)]


def test_nothing_is_locked() -> None:
    mm = machine((6, 18))
    mm.limits.ipc_lock = True
    put(mm, 0, 2)
    put(mm, 4, 1)
    locking.mlock(mm, AT, PAGE)
    locking.mlockall(mm, current=False, future=True, onfault=True)
    put(mm, 6, 1)
    assert mm.totals.locked == 2 * PAGE and mm.def_flags & VmFlag.LOCKED
    before = [vma.flags & ~rules.LOCKS for vma in mm.space]
    born(mm)
    assert mm.totals.locked == 0 and not mm.def_flags & rules.LOCKS
    assert [vma.flags for vma in mm.space] == before
    put(mm, 8, 1)
    assert mm.totals.locked == 0


def test_which_pages_a_child_does_not_get() -> None:
    mm = machine((6, 18))
    put(mm, 0, 1)
    touch(mm, 0)
    put(mm, 2, 1, 1)
    put(mm, 6, 1)
    mm.sync()
    advice.madvise(mm, AT + 6 * PAGE, PAGE, _WIPEONFORK)
    put(mm, 8, 1)
    mm.space.rewrite([(AT + 8 * PAGE, AT + 8 * PAGE + 1, [marked(mm, 8)])], [])
    put(mm, 10, 1)
    shared(mm, 10)
    calls = getattr(mm.pages, "calls")  # noqa: B009 - of the stand-in
    calls.clear()
    born(mm)
    at = lambda page: (AT + page * PAGE, AT + page * PAGE + PAGE)  # noqa: E731
    assert calls == [("discard", *at(2)), ("withdraw", *at(6)), ("discard", *at(6))]


def marked(mm: LinuxMm, page: int) -> Vma:
    """The area at a page as one that has had guards."""
    vma = mm.space.query(AT + page * PAGE)
    assert vma is not None
    return rules.with_flags(vma, vma.prot, vma.flags | VmFlag.MAYBE_GUARD)


def shared(mm: LinuxMm, page: int) -> None:
    """Make the area at a page one of shared memory."""
    vma = mm.space.query(AT + page * PAGE)
    assert vma is not None
    new = rules.with_flags(vma, vma.prot, vma.flags | VmFlag.SHARED | VmFlag.MAYSHARE)
    mm.space.rewrite([(vma.start, vma.start + 1, [new])], [])
