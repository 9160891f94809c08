"""Programs as the runner gets them.

Owns: the binary form, both ways, and that of results. Must not know who runs it.

    header    4s "SEQ1"   u32 records   u32 where results go   u32 length in bytes, literals not counted
    record    u64 head, then a u64 for each argument
    head      bits  0-15 number of the call      24-29 bit n: argument n refers to a result     40-47 rerun
                   16-23 0, or the pseudo-call   32-34 how many arguments                       48-55 fail_nth
                                                                                                56-61 bit n: argument n is a literal
    argument  the value; or, for a reference, the result's number in the low byte and what is to be added, signed, above it;
              or, for a literal, its address
    literals  behind the records, each after a u32 length, at multiples of 16
    result    u64 value, u32 state, u32 0. State 0: not made; 1: value returned; 2: faulted at value, with the signal in bits 8-15 and
              its code in bits 16-31

Where results go: 0: all to descriptor 1 at the end; else each at once to that descriptor, so that they outlive the runner.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from emuvm.abi.numbers import numbers, table
from emuvm.fuzz.sequences.program import (
    ARENA,
    ARENA_SIZE,
    MOST_CALLS,
    PROGRAM,
    PSEUDO,
    ROOM,
    Arg,
    Call,
    Const,
    Literal,
    Program,
    ProgramError,
    Ref,
    check,
    const,
    signed,
)  # fmt: skip

_MAGIC = b"SEQ1"
_HEADER = struct.Struct("<4sIII")
_RESULT = struct.Struct("<QII")
_WORD = (1 << 64) - 1
RESULT_SIZE = _RESULT.size
_PSEUDO_NAMES = {number: name for name, number in PSEUDO.items()}


class Result(NamedTuple):
    """What a call came to. `value` as signed; of a fault the address. `signal` and `code`: of a fault, else 0."""

    value: int
    signal: int = 0
    code: int = 0


PIECES = 8
"""Reads of the list of what is mapped: each gives a page of it at most."""


def with_maps(program: Program, to: int) -> Program:
    """The program, and behind it calls that write /proc/self/smaps to a descriptor, through the half of the arena that programs rarely
    touch; there is no room behind a very long one.
    """
    last = len(program)
    if last > MOST_CALLS - 1 - 2 * PIECES:
        return program
    buffer, length = const(ARENA + ARENA_SIZE // 2), const(ARENA_SIZE // 2)
    calls = [Call("openat", (const(-100), Literal(b"/proc/self/smaps\0"), const(0)))]
    for piece in range(PIECES):
        calls.append(Call("read", (Ref(last), buffer, length)))
        calls.append(Call("write", (const(to), buffer, Ref(last + 1 + 2 * piece))))
    return (*program, *calls)


def maps_told(data: bytes, count: int) -> bytes | None:
    """What those calls wrote between their results, of all that the runner wrote; None: not, or not all of it."""
    at, out = (count + 1) * RESULT_SIZE, b""
    for _ in range(PIECES):
        told = results(data[at : at + RESULT_SIZE], 1)[0]
        at += RESULT_SIZE
        if told is None or told.signal or told.value < 0 or len(data) < at + told.value:
            return None
        if not told.value:
            return out or None
        out += data[at : at + told.value]
        at += told.value + RESULT_SIZE
    return None


def encode(program: Program, arch: str, results_to: int = 0, *, only: int | None = None) -> bytes:
    """For the runner of an architecture. ProgramError: too long, or a call that the architecture does not have. `only`: so many calls
    are made, the others are only there.
    """
    check(program)
    known = numbers(arch)
    length = _HEADER.size + sum(8 + 8 * len(call.args) for call in program)
    records, literals = bytearray(), bytearray()
    start = length + 12 & ~15
    for number, call in enumerate(program):
        if call.name not in known and call.name not in PSEUDO:
            raise ProgramError(f"call {number}, {call.name}: {arch} does not have it")
        head = PSEUDO[call.name] << 16 if call.name in PSEUDO else known[call.name]
        head |= len(call.args) << 32 | call.rerun << 40 | call.fail_nth << 48
        words = []
        for place, arg in enumerate(call.args):
            if type(arg) is Ref:
                head |= 1 << 24 + place
                words.append((arg.offset << 8 | arg.call) & _WORD)
            elif type(arg) is Literal:
                head |= 1 << 56 + place
                literals += bytes(-(start + len(literals) + 4) % 16) + len(arg.data).to_bytes(4, "little")
                words.append(PROGRAM + start + len(literals))
                literals += arg.data
            else:
                assert type(arg) is Const
                words.append(arg.value & _WORD)
        records += struct.pack(f"<{1 + len(words)}Q", head, *words)
    data = _HEADER.pack(_MAGIC, len(program) if only is None else only, results_to, length) + records
    data += bytes(start - length) + literals
    if len(data) > ROOM:
        raise ProgramError(f"the program takes {len(data)} bytes, {ROOM} at most")
    return bytes(data)


def decode(data: bytes, arch: str) -> Program:
    """The inverse. ProgramError: not such a form."""
    names = table(arch)
    try:
        magic, count, _, _ = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise ProgramError("not an encoded program")
        at, calls = _HEADER.size, []
        for _ in range(count):
            (head,) = struct.unpack_from("<Q", data, at)
            words = struct.unpack_from(f"<{head >> 32 & 7}Q", data, at + 8)
            at += 8 + 8 * len(words)
            pseudo = head >> 16 & 0xFF
            name = _PSEUDO_NAMES[pseudo] if pseudo else names[head & 0xFFFF]
            args = tuple(_argument(data, word, head, place) for place, word in enumerate(words))
            calls.append(Call(name, args, head >> 48 & 0xFF, head >> 40 & 0xFF))
    except (struct.error, KeyError) as error:
        raise ProgramError("a damaged program") from error
    found = tuple(calls)
    check(found)
    return found


def _argument(data: bytes, word: int, head: int, place: int) -> Arg:
    if head >> 24 + place & 1:
        return Ref(word & 0xFF, signed(word) >> 8)
    if head >> 56 + place & 1:
        at = word - PROGRAM
        if not 4 <= at <= len(data):
            raise ProgramError("a literal outside the program")
        length = int.from_bytes(data[at - 4 : at], "little")
        if at + length > len(data):
            raise ProgramError("a literal outside the program")
        return Literal(data[at : at + length])
    return Const(signed(word))


def results(data: bytes, count: int) -> list[Result | None]:
    """Results from their form; None for calls that were not made, up to `count`."""
    found: list[Result | None] = []
    for value, state, _ in _RESULT.iter_unpack(data[: len(data) // RESULT_SIZE * RESULT_SIZE][: count * RESULT_SIZE]):
        if not state & 0xFF:
            found.append(None)
        elif state & 0xFF == 1:
            found.append(Result(signed(value)))
        else:
            code = state >> 16
            found.append(Result(signed(value), state >> 8 & 0xFF, code - (code >> 15 << 16)))
    return found + [None] * (count - len(found))
