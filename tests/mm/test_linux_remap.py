"""mremap and remap_file_pages beyond what the recordings show: versions, edges."""

from __future__ import annotations

from typing import Any

import pytest

from emuvm.abi.arch import X86_64
from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.mm import advice, remap, rules
from emuvm.mm.layout import HUGE
from emuvm.mm.linux import MapRequest
from emuvm.mm.types import File, Update

from .machine import AT, PAGE, machine, put, refusal, shape


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
    again(0, 2 * PAGE, (1 << 64) - 3)
    put(mm, 10, 1, shared=True, backing=File("f"))
    put(mm, 11, 1, shared=True, backing=File("g", PAGE))
    assert refusal(lambda: again(10 * PAGE, 2 * PAGE, 0)) == Errno.EINVAL, "two files"
    for start, size, page in ((0, 5 * PAGE, 0), (8 * PAGE, PAGE, 0), (20 * PAGE, PAGE, 0), (0, 7, 0), (0, PAGE, (1 << 64) - 1)):
        assert refusal(lambda start=start, size=size, page=page: again(start, size, page)) == Errno.EINVAL


def test_grown_mappings_are_charged() -> None:
    for behind in (False, True):
        mm = machine()
        mm.limits.commit = 8 * PAGE
        put(mm, 0, 2)
        if behind:
            put(mm, 2, 1, 1)
        assert refusal(lambda mm=mm: remap.mremap(mm, remap.Remap(AT, 2 * PAGE, 11 * PAGE, maymove=True))) == Errno.ENOMEM
        remap.mremap(mm, remap.Remap(AT, 2 * PAGE, 10 * PAGE, maymove=True))


def test_offsets_that_wrap() -> None:
    mm = machine()
    many = (1 << 64) - 2
    put(mm, 0, 1, shared=True)
    put(mm, 5, 1, shared=True)
    put(mm, 10, 1, shared=True)
    for page, number in ((0, many), (5, many - 1), (10, 1 << 53)):
        vma = mm.space.regions(AT + page * PAGE, 1)[0]
        mm.space.rewrite([(vma.start, vma.end, [vma._replace(backing=File("f", number << 12))])], [])
    assert refusal(lambda: remap.mremap(mm, remap.Remap(AT, PAGE, 2 * PAGE))) == Errno.EINVAL
    assert remap.mremap(mm, remap.Remap(AT + 5 * PAGE, PAGE, 2 * PAGE)) == AT + 5 * PAGE
    assert refusal(lambda: remap.mremap(mm, remap.Remap(AT + 6 * PAGE, PAGE, 2 * PAGE))) == Errno.EINVAL
    assert remap.mremap(mm, remap.Remap(AT + 10 * PAGE, PAGE, 2 * PAGE)) == AT + 10 * PAGE


def test_lengths_that_wrap() -> None:
    mm = machine()
    put(mm, 0, 2)
    put(mm, 5, 1, shared=True, backing=File("f"))
    most = (1 << 64) - 1
    assert refusal(lambda: remap.mremap(mm, remap.Remap(AT, PAGE, most))) == Errno.EINVAL
    assert refusal(lambda: remap.mremap(mm, remap.Remap(AT, most, PAGE, maymove=True))) == Errno.EINVAL, "as much as nothing"
    assert refusal(lambda: remap.mremap(mm, remap.Remap(AT, most - PAGE, 2 * most))) == Errno.EINVAL
    copy = remap.mremap(mm, remap.Remap(AT + 5 * PAGE, most, PAGE, maymove=True))
    assert [vma.backing for vma in mm.space.regions(copy, PAGE)] == [File("f")] and shape(mm)[:2] == [(0, 2, 3), (5, 6, 3)]
    assert refusal(lambda: remap.mremap(mm, remap.Remap(AT, most - PAGE, PAGE))) == Errno.EINVAL and shape(mm)[:2] == [(0, 2, 3), (5, 6, 3)]


