"""What the fuzzer asks of a target and of whatever makes inputs.

Owns: the seams between a campaign and what it is given. Must not know emulation: `emuvm.fuzz.harness.Harness` is one target, the tests
have others; nor how inputs are changed: `standard.Standard` is AFL's way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from emuvm.fuzz.coverage import Map
from emuvm.fuzz.outcome import Outcome


class Target(Protocol):
    """Runs one input at a time, from the same state each time."""

    budget: int
    """Basic blocks a run may take before it is a hang."""

    @property
    def counters(self) -> Map:
        """Edge counters of the last run alone; the same object for life."""

    def run(self, data: bytes) -> Outcome:
        """One run, from the beginning."""


class Mutator(Protocol):
    """Makes inputs from inputs. All it draws comes from one generator with a seed."""

    @property
    def stacked(self) -> int:
        """Changes that the last `havoc` made."""

    def havoc(self, data: bytes, partner: bytes | None) -> bytes:
        """`data` with a few random changes. `partner`: another input to take pieces from, if there is one."""

    def splice(self, data: bytes, partner: bytes) -> bytes | None:
        """The beginning of one and the end of the other; None: they are too much alike."""

    def deterministic(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """(name of the change as in a file name: 'op:flip1,pos:12', input) one after the other."""

    def trim(self, data: bytes, same: Callable[[bytes], bool]) -> bytes:
        """The shortest found of which `same` is true; `data` itself if there is none."""

    def compare(self, data: bytes, attempt: Callable[[bytes, str], bool]) -> None:
        """Try inputs that make comparisons of the target come out otherwise: `attempt(input, 'op:cmp,pos:3')`, true if it was worth it."""
