"""madvise, guards, names, locking and msync beyond what the recordings show."""

from __future__ import annotations

from typing import Any

import pytest

from emuvm.abi.arch import X86_64
from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.mm import advice, locking, remap, rules
from emuvm.mm.linux import MapRequest
from emuvm.mm.types import File, VmFlag

from .machine import AT, PAGE, machine, put, refusal, shape


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
