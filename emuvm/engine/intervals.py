"""An ordered map of non-overlapping byte ranges, each with a value.

Owns: look-up, cutting and storing of ranges. Must not know what the values mean.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

V = TypeVar("V")


class Intervals(Generic[V]):
    """Ranges [start, end) with a value. `advance(value, offset)` is the value of the part that starts `offset` bytes in."""

    def __init__(self, advance: Callable[[V, int], V]) -> None:
        self._advance = advance
        self._starts: list[int] = []
        self._items: list[tuple[int, int, V]] = []
        self.changes = 0
        """Grows with every change: whoever keeps something computed from the ranges can tell that it is old."""

    def __iter__(self) -> Iterator[tuple[int, int, V]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def at(self, address: int) -> tuple[int, int, V] | None:
        """The whole range that contains `address`."""
        index = bisect_right(self._starts, address) - 1
        if index < 0 or self._items[index][1] <= address:
            return None
        return self._items[index]

    def whole(self, start: int, end: int) -> list[tuple[int, int, V]]:
        """The ranges that overlap [start, end), unclipped, ascending."""
        low, high = self._bounds(start, end)
        return self._items[low:high]

    def inside(self, start: int, end: int) -> list[tuple[int, int, V]]:
        """The parts of ranges inside [start, end), ascending."""
        out = []
        for low, high, value in self.whole(start, end):
            cut = max(low, start)
            out.append((cut, min(high, end), value if cut == low else self._advance(value, cut - low)))
        return out

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """What no range covers in [start, end)."""
        out = []
        for low, high, _ in self.whole(start, end):
            if low > start:
                out.append((start, low))
            start = max(start, high)
        if start < end:
            out.append((start, end))
        return out

    def cut(self, start: int, end: int) -> list[tuple[int, int, V]]:
        """Remove [start, end); the parts removed."""
        low, high = self._bounds(start, end)
        if low == high:
            return []
        self.changes += 1
        gone = self.inside(start, end)
        rest: list[tuple[int, int, V]] = []
        first, last = self._items[low], self._items[high - 1]
        if first[0] < start:
            rest.append((first[0], start, first[2]))
        if last[1] > end:
            rest.append((end, last[1], self._advance(last[2], end - last[0])))
        self._items[low:high] = rest
        self._starts[low:high] = [item[0] for item in rest]
        return gone

    def put(self, start: int, end: int, value: V) -> None:
        """Store a range; what it covers is replaced."""
        self.cut(start, end)
        self.changes += 1
        index = bisect_left(self._starts, start)
        self._starts.insert(index, start)
        self._items.insert(index, (start, end, value))

    def _bounds(self, start: int, end: int) -> tuple[int, int]:
        low = bisect_right(self._starts, start) - 1
        if low < 0 or self._items[low][1] <= start:
            low += 1
        return low, max(low, bisect_left(self._starts, end))
