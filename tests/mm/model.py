"""A naive model of AddressSpace: one dict entry a page. Slow, obvious, and written without looking at the real one's structure.

Owns: Model (all changing operations, and the updates they must emit) and `place` (where map_any must map). Must not import
anything of emuvm.mm but the value types. Errors are raised as the real error classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from emuvm.errors import BadArgument, Hole, NoSpace, Occupied
from emuvm.mm.types import File


class Never:
    """A backing object that never merges; counts its removals in `log`."""

    def __init__(self, name: int, offset: int, log: list[tuple[int, int]]) -> None:
        self.name, self.offset, self.log = name, offset, log

    def split(self, offset: int) -> Never:
        return type(self)(self.name, self.offset + offset, self.log)

    def joins(self, next: Any) -> bool:
        return False

    def removed(self) -> None:
        self.log.append((self.name, self.offset))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Never) and (self.name, self.offset) == (other.name, other.offset)

    def __hash__(self) -> int:
        return hash((self.name, self.offset))


class Joins(Never):
    """A backing object that merges with every other of its name, whatever the offsets."""

    def joins(self, next: Any) -> bool:
        return type(next) is Joins and next.name == self.name

    def __eq__(self, other: object) -> bool:
        return type(other) is Joins and self.name == other.name

    __hash__ = Never.__hash__


Back = tuple[Any, ...] | None


def describe(backing: Any, into: int = 0) -> Back:
    """What a backing says about the page `into` bytes into its region."""
    if backing is None:
        return None
    if isinstance(backing, File):
        return ("file", backing.file, backing.offset + into)
    if isinstance(backing, Joins):
        return ("plain", "Joins", backing.name)
    if isinstance(backing, Never):
        return (type(backing).__name__, backing.name, backing.offset + into)
    return ("plain", backing)


@dataclass(frozen=True)
class Page:
    """A page's attributes, and the mapping it was cut from."""

    prot: int
    flags: int
    back: Back
    base: int
    length: int


Step = tuple[str, int, int, tuple[Any, ...] | None, tuple[Any, ...] | None]
"""kind, start, end, old and new as (start, end, prot, flags, back)."""
Region = tuple[int, int, int, int, Back, int, int]


def place(
    taken: Callable[[int], bool], low: int, high: int, page: int, need: int, hint: int, limit: tuple[int, int] | None, align: int, top: bool
) -> int | None:
    """The placement oracle: a usable hint, else the lowest (highest) aligned address all of whose pages are free."""
    start, end = (low, high) if limit is None else (max(low, limit[0]), min(high, limit[1]))

    def fits(at: int) -> bool:
        return at % page == 0 and at % align == 0 and start <= at and at + need <= end and not any(map(taken, range(at, at + need, page)))

    if hint and fits(hint):
        return hint
    fitting = [at for at in range(low, high, page) if fits(at)]
    return None if not fitting else max(fitting) if top else min(fitting)


