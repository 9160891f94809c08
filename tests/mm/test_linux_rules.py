"""Which areas become one, and where anon_vma comes from, beyond what the recordings show."""

from __future__ import annotations

from typing import Any

from emuvm.abi.errno import Errno
from emuvm.mm import advice, locking, remap, rules
from emuvm.mm.linux import LinuxMm
from emuvm.mm.types import Anon, File, VmFlag

from .machine import AT, PAGE, Segment, area, machine, put, refusal, shape, touch


def test_a_written_area_takes_in_an_unwritten_one_always_and_the_other_way_round_since_6_15() -> None:
    for kernel, merged in (((6, 1), False), ((6, 12), False), ((6, 14), False), ((6, 15), True), ((6, 18), True)):
        mm = machine(kernel)
        put(mm, 0, 1)
        put(mm, 1, 1, 1)
        touch(mm, 1)  # has no effect yet: the page is only in the list
        mm.pages.take_written()
        mm.mprotect(AT + PAGE, PAGE, 3)
        assert shape(mm) == [(0, 2, 3)], "neither was written to"
        mm = machine(kernel)
        put(mm, 0, 1)
        put(mm, 2, 1)
        touch(mm, 2)
        put(mm, 1, 1)
        assert shape(mm) == [(0, 3, 3)], "a new area joins both"
        mm = machine(kernel)
        put(mm, 0, 1)
        put(mm, 1, 1, 7)
        touch(mm, 1)
        mm.mprotect(AT + PAGE, PAGE, 3)
        assert shape(mm) == ([(0, 2, 3)] if merged else [(0, 1, 3), (1, 2, 3)]), kernel


def test_areas_that_tell_when_they_close_do_not_disappear() -> None:
    segment = Segment()
    one, two, three = (area(n, n + 1, File(segment, n * PAGE)) for n in range(3))
    assert rules.merge_new(one, two, three, (6, 18))[1:] == (True, False)
    assert rules.merge_new(None, two, three, (6, 18))[1:] == (False, True)
    assert rules.merge_existing(one, two, three, whole=True, kernel=(6, 18)) == (False, False)
    assert rules.merge_existing(one, two, None, whole=False, kernel=(6, 18)) == (True, False)
    assert rules.merge_existing(None, two, three, whole=False, kernel=(6, 18)) == (False, True)
    plain = [area(n, n + 1, File("f", n * PAGE)) for n in range(3)]
    assert rules.merge_existing(*plain, whole=True, kernel=(6, 18)) == (True, True)
    assert rules.merge_existing(plain[0], plain[1], None, whole=True, kernel=(6, 18)) == (True, False)


def test_neighbours_that_were_both_written_to_stay_apart() -> None:
    left, right = area(0, 1, Anon(0, 1)), area(2, 3, Anon(2 * PAGE, 2))
    new = area(1, 2, Anon(PAGE))
    one, low, high = rules.merge_new(left, new, right, (6, 18))
    assert (low, high) == (True, False) and one == area(0, 2, Anon(0, 1))
    assert rules.merge_existing(left, new, right, whole=True, kernel=(6, 18)) == (True, False)
    assert rules.merge_existing(left, new, right._replace(backing=Anon(2 * PAGE, 1)), whole=True, kernel=(6, 18)) == (True, True)
    assert rules.merge_new(None, new, right, (6, 18)) == (area(1, 3, Anon(PAGE, 2)), False, True)
    assert rules.merge_new(left, new, None, (6, 18)) == (area(0, 2, Anon(0, 1)), True, False)
    special = new._replace(flags=VmFlag.IO)
    assert rules.merge_new(left._replace(flags=VmFlag.IO), special, None, (6, 18)) == (special, False, False)
    assert rules.merge_existing(left._replace(flags=VmFlag.IO), special, None, whole=True, kernel=(6, 18)) == (False, False)


