"""AFL's way to make inputs from inputs, as a campaign wants it.

Owns: putting its parts together: deterministic changes, havoc, splicing, trimming, comparisons. Must not know the campaign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from emuvm.fuzz.afl import dictionary
from emuvm.fuzz.afl.compare import Texts, candidates, colour
from emuvm.fuzz.afl.havoc import Havoc, splice
from emuvm.fuzz.afl.mutate import deterministic
from emuvm.fuzz.afl.trim import shrink, trim

_LEARNED = 256
"""Tokens that comparisons have shown, at most."""


class Standard:
    """A `protocol.Mutator`. `target` may offer `compare(data)` and `counters`; without, comparisons are not looked at."""

    def __init__(self, generator: Random, target: Any, *, dictionaries: Sequence[str] = (), longest: int = 1 << 20) -> None:
        self._generator = generator
        self._target = target
        self._longest = longest
        self._tokens = dictionary.read(dictionaries)
        self._havoc = Havoc(generator, self._tokens, longest)
        self._learned: set[bytes] = set(self._tokens)

    @property
    def stacked(self) -> int:
        return self._havoc.stacked

    def havoc(self, data: bytes, partner: bytes | None) -> bytes:
        return self._havoc(data, partner)

    def splice(self, data: bytes, partner: bytes) -> bytes | None:
        return splice(data, partner, self._generator)

    def deterministic(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Each input is to be run before the next one is asked for: from that is seen which bytes count."""
        counters = getattr(self._target, "counters", None)
        if counters is None or not data:
            return deterministic(data, self._tokens, self._longest)
        self._target.run(data)
        path = bytes(counters.view)
        return deterministic(data, self._tokens, self._longest, lambda: bytes(counters.view) != path)

    def trim(self, data: bytes, same: Callable[[bytes], bool]) -> bytes:
        return trim(data, same)

    def compare(self, data: bytes, attempt: Callable[[bytes, str], bool]) -> None:
        operands = getattr(self._target, "compare", None)
        if operands is None or not data:
            return
        counters = self._target.counters
        self._target.run(data)
        path = bytes(counters.view)

        def same(made: bytes) -> bool:
            self._target.run(made)
            return bytes(counters.view) == path

        for version in dict.fromkeys((data, colour(data, same, self._generator))):
            found = operands(version)
            self._learn(version, found)
            for at, made in candidates(version, found):
                attempt(made[: self._longest], f"op:cmp,pos:{at}")

    def _learn(self, data: bytes, found: Sequence[object]) -> None:
        """Texts that input was compared with are tokens from now on; but not those that only came from the input."""
        for pair in found:
            if isinstance(pair, Texts):
                for text in (pair.left, pair.right):
                    if 2 <= len(text) <= 32 and text not in self._learned and text not in data and len(self._learned) < _LEARNED:
                        self._learned.add(text)
                        self._havoc.tokens.append(text)


__all__ = ["Standard", "shrink"]
