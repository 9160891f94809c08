"""A smaller corpus that shows as much, and a smaller input that does the same.

Owns: which inputs are needed, and what "the same" is. Must not know files, nor how an input is made smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from emuvm.fuzz.afl.protocol import Target
from emuvm.fuzz.afl.queue import edges_of, smallest_cover
from emuvm.fuzz.coverage import classified
from emuvm.fuzz.outcome import Kind, Outcome


class Wanted(Enum):
    """Which runs count."""

    ENDED = "ended"
    CRASHED = "crashed"
    ALL = "all"


@dataclass
class Minimised:
    """What `minimise` found."""

    kept: list[str] = field(default_factory=list)
    """Names of the inputs to keep, in the order they were given."""
    total: int = 0
    left_out: int = 0
    """Inputs whose runs do not count."""
    tuples: int = 0
    """Different edges with their buckets, or edges, of all that count: the kept ones have them all."""


def shown(counters: memoryview, *, edges_only: bool) -> frozenset[int]:
    """What a run shows: edges, with the bucket of their count unless `edges_only`."""
    if edges_only:
        return frozenset(edges_of(counters))
    buckets = classified(counters)
    return frozenset(edge << 8 | buckets[edge] for edge in edges_of(buckets))


def minimise(
    target: Target,
    inputs: Iterable[tuple[str, bytes]],
    *,
    wanted: Wanted = Wanted.ENDED,
    edges_only: bool = False,
    tell: Callable[[int], object] | None = None,
) -> Minimised:
    """The smallest set of inputs found that together show everything that all show. `tell`: called with how many were run."""
    result = Minimised()
    names: list[str] = []
    sets: list[tuple[int, frozenset[int]]] = []
    for name, data in inputs:
        outcome = target.run(data)
        result.total += 1
        if tell is not None:
            tell(result.total)
        crashed = outcome.kind is Kind.CRASH
        if wanted is not Wanted.ALL and (outcome.kind is Kind.HANG or crashed is not (wanted is Wanted.CRASHED)):
            result.left_out += 1
            continue
        names.append(name)
        sets.append((len(data) + 1, shown(target.counters.view, edges_only=edges_only)))
    result.tuples = len(frozenset().union(*(elements for _, elements in sets)))
    result.kept = [names[index] for index in smallest_cover(sets)]
    return result


class Likeness:
    """Whether an input does what a first one did.

    An input that ends: the same map. A crash: the same signal at the same pc; with `loose`, any crash. A hang: any hang.
    """

    def __init__(self, target: Target, data: bytes, *, edges_only: bool = False, loose: bool = False) -> None:
        self._target = target
        self._edges_only = edges_only
        self._loose = loose
        self.outcome = target.run(data)
        self._shown = shown(target.counters.view, edges_only=edges_only)
        self.runs = 1

    def __call__(self, data: bytes) -> bool:
        """Run it and compare."""
        outcome, first = self._target.run(data), self.outcome
        self.runs += 1
        if outcome.kind is not first.kind:
            return False
        if first.kind is Kind.CRASH:
            return self._loose or (outcome.signal, outcome.pc) == (first.signal, first.pc)
        return first.kind is Kind.HANG or shown(self._target.counters.view, edges_only=self._edges_only) == self._shown


def described(outcome: Outcome) -> str:
    """What a run came to, in a few words."""
    if outcome.kind is Kind.EXIT:
        return f"ends with exit code {outcome.code}"
    return "hangs" if outcome.kind is Kind.HANG else f"is ended by signal {outcome.signal} at {outcome.pc:#x}"