def test_backings_of_other_owners() -> None:
    """A space under LinuxMm may hold areas that others mapped: with no backing, or with one of their own."""
    merge = lambda one, two: rules.merge_new(area(0, 1, one), area(1, 2, two), None, (6, 18))[1]  # noqa: E731
    assert merge(None, None) and merge(None, Anon(PAGE)) and merge(Anon(0), None) and not merge(None, Anon(5 * PAGE))
    assert merge("x", "x") and not merge("x", "y") and not merge("x", None) and not merge(None, "x")
    assert not merge("x", Anon(PAGE)) and not merge(None, File("f", PAGE)) and not merge(File("f"), None)
    assert merge(Anon(0, 0, b"a"), Anon(PAGE, 0, b"a")) and not merge(Anon(0, 0, b"a"), Anon(PAGE, 0, b"b"))
    assert not merge(None, Anon(PAGE, 0, b"b")) and merge(File("f"), File("f", PAGE)) and not merge(File("f"), File("g", PAGE))
    far = [area(n, n + 1, backing) for n, backing in ((3, None), (4, Anon(4 * PAGE)))]
    assert rules.merge_new(far[0], far[1], None, (6, 18))[1]
    assert rules.anon_of(area(0, 1, None)) == 0 and rules.anon_of(area(0, 1, "x")) == 0
    assert rules.with_anon(area(0, 1, None), 0) == area(0, 1, None)
    assert rules.with_anon(area(3, 4, None), 5) == area(3, 4, Anon(3 * PAGE, 5))
    assert rules.anonymous(area(0, 1, File("f"))) and not rules.anonymous(area(0, 1, File("f"), VmFlag.MAYSHARE))


def test_a_first_write_takes_a_neighbours_anon_vma() -> None:
    left, right = area(0, 1, Anon(0, 7)), area(1, 2, Anon(PAGE), prot=1)
    assert rules.reusable(left, left, right) == 7 and rules.reusable(right, left, right) == 0
    assert rules.reusable(left, left, right._replace(flags=VmFlag.LOCKED)) == 0
    assert rules.reusable(left, left, right._replace(flags=VmFlag.MAYBE_GUARD)) == 7
    assert rules.reusable(left, left, area(2, 3, Anon(2 * PAGE))) == 0
    assert rules.reusable(left, left, area(1, 2, Anon(9 * PAGE))) == 0
    assert rules.reusable(left, left, area(1, 2, File("f", PAGE))) == 0
    assert rules.reusable(area(0, 1, File("f", 0, 3)), area(0, 1, File("f", 0, 3)), area(1, 2, File("f", PAGE))) == 3


def test_written_areas_that_are_locked() -> None:
    """Rights to write make the pages of locked private memory present, which gives it an anon_vma."""
    mm = machine()
    put(mm, 0, 1, 1, locked=True)
    put(mm, 4, 1, 1)
    put(mm, 8, 1, 1, locked=True, shared=True, backing=File("f"))
    mm.mprotect(AT, PAGE, 3)
    mm.mprotect(AT + 4 * PAGE, PAGE, 3)
    mm.mprotect(AT + 8 * PAGE, PAGE, 3)
    mm.sync()
    assert [bool(rules.anon_of(vma)) for vma in mm.space] == [True, False, False]


def test_an_area_that_tells_when_it_closes_does_not_go_for_one_neighbour() -> None:
    segment = Segment()
    one, two, three = (area(n, n + 1, File(segment, n * PAGE)) for n in range(3))
    assert rules.merge_existing(one, two, None, whole=True, kernel=(6, 18)) == (False, False)
    assert rules.merge_existing(None, two, three, whole=True, kernel=(6, 18)) == (False, False)


def anons(mm: LinuxMm) -> list[int]:
    mm.sync()
    return [rules.anon_of(vma) for vma in mm.space]


def test_what_is_not_merged_gives_no_anon_vma() -> None:
    mm = machine()
    put(mm, 0, 1)
    put(mm, 1, 1, 1)
    put(mm, 2, 1, 7)
    touch(mm, 2)
    assert anons(mm) == [0, 0, 1]
    mm.mprotect(AT + PAGE, PAGE, 3)
    assert shape(mm) == [(0, 2, 3), (2, 3, 7)] and anons(mm) == [0, 1]


