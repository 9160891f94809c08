"""madvise, guards, names, locking and msync beyond what the recordings show."""

from __future__ import annotations

from typing import Any

import pytest

from emuvm.abi.arch import X86_64
from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.mm import advice, locking, remap, rules
from emuvm.mm.layout import HUGE
from emuvm.mm.linux import MapRequest
from emuvm.mm.types import File, Update, VmFlag

from .machine import AT, PAGE, asked, machine, put, refusal, shape


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
    assert [refusal(lambda n=n: advice.madvise(mm, AT, PAGE, n)) for n in (102, 103)] == [Errno.EINVAL] * 2
    mm = machine((6, 13))
    put(mm, 0, 1)
    put(mm, 4, 1, backing=File("f"))
    advice.madvise(mm, AT, PAGE, 103)
    advice.madvise(mm, AT, PAGE, 102)
    assert refusal(lambda: advice.madvise(mm, AT + 4 * PAGE, PAGE, 102)) == Errno.EINVAL, "files since 6.15"
    assert rules.anon_of(mm.space.regions(AT, 1)[0]) and not mm.space.regions(AT, 1)[0].flags & VmFlag.MAYBE_GUARD
    mm = machine((6, 14))
    put(mm, 4, 1, backing=File("f"))
    assert refusal(lambda: advice.madvise(mm, AT + 4 * PAGE, PAGE, 102)) == Errno.EINVAL
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


class Closed:
    """A file that may not lose contents."""

    def fileno(self) -> int:
        return -1

    def may_punch(self) -> bool:
        return False


class Plain:
    """A file."""

    def fileno(self) -> int:
        return -1


def test_what_advice_does_to_contents() -> None:
    mm = machine()
    advise = lambda page, pages, number: advice.madvise(mm, AT + page * PAGE, pages * PAGE, number)  # noqa: E731
    put(mm, 0, 4)
    put(mm, 4, 4, 1)
    put(mm, 8, 2, locked=True)
    put(mm, 12, 4, shared=True, backing=File(Plain()))
    put(mm, 16, 2, 1, shared=True, may=1, backing=File(Plain()))
    put(mm, 18, 2, backing=File(Plain()))
    put(mm, 20, 1, shared=True, backing=File(Closed()))
    put(mm, 22, 1, shared=True, backing=File(Plain()), locked=True)
    advise(1, 6, 4)
    assert asked(mm) == [("discard", 1, 4), ("discard", 4, 7)]
    assert refusal(lambda: advise(6, 4, 4)) == Errno.EINVAL and asked(mm) == [("discard", 6, 8)]
    assert refusal(lambda: advise(9, 4, 24)) == Errno.ENOMEM and asked(mm) == [("discard", 9, 10), ("discard", 12, 13)]
    advise(13, 2, 9)
    assert asked(mm) == [("punch", 13, 15)]
    numbers = [refusal(lambda page=page: advise(page, 1, 9)) for page in (0, 8, 16, 18, 20, 22)]
    assert numbers == [Errno.EINVAL, Errno.EINVAL, Errno.EACCES, Errno.EACCES, Errno.EPERM, Errno.EINVAL] and asked(mm) == []
    advise(0, 8, 8)
    assert asked(mm) == [("may_free", 0, 4), ("may_free", 4, 8)]
    assert [refusal(lambda page=page: advise(page, 1, 8)) for page in (8, 12, 18)] == [Errno.EINVAL] * 3 and asked(mm) == []
    for number in (20, 21):
        advise(6, 2, number)
        advise(13, 6, number)
        assert asked(mm) == ([("page_out", 6, 8), ("page_out", 13, 16), ("page_out", 16, 18), ("page_out", 18, 19)] if number == 21 else [])
        assert refusal(lambda number=number: advise(7, 2, number)) == Errno.EINVAL
        assert asked(mm) == ([("page_out", 7, 8)] if number == 21 else [])
    advise(1, 2, 102)
    assert asked(mm) == [("discard", 1, 3), ("withdraw", 1, 3)]
    advise(1, 1, 103)
    assert asked(mm) == [("withdraw", 1, 2)] and mm.guards.within(AT, AT + 9 * PAGE) == [(AT + 2 * PAGE, AT + 3 * PAGE)]


