"""Crashes and hangs by what is behind them.

Owns: running them, grouping, the table. Must not know where files lie, nor HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from emuvm.abi.signals import name
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import EmuvmError
from emuvm.fuzz.outcome import Kind, Outcome
from emuvm.fuzz.report.describe import Names, address_class, report

if TYPE_CHECKING:
    from emuvm.fuzz.harness import Harness

_NOTHING = Outcome(Kind.EXIT, 0, 0, None, 0, (), 0, 0, (), b"", b"")
_LAST = {"exit": 1, "not run": 2}
_UNSAFE = re.compile(r"[^A-Za-z0-9.+_-]+")


class Key(NamedTuple):
    """What outcomes have in common that are one group."""

    what: str
    """'SIGSEGV', 'hang', 'exit' for what did not show again, or 'not run' for what cannot be."""
    access: str
    address_class: str
    pc: int
    stack_hash: int


class Case(NamedTuple):
    """One file."""

    path: str
    data: bytes
    outcome: Outcome
    stable: bool
    """A second run came to the same."""


class Group:
    """Files with one key. `lines`: the report of `example`."""

    def __init__(self, key: Key, place: str, lines: list[str]) -> None:
        self.key = key
        self.place = place
        """Symbol and offset of pc, or the address; why, for files that cannot be run."""
        self.lines = lines
        self.cases: list[Case] = []

    @property
    def stable(self) -> bool:
        """All its files came to the same twice."""
        return all(case.stable for case in self.cases)

    @property
    def identity(self) -> str:
        """A name of the group that can be a file's."""
        key = self.key
        words = [key.what, key.access, key.address_class, self.place, f"{key.stack_hash:016x}"]
        return _UNSAFE.sub("-", ".".join(word for word in words if word))

    @property
    def example(self) -> Case:
        """The shortest input."""
        return min(self.cases, key=lambda case: (len(case.data), case.path))


def key_of(harness: Harness, outcome: Outcome) -> Key:
    """The group of an outcome. The process must be as that run left it."""
    if outcome.kind is Kind.EXIT:
        return Key("exit", "", "", 0, 0)
    if outcome.kind is Kind.HANG:
        # Where in its loop a program is when its budget ends says little: who called it says more.
        return Key("hang", "", "", outcome.frames[0] if outcome.frames else outcome.pc & -4096, 0)
    access = outcome.fault.access if outcome.fault is not None else ""
    return Key(name(outcome.signal), access, address_class(harness, outcome), outcome.pc, outcome.stack_hash)


def triage(harness: Harness, files: Iterable[tuple[str, bytes]]) -> list[Group]:
    """The groups, the largest first; last what did not crash or could not be run.

    Every file is run twice, and each group's example a third time.
    """
    names = Names(harness)
    groups: dict[object, Group] = {}
    for path, data in files:
        try:
            first = harness.run(data)
            again = harness.run(data)
        except EmuvmError as error:
            why = str(error).partition("\n")[0]
            group = groups.setdefault(why, Group(Key("not run", "", "", 0, 0), why, [why]))
            group.cases.append(Case(path, data, _NOTHING, True))
            continue
        key = key_of(harness, again)
        if key not in groups:
            groups[key] = Group(key, names.at(key.pc) or (f"{key.pc:#x}" if key.pc else ""), [])
        groups[key].cases.append(Case(path, data, again, first == again))
    for group in groups.values():
        if group.key.what != "not run":
            group.lines = _reported(harness, group.example)
    return sorted(groups.values(), key=lambda group: (_LAST.get(group.key.what, 0), -len(group.cases), group.identity))


def _reported(harness: Harness, example: Case) -> list[str]:
    try:
        outcome = harness.run(example.data)
        lines = report(harness, outcome)
    except EmuvmError as error:
        return [f"not reproducible: {error}"]
    if outcome != example.outcome:
        lines.insert(0, "not reproducible: another run of the same input came to something else")
    return lines


def table(groups: list[Group]) -> list[str]:
    """Lines for a terminal."""
    rows = [("count", "signal", "access", "address", "where", "bytes", "example")]
    for group in groups:
        key, example = group.key, group.example
        what = key.what + ("" if group.stable else " (unstable)")
        rest = (key.access or "-", key.address_class or "-", group.place or "-", str(len(example.data)), example.path)
        rows.append((str(len(group.cases)), what, *rest))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    shown = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        shown.append("  ".join([*cells, row[6]]))
    return shown
