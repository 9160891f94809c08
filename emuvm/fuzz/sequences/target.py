"""Programs of system calls as a `protocol.Target`, whose test cases are their texts.

Owns: what a run of a program means. Must not know how test cases are made.

A program that the runner does not survive, by unmapping itself for one, has ended like any other. A crash is a failure of emuvm: an
invariant that does not hold, an exception; and, with `differential`, a result that is not the host kernel's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from zlib import crc32

from emuvm.fuzz.coverage import Map
from emuvm.fuzz.outcome import Kind, Outcome
from emuvm.fuzz.sequences.describe import descriptions, forbidden_on_host
from emuvm.fuzz.sequences.differ import Difference, difference, maps_difference
from emuvm.fuzz.sequences.emulated import BUDGET, Broken, Emulated
from emuvm.fuzz.sequences.encode import Result
from emuvm.fuzz.sequences.feedback import Feedback
from emuvm.fuzz.sequences.host_native import ARCH, NativeRunner, Refusal
from emuvm.fuzz.sequences.mutate import Texts
from emuvm.fuzz.sequences.program import Program, ProgramError

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

TIMEOUT = 124
"""The exit code of a run that took its whole budget, or waited for ever."""


class SequenceTarget:
    """Close it. `differential`: compare with the host's kernel. Refusal: the host cannot."""

    def __init__(
        self, arch: str = "x86_64", *, differential: bool = False, seed: int = 0, budget: int = BUDGET, native: bool = True,
        begin: Callable[[Process], object] | None = None,
    ) -> None:  # fmt: skip
        if differential and arch != ARCH:
            raise Refusal(f"programs for {arch} cannot be run on this host, whose results are wanted")
        self.arch = arch
        self.differential = differential
        self.texts = Texts(arch)
        self._counters = Map()
        self._feedback = Feedback(descriptions(arch))
        self._emulated = Emulated(
            arch, like_host=differential, seed=seed, budget=budget, native=native, begin=begin
        )
        try:
            self._host = NativeRunner() if differential else None
        except BaseException:
            self._emulated.close()
            raise
        self.found: Difference | None = None
        """By the last run."""

    @property
    def counters(self) -> Map:
        return self._counters

    @property
    def budget(self) -> int:
        return self._emulated.budget

    @budget.setter
    def budget(self, blocks: int) -> None:
        self._emulated.budget = min(blocks, BUDGET)

    def run(self, data: bytes) -> Outcome:
        """One run. A text that is no program does nothing."""
        self.found = None
        try:
            program = self.texts.program(data)
        except ProgramError as error:
            self._counters.clear()
            return _ended(2, 0, str(error))
        return self.run_program(program)[0]

    def run_program(self, program: Program) -> tuple[Outcome, list[Result | None], list[Result | None] | None]:
        """What it came to, the results, and those of the host where it was asked."""
        emulated = self._emulated
        try:
            results = emulated.run(program)
        except ProgramError as error:
            self._counters.clear()
            return _ended(2, 0, str(error)), [None] * len(program), None
        except Broken as error:
            nothing: list[Result | None] = [None] * len(program)
            self._feedback.record(program, nothing, {}, (f"broken {error.name}",), self._counters)
            return _failed(error.name, str(error)), nothing, None
        outcome = emulated.outcome
        assert outcome is not None
        theirs, found = self._compared(program, results)
        self.found = found
        more = (f"end {emulated.ended()}",) + (() if found is None else (f"difference {found.kind}",))
        self._feedback.record(program, results, emulated.steps, more, self._counters)
        if found is not None:
            return _failed(found.kind, str(found), outcome.blocks), results, theirs
        code = TIMEOUT if outcome.kind is Kind.HANG else 128 + outcome.signal if outcome.signal else outcome.code
        return _ended(code, outcome.blocks, ""), results, theirs

    def _compared(self, program: Program, ours: list[Result | None]) -> tuple[list[Result | None] | None, Difference | None]:
        host = self._host
        if host is None or forbidden_on_host(program):
            return None, None
        end, maps = self._emulated.ended(), self._emulated.maps()
        for _ in range(2):  # a host with much to do may take too long: what is true is true twice
            theirs = host.run(program)
            found = difference(program, ours, theirs, end, host.ended)
            if found is None and end == "exit 0" and host.maps is not None:
                found = maps_difference(program, maps, host.maps)
            if "timeout" in (end, host.ended):
                found = None
            if found is None:
                break
        return theirs, found

    def close(self) -> None:
        """Give everything back."""
        self._emulated.close()
        if self._host is not None:
            self._host.close()

    def __enter__(self) -> SequenceTarget:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _ended(code: int, blocks: int, text: str) -> Outcome:
    return Outcome(Kind.EXIT, code, 0, None, 0, (), 0, blocks, (), b"", text.encode(errors="replace"))


def _failed(kind: str, text: str, blocks: int = 0) -> Outcome:
    """As a crash whose place is the kind of failure: what minimises crashes keeps signal and pc."""
    place = crc32(kind.encode())
    return Outcome(Kind.CRASH, 0, 0, None, place, (), place, blocks, (), b"", text.encode(errors="replace"))
