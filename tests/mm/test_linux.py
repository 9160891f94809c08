"""LinuxMm where the recordings of the kernel do not reach: other versions, overcommit, arm64, counters, refusals by subscribers."""

from __future__ import annotations

from typing import Any

import pytest

from emuvm.abi.arch import ARM64, X86_64
from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.mm import AddressSpace
from emuvm.mm.linux import LinuxMm, MapRequest

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
