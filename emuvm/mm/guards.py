"""Guard pages: mapped memory that may not be accessed (MADV_GUARD_INSTALL), which no area shows.

Owns: the set of such pages, kept up to date by listening to the space. Must not know what a guard means for an access.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from emuvm.mm.pages import Pages
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import Kind, Update


class Guards:
    """Disjoint ranges (start, end) of guard pages, ascending. Listens to the space from the first guard on."""

    def __init__(self, space: AddressSpace) -> None:
        self._space = space
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._pending: list[Update] = []
        self._listening = False
        self.attached: Pages | None = None
        """Whom to tell where guards are."""

    def __bool__(self) -> bool:
        return bool(self._starts)

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """The guarded parts of [start, end)."""
        starts, ends = self._starts, self._ends
        if not starts:
            return []
        first, last = bisect_right(ends, start), bisect_left(starts, end)
        return [(max(starts[n], start), min(ends[n], end)) for n in range(first, last)]

    def first(self, start: int, end: int) -> int | None:
        """The lowest guarded address in [start, end)."""
        found = self.within(start, end) if self._starts and start < end else []
        return found[0][0] if found else None

    def add(self, start: int, end: int) -> None:
        """Guard [start, end)."""
        if not self._listening:
            self._listening = True
            self._space.subscribe(self._update, committed=self._committed)
            if self.attached is not None:
                self.attached.withheld = self.within
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def drop(self, start: int, end: int) -> None:
        """No guards in [start, end)."""
        starts, ends = self._starts, self._ends
        if not starts:
            return
        first, last = bisect_right(ends, start), bisect_left(starts, end)
        if first >= last:
            return
        left = [(starts[first], start)] if starts[first] < start else []
        right = [(end, ends[last - 1])] if ends[last - 1] > end else []
        starts[first:last] = [low for low, _ in left + right]
        ends[first:last] = [high for _, high in left + right]

    def state(self) -> tuple[list[int], list[int]]:
        """For `restore`."""
        return self._starts[:], self._ends[:]

    def restore(self, state: tuple[list[int], list[int]]) -> None:
        """Back to what `state` gave."""
        self._starts[:], self._ends[:] = state

    def _update(self, update: Update) -> None:
        last = self._pending[-1] if self._pending else None
        if last is not None and update.old is last.new and update.new is last.old:
            self._pending.pop()
        elif update.kind is not Kind.PROTECT:
            self._pending.append(update)

    def _committed(self) -> None:
        pending, self._pending = self._pending, []
        for update in pending:
            if update.kind is Kind.MOVE and update.new is not None:
                shift = update.new.start - update.start
                moved = self.within(update.start, update.end)
                self.drop(update.start, update.end)
                for low, high in moved:
                    self.add(low + shift, high + shift)
            elif self._starts:
                self.drop(update.start, update.end)
