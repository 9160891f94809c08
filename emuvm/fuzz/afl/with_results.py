"""Fuzzing what system calls return, on top of another way to change inputs.

Owns: test cases that are an input and a schedule (`fuzz.results`), and changing either. Must not know how inputs are changed, nor runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from emuvm.fuzz.afl.protocol import Mutator, Target
from emuvm.fuzz.results import Entry, Schedule, ScheduleError, each, join, mutate, split

_KNOWN = 512
"""Test cases whose calls are remembered."""


class WithResults:
    """A `protocol.Mutator` around `inner`, which sees inputs without their schedules."""

    def __init__(self, inner: Mutator, target: Target, generator: Random) -> None:
        self._inner = inner
        self._target = target
        self._generator = generator
        self._calls: dict[bytes, list[str]] = {}
        self._stacked = 1

    @property
    def stacked(self) -> int:
        return self._stacked

    def _made(self, data: bytes) -> list[str]:
        """The calls that a test case makes."""
        found = self._calls.get(data)
        if found is None:
            if len(self._calls) >= _KNOWN:
                self._calls.clear()
            found = self._calls[data] = [call.name for call in self._target.run(data).calls]
        return found

    def havoc(self, data: bytes, partner: bytes | None) -> bytes:
        choice = self._generator.random()
        source, schedule = _split(data)
        self._stacked = 1
        if choice < 0.5:
            calls = self._made(data)
            for _ in range(1 + int(self._generator.random() * 3)):
                schedule = mutate(schedule, calls, self._generator)
        if choice > 0.35:
            source = self._inner.havoc(source, None if partner is None else _split(partner)[0])
            self._stacked = self._inner.stacked
        return join(source, schedule)

    def splice(self, data: bytes, partner: bytes) -> bytes | None:
        (one, schedule), (two, other) = _split(data), _split(partner)
        made = self._inner.splice(one, two)
        return None if made is None else join(made, Schedule((*schedule.entries, *other.entries[len(schedule.entries) :])))

    def deterministic(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        source, schedule = _split(data)
        for entry in each(self._made(data)):
            yield f"op:result,call:{entry.name}-{entry.nth}", join(source, Schedule((*schedule.entries, entry)))
        for op, made in self._inner.deterministic(source):
            yield op, join(made, schedule)

    def trim(self, data: bytes, same: Callable[[bytes], bool]) -> bytes:
        source, schedule = _split(data)
        entries: list[Entry] = list(schedule.entries)
        for entry in schedule.entries:
            fewer = [other for other in entries if other is not entry]
            if same(join(source, Schedule(tuple(fewer)))):
                entries = fewer
        schedule = Schedule(tuple(entries))
        return join(self._inner.trim(source, lambda made: same(join(made, schedule))), schedule)

    def compare(self, data: bytes, attempt: Callable[[bytes, str], bool]) -> None:
        source, schedule = _split(data)
        self._inner.compare(source, lambda made, op: attempt(join(made, schedule), op))


def _split(data: bytes) -> tuple[bytes, Schedule]:
    try:
        return split(data)
    except ScheduleError:
        return data, Schedule()  # somebody else's test case, or one that splicing broke


__all__ = ["WithResults"]
