"""Page contents at a moment, and the way back to them, at the cost of what changed.

Owns: the copies, and what is known of pages that may differ from them. Must not know regions' meaning to the kernel, registers, nor
when to go back. Only the paged adapter has checkpoints: its page bytes tell which pages were written.

    first write of a page -> the page table's log -> pending, of every checkpoint -> `restore` copies it back
    its further writes are not logged: it is sticky, and copied back at every restore, without a fault or a TLB flush for the guest
    too many sticky pages -> their writes are made noticeable again, which costs a flush, and the set is found anew

A page that had no content of its own at the checkpoint (never written, or a page of a file) is not made sticky: it is thrown away,
so that it is as absent as it was. Code pages are not sticky either: their translation goes with their bytes.

A page that was only read meanwhile stays present, which mincore tells: with `presence` it does not, but every restore then looks
through the host's page table.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING

from emuvm.engine.base import Residency, host_file, is_shared
from emuvm.engine.pagetable import CODE, PAGE
from emuvm.errors import EngineError

if TYPE_CHECKING:
    from emuvm.engine.unicorn_paged import PagedMemory

_FEW = 64
"""So many sticky pages are never too many."""
_MANY = 4096
"""Most pages without content that are remembered."""
_ZERO = bytes(PAGE)
_TIMES = 4
"""How much larger than the set of one run the sticky set may become."""
_EXEC = 4

Range = tuple[int, int]
Run = tuple[int, int, int]
"""(start, end, Residency bits)."""
Lost = tuple[int, int, bool]
"""(start, end, are other contents there now)."""


class Keeper:
    """The checkpoints of one memory, and what they share."""

    def __init__(self, memory: PagedMemory) -> None:
        self.memory = memory
        self.checkpoints: list[Checkpoint] = []
        self.table = memory.table
        self.table.drain()
        self.sticky = self.table.dirty()
        """Pages whose further writes will not be logged."""

    def collect(self) -> None:
        """Hand what happened since the last call to every checkpoint."""
        table = self.table
        pages = table.drain()
        if pages:
            self.sticky.update(pages)
            for checkpoint in self.checkpoints:
                checkpoint.pending.update(pages)
        if table.forgotten:
            lost, table.forgotten = table.forgotten, []
            for checkpoint in self.checkpoints:
                checkpoint.lost += lost

    def leave(self) -> None:
        """When there are no checkpoints any more nobody collects."""
        if not self.checkpoints:
            self.table.keeper = None
            self.table.stop_draining()

    def relax(self) -> None:
        """Have the next write of every page logged."""
        self.table.undirty(self.sticky)
        self.memory.disturb()
        self.sticky.clear()
        for checkpoint in self.checkpoints:
            checkpoint.forget_plan()


class Checkpoint:
    """Contents of a memory as they were when it was made. `restore` may be called any number of times; `close` lets go of the copies.

    The space must have the regions of that moment again when `restore` is called, and the engine must stand still.
    """

    def __init__(self, memory: PagedMemory, *, presence: bool = False) -> None:
        keeper: Keeper | None = memory.table.keeper
        if keeper is None:
            keeper = memory.table.keeper = Keeper(memory)
        self._keeper = keeper
        self._memory = memory
        keeper.collect()
        keeper.relax()
        try:
            self.image = _contents(memory, keeper.checkpoints[-1] if keeper.checkpoints else None)
            """Page address -> its bytes, for pages with content of their own."""
            if memory.freed:
                self._keep()
            self._presence = _presence(memory) if presence else None
            """Which pages of anonymous memory are there, area by area."""
        except BaseException:
            keeper.leave()
            raise
        self._index = sorted(self.image)
        self.pending: set[int] = set()
        """Pages written since the last restore, as far as collected."""
        self.lost: list[Lost] = []
        self._plan: list[tuple[memoryview, bytes]] = []
        """Where to copy what at every restore."""
        self._planned: set[int] = set()
        """Its pages. Some had no content, but runs write them again and again: zeros are copied to them instead of their being thrown away,
        which would cost fifty times as much."""
        self._written_once: set[int] = set()
        """Pages that were thrown away and may come to be such."""
        self._outside: set[int] = set()
        """Pages that were written and lie in no region of the checkpoint: what was there went with its region."""
        self._bare: set[tuple[int, int]] = set()
        """Ranges that were lost and in which no page has content."""
        self._loose = 0
        """How many pages of the plan were added one by one."""
        self._usual = 0
        """How many pages one run wrote, when that was last seen."""
        self._watching = True
        """All writes since the last restore were logged."""
        keeper.checkpoints.append(self)

    def _keep(self) -> None:
        """What the host was allowed to free (MADV_FREE) would go without notice: it is written to."""
        memory = self._memory
        for page, content in self.image.items():
            vma = memory.space.query(page)
            if vma is not None and host_file(vma) is None and not is_shared(vma):
                memory.host.write(page, content)
        memory.freed = False

    def unsure(self) -> bool:
        """Is more changed than the pages that are copied back every time? `restore` finds out what."""
        self._keeper.collect()
        return bool(self.pending or self.lost)

    def doubt(self, start: int, end: int) -> None:
        """The contents of [start, end) may have changed without anybody's telling; translated code there goes."""
        self.lost.append((start, end, True))
        self._memory.withdraw(start, end)
        self._memory.catch_up(start, end)  # a file that was shorter for a while has lost its pages there

    def restore(self) -> None:
        """Put all contents back."""
        self._keeper.collect()
        if self.pending or self.lost:
            self._changed()
        self._copy()
        if self._presence is not None:
            self._put_back_presence(self._presence)

    def _copy(self) -> None:
        for target, content in self._plan:
            target[:] = content
        for other in self._keeper.checkpoints:
            if other is not self:
                other.pending |= self._planned - other._planned

    def _put_back_presence(self, then: dict[Range, list[Run]]) -> None:
        memory = self._memory
        for area, now in _presence(memory).items():
            before = then.get(area, [])
            if now == before:
                continue
            here, there = _pages(now), _pages(before)
            _throw_away(memory, [page for page, bits in here.items() if there.get(page) != bits and page not in self.image])
            for start, end in runs(page for page, bits in there.items() if here.get(page) != bits and page not in self.image):
                memory.populate(start, end, write=False)

    def _changed(self) -> None:
        """What the plan does not know yet."""
        keeper, memory, image, planned = self._keeper, self._memory, self.image, self._planned
        pages, self.pending = self.pending, set()
        lost, self.lost = self.lost, []
        again: list[int] = []
        absent: list[int] = []
        fresh: list[int] = []
        if strangers := pages & self._outside:
            keeper.sticky -= strangers
        for page in pages.difference(planned, strangers):
            if page not in image and memory.space.query(page) is None:
                if len(self._outside) < _MANY:
                    self._outside.add(page)
            elif page not in image:
                (fresh if self._presence is None and self._comes_again(page) else absent).append(page)
            elif _executable(memory, page):
                again.append(page)
            else:
                fresh.append(page)
        if fresh:
            self._extend(fresh)
        for start, end, filled in lost:
            if filled:
                absent += self._without_content(start, end)
            elif (start, end) in self._bare:
                continue
            inside = self._index[bisect_left(self._index, start) : bisect_left(self._index, end)]
            if not inside and len(self._bare) < _MANY:
                self._bare.add((start, end))
            for page in inside:
                if page in planned:
                    memory.table.has_content(page)
                else:
                    again.append(page)
        if self._watching:
            self._usual, self._watching = len(pages), False
        for page in again:
            _put_back(memory, page, image[page])
        keeper.sticky.difference_update(again)
        if absent:
            _throw_away(memory, absent)
            keeper.sticky.difference_update(absent)
        for other in keeper.checkpoints:
            if other is not self:
                other.pending.update(again, absent)
        if len(planned) > max(_FEW, _TIMES * self._usual):
            self._start_again(keeper)

    def _comes_again(self, page: int) -> bool:
        """A page without content was written: not for the first time, and may zeros be copied to it?"""
        if page not in self._written_once:
            if len(self._written_once) < _MANY:
                self._written_once.add(page)
            return False
        vma = self._memory.space.query(page)
        return not (vma is None or host_file(vma) is not None or is_shared(vma) or _executable(self._memory, page))

    def _without_content(self, start: int, end: int) -> list[int]:
        """Private pages of a range that have content now and had none."""
        memory, image, planned = self._memory, self.image, self._planned
        return [
            page
            for low, high, bits in memory.resident(start, end, cached=False)
            if bits & Residency.PRIVATE
            for page in range(low, high, PAGE)
            if page not in image and page not in planned
        ]

    def _start_again(self, keeper: Keeper) -> None:
        self._copy()
        keeper.relax()
        self.pending.clear()  # they are as they should be; for the others they are not
        self._watching = True

    def _extend(self, fresh: list[int]) -> None:
        self._planned.update(fresh)
        self._loose += len(fresh)
        if self._loose > _FEW // 4 + len(self._plan) // 4:
            self._plan = [self._piece(start, end) for start, end in runs(self._planned)]
            self._loose = 0
        else:
            self._plan += [self._piece(start, end) for start, end in runs(fresh)]

    def _piece(self, start: int, end: int) -> tuple[memoryview, bytes]:
        image = self.image
        content = b"".join([image.get(page, _ZERO) for page in range(start, end, PAGE)])
        return _view(self._memory.host.pointer(start), end - start), content

    def forget_plan(self) -> None:
        """Writes are noticed again: what was copied back at every restore is to be looked at once more."""
        self.pending |= self._planned
        self._plan, self._planned, self._loose = [], set(), 0
        self._written_once = set()

    def differences(self) -> Iterable[int]:
        """Pages whose contents differ from the checkpoint's. Reads everything: for verification."""
        now = _contents(self._memory, None)
        empty = bytes(PAGE)
        for page in sorted(now.keys() | self.image.keys()):
            if now.get(page, empty) != self.image.get(page, empty):
                yield page

    def close(self) -> None:
        """No more restores; the copies are freed. Twice is once."""
        keeper = self._keeper
        if self in keeper.checkpoints:
            keeper.checkpoints.remove(self)
            self.image, self._index, self._plan = {}, [], []
            keeper.leave()


