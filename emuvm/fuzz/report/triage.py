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

_UNSAFE = re.compile(r"[^A-Za-z0-9.+_-]+")


class Key(NamedTuple):
    """What outcomes have in common that are one group."""

    what: str
    """'SIGSEGV', 'hang', or 'exit' for what did not show again."""
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
    """Files with one key. `lines`: the report of the first."""

    def __init__(self, key: Key, place: str, lines: list[str]) -> None:
        self.key = key
        self.place = place
        """Symbol and offset of pc, or the address."""
        self.lines = lines
        self.cases: list[Case] = []

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
    """The groups, the largest first. Every file is run twice."""
    names = Names(harness)
    groups: dict[Key, Group] = {}
    for path, data in files:
        try:
            first = harness.run(data)
            again = harness.run(data)
        except EmuvmError:
            continue  # no test case of this target
        key = key_of(harness, again)
        group = groups.get(key)
        if group is None:
            place = names.at(key.pc) or (f"{key.pc:#x}" if key.pc else "")
            group = groups[key] = Group(key, place, report(harness, again))
        group.cases.append(Case(path, data, again, first == again))
    return sorted(groups.values(), key=lambda group: (group.key.what == "exit", -len(group.cases), group.identity))


def table(groups: list[Group]) -> list[str]:
    """Lines for a terminal."""
    rows = [("count", "signal", "access", "address", "where", "bytes", "example")]
    for group in groups:
        key, example = group.key, group.example
        what = key.what + ("" if all(case.stable for case in group.cases) else " (unstable)")
        rest = (key.access or "-", key.address_class or "-", group.place or "-", str(len(example.data)), example.path)
        rows.append((str(len(group.cases)), what, *rest))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    shown = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        shown.append("  ".join([*cells, row[6]]))
    return shown
