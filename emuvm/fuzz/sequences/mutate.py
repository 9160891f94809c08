"""Changing programs of system calls: what a campaign asks of a `protocol.Mutator`, call by call instead of byte by byte.

Owns: which changes there are. Must not know how programs run. Test cases are texts; one that does not parse is replaced by a new program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from emuvm.fuzz.sequences.describe import forbidden_on_host
from emuvm.fuzz.sequences.generate import Generator
from emuvm.fuzz.sequences.program import Arg, Call, Const, Literal, Program, ProgramError, Ref, check, const, same_kind, shifted, without
from emuvm.fuzz.sequences.text import format, parse

LONGEST = 40
"""Calls of a program that mutation makes, at most."""
_NEW = 8
"""Calls of a program made from nothing."""


class Texts:
    """Programs and their texts, of the last so many: a mutator makes programs, a campaign carries texts, a target wants programs."""

    def __init__(self, arch: str, most: int = 4096) -> None:
        self._arch = arch
        self._most = most
        self._programs: dict[bytes, Program] = {}

    def program(self, data: bytes) -> Program:
        """ProgramError: the text is none."""
        found = self._programs.get(data)
        if found is None:
            found = parse(data, self._arch)
            self._remember(data, found)
        return found

    def text(self, program: Program) -> bytes:
        """Of a program that is well formed."""
        data = format(program, self._arch).encode("latin-1")
        self._remember(data, program)
        return data

    def _remember(self, data: bytes, program: Program) -> None:
        if len(self._programs) >= self._most:
            self._programs.clear()
        self._programs[data] = program


class Mutations:
    """A `protocol.Mutator`. `generator.host` keeps programs to what the host may run."""

    def __init__(self, random: Random, generator: Generator, texts: Texts) -> None:
        self._random = random
        self._generator = generator
        self._texts = texts
        self.stacked = 1

    def _program(self, data: bytes) -> Program:
        try:
            return self._texts.program(data)
        except ProgramError:
            return self._generator.program(_NEW)

    # -- the protocol -------------------------------------------------------------------------------------------------------

    def havoc(self, data: bytes, partner: bytes | None) -> bytes:
        program = self._program(data)
        other = self._program(partner) if partner is not None else ()
        self.stacked = 1 << self._below(3)
        made = program
        for _ in range(self.stacked):
            made = self.change(made, other)
        return self._texts.text(self._allowed(made, program))

    def splice(self, data: bytes, partner: bytes) -> bytes | None:
        one, other = self._program(data), self._program(partner)
        if len(one) < 2 or len(other) < 2 or one == other:
            return None
        made = self._joined(one[: 1 + self._below(len(one) - 1)], other[self._below(len(other)) :])
        return self._texts.text(self._allowed(made, one))

    def deterministic(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Without each call; with each call twice; and where something can be refused, with each of its first steps refused."""
        program = self._program(data)
        for number in range(len(program)):
            if len(program) > 1:
                yield f"op:drop,call:{number}", self._texts.text(without(program, {number}))
            yield f"op:again,call:{number}", self._texts.text(_replaced(program, number, rerun=1))
            if not self._generator.host:
                for nth in (1, 2, 3):
                    yield f"op:fail-{nth},call:{number}", self._texts.text(_replaced(program, number, fail_nth=nth))

    def trim(self, data: bytes, same: Callable[[bytes], bool]) -> bytes:
        return shrink(self._texts, data, same, host=self._generator.host)

    def compare(self, data: bytes, attempt: Callable[[bytes, str], bool]) -> None:
        """Nothing: no comparison of the runner's tells anything."""

    # -- changes ------------------------------------------------------------------------------------------------------------

    def change(self, program: Program, other: Program = ()) -> Program:
        """One change, which may refer to what it should not: see `_allowed`."""
        choice = self._random.random()
        if not program or (choice < 0.4 and len(program) < LONGEST):
            return self._inserted(program)
        at = self._below(len(program))
        if choice < 0.5 and len(program) > 1:
            return without(program, {at})
        if choice < 0.8:
            return self._other_argument(program, at)
        if choice < 0.85 and len(program) < LONGEST:
            to = at + 1 + self._below(len(program) - at)
            return program[:to] + (program[at],) + shifted(program[to:], 1, to)
        if choice < 0.9 and other:
            return self._joined(program, other)
        if choice < 0.93:
            return _replaced(program, at, rerun=1 + self._below(3))
        if choice < 0.98 and not self._generator.host:
            return _replaced(program, at, fail_nth=0 if program[at].fail_nth else 1 + min(self._below(6), self._below(6)))
        return self._other_call(program, at)

    def _below(self, end: int) -> int:
        return int(self._random.random() * end)

    def _inserted(self, program: Program) -> Program:
        # Most of what is interesting happens behind what is there already.
        at = max(self._below(len(program) + 1), self._below(len(program) + 1))
        return program[:at] + (self._generator.call(program[:at]),) + shifted(program[at:], 1, at)

    def _other_call(self, program: Program, at: int) -> Program:
        return program[:at] + (self._generator.call(program[:at]),) + program[at + 1 :]

    def _other_argument(self, program: Program, at: int) -> Program:
        call = program[at]
        described = self._generator.described.get(call.name)
        if not call.args or described is None:
            return program
        place = self._below(len(call.args))
        args = list(call.args)
        if place < len(described.args) and self._random.random() < 0.7:
            args[place] = self._generator.argument(call.name, described.args[place], program[:at], args[:place])
        else:
            args[place] = self._nudged(args[place])
        return program[:at] + (call._replace(args=tuple(args)),) + program[at + 1 :]

    def _nudged(self, arg: Arg) -> Arg:
        """Not far from what it was."""
        step = (1, -1, 0x1000, -0x1000, 8, 0x10_0000)[self._below(6)]
        if type(arg) is Literal:
            data = bytearray(arg.data or b"\0")
            data[self._below(len(data))] ^= 1 << self._below(8)
            return Literal(bytes(data))
        if type(arg) is Ref:
            return Ref(arg.call, arg.offset + step)
        assert type(arg) is Const
        return const(arg.value ^ 1 << self._below(64) if self._random.random() < 0.3 else arg.value + step)

    def _joined(self, one: Program, other: Program) -> Program:
        """One and what fits of the other behind it. What the other refers to and does not have becomes a number."""
        other = other[: max(0, LONGEST - len(one))]
        return one + shifted(other, len(one))

    def _allowed(self, made: Program, otherwise: Program) -> Program:
        """It, if it is well formed and may be run where it is to run."""
        try:
            check(made)
        except ProgramError:
            return otherwise
        return otherwise if self._generator.host and forbidden_on_host(made) else made