def test_what_is_added_to_locked_memory_is_made_present() -> None:
    mm = machine()
    put(mm, 0, 2, locked=True)
    mm.pages.take_written()
    assert remap.mremap(mm, remap.Remap(AT, 2 * PAGE, 4 * PAGE)) == AT
    assert mm.pages.take_written() == [AT + 2 * PAGE]
    put(mm, 4, 1, 0)
    to = remap.mremap(mm, remap.Remap(AT, 4 * PAGE, 9 * PAGE, maymove=True))
    assert to != AT and mm.pages.take_written() == [to + 4 * PAGE]
    to = remap.mremap(mm, remap.Remap(to, 9 * PAGE, 9 * PAGE, maymove=True, fixed=True, to=AT + 20 * PAGE))
    assert mm.pages.take_written() == [], "moved only"


class Aligned:
    """A file of a file system that aligns large mappings."""

    places_itself = True

    def fileno(self) -> int:
        return -1


def test_a_file_that_moves_is_aligned_by_its_offset() -> None:
    mm = machine()
    at = AT + 5 * PAGE
    mm.mmap(MapRequest(at, 4 * HUGE, 3, fixed=True, backing=File(Aligned(), 9 * PAGE)))
    put(mm, 5 + (4 * HUGE) // PAGE, 1, 0)
    to = remap.mremap(mm, remap.Remap(at + 3 * PAGE, 3 * HUGE, 3 * HUGE, maymove=True, dontunmap=True))
    assert to % HUGE == 12 * PAGE and mm.space.query(at) is not None
    vma = mm.space.query(to)
    assert vma is not None and rules.offset_of(vma) == 12 * PAGE
    put(mm, 4000, 512)
    to = remap.mremap(mm, remap.Remap(AT + 4000 * PAGE, HUGE, HUGE, maymove=True, dontunmap=True))
    assert to % HUGE == 0
    mm.mmap(MapRequest(AT + 9000 * PAGE, HUGE, 3, fixed=True, shared=True, backing=File("f")))
    put(mm, 9512, 1, 0)
    mm.mmap(MapRequest(0, 9 * HUGE + PAGE, 3))
    to = remap.mremap(mm, remap.Remap(AT + 9000 * PAGE, HUGE, 2 * HUGE, maymove=True))
    assert to % HUGE != 0
    mm.mmap(MapRequest(AT + 20000 * PAGE, HUGE, 3, fixed=True, backing=File("f")))
    to = remap.mremap(mm, remap.Remap(AT + 20000 * PAGE, HUGE, HUGE, maymove=True, dontunmap=True))
    assert to % HUGE != 0
    to = remap.mremap(mm, remap.Remap(AT + 4000 * PAGE, HUGE, HUGE, maymove=True, dontunmap=True, to=mm.layout.min_addr))
    assert to == mm.layout.min_addr
    to = remap.mremap(mm, remap.Remap(to, HUGE, HUGE, maymove=True, dontunmap=True, to=mm.layout.min_addr + 16 * HUGE))
    assert to == mm.layout.min_addr + 16 * HUGE


def test_a_move_keeps_away_from_the_limit_of_areas() -> None:
    mm = machine()
    put(mm, 0, 1)
    put(mm, 1, 1, 0)
    mm.limits.max_map_count = len(mm.space) + 3
    assert refusal(lambda: remap.mremap(mm, remap.Remap(AT, PAGE, 2 * PAGE, maymove=True))) == Errno.ENOMEM
    mm.limits.max_map_count += 1
    assert remap.mremap(mm, remap.Remap(AT, PAGE, 2 * PAGE, maymove=True)) != AT


def test_locks_that_are_lost_stay_counted() -> None:
    mm = machine()
    put(mm, 0, 3, locked=True)
    remap.mremap(mm, remap.Remap(AT, 2 * PAGE, 2 * PAGE, maymove=True, dontunmap=True))
    assert mm.totals.locked == 5 * PAGE
    put(mm, 10, 1)
    remap.mremap(mm, remap.Remap(AT + 10 * PAGE, PAGE, PAGE, maymove=True, dontunmap=True))
    assert mm.totals.locked == 5 * PAGE


def test_ranges_that_cross_the_end_of_an_area() -> None:
    mm = machine()
    put(mm, 0, 2)
    put(mm, 2, 4, 1)
    call = lambda old, size, new, **more: remap.mremap(mm, remap.Remap(AT + old * PAGE, size * PAGE, new * PAGE, **more))  # noqa: E731
    fixed = {"maymove": True, "fixed": True, "to": AT + 50 * PAGE}
    for old, size, new in ((0, 4, 3), (0, 3, 4), (1, 2, 3), (1, 3, 2)):
        assert refusal(lambda old=old, size=size, new=new: call(old, size, new, **fixed)) == Errno.EFAULT
    assert refusal(lambda: call(0, 3, 4, maymove=True)) == Errno.EFAULT
    assert refusal(lambda: call(0, 2, 3)) == Errno.ENOMEM, "it may not move"
    assert shape(mm) == [(0, 2, 3), (2, 6, 1)]
    assert call(0, 4, 2, **fixed) == AT + 50 * PAGE and shape(mm) == [(4, 6, 1), (50, 52, 3)]


def test_what_is_too_long_or_too_far() -> None:
    mm = machine()
    put(mm, 0, 1)
    size = X86_64.task_size
    call = lambda new, **more: remap.mremap(mm, remap.Remap(AT, PAGE, new, maymove=True, **more))  # noqa: E731
    assert refusal(lambda: call(size)) == Errno.ENOMEM and refusal(lambda: call(size + PAGE)) == Errno.EINVAL
    errors = [
        (size - PAGE, 2 * PAGE), (size, PAGE), (size - PAGE + 1, PAGE), (AT, PAGE), (AT - PAGE, 2 * PAGE), (1 << 60, PAGE), (AT + 1, PAGE),
    ]  # fmt: skip
    for to, new in errors:
        assert refusal(lambda to=to, new=new: call(new, fixed=True, to=to)) == Errno.EINVAL
    assert refusal(lambda: call(PAGE, fixed=True, to=0x1000)) == Errno.EPERM
    assert refusal(lambda: remap.mremap(mm, remap.Remap(AT, PAGE, PAGE, fixed=True, to=AT + PAGE))) == Errno.EINVAL
    assert refusal(lambda: call(2 * PAGE, dontunmap=True)) == Errno.EINVAL
    assert call(PAGE, fixed=True, to=AT - PAGE) == AT - PAGE and shape(mm) == [(-1, 0, 3)]
    assert remap.mremap(mm, remap.Remap(AT - PAGE, PAGE, PAGE, maymove=True, fixed=True, to=AT)) == AT
    assert call(PAGE, fixed=True, to=size - PAGE) == size - PAGE


def test_guards_of_a_move_that_is_refused() -> None:
    mm = machine()
    put(mm, 0, 2)
    advice.madvise(mm, AT + PAGE, PAGE, 102)

    def refuse(update: Update) -> None:
        raise MemoryError

    mm.space.subscribe(refuse)
    with pytest.raises(MemoryError):
        remap.mremap(mm, remap.Remap(AT, 2 * PAGE, 2 * PAGE, maymove=True, fixed=True, to=AT + 9 * PAGE))
    assert mm.guards.within(AT, AT + 20 * PAGE) == [(AT + PAGE, AT + 2 * PAGE)] and shape(mm) == [(0, 2, 3)]


def test_a_hint_below_the_lowest_address_is_taken_by_its_word() -> None:
    """Other than mmap's it is not raised; what comes of it may be forbidden."""
    mm = machine()
    put(mm, 0, 3)
    with pytest.raises(GuestError) as caught:
        remap.mremap(mm, remap.Remap(AT, PAGE, PAGE, maymove=True, dontunmap=True, to=PAGE))
    assert caught.value.errno == Errno.EPERM
    mm.lowest = PAGE
    assert remap.mremap(mm, remap.Remap(AT, PAGE, PAGE, maymove=True, dontunmap=True, to=PAGE)) == PAGE
    with pytest.raises(GuestError) as caught:
        remap.mremap(mm, remap.Remap(AT + PAGE, (1 << 64) - AT, PAGE, maymove=True, fixed=True, to=AT + PAGE))
    assert caught.value.errno == Errno.EFAULT
