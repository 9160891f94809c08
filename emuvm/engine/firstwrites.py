"""Which private areas have been written to, for engines that are told of a write only where they withhold the right.

Owns: the record, area by area, and the order of the first writes. Must not know the engine.
"""

from __future__ import annotations

from emuvm.engine.base import is_shared
from emuvm.engine.intervals import Intervals
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import Vma

WRITE = 2


class FirstWrites:
    """The record for one space. An area is the whole region that a write hits, as it is then."""

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self._written: Intervals[None] = Intervals(lambda value, offset: value)
        self._pages: list[int] = []

    def rights(self, vma: Vma, low: int, high: int, rights: int, *, fresh: bool) -> list[tuple[int, int, int]]:
        """(start, end, rights) to give for [low, high) of a region, when it may have `rights`. `fresh`: nobody can have written yet."""
        if not rights & WRITE or is_shared(vma):
            return [(low, high, rights)]
        if fresh:
            return [(low, high, rights & ~WRITE)]
        out = [(first, last, rights) for first, last, _ in self._written.inside(low, high)]
        out += [(first, last, rights & ~WRITE) for first, last in self._written.gaps(low, high)]
        return sorted(out)

    def is_open(self, vma: Vma, low: int, high: int) -> bool:
        """Was all of [low, high), a part of the region, written to, or is it shared?"""
        return is_shared(vma) or not self._written.gaps(low, high)

    def note(self, start: int, end: int) -> None:
        """Bytes [start, end) are written: the areas there are written from now on."""
        found = self._written.at(start)
        if found is not None and end <= found[1]:
            return
        for vma in self.space.regions(start, end - start):
            low = max(start, vma.start)
            if not is_shared(vma) and self._written.gaps(low, min(end, vma.end)):
                self._pages.append(low & -self.space.page_size)
                self._written.put(vma.start, vma.end, None)

    def follow(self, old: Vma | None, new: Vma | None) -> None:
        """What was at `old` is at `new` now, or gone."""
        pieces = self._written.cut(old.start, old.end) if old is not None else []
        if old is None or new is None:
            return
        self._written.cut(new.start, new.end)
        for low, high, _ in pieces:
            self._written.put(low - old.start + new.start, high - old.start + new.start, None)

    def take(self) -> list[int]:
        """First pages written since the last call, of areas that are still there."""
        pages, self._pages = self._pages, []
        return [page for page in pages if self.space.query(page) is not None]
