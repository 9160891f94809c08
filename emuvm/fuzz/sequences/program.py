"""A program of system calls as a value.

Owns: calls, their arguments and properties, and what makes a program well formed. Must not know how programs are written (text),
stored (encode), made (generate) or run.

The fixed addresses of the runner are here, for they show in programs:

    0x1000_0000  its code                 0x2004_0000  ARENA, 64 KiB that nothing else uses: `arena + 0x10`
    0x2001_0000  program and literals     0x3000_0000  WINDOW, where programs put mappings at fixed places
"""

from __future__ import annotations

from typing import Any, NamedTuple

from emuvm.errors import EmuvmError

CODE = 0x1000_0000
STATE, PROGRAM, RESULTS, ALTSTACK, ARENA, END = (0x2000_0000 + at for at in (0, 0x1_0000, 0x2_0000, 0x3_0000, 0x4_0000, 0x5_0000))
ROOM = RESULTS - PROGRAM
ARENA_SIZE = END - ARENA
WINDOW, WINDOW_PAGES = 0x3000_0000, 64
MOST_CALLS = 128
MOST_OFFSET = 1 << 55
MOST_LITERAL = 4096
PSEUDO = {"load": 1, "load4": 2, "load8": 3, "store": 4, "store4": 5, "store8": 6, "hash": 7}
"""Not calls: the guest's own accesses, of 1, 4 or 8 bytes; their result, or the fault they make, counts like a call's.
hash(address, length) is a number that depends on each of so many bytes, at most 65535."""
PSEUDO_KINDS = {name: ("ptr",) if name.startswith("load") else ("ptr", "ulong") for name in PSEUDO}


class ProgramError(EmuvmError):
    """A program that cannot be: it is told why."""


class Const(NamedTuple):
    """A number, as a signed 64-bit one."""

    value: int


class Ref(NamedTuple):
    """The result of an earlier call, plus something."""

    call: int
    offset: int = 0


class Literal(NamedTuple):
    """The address of a buffer with this content at the beginning of the run."""

    data: bytes


Arg = Const | Ref | Literal


class Call(NamedTuple):
    """One call. `fail_nth`: the n-th change of memory it asks for is refused, 0: none. `rerun`: so often it is made again; the last
    result counts."""

    name: str
    args: tuple[Arg, ...]
    fail_nth: int = 0
    rerun: int = 0


Program = tuple[Call, ...]


def signed(value: int) -> int:
    """Any integer as a signed 64-bit one."""
    return ((value & (1 << 64) - 1) ^ 1 << 63) - (1 << 63)


def const(value: int) -> Const:
    """Any integer."""
    return Const(signed(value))


def same_kind(one: Arg, other: Arg) -> bool:
    """NamedTuples of one content compare equal whatever they are; arguments do not."""
    return type(one) is type(other) and one == other


def check(program: Program) -> None:
    """ProgramError if something is out of range or refers forwards."""
    if len(program) > MOST_CALLS:
        raise ProgramError(f"{len(program)} calls: {MOST_CALLS} at most")
    for number, call in enumerate(program):
        if len(call.args) > 6:
            raise ProgramError(f"call {number}, {call.name}: {len(call.args)} arguments")
        if not (0 <= call.fail_nth <= 255 and 0 <= call.rerun <= 255):
            raise ProgramError(f"call {number}, {call.name}: a property beyond 255")
        for arg in call.args:
            _check_argument(number, call.name, arg)


def _check_argument(number: int, name: str, arg: Any) -> None:
    where = f"call {number}, {name}"
    if type(arg) is Ref:
        if not 0 <= arg.call < number:
            raise ProgramError(f"{where}: refers to call {arg.call}, which does not come before it")
        if not -MOST_OFFSET <= arg.offset < MOST_OFFSET:
            raise ProgramError(f"{where}: an offset of more than 55 bits")
    elif type(arg) is Literal and len(arg.data) > MOST_LITERAL:
        raise ProgramError(f"{where}: a buffer of {len(arg.data)} bytes, {MOST_LITERAL} at most")
    elif type(arg) is Const and arg.value != signed(arg.value):
        raise ProgramError(f"{where}: a number of more than 64 bits")


def without(program: Program, gone: set[int]) -> Program:
    """The program without some calls. What referred to them is 0 plus the offset from then on."""
    places: dict[int, int] = {}
    for number in range(len(program)):
        if number not in gone:
            places[number] = len(places)

    def moved(arg: Arg) -> Arg:
        if type(arg) is not Ref:
            return arg
        return Ref(places[arg.call], arg.offset) if arg.call in places else const(arg.offset)

    kept = [call for number, call in enumerate(program) if number not in gone]
    return tuple([call._replace(args=tuple([moved(arg) for arg in call.args])) for call in kept])


def shifted(calls: Program, by: int, start: int = 0) -> Program:
    """Calls with their references to call `start` and later moved by `by`."""

    def moved(arg: Arg) -> Arg:
        return Ref(arg.call + by, arg.offset) if type(arg) is Ref and arg.call >= start else arg

    return tuple([call._replace(args=tuple([moved(arg) for arg in call.args])) for call in calls])