def runs(pages: Iterable[int]) -> list[Range]:
    """Neighbouring pages as ranges, ascending."""
    out: list[Range] = []
    start = end = -1
    for page in sorted(pages):
        if page != end:
            if start >= 0:
                out.append((start, end))
            start = page
        end = page + PAGE
    if start >= 0:
        out.append((start, end))
    return out


def _contents(memory: PagedMemory, known: Checkpoint | None) -> dict[int, bytes]:
    """The pages with content of their own: written private ones, and those of shared objects. Unchanged ones are shared with `known`."""
    image: dict[int, bytes] = {}
    changed = known.pending if known is not None else set()
    if known is not None and known.lost:
        known = None
    for vma in memory.space:
        wanted = Residency.PRIVATE
        if is_shared(vma):
            backing = host_file(vma)
            if backing is None or not getattr(backing.file, "restorable", False):
                continue  # a file of the host: others may have written to it
            wanted = Residency.PRESENT
        for start, end, bits in memory.resident(vma.start, vma.end, cached=False):
            if not bits & wanted:
                continue
            data = memory.host.read(start, end - start)
            for page in range(start, end, PAGE):
                old = known.image.get(page) if known is not None and page not in changed else None
                image[page] = old if old is not None else data[page - start : page - start + PAGE]
    return image


