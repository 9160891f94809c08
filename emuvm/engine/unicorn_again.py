"""Many updates of a paged memory at once, for a way back that is gone again and again.

Owns: what of such a way is decided beforehand, and the steps handed to native/fill.c. Must not know who goes back, nor why.

A way qualifies when nothing on it can be refused: no file to be mapped, nothing that moves, no window that would have to be made.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from emuvm.abi.tuples import NamedTuple
from emuvm.engine.base import fresh_when_read, host_file, is_shared
from emuvm.engine.hostmem import WINDOW_BITS
from emuvm.engine.native_code import native
from emuvm.engine.pagetable import DIRTY, PAGE_BITS, W
from emuvm.mm.delivery import Again
from emuvm.mm.types import RIGHTS, Kind, Update, Vma

if TYPE_CHECKING:
    from emuvm.engine.unicorn_paged import PagedMemory

_LONGEST = 1 << 14
"""Pages. The bytes of so many are looked at one by one."""
_LESS, _CODE = 1, 2


class Step(NamedTuple):
    """Pages [start, end) are forgotten (rights -1), or those that have any right get these; only written ones keep any (`need`)."""

    start: int
    end: int
    rights: int
    need: int


class _Step(ctypes.Structure):
    """struct step of native/fill.c."""

    _fields_ = [
        ("bytes", ctypes.c_uint64),
        ("pages", ctypes.c_uint64),
        ("host", ctypes.c_uint64),
        ("rights", ctypes.c_uint32),
        ("need", ctypes.c_uint32),
    ]


def prepare(memory: PagedMemory, updates: list[Update]) -> Again | None:
    """What does these updates and their commit at once; None: there is something on the way that can be refused."""
    plan: list[Step] = []
    for update in updates:
        step = _step(memory, update)
        if step is None:
            return None
        if plan and step.rights < 0 and plan[-1].rights < 0 and plan[-1].end == step.start:
            step = Step(plan.pop().start, step.end, -1, 0)
        if step.start < step.end:
            plan.append(step)
    if any(step.end - step.start > _LONGEST << PAGE_BITS or _reserved(memory, step) is None for step in plan):
        return None
    ranges = [(step.start, step.end) for step in plan]
    code = native()
    if code is None or code.steps is None or not memory.native:
        return lambda: _settle(memory, ranges, one_by_one(memory, plan))
    gone = [(step.start, step.end, False) for step in plan if step.rights < 0]
    listed = laid_out(memory, plan)
    address, count, steps, table = ctypes.addressof(listed), len(plan), code.steps, memory.table

    def again(_listed: object = listed) -> None:  # named so that it lives as long as its address is in use
        if table.drained:
            table.forgotten += gone
        _settle(memory, ranges, steps(address, count))

    return again


def _step(memory: PagedMemory, update: Update) -> Step | None:
    """None: it can be refused. An empty range: nothing is to be done."""
    old, new = update.old, update.new
    if update.kind is Kind.MOVE or any(vma is not None and _of_file(vma, update.kind) for vma in (old, new)):
        return None
    if update.kind is Kind.UNMAP:
        return Step(update.start, update.end, -1, 0)
    assert new is not None
    if update.kind is Kind.MAP:
        return Step(new.start, new.start, 0, 0) if memory.table.pointer(new.start) else None
    if old is None or not (old.prot ^ new.prot) & RIGHTS:
        return Step(new.start, new.start, 0, 0)
    rights, only_written = protection(memory, new)
    return Step(new.start, new.end, rights, DIRTY if only_written else 0)


def _of_file(vma: Vma, kind: Kind) -> bool:
    """Are there pages of a file to be mapped or forgotten, or to be given rights that the file may refuse?"""
    return host_file(vma) is not None and (kind is not Kind.PROTECT or is_shared(vma))


def protection(memory: PagedMemory, vma: Vma) -> tuple[int, bool]:
    """(the rights of a region's pages, do only those have them that were written)."""
    rights = memory.rights[vma.prot & RIGHTS]
    return rights, memory.modifies is not None and not rights & W and fresh_when_read(vma)


def _reserved(memory: PagedMemory, step: Step) -> tuple[int, int] | None:
    """(the address of its first page byte, that of its first page) of a step that lies in one window."""
    window = step.start >> WINDOW_BITS
    pages, pointer = memory.table.pointer(step.start), memory.host.pointer(step.start)
    return (pages, pointer) if pages and pointer and step.end - 1 >> WINDOW_BITS == window else None


def laid_out(memory: PagedMemory, plan: list[Step]) -> ctypes.Array[_Step]:
    """The steps as native/fill.c reads them."""
    listed = (_Step * max(1, len(plan)))()
    for item, step in zip(listed, plan, strict=False):
        found = _reserved(memory, step)
        assert found is not None
        item.bytes, item.pages = found[0], step.end - step.start >> PAGE_BITS
        item.host = found[1] if step.rights < 0 else 0
        item.rights, item.need = max(step.rights, 0), step.need
    return listed


def one_by_one(memory: PagedMemory, plan: list[Step]) -> int:
    """Take the steps; bits: something that was granted is not any more, code was among it. The twin of `steps` in native/fill.c, but
    that the record of what was forgotten is written here, too.
    """
    seen = 0
    table = memory.table
    for start, end, rights, need in plan:
        if rights < 0:
            less, code = table.withdraw(start, end)
            table.clear(start, end)
            memory.host.discard(start, end)
        else:
            less, code = table.protect(start, end, rights, only_written=bool(need))
        seen |= (_LESS if less else 0) | (_CODE if code else 0)
    return seen


def _settle(memory: PagedMemory, ranges: list[tuple[int, int]], seen: int) -> None:
    if seen & _CODE:
        memory.drop_code(ranges)
    elif seen:
        memory.disturb()