def test_guards_that_the_engine_refuses() -> None:
    mm = machine()
    put(mm, 0, 4)
    advice.madvise(mm, AT, PAGE, 102)

    def refuse(start: int, end: int) -> None:
        raise MemoryError

    mm.pages.withdraw = refuse  # type: ignore[method-assign]
    for page, number in ((2, 102), (0, 103)):
        with pytest.raises(MemoryError):
            advice.madvise(mm, AT + page * PAGE, PAGE, number)
        assert mm.guards.within(AT, AT + 4 * PAGE) == [(AT, AT + PAGE)]


def test_populating() -> None:
    mm = machine()
    put(mm, 0, 2)
    put(mm, 2, 2, 1)
    put(mm, 4, 2, 2)
    put(mm, 8, 1, 3, vm_flags=VmFlag.IO)
    advise = lambda page, pages, number: advice.madvise(mm, AT + page * PAGE, pages * PAGE, number)  # noqa: E731
    advise(1, 2, 22)
    assert mm.pages.read == [(AT + PAGE, AT + 2 * PAGE), (AT + 2 * PAGE, AT + 3 * PAGE)] and mm.pages.take_written() == []  # type: ignore[attr-defined]
    assert refusal(lambda: advise(1, 2, 23)) == Errno.EINVAL and mm.pages.take_written() == [AT + PAGE]
    assert refusal(lambda: advise(3, 2, 22)) == Errno.EINVAL, "a right to write alone"
    advise(4, 1, 23)
    assert mm.pages.take_written() == [AT + 4 * PAGE]
    assert refusal(lambda: advise(5, 2, 23)) == Errno.ENOMEM and mm.pages.take_written() == [AT + 5 * PAGE]
    assert [refusal(lambda n=n: advise(8, 1, n)) for n in (22, 23)] == [Errno.EINVAL] * 2
    advise(1, 1, 102)
    mm.pages.read.clear()  # type: ignore[attr-defined]
    assert refusal(lambda: advise(0, 2, 22)) == Errno.EFAULT
    assert mm.pages.read == [(AT, AT + PAGE)], "up to the guard"  # type: ignore[attr-defined]


def test_where_a_large_page_has_a_place() -> None:
    mm = machine()
    mm.mmap(MapRequest(AT, 3 * HUGE, 3, fixed=True))
    mm.mmap(MapRequest(AT + 4 * HUGE + PAGE, 2 * HUGE - 2 * PAGE, 3, fixed=True))
    advise = lambda start, size: advice.madvise(mm, start, size, 25)  # noqa: E731
    mm.pages.present = 1  # type: ignore[attr-defined]
    assert refusal(lambda: advise(AT, HUGE)) == Errno.EINVAL, "nothing was written"
    for start in (AT, AT + 4 * HUGE + PAGE):
        mm.pages.populate(start, start + PAGE, write=True)
    advise(AT, 3 * HUGE)
    assert refusal(lambda: advise(AT + 5 * HUGE, PAGE)) == Errno.EINVAL, "too small for one"
    mm.pages.absent = {AT + HUGE}  # type: ignore[attr-defined]
    assert refusal(lambda: advise(AT, 2 * HUGE)) == Errno.EINVAL
    for start, size in ((AT, HUGE), (AT + 2 * HUGE, HUGE), (AT + PAGE, 2 * HUGE - 2 * PAGE), (AT + PAGE, 2 * HUGE - PAGE + HUGE - PAGE)):
        if start + size > AT + 2 * HUGE and start == AT + PAGE:
            assert refusal(lambda start=start, size=size: advise(start, size)) == Errno.EINVAL
        else:
            advise(start, size)
    mm.mmap(MapRequest(AT + 20 * HUGE, HUGE, 3, fixed=True))
    mm.pages.populate(AT + 20 * HUGE, AT + 20 * HUGE + PAGE, write=True)
    advise(AT + 20 * HUGE, HUGE)
    mm.pages.absent = {AT}  # type: ignore[attr-defined]
    assert refusal(lambda: advise(AT, HUGE)) == Errno.EINVAL
    advise(AT + PAGE, 2 * HUGE - PAGE)
    mm.mmap(MapRequest(AT + 8 * HUGE + PAGE, 2 * HUGE - PAGE, 3, fixed=True))
    mm.pages.populate(AT + 8 * HUGE + PAGE, AT + 8 * HUGE + 2 * PAGE, write=True)
    advise(AT + 8 * HUGE + PAGE, 2 * HUGE - PAGE)
    advice.madvise(mm, AT + 8 * HUGE + PAGE, 2 * HUGE - PAGE, 15)
    assert refusal(lambda: advise(AT + 9 * HUGE, HUGE)) == Errno.EINVAL, "not for large pages"