def _presence(memory: PagedMemory) -> dict[Range, list[Run]]:
    """Area -> what is present of it, for private anonymous memory."""
    return {
        (vma.start, vma.end): memory.resident(vma.start, vma.end, cached=False) for vma in memory.space if host_file(vma) is None
    }


def _pages(found: list[Run]) -> dict[int, int]:
    return {page: bits for start, end, bits in found for page in range(start, end, PAGE)}


def _executable(memory: PagedMemory, page: int) -> bool:
    vma = memory.space.query(page)
    return bool(memory.table.byte(page) & CODE) or (vma is not None and bool(vma.prot & _EXEC))


def _put_back(memory: PagedMemory, page: int, content: bytes) -> None:
    """Store a page without its being dirty; its translated code goes."""
    memory.host.write(page, content)
    if memory.table.byte(page) & CODE:
        memory.drop_code([(page, page + PAGE)])
    memory.table.has_content(page)
    memory.disturb()


def _throw_away(memory: PagedMemory, pages: list[int]) -> None:
    """Pages without content of their own become absent again. Shared ones are their object's business."""
    for start, end in runs(pages):
        for vma in memory.space.regions(start, end - start):
            if not is_shared(vma):
                low, high = max(start, vma.start), min(end, vma.end)
                memory.host.discard(low, high)
                memory.withdraw(low, high)
                memory.table.undirty(range(low, high, PAGE))


def _view(pointer: int, length: int) -> memoryview:
    """Host memory as bytes that can be stored to."""
    if not pointer:
        raise EngineError("no host memory is behind the page")
    return memoryview((ctypes.c_ubyte * length).from_address(pointer)).cast("B")