def test_the_neighbour_above_is_asked_first_for_its_anon_vma() -> None:
    mm = machine()
    put(mm, 0, 1, 1)
    put(mm, 2, 1, 7)
    for page in (0, 2):
        mm.mprotect(AT + page * PAGE, PAGE, 3)
        touch(mm, page)
        assert anons(mm)
    mm.mprotect(AT, PAGE, 1)
    mm.mprotect(AT + 2 * PAGE, PAGE, 7)
    assert anons(mm) == [1, 2]
    put(mm, 1, 1)
    touch(mm, 1)
    assert anons(mm) == [1, 2, 2]
    mm = machine()
    put(mm, 0, 1)
    put(mm, 4, 1, 1)
    put(mm, 8, 1)
    for page, known in ((8, [0, 0, 1]), (0, [2, 0, 1])):
        touch(mm, page)
        assert anons(mm) == known, "neighbours that lie apart share nothing"


def test_a_refused_removal_leaves_its_first_cut() -> None:
    mm = machine()
    put(mm, 0, 4)
    put(mm, 4, 2, 1)
    locking.mseal(mm, AT + 4 * PAGE, PAGE, 0)
    assert refusal(lambda: mm.munmap(AT + 2 * PAGE, 4 * PAGE)) == Errno.EPERM
    assert shape(mm) == [(0, 2, 3), (2, 4, 3), (4, 5, 1), (5, 6, 1)]
    assert refusal(lambda: mm.munmap(AT + 2 * PAGE, 4 * PAGE)) == Errno.EPERM
    assert refusal(lambda: mm.munmap(AT + 4 * PAGE, 1)) == Errno.EPERM
    put(mm, 10, 3)
    locking.mseal(mm, AT + 10 * PAGE, 3 * PAGE, 0)
    assert refusal(lambda: mm.munmap(AT + 11 * PAGE, PAGE)) == Errno.EPERM
    assert shape(mm)[4:] == [(10, 13, 3)]
    mm.munmap(AT + 2 * PAGE, 2 * PAGE)
    assert shape(mm)[:2] == [(0, 2, 3), (4, 5, 1)]


def test_cuts_at_the_limit_of_areas() -> None:
    mm = machine()
    put(mm, 0, 3)
    put(mm, 3, 3, 1)
    mm.limits.max_map_count = 2
    for page, pages in ((0, 1), (0, 2), (2, 1), (1, 1), (4, 1), (4, 2)):
        assert refusal(lambda page=page, pages=pages: mm.mprotect(AT + page * PAGE, pages * PAGE, 4)) == Errno.ENOMEM
        assert shape(mm) == [(0, 3, 3), (3, 6, 1)]
    mm.mprotect(AT + 2 * PAGE, PAGE, 1)
    assert shape(mm) == [(0, 2, 3), (2, 6, 1)], "a cut that joins a neighbour"
    mm.limits.max_map_count = 1
    mm.mprotect(AT, 2 * PAGE, 4)
    assert shape(mm) == [(0, 2, 4), (2, 6, 1)]
    mm.limits.max_map_count = 3
    mm.mprotect(AT, 4 * PAGE, 5)
    assert shape(mm) == [(0, 4, 5), (4, 6, 1)]


def test_a_write_counts_for_what_is_left() -> None:
    """The first write has given an anon_vma to all of the area, although its page is gone when that is looked at."""
    for call in ("munmap", "mmap", "mprotect", "mremap"):
        mm = machine()
        put(mm, 0, 3)
        touch(mm, 1)
        if call == "munmap":
            mm.munmap(AT + PAGE, PAGE)
        elif call == "mmap":
            put(mm, 1, 1, 0)
        elif call == "mprotect":
            mm.mprotect(AT + PAGE, PAGE, 1)
        else:
            remap.mremap(mm, remap.Remap(AT + PAGE, PAGE, PAGE, maymove=True, fixed=True, to=AT + 90 * PAGE))
        assert [rules.anon_of(vma) for vma in (mm.space.regions(AT, PAGE)[0], mm.space.regions(AT + 2 * PAGE, PAGE)[0])] == [1, 1], call


