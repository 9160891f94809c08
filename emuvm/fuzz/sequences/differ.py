"""The same program of system calls here and there, and where the results part.

Owns: what counts as a difference. Must not know who ran it.

Both sides place mappings, the break, descriptors and identifiers at the same numbers, so that results are compared as they are. Only the
first difference counts: what follows may follow from it.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import NamedTuple

from emuvm.abi.errno import Errno
from emuvm.abi.signals import code_name
from emuvm.fuzz.sequences.describe import descriptions
from emuvm.fuzz.sequences.encode import Result
from emuvm.fuzz.sequences.feedback import outcome_of
from emuvm.fuzz.sequences.program import END, PSEUDO, STATE, Arg, Call, Const, Program, Ref
from emuvm.fuzz.sequences.text import format_call, names_of


class Difference(NamedTuple):
    """The first one. `number` is that of the call, or how many there are if all are alike and the ends are not."""

    number: int
    name: str
    ours: str
    theirs: str
    kind: str
    """Without what depends on places: equal for the same fault in most cases."""

    def __str__(self) -> str:
        return f"call {self.number}, {self.name}: {self.ours} here, {self.theirs} on the host"


def shown(result: Result | None) -> str:
    """A result as a person reads it: '0x3000', '-1 ENOMEM', 'SIGSEGV SEGV_MAPERR at 0x1000'."""
    if result is None:
        return "not made"
    value = result.value
    if result.signal:
        name = {4: "SIGILL", 7: "SIGBUS", 8: "SIGFPE", 11: "SIGSEGV"}.get(result.signal, f"signal {result.signal}")
        return f"{name} {code_name(result.signal, result.code)} at {value & (1 << 64) - 1:#x}"
    if -4096 < value < 0:
        try:
            return f"-1 {Errno(-value).name}"
        except ValueError:
            return f"-1 errno {-value}"
    return f"{value & (1 << 64) - 1:#x}" if value > 9 or value < 0 else str(value)


def difference(program: Program, ours: list[Result | None], theirs: list[Result | None], our_end: str, their_end: str) -> Difference | None:
    """The first, or None. From a call on that is given a standard stream, or looks into the stack, nothing is compared: those are not
    alike.
    """
    for number, (call, one, other) in enumerate(zip(program, ours, theirs, strict=True)):
        if _standard(call, ours) or (call.name in PSEUDO and _STACK <= _value(call.args[0], ours)):
            return None
        if one is None or other is None:
            break  # a runner has lost its memory, program or results: how it ends is all that is left
        if one != other:
            return Difference(number, call.name, shown(one), shown(other), f"{call.name}: {outcome_of(one)} / {outcome_of(other)}")
    if our_end != their_end:
        return Difference(len(program), "the end", our_end, their_end, f"end: {our_end} / {their_end}")
    return None


_COMPARED = ("Rss", "Anonymous", "Locked", "Swap")
"""Of what smaps tells about private anonymous areas. Pages of files come with those around them, as the kernel likes; what is dirty,
and was referenced, is the CPU's to say."""
_STACK = 0x7FFF_F800_0000
"""Where the runner's stack may be, on x86-64."""


def maps_difference(program: Program, ours: bytes, theirs: bytes) -> Difference | None:
    """Of /proc/self/smaps at the end: areas and what is in them. Numbers of inodes and devices are not compared, nor how much of its own
    memory a runner has touched.
    """
    for one, other in zip_longest(_areas(ours), _areas(theirs), fillvalue=""):
        if one != other:
            kind = f"maps: {' '.join(one.split()[1:2] + one.split()[3:])} / {' '.join(other.split()[1:2] + other.split()[3:])}"
            return Difference(len(program), "maps at the end", one or "no more areas", other or "no more areas", kind)
    return None


def _areas(text: bytes) -> list[str]:
    """A line for each area."""
    found: list[str] = []
    counted = False
    for line in text.decode("latin-1").splitlines():
        fields = line.split(None, 5)
        if not fields[0].endswith(":"):
            name = fields[5] if len(fields) > 5 else ""
            start = int(fields[0].partition("-")[0], 16)
            own = name.endswith("/runner") or STATE <= start < END
            counted = not own and start < _STACK and fields[1].endswith("p") and fields[4] == "0"
            found.append(f"{fields[0]} {fields[1]} {fields[2]} {'runner' if own else name}".rstrip())
        elif fields[0] == "VmFlags:" or (counted and fields[0][:-1] in _COMPARED):
            found[-1] += f", {' '.join(line.split())}"
    return found


def _value(arg: Arg, results: list[Result | None]) -> int:
    """Of an argument that is a number or a result, as unsigned; 0 for others."""
    if type(arg) is Ref:
        earlier = results[arg.call]
        return (0 if earlier is None else earlier.value + arg.offset) & (1 << 64) - 1
    return arg.value & (1 << 64) - 1 if type(arg) is Const else 0


def _standard(call: Call, results: list[Result | None]) -> bool:
    """Is one of its descriptors 0, 1 or 2, as the result of an earlier call?"""
    described = descriptions("x86_64").get(call.name)
    for arg, word in zip(call.args, described.args if described is not None else (), strict=False):
        if word == "fd" and type(arg) is Ref and results[arg.call] is not None and _value(arg, results) & 0xFFFF_FFFF in (0, 1, 2):
            return True
    return False


def table(program: Program, ours: list[Result | None], theirs: list[Result | None] | None = None, arch: str = "x86_64") -> list[str]:
    """A line for each call: its text, what came of it, and what came of it on the host where that is known and another."""
    labels, lines = names_of(program), []
    for number, call in enumerate(program):
        text = (f"{labels[number]} = " if number in labels else "") + format_call(call, labels, arch)
        line = f"{number:3}  {text}  =>  {shown(ours[number])}"
        if theirs is not None and theirs[number] != ours[number]:
            line += f"   <<< the host: {shown(theirs[number])}"
        lines.append(line)
    return lines
