"""LinuxMm where the recordings of the kernel do not reach: where mappings go, limits, counters, single calls."""

from __future__ import annotations

import pytest

from emuvm.abi.arch import ARM64, X86_64
from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.mm import AddressSpace, advice, remap, rules
from emuvm.mm.layout import HUGE, Layout, next_region, place, start_gap
from emuvm.mm.linux import LinuxMm, MapRequest
from emuvm.mm.totals import Totals
from emuvm.mm.types import Anon, File, Vma, VmFlag

from .machine import AT, PAGE, Written, area, machine, put, refusal, shape, touch


def test_errors_have_their_number() -> None:
    with pytest.raises(GuestError) as error:
        machine().mmap(MapRequest(0, 0, 3))
    assert error.value.errno == Errno.EINVAL


def test_the_layout_of_arm64() -> None:
    mm = machine(arch=ARM64)
    assert mm.mmap(MapRequest(0, PAGE, 3)) == ARM64.mmap_base - PAGE
    assert not mm.space.query(AT)


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
    assert place(space, layout, PAGE, hint=layout.min_addr - PAGE) == layout.min_addr - PAGE
    arm64 = Layout.of(ARM64, space)
    assert place(space, arm64, PAGE, hint=layout.min_addr - PAGE) == arm64.mmap_base - PAGE
    assert place(space, arm64, PAGE, hint=layout.min_addr) == layout.min_addr
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
        assert place(space, layout, 2 * HUGE, kernel=kernel, hint=layout.task_size) == base - 2 * HUGE
    in_file = place(space, layout, 2 * HUGE, align_at=5 * PAGE, in_file=True, kernel=(6, 1))
    assert in_file % HUGE == 5 * PAGE
    assert place(space, layout, HUGE + PAGE, align_at=HUGE - PAGE, in_file=True) % HUGE == HUGE - PAGE, "a large page is in it"
    assert place(space, layout, HUGE, align_at=HUGE - PAGE, in_file=True) == base - HUGE
    aligned = layout._replace(mmap_base=base & -HUGE)
    assert place(space, aligned, HUGE) == (base & -HUGE) - HUGE, "found aligned: up a whole large page"


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
    assert grown.length == 3 * PAGE
    mm.space.rewrite([(grown.start, grown.end, [grown._replace(backing=Anon(grown.start))])], [])
    mm.limits.stack = 4 * PAGE
    assert not mm.grow_stack(AT + 596 * PAGE) and mm.grow_stack(AT + 597 * PAGE) and not mm.grow_stack(AT + 597 * PAGE)
    mm.limits.stack = 1 << 30
    put(mm, 300, 1)
    assert not mm.grow_stack(AT + 556 * PAGE) and mm.grow_stack(AT + 557 * PAGE), "256 pages stay free above what can be accessed"
    mm.mprotect(AT + 300 * PAGE, PAGE, 0)
    assert mm.grow_stack(AT + 301 * PAGE)


def test_an_address_that_looks_like_an_error_is_one() -> None:
    mm = machine()
    top = 1 << 64
    numbers = (1, 22, 41, 132, 200, 4095)
    assert [refusal(lambda n=n: mm.mmap(MapRequest(top - n, PAGE, 3, fixed=True))) for n in numbers] == list(numbers)
    assert refusal(lambda: mm.mmap(MapRequest(top - 4096, PAGE, 3, fixed=True))) == Errno.ENOMEM


def test_the_newest_rules_are_the_default() -> None:
    pages = Written()
    assert LinuxMm(AddressSpace(0, 1 << 47), X86_64).kernel == rules.KERNEL == (6, 18)
    assert LinuxMm(AddressSpace(0, 1 << 47), X86_64, pages=pages).pages is pages
    assert LinuxMm(AddressSpace(0, 1 << 47), X86_64).pages.take_written() == []


