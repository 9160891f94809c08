"""A LinuxMm without an engine, and short words for what tests do with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from emuvm.abi.arch import X86_64
from emuvm.errors import GuestError
from emuvm.mm import AddressSpace
from emuvm.mm.linux import LinuxMm, MapRequest
from emuvm.mm.types import Vma

PAGE = 0x1000
AT = 0x1000_0000


class Written:
    """Pages that were written to, as an engine tells them, and what it was asked to do with contents."""

    withheld: Any = None
    present = 0
    """What residency says of pages that are not `absent`."""

    def __init__(self) -> None:
        self.pages: list[int] = []
        self.read: list[tuple[int, int]] = []
        self.calls: list[tuple[str, int, int]] = []
        self.absent: set[int] = set()
        """Large pages without contents."""

    def take_written(self) -> list[int]:
        pages, self.pages = self.pages, []
        return pages

    def residency(self, start: int, end: int) -> bytes:
        return bytes([start not in self.absent and self.present]) * (end - start >> 12)

    def populate(self, start: int, end: int, *, write: bool) -> None:
        if write:
            self.pages.append(start)
        else:
            self.read.append((start, end))

    def discard(self, address: int, length: int) -> None:
        self.calls.append(("discard", address, address + length))

    def punch(self, address: int, length: int) -> None:
        self.calls.append(("punch", address, address + length))

    def may_free(self, start: int, end: int) -> None:
        self.calls.append(("may_free", start, end))

    def page_out(self, start: int, end: int) -> None:
        self.calls.append(("page_out", start, end))

    def withdraw(self, start: int, end: int) -> None:
        self.calls.append(("withdraw", start, end))


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


def refusal(call: Callable[[], Any]) -> int:
    """The errno a call ends with."""
    with pytest.raises(GuestError) as error:
        call()
    return int(error.value.errno)


def area(start: int, end: int, backing: Any, flags: int = 0, prot: int = 3) -> Vma:
    return Vma(start * PAGE, end * PAGE, prot, flags, backing, start * PAGE, (end - start) * PAGE)


class Segment:
    """The object of System V shared memory: its areas tell when they close."""

    close_hook = True


def asked(mm: LinuxMm) -> list[tuple[str, int, int]]:
    """What was asked of the pages since the last call, in pages from AT."""
    calls, mm.pages.calls = mm.pages.calls, []  # type: ignore[attr-defined]
    return [(name, (start - AT) // PAGE, (end - AT) // PAGE) for name, start, end in calls]
