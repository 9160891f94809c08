"""LinuxMm where the recordings of the kernel do not reach: other versions, overcommit, arm64, counters, refusals by subscribers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from emuvm.abi.arch import ARM64, X86_64
from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.mm import AddressSpace, advice, locking, remap, rules
from emuvm.mm.layout import HUGE, Layout, next_region, place, start_gap
from emuvm.mm.linux import LinuxMm, MapRequest
from emuvm.mm.totals import Totals
from emuvm.mm.types import Anon, File, Vma, VmFlag

PAGE = 0x1000
AT = 0x1000_0000



class Written:
    """Pages that were written to, as an engine tells them."""

    withheld: Any = None

    def __init__(self) -> None:
        self.pages: list[int] = []

    def take_written(self) -> list[int]:
        pages, self.pages = self.pages, []
        return pages

    def residency(self, start: int, end: int) -> bytes:
        return bytes(end - start >> 12)

    def populate(self, start: int, end: int, *, write: bool) -> None:
        if write:
            self.pages.append(start)

    def discard(self, address: int, length: int) -> None: ...

    def punch(self, address: int, length: int) -> None: ...

    def page_out(self, start: int, end: int) -> None: ...

    def withdraw(self, start: int, end: int) -> None: ...


def machine(kernel: tuple[int, int] = (6, 18), arch: Any = X86_64) -> LinuxMm:
    space = AddressSpace(0, arch.task_size)
    space.checking = True
    mm = LinuxMm(space, arch, kernel=kernel)
    mm.attach_pages(Written())
    return mm


def put(mm: LinuxMm, page: int, pages: int, prot: int = 3, **more: Any) -> int:
    return mm.mmap(MapRequest(AT + page * PAGE, pages * PAGE, prot, fixed=True, **more))


def touch(mm: LinuxMm, page: int) -> None:
    mm.pages.populate(AT + page * PAGE, AT + page * PAGE + PAGE, write=True)


def shape(mm: LinuxMm) -> list[tuple[int, int, int]]:
    return [((vma.start - AT) // PAGE, (vma.end - AT) // PAGE, vma.prot) for vma in mm.space]


def test_a_written_area_takes_in_an_unwritten_one_always_and_the_other_way_round_since_6_15() -> None:
    for kernel, merged in (((6, 1), False), ((6, 12), False), ((6, 15), True), ((6, 18), True)):
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


def test_errors_have_their_number() -> None:
    with pytest.raises(GuestError) as error:
        machine().mmap(MapRequest(0, 0, 3))
    assert error.value.errno == Errno.EINVAL


def test_the_layout_of_arm64() -> None:
    mm = machine(arch=ARM64)
    assert mm.mmap(MapRequest(0, PAGE, 3)) == ARM64.mmap_base - PAGE
    assert not mm.space.query(AT)


def refusal(call: Callable[[], Any]) -> int:
    """The errno a call ends with."""
    with pytest.raises(GuestError) as error:
        call()
    return int(error.value.errno)


# -- where mappings go ----------------------------------------------------------------------------------------------------


def test_a_layout_fits_its_space() -> None:
    assert Layout.of(X86_64) == Layout(0x10000, X86_64.mmap_base, X86_64.unmapped_base, X86_64.task_size, True)
    small = Layout.of(X86_64, AddressSpace(0x20_0000, 0x40_0000))
    assert small == Layout(0x20_0000, 0x60_0000, 0x20_0000, 0x60_0000, True)
    assert Layout.of(ARM64, AddressSpace(0, 1 << 48)).unmapped_base == ARM64.unmapped_base
    at_the_edge = AddressSpace(X86_64.unmapped_base, 1 << 30)
    assert Layout.of(X86_64, at_the_edge).unmapped_base == X86_64.unmapped_base


def test_hints() -> None:
    space = AddressSpace(0, 1 << 47)
    layout = Layout.of(X86_64, space)
    size = layout.task_size
    assert place(space, layout, PAGE, hint=layout.min_addr) == layout.min_addr
    assert place(space, layout, PAGE, hint=layout.min_addr - PAGE) == layout.mmap_base - PAGE
    assert place(space, layout, PAGE, hint=size - PAGE) == size - PAGE
    assert place(space, layout, 2 * PAGE, hint=size - PAGE) == layout.mmap_base - 2 * PAGE
    assert place(space, layout, PAGE, hint=(1 << 31) - PAGE, low_2g=True) == (1 << 31) - PAGE
    assert place(space, layout, PAGE, hint=1 << 31, low_2g=True) == 1 << 30
    assert place(space, layout, PAGE, low_2g=True) == 1 << 30
    space.map_at(AT, PAGE, 3)
    assert place(space, layout, PAGE, hint=AT - PAGE) == AT - PAGE and place(space, layout, PAGE, hint=AT + PAGE) == AT + PAGE
    assert place(space, layout, 2 * PAGE, hint=AT - PAGE) != AT - PAGE
    space.map_at(AT, PAGE, 3, VmFlag.GROWSDOWN)
    gap = 256 * PAGE
    assert place(space, layout, PAGE, hint=AT - gap - PAGE) == AT - gap - PAGE
    assert place(space, layout, PAGE, hint=AT - gap) != AT - gap


def test_nothing_fits() -> None:
    space = AddressSpace(0, 64 * PAGE)
    layout = Layout(PAGE, 32 * PAGE, 16 * PAGE, 64 * PAGE, align_huge=False)
    assert refusal(lambda: place(space, layout, 65 * PAGE)) == Errno.ENOMEM
    assert refusal(lambda: place(space, layout, 49 * PAGE)) == Errno.ENOMEM
    assert place(space, layout, 31 * PAGE) == PAGE and place(space, layout, 48 * PAGE) == 16 * PAGE
    space.map_at(0, 32 * PAGE, 3)
    assert place(space, layout, 32 * PAGE) == 32 * PAGE
    space.map_at(48 * PAGE, PAGE, 3, VmFlag.GROWSDOWN)
    assert place(space, layout, PAGE) == 49 * PAGE, "behind the area that may grow"
    assert start_gap(space.regions(48 * PAGE, 1)[0], PAGE) == 0
    assert next_region(space, 64 * PAGE) is None and next_region(space, 50 * PAGE) is None
    assert place(space, layout, PAGE, low=PAGE) == 49 * PAGE


def test_large_mappings_are_aligned_by_version() -> None:
    space = AddressSpace(0, 1 << 47)
    layout = Layout.of(X86_64, space)
    base = layout.mmap_base
    versions = (((6, 1), False, False), ((6, 6), False, False), ((6, 7), True, True), ((6, 11), True, True), ((6, 12), False, True))
    for kernel, odd, even in versions:
        assert (place(space, layout, HUGE + PAGE, kernel=kernel) % HUGE == 0) is odd, kernel
        assert (place(space, layout, HUGE, kernel=kernel) % HUGE == 0) is even, kernel
        assert place(space, layout, HUGE - PAGE, kernel=kernel) == base - HUGE + PAGE
        assert place(space, layout, 2 * HUGE, kernel=kernel, anonymous=False) == base - 2 * HUGE
        assert place(space, layout, 2 * HUGE, kernel=kernel, hint=PAGE) == base - 2 * HUGE
    in_file = place(space, layout, 2 * HUGE, align_at=5 * PAGE, in_file=True, kernel=(6, 1))
    assert in_file % HUGE == 5 * PAGE
    assert place(space, layout, HUGE + PAGE, align_at=HUGE - PAGE, in_file=True) % HUGE == HUGE - PAGE, "a large page is in it"
    assert place(space, layout, HUGE, align_at=HUGE - PAGE, in_file=True) == base - HUGE
    aligned = layout._replace(mmap_base=base & -HUGE)
    assert place(space, aligned, HUGE) == (base & -HUGE) - HUGE, "found aligned: up a whole large page"


# -- limits -----------------------------------------------------------------------------------------------------------------


def test_overcommit() -> None:
    for mode, errno in ((0, Errno.ENOMEM), (1, 0), (2, Errno.ENOMEM)):
        mm = machine()
        mm.limits.commit, mm.limits.overcommit = 8 * PAGE, mode
        put(mm, 0, 8)
        put(mm, 20, 9, 1)
        put(mm, 40, 9, noreserve=True) if mode != 2 else None
        calls = [
            lambda mm=mm: put(mm, 60, 9),
            lambda mm=mm: mm.mprotect(AT + 20 * PAGE, 9 * PAGE, 3),
            lambda mm=mm: remap.mremap(mm, remap.Remap(AT, 8 * PAGE, 17 * PAGE, maymove=True)),
        ]
        for call in calls:
            if errno:
                assert refusal(call) == errno
            else:
                call()
    mm = machine()
    mm.limits.overcommit = 2
    put(mm, 0, 1, noreserve=True)
    assert not mm.space.regions(AT, PAGE)[0].flags & VmFlag.NORESERVE, "strict accounting knows no exception"


def test_grown_mappings_are_charged() -> None:
    for behind in (False, True):
        mm = machine()
        mm.limits.commit = 8 * PAGE
        put(mm, 0, 2)
        if behind:
            put(mm, 2, 1, 1)
        assert refusal(lambda mm=mm: remap.mremap(mm, remap.Remap(AT, 2 * PAGE, 11 * PAGE, maymove=True))) == Errno.ENOMEM
        remap.mremap(mm, remap.Remap(AT, 2 * PAGE, 10 * PAGE, maymove=True))


def test_data_limits() -> None:
    mm = machine()
    mm.limits.data, mm.limits.data_hard = 0, 4 * PAGE
    put(mm, 0, 4)
    assert refusal(lambda: put(mm, 8, 1)) == Errno.ENOMEM
    put(mm, 8, 1, 1)
    mm.limits.data = 4 * PAGE + 5
    assert refusal(lambda: mm.mprotect(AT + 8 * PAGE, PAGE, 3)) == Errno.ENOMEM
    mm.limits.address_space = 5 * PAGE
    assert refusal(lambda: put(mm, 9, 1, 0)) == Errno.ENOMEM
    mm.mprotect(AT + 8 * PAGE, PAGE, 5)
    put(mm, 8, 1, 0)


def test_locking_limits() -> None:
    mm = machine()
    mm.limits.memlock = 2 * PAGE
    put(mm, 0, 3)
    locking.mlock(mm, AT, 2 * PAGE)
    locking.mlock(mm, AT, 2 * PAGE)
    assert refusal(lambda: locking.mlock(mm, AT, 3 * PAGE)) == Errno.ENOMEM
    assert refusal(lambda: put(mm, 8, 1, locked=True)) == Errno.EAGAIN
    mm.limits.ipc_lock = True
    locking.mlock(mm, AT, 3 * PAGE)
    assert mm.ipc_lock and mm.totals.locked == 3 * PAGE
    mm.limits.ipc_lock, mm.limits.memlock = False, 0
    assert refusal(lambda: locking.mlock(mm, AT, 0)) == Errno.EPERM
    assert refusal(lambda: locking.mlockall(mm, current=True, future=False, onfault=False)) == Errno.EPERM
    assert refusal(lambda: put(mm, 8, 1, locked=True)) == Errno.EPERM
    locking.mlockall(mm, current=False, future=False, onfault=False)
    assert mm.totals.locked == 0


def test_the_number_of_areas() -> None:
    mm = machine()
    for n in range(3):
        put(mm, 10 * n, 6, 3 if n % 2 else 1)
    mm.limits.max_map_count = 4
    assert refusal(lambda: mm.mprotect(AT + PAGE, PAGE, 0)) == Errno.ENOMEM
    assert shape(mm) == [(0, 1, 1), (1, 6, 1), (10, 16, 3), (20, 26, 1)], "the first of two cuts was made"
    assert refusal(lambda: mm.munmap(AT + 11 * PAGE, PAGE)) == Errno.ENOMEM
    mm.munmap(AT + 10 * PAGE, PAGE)
    mm.munmap(AT + 15 * PAGE, PAGE)
    put(mm, 40, 1)
    assert refusal(lambda: put(mm, 50, 1)) == Errno.ENOMEM, "one more than the limit is the end"
    assert refusal(lambda: remap.mremap(mm, remap.Remap(AT, PAGE, PAGE, maymove=True, fixed=True, to=AT + 80 * PAGE))) == Errno.ENOMEM
    call = remap.Remap(AT + 40 * PAGE, PAGE, PAGE, maymove=True, fixed=True, to=AT + 80 * PAGE)
    mm.limits.max_map_count = len(mm.space) + 5
    assert refusal(lambda: remap.mremap(mm, call)) == Errno.ENOMEM
    mm.limits.max_map_count += 1
    assert remap.mremap(mm, call) == AT + 80 * PAGE


# -- merges ------------------------------------------------------------------------------------------------------------------


def area(start: int, end: int, backing: Any, flags: int = 0, prot: int = 3) -> Vma:
    return Vma(start * PAGE, end * PAGE, prot, flags, backing, start * PAGE, (end - start) * PAGE)


class Segment:
    """The object of System V shared memory: its areas tell when they close."""

    close_hook = True


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


# -- single calls ----------------------------------------------------------------------------------------------------------------


def test_guards() -> None:
    mm = machine()
    put(mm, 0, 10)
    guards = mm.guards
    assert not guards and guards.within(0, 1 << 40) == [] and guards.first(AT, AT + PAGE) is None
    advice.madvise(mm, AT + PAGE, 2 * PAGE, 102)
    advice.madvise(mm, AT + 3 * PAGE, PAGE, 102)
    advice.madvise(mm, AT + 6 * PAGE, PAGE, 102)
    inside = lambda: [((low - AT) // PAGE, (high - AT) // PAGE) for low, high in guards.within(AT, AT + 100 * PAGE)]  # noqa: E731
    assert inside() == [(1, 4), (6, 7)] and guards
    assert guards.within(AT + 2 * PAGE, AT + 3 * PAGE) == [(AT + 2 * PAGE, AT + 3 * PAGE)]
    assert guards.first(AT, AT + PAGE) is None and guards.first(AT + 4 * PAGE, AT + 8 * PAGE) == AT + 6 * PAGE
    assert guards.first(AT + PAGE, AT + PAGE) is None
    advice.madvise(mm, AT + 2 * PAGE, PAGE, 103)
    assert inside() == [(1, 2), (3, 4), (6, 7)]
    mm.mprotect(AT, 10 * PAGE, 1)
    assert inside() == [(1, 2), (3, 4), (6, 7)]
    remap.mremap(mm, remap.Remap(AT, 4 * PAGE, 4 * PAGE, maymove=True, fixed=True, to=AT + 50 * PAGE))
    assert inside() == [(6, 7), (51, 52), (53, 54)]
    mm.munmap(AT + 51 * PAGE, PAGE)
    put(mm, 6, 1)
    assert inside() == [(53, 54)]
    seen: list[Any] = []
    mm.space.subscribe(lambda update: seen.append(update) or 1 // 0)
    for call in (lambda: mm.munmap(AT + 53 * PAGE, PAGE), lambda: put(mm, 53, 1)):
        with pytest.raises(ZeroDivisionError):
            call()
    assert inside() == [(53, 54)] and seen and mm.guards._pending == []


def test_totals() -> None:
    mm = machine()
    put(mm, 0, 2)
    put(mm, 10, 3, 5)
    put(mm, 20, 4, 1, locked=True)
    put(mm, 400, 5, 3, growsdown=True)
    put(mm, 30, 6, 7)
    totals = mm.totals
    now = (totals.total, totals.data, totals.stack, totals.exec, totals.locked, totals.peak)
    assert [n // PAGE for n in now] == [20, 8, 5, 3, 4, 20]
    mm.munmap(AT, 500 * PAGE)
    assert (totals.total, totals.data, totals.stack, totals.exec, totals.locked) == (0, 0, 0, 0, 0) and totals.peak == 20 * PAGE
    put(mm, 0, 2)
    assert Totals(mm.space).total == 2 * PAGE and totals.peak == 20 * PAGE


def test_presence_and_writing_back() -> None:
    mm = machine()
    put(mm, 0, 3)
    assert b"".join(locking.in_memory(mm, AT, 3)) == bytes(3)
    assert refusal(lambda: list(locking.in_memory(mm, AT, 4))) == Errno.ENOMEM
    assert list(locking.in_memory(mm, AT, 0)) == []
    put(mm, 5, 1, shared=True, backing=File("f"))
    sync = lambda length, flags: list(locking.msync(mm, AT, length, flags))  # noqa: E731
    assert sync(3 * PAGE, 4) == [] and refusal(lambda: sync(6 * PAGE, 1)) == Errno.ENOMEM
    done = []
    with pytest.raises(GuestError):
        for part in locking.msync(mm, AT, 6 * PAGE, 4):
            done.append(part[1:])
    assert done == [(AT + 5 * PAGE, AT + 6 * PAGE)], "a hole does not keep what lies behind it from being written"
    assert [list(locking.msync(mm, AT, PAGE, flags)) for flags in (0, 1, 2)] == [[], [], []]
    assert [refusal(lambda flags=flags: sync(PAGE, flags)) for flags in (5, 8)] == [Errno.EINVAL, Errno.EINVAL]
    locking.mlock(mm, AT, PAGE)
    assert refusal(lambda: sync(PAGE, 2)) == Errno.EBUSY and sync(PAGE, 4) == []


def test_the_versions_of_madvise() -> None:
    mm = machine((6, 12))
    put(mm, 0, 2)
    assert refusal(lambda: advice.madvise(mm, AT, PAGE, 102)) == Errno.EINVAL
    mm = machine((6, 13))
    put(mm, 0, 1)
    put(mm, 4, 1, backing=File("f"))
    advice.madvise(mm, AT, PAGE, 102)
    assert refusal(lambda: advice.madvise(mm, AT + 4 * PAGE, PAGE, 102)) == Errno.EINVAL, "files since 6.15"
    assert rules.anon_of(mm.space.regions(AT, 1)[0]) and not mm.space.regions(AT, 1)[0].flags & VmFlag.MAYBE_GUARD
    mm = machine((6, 15))
    put(mm, 4, 1, backing=File("f"))
    advice.madvise(mm, AT + 4 * PAGE, PAGE, 102)


def test_names() -> None:
    mm = machine()
    put(mm, 0, 4)
    put(mm, 8, 1, backing=File("f"))
    advice.set_name(mm, AT + PAGE, PAGE, b"mine")
    assert shape(mm) == [(0, 1, 3), (1, 2, 3), (2, 4, 3), (8, 9, 3)]
    assert refusal(lambda: advice.set_name(mm, AT + 8 * PAGE, PAGE, b"x")) == Errno.EBADF
    assert refusal(lambda: advice.set_name(mm, AT + PAGE, 5 * PAGE, b"mine")) == Errno.ENOMEM
    assert shape(mm) == [(0, 1, 3), (1, 4, 3), (8, 9, 3)]
    advice.set_name(mm, AT, 0, b"x")
    assert refusal(lambda: advice.set_name(mm, AT + 1, PAGE, b"x")) == Errno.EINVAL
    advice.set_name(mm, AT, 4 * PAGE, None)
    assert shape(mm) == [(0, 4, 3), (8, 9, 3)]


def test_mremap_by_version() -> None:
    for kernel, several in (((6, 16), False), ((6, 17), True)):
        mm = machine(kernel)
        put(mm, 0, 1)
        put(mm, 1, 1, 1)
        call = remap.Remap(AT, 2 * PAGE, 2 * PAGE, maymove=True, fixed=True, to=AT + 10 * PAGE)
        if several:
            assert remap.mremap(mm, call) == AT + 10 * PAGE and shape(mm) == [(10, 11, 3), (11, 12, 1)]
        else:
            assert refusal(lambda mm=mm, call=call: remap.mremap(mm, call)) == Errno.EFAULT


def test_special_mappings_stay_where_they_are() -> None:
    mm = machine()
    put(mm, 0, 2, 1, vm_flags=VmFlag.PFNMAP | VmFlag.IO)
    assert refusal(lambda: remap.mremap(mm, remap.Remap(AT, PAGE, PAGE, maymove=True, dontunmap=True))) == Errno.EINVAL
    assert refusal(lambda: remap.mremap(mm, remap.Remap(AT, 2 * PAGE, 3 * PAGE, maymove=True))) == Errno.EFAULT
    assert refusal(lambda: advice.madvise(mm, AT, PAGE, 4)) == Errno.EINVAL
    assert refusal(lambda: advice.madvise(mm, AT, PAGE, 102)) == Errno.EINVAL
    assert refusal(lambda: advice.madvise(mm, AT, PAGE, 103)) == Errno.EINVAL
    assert refusal(lambda: advice.madvise(mm, AT, PAGE, 11)) == Errno.EINVAL
    locking.mlock(mm, AT, PAGE)
    assert mm.totals.locked == 0 and len(mm.space) == 1


def test_a_heap_that_was_never_there() -> None:
    mm = machine()
    mm.set_brk(AT + 5)
    assert mm.brk(0) == AT + 5 and mm.brk(AT + 6) == AT + 6 and not len(mm.space)
    assert mm.brk(AT + PAGE + 1) == AT + PAGE + 1 and shape(mm) == [(1, 2, 3)]
    mm.munmap(AT + PAGE, PAGE)
    assert mm.brk(AT + 7) == AT + PAGE + 1, "there is nothing to take away"
    assert mm.brk(AT + PAGE) == AT + PAGE + 1 and mm.brk(AT + PAGE + 2) == AT + PAGE + 2
    put(mm, 4, 1, 0)
    assert mm.brk(AT + 3 * PAGE) == AT + 3 * PAGE and mm.brk(AT + 3 * PAGE + 1) == AT + 3 * PAGE, "a page stays free"
    mm.data_bytes, mm.limits.data = PAGE, 3 * PAGE
    assert mm.brk(AT + 2 * PAGE) == AT + 2 * PAGE and mm.brk(AT + 2 * PAGE + 6) == AT + 2 * PAGE


def test_arguments_at_the_edge_of_the_word() -> None:
    mm = machine()
    last = (1 << 64) - PAGE
    assert refusal(lambda: mm.mmap(MapRequest(0, (1 << 64) - 1, 3))) == Errno.ENOMEM
    assert refusal(lambda: mm.mprotect(last, PAGE, 1)) == Errno.ENOMEM
    assert refusal(lambda: mm.mprotect(AT + 1, PAGE, 1)) == Errno.EINVAL and mm.mprotect(AT, 0, 1) is None  # type: ignore[func-returns-value]
    assert refusal(lambda: mm.munmap(AT, 0)) == Errno.EINVAL and refusal(lambda: mm.munmap(1 << 63, PAGE)) == Errno.EINVAL
    assert refusal(lambda: mm.munmap(X86_64.task_size, PAGE)) == Errno.EINVAL
    assert mm.munmap(X86_64.task_size - PAGE, PAGE) is None  # type: ignore[func-returns-value]
    assert refusal(lambda: mm.mprotect(X86_64.task_size, PAGE, 1)) == Errno.ENOMEM
    assert mm.end_of_file(area(0, 1, File(object()))) == PAGE
    assert not mm.grow_stack(AT) and not mm.grow_stack(1 << 60)


def test_ranges_that_end_nowhere() -> None:
    mm = machine()
    put(mm, 0, 1)
    far = 1 << 63
    assert [refusal(lambda n=n: advice.madvise(mm, AT, far, n)) for n in (1, 4)] == [Errno.ENOMEM] * 2
    assert refusal(lambda: advice.madvise(mm, AT, (1 << 64) - AT, 4)) == Errno.EINVAL
    assert refusal(lambda: advice.madvise(mm, AT, (1 << 64) - AT - PAGE, 4)) == Errno.ENOMEM
    assert refusal(lambda: locking.mseal(mm, AT, far, 0)) == Errno.ENOMEM
    assert refusal(lambda: locking.mseal(mm, AT, (1 << 64) - AT, 0)) == Errno.EINVAL
    assert refusal(lambda: list(locking.msync(mm, AT, far, 4))) == Errno.ENOMEM
    assert refusal(lambda: locking.munlock(mm, AT, far)) == Errno.ENOMEM
    assert refusal(lambda: locking.munlock(mm, AT, (1 << 64) - AT)) == Errno.EINVAL
    assert refusal(lambda: mm.mprotect(AT, far, 3)) == Errno.ENOMEM and refusal(lambda: mm.mprotect(AT, (1 << 64) - AT, 3)) == Errno.ENOMEM
    assert refusal(lambda: mm.mmap(MapRequest(X86_64.task_size, PAGE, 3, fixed=True))) == Errno.ENOMEM
    assert mm.mmap(MapRequest(X86_64.task_size - PAGE, PAGE, 3, fixed=True)) == X86_64.task_size - PAGE
    assert refusal(lambda: mm.mmap(MapRequest(PAGE, PAGE, 3, fixed=True))) == Errno.EPERM
    mm.raw_io = True
    assert mm.mmap(MapRequest(PAGE, PAGE, 3, fixed=True)) == PAGE
    assert refusal(lambda: mm.munmap(AT + 1, PAGE)) == Errno.EINVAL


def test_what_implies_execution() -> None:
    mm = machine()
    put(mm, 0, 1, 0)
    put(mm, 1, 1, 0, may=3)
    mm.mprotect(AT, 2 * PAGE, 1, implied_exec=True)
    assert shape(mm) == [(0, 1, 5), (1, 2, 1)]
    assert refusal(lambda: mm.mprotect(AT + PAGE, PAGE, 5)) == Errno.EACCES
    mm.deny_write_exec = True
    assert refusal(lambda: mm.mprotect(AT, PAGE, 7)) == Errno.EACCES and mm.mprotect(AT, PAGE, 1) is None  # type: ignore[func-returns-value]
    assert refusal(lambda: mm.mprotect(AT, PAGE, 5)) == Errno.EACCES and refusal(lambda: put(mm, 3, 1, 6)) == Errno.EACCES
    put(mm, 3, 1, 5)
    assert mm.mprotect(AT + 3 * PAGE, PAGE, 4) is None  # type: ignore[func-returns-value]


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


def test_lists_of_file_pages() -> None:
    mm = machine()
    put(mm, 0, 2, shared=True, backing=File("f"))
    put(mm, 2, 2, shared=True, backing=File("f", 8 * PAGE))
    put(mm, 4, 1, 1, shared=True, backing=File("f", 4 * PAGE))
    put(mm, 8, 1)
    seen: list[Any] = []
    again = lambda start, size, page: remap.remap_file_pages(mm, AT + start, size, page, lambda *args: seen.append(args[1:]))  # noqa: E731
    again(5, PAGE + 7, 3)
    again(0, 4 * PAGE, 1)
    assert seen == [(AT, PAGE, 3 * PAGE), (AT, 4 * PAGE, PAGE)]
    for start, size, page in ((0, 5 * PAGE, 0), (8 * PAGE, PAGE, 0), (20 * PAGE, PAGE, 0), (0, 7, 0), (0, PAGE, (1 << 64) - 1)):
        assert refusal(lambda start=start, size=size, page=page: again(start, size, page)) == Errno.EINVAL


def test_a_change_of_rights_counts_what_it_has_added() -> None:
    mm = machine()
    put(mm, 0, 4, 1)
    put(mm, 4, 4, 1, stack=True)
    put(mm, 8, 4, 1, shared=True, backing=File("f"))
    put(mm, 300, 4, 1, growsdown=True)
    mm.limits.data = 7 * PAGE
    mm.mprotect(AT + 8 * PAGE, 4 * PAGE, 3)
    mm.mprotect(AT + 300 * PAGE, 4 * PAGE, 3)
    assert refusal(lambda: mm.mprotect(AT, 12 * PAGE, 3)) == Errno.ENOMEM
    assert shape(mm)[:3] == [(0, 4, 3), (4, 8, 1), (8, 12, 3)] and mm.totals.data == 4 * PAGE
    mm.limits.data = 8 * PAGE
    mm.mprotect(AT, 12 * PAGE, 3)
    assert mm.totals.data == 8 * PAGE
    mm.mprotect(AT, 12 * PAGE, 7)
    assert mm.totals.data == 8 * PAGE


def test_a_stack_grows_to_the_beginning_of_its_numbering() -> None:
    mm = machine()
    put(mm, 600, 1, growsdown=True, backing=None)
    vma = mm.space.regions(AT + 600 * PAGE, 1)[0]
    mm.space.rewrite([(vma.start, vma.end, [vma._replace(backing=Anon(2 * PAGE))])], [])
    assert not mm.grow_stack(AT + 597 * PAGE) and mm.grow_stack(AT + 598 * PAGE)
    grown = mm.space.regions(AT + 598 * PAGE, 1)[0]
    assert (grown.start, rules.offset_of(grown), grown.base) == (AT + 598 * PAGE, 0, AT + 598 * PAGE) and rules.anon_of(grown)
    mm.space.rewrite([(grown.start, grown.end, [grown._replace(backing=Anon(grown.start))])], [])
    mm.limits.stack = 4 * PAGE
    assert not mm.grow_stack(AT + 596 * PAGE) and mm.grow_stack(AT + 597 * PAGE) and not mm.grow_stack(AT + 597 * PAGE)
    mm.limits.stack = 1 << 30
    put(mm, 300, 1)
    assert not mm.grow_stack(AT + 556 * PAGE) and mm.grow_stack(AT + 557 * PAGE), "256 pages stay free above what can be accessed"
    mm.mprotect(AT + 300 * PAGE, PAGE, 0)
    assert mm.grow_stack(AT + 301 * PAGE)
