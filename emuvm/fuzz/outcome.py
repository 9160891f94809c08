"""What one run of a target came to.

Owns: the values a harness gives back. Must not know how a run is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import overload

from emuvm.abi.tuples import NamedTuple


class Kind(Enum):
    """How a run ended."""

    EXIT = "exit"
    """By exit, whatever the code."""
    CRASH = "crash"
    """By a signal."""
    HANG = "hang"
    """Its budget of blocks was spent, or it waited for something that can never come."""


class Fault(NamedTuple):
    """The cause of a signal that the CPU raised. `address` is None for traps that have none (SIGFPE of a division has its pc)."""

    address: int | None
    access: str
    """'read', 'write', 'exec', or '' for a trap and for signals the program sent itself."""
    code: str
    """As siginfo names it: 'SEGV_MAPERR', 'SEGV_ACCERR', 'BUS_ADRERR', 'FPE_INTDIV', 'SI_TKILL', ..."""


class Call(NamedTuple):
    """A system call: raw argument registers; `result` as the register has it, sign-extended, None when it did not return."""

    name: str
    args: tuple[int, ...]
    result: int | None


Record = tuple[int, tuple[int, ...], int | None]
"""A call as the dispatcher notes it: number, raw arguments, result."""


class Calls(Sequence[Call]):
    """System calls in order. A `Call` is made of a record when it is asked for: most runs of a fuzzer are never looked at."""

    __slots__ = ("_name", "_records")

    def __init__(self, records: tuple[Record, ...], name: Callable[[int], str]) -> None:
        self._records, self._name = records, name

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> Call: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Call, ...]: ...
    def __getitem__(self, index: int | slice) -> Call | tuple[Call, ...]:
        found = self._records[index]
        return tuple(self._call(record) for record in found) if isinstance(index, slice) else self._call(found)  # type: ignore[arg-type]

    def _call(self, record: Record) -> Call:
        number, args, result = record
        return Call(self._name(number), args, result)

    def __eq__(self, other: object) -> bool:
        return self._records == other._records if isinstance(other, Calls) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._records)

    def __repr__(self) -> str:
        return repr(self[:])


class Outcome(NamedTuple):
    """One run. Equal outcomes mean equal runs as far as anybody can tell from outside."""

    kind: Kind
    code: int
    """The exit code after EXIT."""
    signal: int
    """The number after CRASH."""
    fault: Fault | None
    pc: int
    """Where it ended."""
    frames: tuple[int, ...]
    """Likely return addresses, innermost first, after a crash or hang: candidates on the stack that stand behind a call."""
    stack_hash: int
    """64 bits over pc and `frames`; 0 after EXIT. Equal for the same bug in most cases."""
    blocks: int
    """Basic blocks executed since the snapshot."""
    calls: Sequence[Call]
    """System calls since the snapshot, in order."""
    stdout: bytes
    stderr: bytes

    @property
    def crashed(self) -> bool:
        return self.kind is Kind.CRASH