def test_the_lowest_address_that_may_be_asked_for() -> None:
    mm = machine()
    mm.lowest = 0x20000
    assert mm.mmap(MapRequest(0x20000, PAGE, 3, fixed=True)) == 0x20000
    assert refusal(lambda: mm.mmap(MapRequest(0x1F000, PAGE, 3, fixed=True))) == Errno.EPERM
    assert mm.mmap(MapRequest(0x18000, PAGE, 3)) == 0x18000, "hints know another limit"
    assert mm.mmap(MapRequest(5, PAGE, 3)) not in (0, 0x10000) and mm.mmap(MapRequest(PAGE, PAGE, 3)) == 0x10000


class Sized:
    """A file of one and a half pages. An address search of its own aligns it to large pages."""

    places_itself = True

    def fileno(self) -> int:
        return -1

    def size(self) -> int:
        return PAGE + PAGE // 2


def test_what_lies_behind_the_end_of_a_file() -> None:
    mm = machine()
    file = Sized()
    put(mm, 0, 4, backing=File(file))
    put(mm, 10, 4, backing=File(file, PAGE))
    put(mm, 20, 4, backing=File(file, 2 * PAGE))
    put(mm, 30, 4, backing=File(file, 5 * PAGE))
    put(mm, 40, 4, shared=True, backing=File(file))
    assert [(mm.end_of_file(vma) - vma.start) // PAGE for vma in mm.space] == [2, 1, 0, 0, 2]
    anon = lambda: [bool(rules.anon_of(vma)) for vma in mm.space]  # noqa: E731
    area = list(mm.space)
    assert mm.access(area[0], area[0].start, area[0].start + 2 * PAGE, write=False) == area[0].start + 2 * PAGE
    assert mm.access(area[0], area[0].start, area[0].start + 3 * PAGE, write=False) == area[0].start + 2 * PAGE
    assert mm.pages.read == [(AT, AT + 2 * PAGE)] * 2 and not any(anon())  # type: ignore[attr-defined]
    assert mm.access(area[2], area[2].start, area[2].start + PAGE, write=False) == area[2].start
    assert not any(anon()) and mm.pages.take_written() == []
    assert mm.access(area[2], area[2].start, area[2].start + PAGE, write=True) == area[2].start
    assert anon() == [False, False, True, False, False] and mm.pages.take_written() == []
    advice.madvise(mm, AT + PAGE, PAGE, 102)
    assert mm.access(area[0], AT, AT + 4 * PAGE, write=True) == AT + PAGE and mm.pages.take_written() == [AT]
    assert anon() == [False, False, True, False, False], "a guard is met first"
    assert mm.access(area[1], area[1].start, area[1].end, write=True) == area[1].start + PAGE
    assert anon() == [False, True, True, False, False]


def test_what_is_made_present() -> None:
    mm = machine()
    put(mm, 0, 2)
    put(mm, 2, 2, 1)
    put(mm, 4, 1, 0)
    put(mm, 6, 2, shared=True, backing=File("f"))
    mm.populate(AT + PAGE, AT + 7 * PAGE)
    reads = [(2, 4), (6, 7)]
    assert mm.pages.take_written() == [AT + PAGE]
    assert mm.pages.read == [(AT + low * PAGE, AT + high * PAGE) for low, high in reads]  # type: ignore[attr-defined]
    put(mm, 20, 2, populate=True)
    assert mm.pages.take_written() == [AT + 20 * PAGE]
    special = Vma(0, PAGE, 3, VmFlag.IO, None, 0, PAGE)
    assert all(mm.touch(special._replace(flags=flag), 0, PAGE) for flag in (VmFlag.IO, VmFlag.PFNMAP, VmFlag.LOCKONFAULT))
    assert mm.pages.take_written() == [] and not mm.touch(special._replace(flags=0, prot=0), 0, PAGE)


def test_a_refused_mapping_has_cut_what_it_would_have_replaced() -> None:
    pieces = [(0, 2, 1), (2, 4, 1), (4, 6, 1)]
    for kernel, shown in (((6, 18), pieces), ((6, 12), pieces), ((6, 11), [(0, 6, 1)])):
        mm = machine(kernel)
        put(mm, 0, 6, 1)
        put(mm, 10, 2)
        mm.limits.data = PAGE
        assert refusal(lambda mm=mm: put(mm, 8, 2, 3)) == Errno.ENOMEM and shape(mm)[:-1] == [(0, 6, 1)]
        assert refusal(lambda mm=mm: put(mm, 2, 2, 3)) == Errno.ENOMEM and shape(mm)[:-1] == shown, kernel


def test_above_four_gigabytes() -> None:
    mm = machine()
    mm.layout = mm.layout._replace(mmap_base=(1 << 32) + 4 * PAGE, unmapped_base=1 << 40)
    assert mm.mmap(MapRequest(0, PAGE, 3, above_4g=True)) == (1 << 32) + 3 * PAGE
    assert mm.mmap(MapRequest(0, 4 * PAGE, 3, above_4g=True)) == 1 << 40
    assert mm.mmap(MapRequest(0, 4 * PAGE, 3)) == (1 << 32) - PAGE


def test_a_heap_that_may_be_executed() -> None:
    mm = machine()
    mm.set_brk(AT)
    mm.brk(AT + PAGE)
    mm.brk(AT + 2 * PAGE, executable=True)
    assert shape(mm) == [(0, 1, 3), (1, 2, 7)]
    mm.pages.take_written()
    assert mm.brk(AT + PAGE + 1) == AT + PAGE + 1 and len(mm.space) == 2
    assert mm.brk(AT + PAGE) == AT + PAGE and shape(mm) == [(0, 1, 3)]
    assert mm.brk(AT - 1) == AT + PAGE and mm.brk(AT) == AT and not len(mm.space)


def test_rights_of_locked_memory() -> None:
    mm = machine()
    put(mm, 0, 1, 1, locked=True)
    put(mm, 2, 1, 0, locked=True)
    assert refusal(lambda: mm.mprotect(X86_64.task_size, PAGE, 1)) == Errno.ENOMEM
    mm.pages.take_written()
    mm.mprotect(AT, PAGE, 2)
    mm.mprotect(AT + 2 * PAGE, PAGE, 1)
    assert [bool(rules.anon_of(vma)) for vma in mm.space] == [True, False]
    mm.pages.read.clear()  # type: ignore[attr-defined]
    mm.mprotect(AT, PAGE, 3)
    assert mm.pages.take_written() == [] and mm.pages.read == [], "it was writable"  # type: ignore[attr-defined]


def test_shared_memory_and_stacks_are_no_data() -> None:
    mm = machine()
    put(mm, 0, 4, 1, shared=True, backing=File("f"))
    put(mm, 4, 2, 1)
    put(mm, 6, 2, 1, growsdown=True)
    put(mm, 8, 2, 1)
    mm.limits.data = 4 * PAGE
    mm.mprotect(AT, 10 * PAGE, 3)
    assert mm.totals.data == 4 * PAGE


def test_a_write_beyond_a_file_comes_after_those_before_it() -> None:
    mm = machine()
    file = Sized()
    for page, pages, prot in ((0, 2, 3), (2, 1, 7), (3, 1, 3)):
        put(mm, page, pages, prot, backing=File(file, page * PAGE))
    touch(mm, 0)
    touch(mm, 3)
    vma = mm.space.regions(AT + 2 * PAGE, PAGE)[0]
    mm.access(vma, vma.start, vma.end, write=True)
    assert [rules.anon_of(vma) for vma in mm.space] == [1, 2, 2]


def test_growth_up_to_the_edges() -> None:
    mm = machine()
    put(mm, 600, 1, growsdown=True)
    mm.limits.commit = 3 * PAGE
    assert not mm.grow_stack(AT + 596 * PAGE) and mm.grow_stack(AT + 597 * PAGE)
    end = X86_64.task_size
    mm.mmap(MapRequest(end - 3 * PAGE, PAGE, 3, fixed=True))
    assert remap.mremap(mm, remap.Remap(end - 3 * PAGE, PAGE, 3 * PAGE)) == end - 3 * PAGE
    assert refusal(lambda: remap.mremap(mm, remap.Remap(end - 3 * PAGE, 3 * PAGE, 4 * PAGE))) == Errno.ENOMEM