class Model:
    """Pages by address. Every operation returns the updates it must emit."""

    def __init__(self, start: int, length: int, page: int) -> None:
        self.start, self.page = start, page
        self.end = start + self.up(length)
        self.pages: dict[int, Page] = {}
        self.cuts: set[int] = set()
        """Borders inside what was one mapping of a backing that never merges."""

    def up(self, length: int) -> int:
        return -(-length // self.page) * self.page

    def range(self, addr: int, length: int) -> tuple[int, int]:
        end = addr + self.up(length)
        if length <= 0 or addr % self.page or addr < self.start or end > self.end:
            raise BadArgument("?", "model")
        return addr, end

    def one(self, at: int) -> bool:
        """Do the pages in front of `at` and at `at` belong to one region?"""
        left, right = self.pages.get(at - self.page), self.pages.get(at)
        if left is None or right is None or (left.prot, left.flags) != (right.prot, right.flags):
            return False
        one, two = left.back, right.back
        if one is None or two is None:
            return one is two
        if one[0] == "plain" or two[0] == "plain":
            return one == two
        return (one[0], one[1], one[2] + self.page) == two and not (one[0] == "Never" and at in self.cuts)

    def regions(self) -> list[Region]:
        out: list[Region] = []
        for at, page in sorted(self.pages.items()):
            if out and out[-1][1] == at and self.one(at):
                start, _, prot, flags, back, base, length = out[-1]
                low, high = min(base, page.base), max(base + length, page.base + page.length)
                out[-1] = (start, at + self.page, prot, flags, back, low, high - low)
            else:
                out.append((at, at + self.page, page.prot, page.flags, page.back, page.base, page.length))
        return out

    def pieces(self, start: int, end: int) -> list[Region]:
        """The regions clamped to [start, end)."""
        out = []
        for low, high, prot, flags, _back, base, length in self.regions():
            low, high = max(low, start), min(high, end)
            if low < high:
                out.append((low, high, prot, flags, self.pages[low].back, base, length))
        return out

    def settle(self) -> None:
        """What became one region has one mapping: the union."""
        for low, high, _prot, _flags, _back, base, length in self.regions():
            for at in range(low, high, self.page):
                self.pages[at] = replace(self.pages[at], base=base, length=length)

    def wipe(self, start: int, end: int) -> list[Step]:
        steps: list[Step] = [("unmap", piece[0], piece[1], piece[:5], None) for piece in self.pieces(start, end)]
        for at in range(start, end, self.page):
            self.pages.pop(at, None)
        self.cuts -= set(range(start, end + 1, self.page))
        return steps

    def map(self, start: int, end: int, prot: int, flags: int, backing: Any) -> list[Step]:
        steps = self.wipe(start, end)
        for at in range(start, end, self.page):
            self.pages[at] = Page(prot, flags, describe(backing, at - start), start, end - start)
        steps.append(("map", start, end, None, (start, end, prot, flags, describe(backing))))
        self.settle()
        return steps

    def map_at(self, addr: int, length: int, prot: int, flags: int, backing: Any, swap: bool) -> list[Step]:
        start, end = self.range(addr, length)
        if not swap and any(at in self.pages for at in range(start, end, self.page)):
            raise Occupied("model")
        return self.map(start, end, prot, flags, backing)

    def map_any(
        self, length: int, prot: int, flags: int, backing: Any, hint: int, limit: tuple[int, int] | None, align: int, top: bool
    ) -> tuple[int, list[Step]]:
        need = self.up(length)
        at = place(self.pages.__contains__, self.start, self.end, self.page, need, hint, limit, align, top)
        if at is None:
            raise NoSpace("model")
        return at, self.map(at, at + need, prot, flags, backing)

    def unmap(self, addr: int, length: int) -> list[Step]:
        return self.wipe(*self.range(addr, length))

    def protect(self, addr: int, length: int, new: Callable[[int], int | None], holes: str) -> tuple[list[Step], int | None]:
        """The updates, and where the hole is that makes the real one raise after them."""
        start, end = self.range(addr, length)
        free = [at for at in range(start, end, self.page) if at not in self.pages]
        hole = free[0] if free and holes != "skip" else None
        if hole is not None:
            if holes == "error" or hole == start:
                raise Hole(hole, "model")
            end = hole
        steps: list[Step] = []
        for low, high, prot, flags, back, _base, _length in self.pieces(start, end):
            wanted = new(prot)
            if wanted is None or wanted == prot:
                continue
            steps.append(("protect", low, high, (low, high, prot, flags, back), (low, high, wanted, flags, back)))
        for _kind, low, high, _old, after in steps:
            assert after is not None
            self.cuts |= {low, high}
            for at in range(low, high, self.page):
                self.pages[at] = replace(self.pages[at], prot=after[2])
        self.settle()
        return steps, hole

    def move(self, addr: int, length: int, to: int) -> list[Step]:
        start, end = self.range(addr, length)
        to, stop = self.range(to, length)
        if start < stop and to < end:
            raise BadArgument("to", "model")
        moved = self.pieces(start, end)
        if not moved:
            return []
        pages = {at: self.pages[at] for at in range(start, end, self.page) if at in self.pages}
        steps = self.wipe(to, stop)
        inner = {at + to - start for at in self.cuts if start < at < end}
        self.wipe(start, end)
        for at, page in pages.items():
            base, top = max(page.base + to - start, 0), min(page.base + page.length + to - start, 1 << 64)
            self.pages[at + to - start] = replace(page, base=base, length=top - base)
        self.cuts |= inner
        for low, high, prot, flags, back, _base, _length in moved:
            new_low, new_high = low + to - start, high + to - start
            self.cuts |= {new_low, new_high}
            steps.append(("move", low, high, (low, high, prot, flags, back), (new_low, new_high, prot, flags, back)))
        self.settle()
        return steps

    def copy(self) -> Model:
        twin = Model(self.start, self.end - self.start, self.page)
        twin.pages, twin.cuts = dict(self.pages), set(self.cuts)
        return twin
