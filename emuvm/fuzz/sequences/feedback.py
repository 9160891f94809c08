"""What a program of system calls has shown, as edges of a coverage map.

Owns: which facts of a run count as new behaviour. Must not know how runs are made, nor what a map is used for.

The runner's own branches tell nothing. Instead there is an edge for each

    call, and what came of it                  an error by its number, success by what kind of value, a fault by its signal and code
    call, the changes of the address space     the sequence of updates: kind, rights before and after, what backs the memory
    call, an argument that is flags, outcome   as the descriptions say which those are
    memory call after memory call, outcomes    in pairs, without those that failed for the same reason as always

so that a program is kept if it makes a call fail in a new way, or changes memory in a new order of steps.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

from emuvm.fuzz.coverage import Map
from emuvm.fuzz.sequences.describe import Description
from emuvm.fuzz.sequences.encode import Result
from emuvm.fuzz.sequences.program import PSEUDO, Const, Program
from emuvm.mm.types import Update

_MAP_MASK = 0xFFFF
_MOST_STEPS = 6
"""Updates of a call that count."""


def outcome_of(result: Result | None) -> str:
    """What came of a call, in a word, without what depends on places."""
    if result is None:
        return "-"
    if result.signal:
        return f"signal {result.signal} code {result.code}"
    value = result.value
    if -4096 < value < 0:
        return f"error {-value}"
    if value == 0:
        return "zero"
    return "small" if value < 0x1000 else "address" if not value & 0xFFF else "number"


def step_of(update: Update) -> tuple[Any, ...]:
    """What kind of step an update is."""
    old, new = update.old, update.new
    backing = (new or old).backing if new or old else None  # type: ignore[union-attr]
    return update.kind.value, -1 if old is None else old.prot & 7, -1 if new is None else new.prot & 7, type(backing).__name__


class Feedback:
    """Of one kind of runner; knows the descriptions of its calls."""

    def __init__(self, described: dict[str, Description]) -> None:
        self._described = described
        self._places: dict[Any, int] = {}

    def record(
        self, program: Program, results: list[Result | None], steps: dict[int, list[tuple[Any, ...]]], more: tuple[str, ...], counters: Map
    ) -> None:
        """Fill the map. `steps`: of each call by its number; `more`: other facts about the run."""
        counters.clear()
        view = counters.view
        before = ""
        for number, (call, result) in enumerate(zip(program, results, strict=True)):
            if result is None:
                continue
            outcome = outcome_of(result)
            facts: list[Any] = [(call.name, outcome)]
            taken = steps.get(number)
            if taken:
                facts.append((call.name, len(taken) > 2, *taken[:_MOST_STEPS]))
            described = self._described.get(call.name)
            if described is not None:
                for place, (word, arg) in enumerate(zip(described.args, call.args, strict=False)):
                    if word[1:2] == ":" and type(arg) is Const:
                        facts.append((call.name, place, arg.value & 0xFFFF_FFFF, outcome))
            if call.name in PSEUDO or taken:
                facts.append((before, call.name, outcome))
                before = call.name
            for fact in facts:
                at = self._place(fact)
                if view[at] < 255:
                    view[at] += 1
        for text in more:
            view[self._place(text)] = 1

    def _place(self, fact: Any) -> int:
        found = self._places.get(fact)
        if found is None:
            if len(self._places) > 1 << 18:
                self._places.clear()
            found = self._places[fact] = crc32(repr(fact).encode()) & _MAP_MASK
        return found
