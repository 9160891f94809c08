"""mlock and its kin, msync, mincore, mseal, limits: what is reached, and where the limits lie exactly."""

from __future__ import annotations

from typing import Any

import pytest

from emuvm.abi.arch import X86_64
from emuvm.abi.errno import Errno
from emuvm.mm import AddressSpace, advice, locking
from emuvm.mm.layout import HUGE, Layout, place
from emuvm.mm.limits import INFINITY, Limits
from emuvm.mm.linux import LinuxMm, MapRequest
from emuvm.mm.types import File, VmFlag

from .machine import AT, PAGE, Written, machine, put, refusal, shape


def locked(mm: LinuxMm) -> list[tuple[int, int]]:
    return [((vma.start - AT) // PAGE, (vma.end - AT) // PAGE) for vma in mm.space if vma.flags & VmFlag.LOCKED]


def test_the_limits_of_a_new_process() -> None:
    limits = Limits()
    assert (limits.stack, limits.memlock, limits.max_map_count, limits.overcommit) == (8 << 20, 8 << 20, 65530, 0)
    assert limits.address_space == limits.data == limits.data_hard == limits.commit == INFINITY == (1 << 64) - 1 and not limits.ipc_lock


def test_what_is_locked_already_is_not_counted_twice() -> None:
    mm = machine()
    mm.limits.memlock = 5 * PAGE - 1
    put(mm, 0, 8)
    locking.mlock(mm, AT, 2 * PAGE)
    assert refusal(lambda: locking.mlock(mm, AT + PAGE, 4 * PAGE)) == Errno.ENOMEM and locked(mm) == [(0, 2)]
    locking.mlock(mm, AT + PAGE, 3 * PAGE)
    assert locked(mm) == [(0, 4)]
    assert refusal(lambda: locking.mlock(mm, AT + 6 * PAGE, PAGE)) == Errno.ENOMEM
    locking.mlock(mm, AT + 3 * PAGE, PAGE)
    mm.limits.memlock = 5 * PAGE
    locking.mlock(mm, AT + 3 * PAGE, 2 * PAGE)
    assert locked(mm) == [(0, 5)] and mm.totals.locked == 5 * PAGE
    assert refusal(lambda: put(mm, 20, 1, locked=True)) == Errno.EAGAIN
    mm.limits.memlock = 6 * PAGE + 7
    put(mm, 20, 1, locked=True)
    mm.limits.memlock, mm.limits.ipc_lock = 0, True
    locking.mlock(mm, AT, 8 * PAGE)
    put(mm, 30, 1, locked=True)
    assert locked(mm) == [(0, 8), (20, 21), (30, 31)]


def test_locking_makes_present_what_it_names() -> None:
    mm = machine()
    put(mm, 0, 3)
    put(mm, 3, 3, 1)
    locking.mlock(mm, AT + PAGE + 5, 3 * PAGE)
    assert locked(mm) == [(1, 3), (3, 5)], "whole pages around the range"
    assert mm.pages.take_written() == [AT + PAGE] and mm.pages.read == [(AT + 3 * PAGE, AT + 5 * PAGE)]  # type: ignore[attr-defined]
    locking.munlock(mm, AT + 2 * PAGE + 5, 5)
    assert locked(mm) == [(1, 2), (3, 5)]
    mm.pages.read.clear()  # type: ignore[attr-defined]
    locking.mlock(mm, AT, 6 * PAGE, onfault=True)
    assert mm.pages.take_written() == [] and mm.pages.read == []  # type: ignore[attr-defined]
    assert {vma.flags & (VmFlag.LOCKED | VmFlag.LOCKONFAULT) for vma in mm.space} == {VmFlag.LOCKED | VmFlag.LOCKONFAULT}
    locking.mlock(mm, AT + PAGE, PAGE)
    assert shape(mm) == [(0, 1, 3), (1, 2, 3), (2, 3, 3), (3, 6, 1)]
    put(mm, 10, 1, 0)
    put(mm, 11, 1)
    mm.pages.take_written()
    assert refusal(lambda: locking.mlock(mm, AT + 10 * PAGE, 2 * PAGE)) == Errno.ENOMEM and mm.pages.take_written() == []
    assert locked(mm)[-2:] == [(10, 11), (11, 12)]
    locking.mlock(mm, AT, 0)
    locking.munlock(mm, AT + 90 * PAGE, 0)


def test_a_host_without_memory() -> None:
    mm = machine()
    put(mm, 0, 1)

    def refuse(start: int, end: int, *, write: bool) -> None:
        raise MemoryError

    mm.pages.populate = refuse  # type: ignore[method-assign]
    assert refusal(lambda: locking.mlock(mm, AT, PAGE)) == Errno.EAGAIN
    locking.mlockall(mm, current=True, future=False, onfault=False)
    assert put(mm, 4, 1, populate=True) == AT + 4 * PAGE


def test_locking_everything() -> None:
    mm = machine()
    put(mm, 0, 3)
    put(mm, 5, 2, 1)
    mm.limits.memlock = 5 * PAGE - 1
    assert refusal(lambda: locking.mlockall(mm, current=True, future=True, onfault=False)) == Errno.ENOMEM and not mm.def_flags
    locking.mlockall(mm, current=False, future=True, onfault=False)
    assert mm.def_flags == VmFlag.LOCKED and locked(mm) == []
    mm.limits.memlock = 5 * PAGE
    locking.mlockall(mm, current=True, future=False, onfault=False)
    assert mm.def_flags == 0 and locked(mm) == [(0, 3), (5, 7)] and mm.pages.take_written() == [AT]
    assert mm.pages.read == [(AT + 5 * PAGE, AT + 7 * PAGE)]  # type: ignore[attr-defined]
    locking.mlockall(mm, current=False, future=False, onfault=False)
    assert locked(mm) == []
    mm.limits.memlock, mm.limits.ipc_lock = 0, True
    locking.mlockall(mm, current=True, future=True, onfault=True)
    both = VmFlag.LOCKED | VmFlag.LOCKONFAULT
    assert mm.def_flags == both and {vma.flags & both for vma in mm.space} == {both} and mm.pages.take_written() == []
    locking.mlockall(mm, current=False, future=True, onfault=False)
    assert mm.def_flags == VmFlag.LOCKED, "the last call counts"
    put(mm, 9, 1)
    assert mm.pages.take_written() == [AT + 9 * PAGE] and locked(mm)[-1] == (9, 10)
    mm.set_brk(AT + 40 * PAGE)
    mm.brk(AT + 42 * PAGE)
    assert mm.pages.take_written() == [AT + 40 * PAGE] and locked(mm)[-1] == (40, 42)
    mm.limits.ipc_lock, mm.limits.memlock = False, mm.totals.locked + PAGE
    assert mm.brk(AT + 44 * PAGE) == AT + 42 * PAGE and mm.brk(AT + 43 * PAGE) == AT + 43 * PAGE


def test_parts_that_are_written_back() -> None:
    mm = machine()
    file = File("f")
    put(mm, 0, 4, shared=True, backing=file)
    put(mm, 4, 2)
    put(mm, 6, 2, shared=True, backing=File("g"))
    put(mm, 8, 1, backing=File("h"))
    parts = lambda page, size, flags: [  # noqa: E731
        ((low - AT) // PAGE, (high - AT) // PAGE) for _, low, high in locking.msync(mm, AT + page * PAGE, size, flags)
    ]
    assert parts(1, 6 * PAGE - 5, 4) == [(1, 4), (6, 7)] and parts(1, 6 * PAGE, 6) == [(1, 4), (6, 7)] and parts(1, 0, 4) == []
    assert parts(1, 6 * PAGE, 1) == parts(1, 6 * PAGE, 2) == parts(4, PAGE, 4) == parts(8, PAGE, 4) == []
    assert refusal(lambda: list(locking.msync(mm, AT + 1, PAGE, 4))) == Errno.EINVAL
    assert refusal(lambda: parts(9, PAGE, 4)) == Errno.ENOMEM and refusal(lambda: parts(8, 2 * PAGE, 2)) == Errno.ENOMEM
    assert refusal(lambda: parts(0, (1 << 64) - AT, 4)) == Errno.ENOMEM, "the range wraps"
    wrapping = locking.msync(mm, AT, (1 << 64) - AT, 4)
    assert refusal(lambda: next(wrapping)) == Errno.ENOMEM, "at once"
    assert parts(0, (1 << 64) - 1, 4) == [], "as much as nothing"
    put(mm, 20, 1, locked=True)
    assert refusal(lambda: parts(19, 2 * PAGE, 3)) == Errno.EBUSY and refusal(lambda: parts(19, 2 * PAGE, 1)) == Errno.ENOMEM


def test_presence_is_told_in_pieces() -> None:
    mm = machine()
    put(mm, 0, 5000)
    put(mm, 5000, 1, 1)
    pieces = lambda page, pages: [len(piece) for piece in locking.in_memory(mm, AT + page * PAGE, pages)]  # noqa: E731
    assert pieces(0, 5001) == [4096, 904, 1] and pieces(3, 7) == [7] and pieces(4999, 2) == [1, 1]
    for bits, shown in ((1, 1), (2, 0), (3, 1)):
        mm.pages.present = bits  # type: ignore[attr-defined]
        mm.pages.residency = lambda start, end, bits=bits: bytes([bits]) * (end - start >> 12)  # type: ignore[method-assign, misc]
        assert list(locking.in_memory(mm, AT, 2)) == [bytes([shown]) * 2]
    last = X86_64.task_size - PAGE
    mm.mmap(MapRequest(last, PAGE, 3, fixed=True))
    assert len(list(locking.in_memory(mm, last, 1))) == 1
    with pytest.raises(Exception, match="ENOMEM"):
        list(locking.in_memory(mm, last, 2))


def test_sealing() -> None:
    mm = machine()
    put(mm, 0, 4)
    put(mm, 4, 1, 1)
    seal = lambda page, size, flags=0: locking.mseal(mm, AT + page * PAGE, size, flags)  # noqa: E731
    sealed = lambda: [((vma.start - AT) // PAGE, (vma.end - AT) // PAGE) for vma in mm.space if vma.flags & VmFlag.SEALED]  # noqa: E731
    assert refusal(lambda: seal(0, PAGE, 1)) == refusal(lambda: locking.mseal(mm, AT + 1, PAGE, 0)) == Errno.EINVAL
    assert refusal(lambda: seal(0, (1 << 64) - 1)) == refusal(lambda: seal(0, (1 << 64) - AT)) == Errno.EINVAL
    assert refusal(lambda: seal(3, 3 * PAGE)) == Errno.ENOMEM and sealed() == []
    seal(0, 0)
    seal(90, 0)
    seal(2, 2 * PAGE + 1)
    seal(3, PAGE)
    assert sealed() == [(2, 4), (4, 5)]
    mm.limits.max_map_count = 4
    seal(1, PAGE // 2)
    assert sealed() == [(1, 4), (4, 5)]
    put(mm, 10, 2)
    assert refusal(lambda: seal(10, PAGE)) == Errno.ENOMEM and sealed() == [(1, 4), (4, 5)]


def test_pages_that_are_withheld() -> None:
    mm = machine()
    put(mm, 0, 10)
    assert mm.pages.withheld is None
    advice.madvise(mm, AT + PAGE, 3 * PAGE, 102)
    assert mm.pages.withheld is not None and mm.pages.withheld(AT, AT + 9 * PAGE) == [(AT + PAGE, AT + 4 * PAGE)]
    other = Written()
    mm.attach_pages(other)
    assert other.withheld is not None and mm.pages is other
    assert mm.guards.first(AT + 2 * PAGE, AT + 2 * PAGE) is None
    advice.madvise(mm, AT + 8 * PAGE, PAGE, 103)
    advice.madvise(mm, AT + 6 * PAGE, PAGE, 102)
    advice.madvise(mm, AT + 4 * PAGE, 2 * PAGE, 103)
    assert mm.guards.within(AT, AT + 9 * PAGE) == [(AT + PAGE, AT + 4 * PAGE), (AT + 6 * PAGE, AT + 7 * PAGE)]
    assert mm.guards.within(AT + 2 * PAGE, AT + 6 * PAGE) == [(AT + 2 * PAGE, AT + 4 * PAGE)]
    advice.madvise(mm, AT + 3 * PAGE, 5 * PAGE, 102)
    assert mm.guards.within(AT, AT + 9 * PAGE) == [(AT + PAGE, AT + 8 * PAGE)]
    third = Written()
    fresh = machine()
    fresh.attach_pages(third)
    assert third.withheld is None


def test_data_that_is_exactly_the_limit() -> None:
    mm = machine()
    put(mm, 0, 4)
    totals = mm.totals
    limits = Limits(address_space=9 * PAGE, data=7 * PAGE)
    fits: Any = lambda *args: limits.may_expand(totals, *args)  # noqa: E731
    assert fits(5 * PAGE, 1, 0) and not fits(6 * PAGE, 1, 0)
    assert fits(3 * PAGE, 2, 0) and not fits(4 * PAGE, 2, 0) and fits(2 * PAGE, 2, 0, PAGE) and not fits(3 * PAGE, 2, 0, PAGE)
    assert all(fits(5 * PAGE, 3, flag) for flag in (VmFlag.SHARED, VmFlag.GROWSDOWN))
    limits.data, limits.data_hard = 0, 5 * PAGE + 1
    assert fits(PAGE, 3, 0) and not fits(2 * PAGE, 3, 0)
    limits.data = 1
    assert not fits(PAGE, 3, 0), "only a limit of 0 counts as the hard one"
    limits.commit = 3 * PAGE
    limits.enough_memory(3 * PAGE)
    assert refusal(lambda: limits.enough_memory(4 * PAGE)) == Errno.ENOMEM


def test_room_that_fits_exactly() -> None:
    space = AddressSpace(0, 1 << 47)
    layout = Layout(PAGE, 64 * PAGE, 80 * PAGE, 100 * PAGE, align_huge=False)
    assert place(space, layout, 63 * PAGE) == PAGE and place(space, layout, 20 * PAGE, low=50 * PAGE) == 80 * PAGE
    assert place(space, layout, 14 * PAGE, low=50 * PAGE) == 50 * PAGE
    space.map_at(90 * PAGE, PAGE, 3)
    space.map_at(PAGE, 63 * PAGE, 3)
    assert place(space, layout, 10 * PAGE) == 80 * PAGE and refusal(lambda: place(space, layout, 11 * PAGE)) == Errno.ENOMEM
    space = AddressSpace(0, 1 << 47)
    wide = Layout(PAGE, 1000 * PAGE, 1000 * PAGE, 2000 * PAGE, align_huge=False)
    space.map_at(900 * PAGE, 100 * PAGE, 3, VmFlag.GROWSDOWN)
    assert place(space, wide, PAGE) == (900 - 257) * PAGE and place(space, wide, 643 * PAGE) == PAGE
    assert place(space, wide, 644 * PAGE) == 1000 * PAGE
    space.map_at(600 * PAGE, 43 * PAGE, 3)
    assert place(space, wide, PAGE) == 643 * PAGE and place(space, wide, 2 * PAGE) == 598 * PAGE
    base = AddressSpace(0, 1 << 47)
    large = Layout(PAGE, 8 * HUGE, PAGE, 16 * HUGE)
    assert place(base, large, HUGE) == 7 * HUGE and place(base, large, HUGE, low=1 << 32) != 7 * HUGE
    assert place(base, large, 2 * HUGE, low_2g=True) == (1 << 30) + HUGE


def test_the_last_page() -> None:
    mm = machine()
    last = X86_64.task_size - PAGE
    mm.mmap(MapRequest(last, PAGE, 3, fixed=True))
    calls: list[Any] = [
        lambda size: locking.mlock(mm, last, size),
        lambda size: locking.munlock(mm, last, size),
        lambda size: mm.mprotect(last, size, 1),
        lambda size: mm.mprotect(last, size, 3),
        lambda size: list(locking.msync(mm, last, size, 4)),
        *(lambda size, number=number: advice.madvise(mm, last, size, number) for number in (1, 4, 22, 23, 102, 103)),
        lambda size: advice.set_name(mm, last, size, b"last"),
        lambda size: locking.mseal(mm, last, size, 0),
    ]
    for call in calls:
        assert refusal(lambda call=call: call(2 * PAGE)) == Errno.ENOMEM
        call(PAGE)
    assert refusal(lambda: mm.munmap(last, PAGE)) == Errno.EPERM and refusal(lambda: mm.munmap(last, 2 * PAGE)) == Errno.EINVAL


def test_the_first_two_gigabytes() -> None:
    space = AddressSpace(0, 1 << 47)
    layout = Layout.of(X86_64, space)
    low = lambda size: place(space, layout, size, low_2g=True)  # noqa: E731
    space.map_at((1 << 30) + 256 * PAGE, PAGE, 3, VmFlag.GROWSDOWN)
    assert low(PAGE) == (1 << 30) + 257 * PAGE
    space.unmap((1 << 30) + 256 * PAGE, PAGE)
    space.map_at((1 << 30) + 257 * PAGE, PAGE, 3, VmFlag.GROWSDOWN)
    assert low(PAGE) == 1 << 30 and low(2 * PAGE) == (1 << 30) + 258 * PAGE
    assert low((1 << 30) - 258 * PAGE) == (1 << 30) + 258 * PAGE and refusal(lambda: low((1 << 30) - 257 * PAGE)) == Errno.ENOMEM
    space.map_at(1 << 30, 1 << 30, 3)
    assert refusal(lambda: low(PAGE)) == Errno.ENOMEM
    assert place(space, layout, PAGE) == layout.mmap_base - PAGE


def test_locking_where_nothing_is() -> None:
    mm = machine()
    put(mm, 1, 1)
    put(mm, 3, 1)
    for call in (locking.mlock, locking.munlock):
        for start in (AT, X86_64.task_size, 1 << 50):
            assert refusal(lambda call=call, start=start: call(mm, start, 2 * PAGE)) == Errno.ENOMEM
    assert refusal(lambda: locking.mlock(mm, AT + PAGE, 3 * PAGE)) == Errno.ENOMEM and locked(mm) == [(1, 2)]


def test_counters_and_bounds_of_an_empty_space() -> None:
    totals = machine().totals
    assert (totals.total, totals.data, totals.stack, totals.exec, totals.locked, totals.peak) == (0,) * 6
    assert Layout.of(X86_64, AddressSpace(0, X86_64.unmapped_base)).unmapped_base == 0x10000
    assert Layout.of(X86_64, AddressSpace(0, X86_64.unmapped_base + PAGE)).unmapped_base == X86_64.unmapped_base


def test_a_space_that_ends_below_two_gigabytes() -> None:
    space = AddressSpace(0, 1 << 29)
    layout = Layout.of(X86_64, space)
    end = 1 << 29
    assert place(space, layout, 2 * PAGE, hint=end - 2 * PAGE, low_2g=True) == end - 2 * PAGE
    for size, hint in ((2 * PAGE, end - PAGE), (1 << 50, 0), (1 << 50, PAGE), ((1 << 29) + PAGE, 0)):
        assert refusal(lambda size=size, hint=hint: place(space, layout, size, hint=hint, low_2g=True)) == Errno.ENOMEM
    assert refusal(lambda: place(space, layout, 1 << 50)) == refusal(lambda: place(space, layout, (1 << 29) + PAGE)) == Errno.ENOMEM