def _replaced(program: Program, at: int, **properties: Any) -> Program:
    return program[:at] + (program[at]._replace(**properties),) + program[at + 1 :]


def shrink(texts: Texts, data: bytes, same: Callable[[bytes], bool], *, host: bool = False) -> bytes:
    """The shortest program found of which `same` is true: fewer calls, then plainer ones. `data` itself if it is no program.
    `host`: only what may be run there.
    """
    try:
        program = texts.program(data)
    except ProgramError:
        return data

    def attempt(made: Program) -> bool:
        return bool(made) and made != program and not (host and forbidden_on_host(made)) and same(texts.text(made))

    size = max(1, len(program) // 2)
    while size:
        at = len(program) - size
        while at > -size:
            made = without(program, set(range(max(at, 0), at + size)))
            if attempt(made):
                program = made
            at -= size
        size //= 2
    for number in range(len(program)):
        for part, value in _plainer(program[number]):
            call = program[number]
            if isinstance(part, str):
                call = call._replace(**{part: value})
            else:
                call = call._replace(args=(*call.args[:part], value, *call.args[part + 1 :]))
            made = program[:number] + (call,) + program[number + 1 :]
            if attempt(made):
                program = made
    return texts.text(program)


def _plainer(call: Call) -> Iterator[tuple[str | int, Any]]:
    """What could be less of a call: (property or place of an argument, plainer value)."""
    if call.rerun:
        yield "rerun", 0
    if call.fail_nth:
        yield "fail_nth", 0
    for place, arg in enumerate(call.args):
        plain: Arg = Ref(arg.call) if type(arg) is Ref and arg.offset else const(0)
        if not same_kind(arg, plain):
            yield place, plain