class Zero:
    """/dev/zero, whose private areas are anonymous."""


@pytest.mark.parametrize("number", [4, 8, 9, 10, 18, 24, 102, 1, 20, 3, 16, 103])
def test_advice_on_sealed_memory(number: int) -> None:
    """As the kernel (6.18) answers."""
    kinds: list[tuple[dict[str, Any], dict[int, int]]] = [
        ({"prot": 1}, dict.fromkeys((4, 8, 9, 10, 18, 24, 102), Errno.EPERM)),
        ({"prot": 0}, dict.fromkeys((4, 8, 9, 10, 18, 24, 102), Errno.EPERM)),
        ({"prot": 3}, {9: Errno.EINVAL}),
        ({"prot": 1, "backing": File(Plain())}, {8: Errno.EINVAL, 9: Errno.EACCES, 18: Errno.EINVAL}),
        ({"prot": 1, "backing": File(Zero())}, dict.fromkeys((4, 8, 9, 10, 18, 24, 102), Errno.EPERM)),
        ({"prot": 1, "backing": File(Plain()), "shared": True}, {8: Errno.EINVAL, 18: Errno.EINVAL}),
        ({"prot": 1, "backing": File(Plain()), "shared": True, "may": 1}, {8: Errno.EINVAL, 9: Errno.EACCES, 18: Errno.EINVAL}),
    ]
    for how, errors in kinds:
        mm = machine()
        put(mm, 0, 1, **how)
        locking.mseal(mm, AT, PAGE, 0)
        if number in errors:
            assert refusal(lambda mm=mm: advice.madvise(mm, AT, PAGE, number)) == errors[number], how
        else:
            advice.madvise(mm, AT, PAGE, number)


def test_guards_follow_a_move_that_is_no_mremap() -> None:
    mm = machine()
    put(mm, 0, 4)
    put(mm, 10, 4)
    for page in (1, 12):
        advice.madvise(mm, AT + page * PAGE, PAGE, 102)
    mm.space.move(AT, 4 * PAGE, AT + 10 * PAGE)
    assert mm.guards.within(AT, AT + 20 * PAGE) == [(AT + 11 * PAGE, AT + 12 * PAGE)]


def test_how_guards_are_marked_by_version() -> None:
    for kernel, flagged in (((6, 15), False), ((6, 17), False), ((6, 18), True)):
        mm = machine(kernel)
        put(mm, 0, 1)
        put(mm, 4, 1, shared=True, backing=File(Plain()))
        put(mm, 8, 1, backing=File(Plain()))
        for page in (0, 4, 8):
            advice.madvise(mm, AT + page * PAGE, PAGE, 102)
        assert [bool(vma.flags & VmFlag.MAYBE_GUARD) for vma in mm.space] == [flagged] * 3
        assert [bool(rules.anon_of(vma)) for vma in mm.space] == [True, not flagged, not flagged]


def test_guards_after_a_change_that_is_undone() -> None:
    mm = machine()
    for page, prot in ((0, 3), (2, 1), (4, 5), (6, 0)):
        put(mm, page, 2, prot)
    for page in (1, 3, 5):
        advice.madvise(mm, AT + page * PAGE, PAGE, 102)
    known = mm.guards.within(AT, AT + 9 * PAGE)
    assert len(known) == 3 and mm.guards.first(AT, AT + 9 * PAGE) == AT + PAGE
    left = [4]

    def refuse(update: Update) -> None:
        left[0] -= 1
        if not left[0]:
            raise MemoryError

    mm.space.subscribe(refuse)
    with pytest.raises(MemoryError):
        mm.munmap(AT, 8 * PAGE)
    assert len(mm.space) == 4 and mm.guards.within(AT, AT + 9 * PAGE) == known
    put(mm, 20, 1)
    assert mm.guards.within(AT, AT + 9 * PAGE) == known, "nothing is left over from it"
    mm.munmap(AT, 2 * PAGE)
    assert mm.guards.within(AT, AT + 9 * PAGE) == known[1:]
