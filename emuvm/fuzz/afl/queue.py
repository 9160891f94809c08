"""The corpus: which inputs there are, which of them matter, and how much work each is worth.

Owns: entries, the favoured set, power schedules, the choice of the next entry and of a partner to splice with. Must not know targets,
files and time. What a run costs is its number of blocks, so that every choice is the same again with the same seed.

AFL asks how often a path was taken, by a hash of its map after each run. Here paths are told apart by how many blocks they have, which
costs nothing: `hits`.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterable
from itertools import accumulate
from math import log2
from random import Random

from emuvm.errors import EmuvmError

SCHEDULES = ("fast", "explore", "exploit", "coe", "lin", "quad", "rare", "mmopt", "seek")
_MOST = 1600.0
"""A score is at most so much: sixteen times that of an average entry."""
_KINDS = 1 << 18
"""When more kinds of runs were counted, those that came once are forgotten."""
_USED = re.compile(rb"[^\0]")


def edges_of(counters: bytes | memoryview) -> tuple[int, ...]:
    """The edges whose counter is not zero, ascending."""
    return tuple(match.start() for match in _USED.finditer(counters))


class Entry:
    """An input that showed something new."""

    __slots__ = (
        "blocks",
        "data",
        "depth",
        "determined",
        "digest",
        "disabled",
        "edges",
        "favoured",
        "fuzzed",
        "handicap",
        "identity",
        "name",
        "trimmed",
        "variable",
    )

    def __init__(self, identity: int, name: str, data: bytes, depth: int = 1) -> None:
        self.identity = identity
        """The number in its file name."""
        self.name = name
        self.data = data
        self.depth = depth
        """Seeds are 1, what was found from them 2, ..."""
        self.blocks = 1
        """What a run costs."""
        self.edges: tuple[int, ...] = ()
        self.digest = b""
        """Equal for equal maps, as buckets."""
        self.fuzzed = 0
        """How often it had its turn."""
        self.handicap = 0
        """Cycles that had passed when it was found: such entries are behind, and may catch up."""
        self.favoured = self.trimmed = self.determined = self.variable = self.disabled = False
        """`disabled`: never chosen. `variable`: its runs differ."""


class Queue:
    """Entries in the order they were found."""

    def __init__(self, schedule: str = "fast", *, sequential: bool = False) -> None:
        """EmuvmError: no such schedule. `sequential`: one entry after the other, instead of by weight."""
        if schedule not in SCHEDULES:
            raise EmuvmError(f"no power schedule {schedule!r}; there are {', '.join(SCHEDULES)}")
        self.schedule = schedule
        self.sequential = sequential
        self.entries: list[Entry] = []
        self.hits: dict[int, int] = {}
        """Blocks of a run to how many runs had so many."""
        self.cycles = 0
        """Times that everybody could have had a turn."""
        self.current = 0
        self._best: dict[int, Entry] = {}
        """Edge to the cheapest entry that has it."""
        self._changed = True
        self._weights: list[float] = []
        self._turns = 0
        self._blocks = self._edges = 0

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, entry: Entry) -> None:
        """At the end. `measured` must follow before anything is chosen."""
        entry.handicap = max(0, self.cycles - 1)
        self.entries.append(entry)
        self._changed = True

    def measured(self, entry: Entry) -> None:
        """An entry's cost, data or edges have become known, or changed."""
        best, cost = self._best, entry.blocks * max(1, len(entry.data))
        for edge in entry.edges:
            other = best.get(edge)
            if other is None or cost < other.blocks * max(1, len(other.data)):
                best[edge] = entry
        self._changed = True

    @property
    def pending(self) -> tuple[int, int]:
        """Entries that had no turn yet; favoured ones among them."""
        waiting = [entry for entry in self.entries if not entry.fuzzed and not entry.disabled]
        return len(waiting), sum(entry.favoured for entry in waiting)

    @property
    def favoured(self) -> int:
        """How many are."""
        return sum(entry.favoured for entry in self.entries)

    def cull(self) -> None:
        """Choose the favoured: for each edge that has none yet, the cheapest entry with it."""
        for entry in self.entries:
            entry.favoured = False
        covered: set[int] = set()
        for edge in sorted(self._best):
            if edge not in covered:
                entry = self._best[edge]
                covered.update(entry.edges)
                entry.favoured = not entry.disabled

    def refresh(self) -> None:
        """Everything that depends on all entries together."""
        self._changed = False
        self.cull()
        if len(self.hits) > _KINDS:
            self.hits = {blocks: times for blocks, times in self.hits.items() if times > 1}
        able = [entry for entry in self.entries if not entry.disabled]
        if not able:
            raise EmuvmError("no input is left that the target runs to its end")
        self._blocks = sum(entry.blocks for entry in able) // len(able)
        self._edges = sum(len(entry.edges) for entry in able) // len(able)
        self._weights = list(accumulate(self._weight(entry) for entry in self.entries))

    def _weight(self, entry: Entry) -> float:
        """How likely an entry is chosen."""
        if entry.disabled:
            return 0.0
        weight = 1.0
        if self.schedule in ("fast", "coe", "lin", "quad", "rare"):
            weight /= log2(self.hits.get(entry.blocks, 0) + 1) + 1
        if self.schedule in ("fast", "explore", "exploit", "seek"):
            weight *= min(4.0, max(0.25, max(1, self._blocks) / max(1, entry.blocks)))
        weight *= 1 + len(entry.edges) / max(1, self._edges)
        if entry.favoured:
            weight *= 5
        if not entry.fuzzed:
            weight *= 2
        return weight

    def next(self, random: Random) -> Entry:
        """Whose turn it is. EmuvmError: there is no usable entry."""
        if self._changed:
            self.refresh()
        if self._turns >= len(self.entries):
            self._turns = 0
            self.cycles += 1
            self.refresh()
        if self.sequential:
            return self._next_in_order(random)
        self._turns += 1
        weights = self._weights
        self.current = min(bisect(weights, random.random() * weights[-1]), len(weights) - 1)
        return self.entries[self.current]

    def _next_in_order(self, random: Random) -> Entry:
        """AFL's rule: what is not favoured is mostly passed over, the more so while favoured ones wait."""
        waiting = self.pending[1]
        while True:
            self.current = self._turns % len(self.entries)
            entry = self.entries[self.current]
            self._turns += 1
            if entry.disabled:
                continue
            if waiting:
                passed = 0.99 if entry.fuzzed or not entry.favoured else 0.0
            else:
                passed = 0.0 if entry.favoured or len(self.entries) <= 10 else 0.95 if entry.fuzzed else 0.75
            if random.random() >= passed:
                return entry

    def score(self, entry: Entry) -> float:
        """How much work an entry is worth: 100 is average. Fast, telling, late and deep ones get more."""
        ratio = entry.blocks / max(1, self._blocks)
        score = 100.0
        if self.schedule not in ("rare", "mmopt"):
            steps = ((10, 0.1), (4, 0.25), (2, 0.5), (4 / 3, 0.75))
            score *= next((factor for bound, factor in steps if ratio > bound), 0.0)
            if not score:
                score = 100 * (3 if ratio < 0.25 else 2 if ratio < 1 / 3 else 1.5 if ratio < 0.5 else 1)
        seen = len(entry.edges) / max(1, self._edges)
        score *= 3 if seen > 10 / 3 else 2 if seen > 2 else 1.5 if seen > 4 / 3 else 0.25 if seen < 1 / 3 else 0.5 if seen < 0.5 else 1
        if entry.handicap >= 4:
            score *= 4
            entry.handicap -= 4
        elif entry.handicap:
            score *= 2
            entry.handicap -= 1
        score *= (1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4)[min(entry.depth, 14)] if entry.depth < 25 else 5
        return max(1.0, min(_MOST, score * self._power(entry)))

    def _power(self, entry: Entry) -> float:
        """What the schedule says."""
        level, hits = entry.fuzzed, self.hits.get(entry.blocks, 0)
        if self.schedule == "exploit":
            return 32.0
        if self.schedule == "fast":
            if not level:
                return 1.0
            factor = max(0.4, min(4.0, 5.0 - 0.75 * log2(hits + 1)))
            return max(1.0, factor * 1.15) if entry.favoured else factor
        if self.schedule == "coe":
            average = sum(self.hits.get(other.blocks, 0) for other in self.entries) / max(1, len(self.entries))
            return 0.0 if hits > average and not entry.favoured else min(32.0, 2.0 ** min(level, 16))
        if self.schedule in ("lin", "quad"):
            return min(32.0, max(0.25, (level if self.schedule == "lin" else level * level) * 32 / (hits + 1) if level else 1.0))
        if self.schedule == "rare":
            return 1.0 + 8.0 / log2(hits + 2) * (2.0 if entry.favoured else 1.0)
        if self.schedule == "mmopt":
            return 2.0 if entry.identity + 5 > len(self.entries) else 0.5
        return 1.0

    def partner(self, entry: Entry, random: Random) -> Entry | None:
        """Another entry to splice with; None if none of four bytes or more was met."""
        entries = self.entries
        for _ in range(8):
            other = entries[int(random.random() * len(entries))]
            if other is not entry and len(other.data) >= 4:
                return other
        return None


def smallest_cover(sets: Iterable[tuple[int, frozenset[int] | set[int]]]) -> list[int]:
    """Indices of sets that together have every element: for the rarest element left, the cheapest set with it.

    `sets` are (cost, elements). Ascending. Not the smallest such choice, which takes for ever to find, but near it.
    """
    costs, all_elements = [], []
    for cost, elements in sets:
        costs.append(cost)
        all_elements.append(elements)
    owners: dict[int, list[int]] = {}
    for index, elements in enumerate(all_elements):
        for element in elements:
            owners.setdefault(element, []).append(index)
    left, chosen = set(owners), []
    for element in sorted(owners, key=lambda element: (len(owners[element]), element)):
        if element in left:
            # Of those with it: what adds most for its cost.
            index = min(owners[element], key=lambda index: (costs[index] / len(all_elements[index] & left), index))
            chosen.append(index)
            left -= all_elements[index]
    return sorted(chosen)