def test_a_fresh_machine() -> None:
    mm = machine()
    assert mm.start_brk == mm.brk_now == mm.data_bytes == mm.def_flags == 0
    assert not (mm.raw_io or mm.deny_write_exec or mm.anon_names or mm.ipc_lock)


def test_parts_of_a_segment_stay_apart_once_cut() -> None:
    mm = machine()
    put(mm, 0, 4, shared=True, backing=File(Segment()))
    mm.mprotect(AT + 2 * PAGE, 2 * PAGE, 1)
    mm.mprotect(AT + 2 * PAGE, 2 * PAGE, 3)
    assert shape(mm) == [(0, 2, 3), (2, 4, 3)], "an area that tells when it closes does not disappear"
    mm.mprotect(AT + 2 * PAGE, 2 * PAGE, 1)
    mm.mprotect(AT + 2 * PAGE, PAGE, 3)
    assert shape(mm) == [(0, 3, 3), (3, 4, 1)], "it only gets smaller"
    mm.mprotect(AT + 2 * PAGE, PAGE, 1)
    assert shape(mm) == [(0, 2, 3), (2, 4, 1)]


def test_shared_memory_has_no_anon_vma() -> None:
    mm = machine()
    put(mm, 0, 1, shared=True, backing=File("f"))
    put(mm, 1, 1, backing=File("f", PAGE))
    touch(mm, 0)
    touch(mm, 1)
    assert anons(mm) == [0, 1]


def test_writes_are_known_before_areas_may_merge() -> None:
    """Two areas that were written to while their flags differed never become one."""
    everything = {"current": True, "future": False, "onfault": False}
    calls: list[Any] = [
        (lambda mm: locking.mlock(mm, AT, PAGE), lambda mm: locking.mlock(mm, AT + PAGE, PAGE)),
        (lambda mm: locking.mlock(mm, AT, PAGE), lambda mm: locking.munlock(mm, AT, PAGE)),
        (lambda mm: locking.mlock(mm, AT, PAGE), lambda mm: locking.mlockall(mm, **everything)),
        (lambda mm: locking.mlock(mm, AT, PAGE), lambda mm: locking.mlockall(mm, **{**everything, "current": False})),
        (lambda mm: locking.mseal(mm, AT, PAGE, 0), lambda mm: locking.mseal(mm, AT + PAGE, PAGE, 0)),
        (lambda mm: advice.madvise(mm, AT, PAGE, 16), lambda mm: advice.madvise(mm, AT + PAGE, PAGE, 16)),
        (lambda mm: advice.madvise(mm, AT, PAGE, 16), lambda mm: advice.madvise(mm, AT, PAGE, 17)),
    ]
    for differ, agree in calls:
        mm = machine()
        put(mm, 0, 2)
        differ(mm)
        assert len(mm.space) == 2
        mm.pages.take_written()
        touch(mm, 0)
        touch(mm, 1)
        agree(mm)
        assert len(mm.space) == 2
        mm = machine()
        put(mm, 0, 2)
        differ(mm)
        mm.pages.take_written()
        agree(mm)
        assert len(mm.space) == 1, "never written to"


def test_one_area_belongs_to_the_mappings_of_both() -> None:
    left, right = area(4, 5, Anon(4 * PAGE)), area(5, 6, Anon(5 * PAGE))
    wide = left._replace(base=2 * PAGE, length=7 * PAGE)
    for one, two, base, end in ((left, right, 4, 6), (wide, right, 2, 9), (left, right._replace(base=PAGE, length=20 * PAGE), 1, 21)):
        fused = rules.fuse(one, two, 0)
        assert (fused.start, fused.end, fused.base, fused.base + fused.length) == (4 * PAGE, 6 * PAGE, base * PAGE, end * PAGE)
