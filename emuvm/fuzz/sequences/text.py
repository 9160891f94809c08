"""Programs of system calls as people read and write them.

Owns: the grammar. Must not know how programs run.

    # a comment, to the end of the line
    r0 = mmap(0x0, 0x3000, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0x0)
    munmap(r0 + 0x1000, 0x1000) (fail_nth: 1, rerun: 2)
    store(r0, 0x41)

    argument    number, constants joined with |, rN [+ or - number], arena [+ number], or the address of a buffer:
    buffer      &"text\\x00" its bytes, &[0x40] so many zero bytes, &<0x1, -1> 64-bit words, little-endian

Constants have the values of the architecture. Labels may be any of r0 to r999; the result of the last call that got the label counts.
"""

from __future__ import annotations

import re
from functools import cache

from emuvm.abi.names import kinds, names
from emuvm.abi.numbers import numbers
from emuvm.fuzz.sequences.describe import descriptions
from emuvm.fuzz.sequences.program import (
    ARENA,
    ARENA_SIZE,
    MOST_CALLS,
    MOST_LITERAL,
    PSEUDO,
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

_TOKEN = re.compile(
    r"""[ \t\r]+|(?P<comment>\#[^\n]*)|(?P<line>\n)|(?P<number>-?(?:0[xX][0-9a-fA-F]+|[0-9]+)(?!\w))|(?P<name>[A-Za-z_]\w*)"""
    r"""|(?P<text>"(?:[^"\\\n]|\\[^\n])*")|(?P<sign>[=(),|+:&<>\[\]-])"""
)
_MANY_NAMES = 1 << 20


class ParseError(ProgramError):
    """`line` and `column` count from 1."""

    def __init__(self, line: int, column: int, why: str) -> None:
        self.line, self.column, self.why = line, column, why
        super().__init__(f"line {line}, column {column}: {why}")


@cache
def constants(arch: str) -> dict[str, int]:
    """Every constant that may be written."""
    found: dict[str, int] = {}
    for kind in kinds():
        for name, value in names(kind, arch).entries:
            if re.fullmatch(r"[A-Za-z_]\w*", name):
                found.setdefault(name, value)
    found.setdefault("MAP_PRIVATE", 2)
    found.update(IPC_PRIVATE=0)
    return found


# -- reading ----------------------------------------------------------------------------------------------------------------


class _Parser:
    def __init__(self, text: str, arch: str) -> None:
        self._text = text
        self._names = constants(arch)
        self._calls = {**numbers(arch), **PSEUDO}
        self._tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._error(at, f"unexpected {text[at]!r}")
            if match.lastgroup is not None and match.lastgroup != "comment":
                self._tokens.append((match.lastgroup, match.group(), at))
            at = match.end()
        self._tokens.append(("line", "\n", len(text)))
        self._at = 0
        self._labels: dict[str, int] = {}
        self.calls: list[Call] = []

    def _error(self, at: int, why: str) -> ParseError:
        start = self._text.rfind("\n", 0, at) + 1
        return ParseError(self._text.count("\n", 0, at) + 1, at - start + 1, why)

    def _peek(self) -> str:
        return self._tokens[self._at][1]

    def _next(self) -> tuple[str, str, int]:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _expect(self, wanted: str) -> None:
        kind, found, at = self._tokens[self._at]
        if found != wanted or kind == "text":
            raise self._error(at, f"{wanted!r} expected, not {_shown(kind, found)}")
        self._at += 1

    def program(self) -> Program:
        while self._at < len(self._tokens):
            if self._tokens[self._at][0] == "line":
                self._at += 1
                continue
            if len(self.calls) == MOST_CALLS:
                raise self._error(self._tokens[self._at][2], f"more than {MOST_CALLS} calls")
            self._call()
        return tuple(self.calls)

    def _call(self) -> None:
        kind, name, at = self._next()
        label = None
        if kind == "name" and self._peek() == "=":
            if not re.fullmatch(r"r[0-9]{1,3}", name):
                raise self._error(at, f"a result is called r0, r1, ..., not {name}")
            label = name
            self._at += 1
            kind, name, at = self._next()
        if kind != "name":
            raise self._error(at, f"the name of a call expected, not {_shown(kind, name)}")
        if name not in self._calls:
            raise self._error(at, f"no call {name}")
        self._expect("(")
        args: list[Arg] = []
        while self._peek() != ")":
            if args:
                self._expect(",")
            place = self._tokens[self._at][2]
            args.append(self._argument())
            if len(args) > 6:
                raise self._error(place, "a seventh argument")
        self._at += 1
        properties = self._properties() if self._peek() == "(" else {}
        if self._tokens[self._at][0] != "line":
            raise self._error(self._tokens[self._at][2], "the end of the line expected")
        self.calls.append(Call(name, tuple(args), **properties))
        if label is not None:
            self._labels[label] = len(self.calls) - 1

    def _properties(self) -> dict[str, int]:
        self._expect("(")
        found: dict[str, int] = {}
        while True:
            kind, name, at = self._next()
            if kind != "name" or name not in ("fail_nth", "rerun") or name in found:
                raise self._error(at, f"fail_nth or rerun expected, not {_shown(kind, name)}")
            self._expect(":")
            place = self._tokens[self._at][2]
            found[name] = self._number()
            if not 0 <= found[name] <= 255:
                raise self._error(place, f"{name} is between 0 and 255")
            if self._peek() != ",":
                break
            self._at += 1
        self._expect(")")
        return found

    def _number(self) -> int:
        kind, text, at = self._next()
        if kind == "number":
            try:
                value = int(text, 16) if "x" in text.lower() else int(text)
            except ValueError as error:
                raise self._error(at, "a number that is too long") from error
            if not -1 << 63 <= value < 1 << 64:
                raise self._error(at, "a number of more than 64 bits")
            return value
        if kind == "name" and text in self._names:
            return self._names[text]
        raise self._error(at, f"no constant {text}" if kind == "name" else f"a value expected, not {_shown(kind, text)}")

    def _offset(self) -> int:
        kind, sign, at = self._tokens[self._at]
        if kind == "number" and sign.startswith("-"):  # "r0 -1": the sign belongs to the number
            return self._number()
        if sign not in ("+", "-"):
            return 0
        self._at += 1
        value = self._number()
        value = value if sign == "+" else -value
        if not -1 << 55 <= value < 1 << 55:
            raise self._error(at, "an offset of more than 55 bits")
        return value

    def _argument(self) -> Arg:
        kind, text, at = self._tokens[self._at]
        if text == "&" and kind == "sign":
            self._at += 1
            place = self._tokens[self._at][2]
            data = self._buffer()
            if len(data) > MOST_LITERAL:
                raise self._error(place, f"a buffer of more than {MOST_LITERAL} bytes")
            return Literal(data)
        if kind == "name" and text == "arena":
            self._at += 1
            return const(ARENA + self._offset())
        if kind == "name" and re.fullmatch(r"r[0-9]{1,3}", text):
            self._at += 1
            if text not in self._labels:
                raise self._error(at, f"{text} is no earlier result")
            return Ref(self._labels[text], self._offset())
        value = self._number()
        while self._peek() == "|":
            self._at += 1
            value |= self._number()
        return const(value)

    def _buffer(self) -> bytes:
        kind, text, at = self._next()
        if kind == "text":
            return self._bytes(text, at)
        if text == "[" and kind == "sign":
            place = self._tokens[self._at][2]
            length = self._number()
            if not 0 <= length <= MOST_LITERAL:
                raise self._error(place, f"a buffer has 0 to {MOST_LITERAL} bytes")
            self._expect("]")
            return bytes(length)
        if text == "<" and kind == "sign":
            words: list[int] = []
            while not words or self._peek() == ",":
                if words:
                    self._at += 1
                words.append(self._number())
            self._expect(">")
            return b"".join((word & (1 << 64) - 1).to_bytes(8, "little") for word in words)
        raise self._error(at, f'a buffer is &"bytes", &[length] or &<word, ...>, not {_shown(kind, text)}')

    def _bytes(self, text: str, at: int) -> bytes:
        out = bytearray()
        place = 1
        while place < len(text) - 1:
            char = text[place]
            if char != "\\":
                if not " " <= char <= "~":
                    raise self._error(at + place, f"{char!r} in a buffer is written as \\x..")
                out.append(ord(char))
                place += 1
                continue
            code = text[place + 1]
            if code == "x":
                digits = text[place + 2 : place + 4]
                if not re.fullmatch("[0-9a-fA-F]{2}", digits):
                    raise self._error(at + place, "\\x is followed by two digits")
                out.append(int(digits, 16))
                place += 4
            elif code in _ESCAPES:
                out.append(_ESCAPES[code])
                place += 2
            else:
                raise self._error(at + place, f"no escape \\{code}")
        return bytes(out)


_ESCAPES = {"n": 10, "t": 9, "0": 0, "\\": 92, '"': 34}


def _shown(kind: str, text: str) -> str:
    return "the end of the line" if kind == "line" else text[:40]


def parse(text: str | bytes, arch: str = "x86_64") -> Program:
    """A program from its text. ParseError, which says where."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    found = _Parser(text, arch).program()
    check(found)
    return found


# -- writing ----------------------------------------------------------------------------------------------------------------


def format(program: Program, arch: str = "x86_64") -> str:
    """The text of a program, a call a line: `parse` of it gives the program."""
    lines, labels = [], names_of(program)
    for number, call in enumerate(program):
        label = f"{labels[number]} = " if number in labels else ""
        lines.append(label + format_call(call, labels, arch) + "\n")
    return "".join(lines)


def names_of(program: Program) -> dict[int, str]:
    """Labels of the calls that others refer to."""
    wanted = sorted({arg.call for call in program for arg in call.args if type(arg) is Ref})
    return {number: f"r{place}" for place, number in enumerate(wanted)}


def format_call(call: Call, labels: dict[int, str], arch: str = "x86_64") -> str:
    """One call without its label."""
    described = descriptions(arch).get(call.name)
    words = described.args if described is not None else ()
    args = [format_argument(arg, words[i] if i < len(words) else "", labels, arch) for i, arg in enumerate(call.args)]
    properties = [f"{name}: {value}" for name, value in (("fail_nth", call.fail_nth), ("rerun", call.rerun)) if value]
    return f"{call.name}({', '.join(args)})" + (f" ({', '.join(properties)})" if properties else "")


def format_argument(arg: Arg, word: str, labels: dict[int, str], arch: str) -> str:
    """An argument; `word` of a description says which constants it shows."""
    if type(arg) is Ref:
        offset = "" if not arg.offset else f" + {arg.offset:#x}" if arg.offset > 0 else f" - {-arg.offset:#x}"
        return f"{labels[arg.call]}{offset}"
    if type(arg) is Literal:
        return "&" + _format_bytes(arg.data)
    assert type(arg) is Const
    value = arg.value
    if word[:2] in ("f:", "v:", "F:"):
        return _format_flags(value, word, arch)
    if ARENA <= value < ARENA + ARENA_SIZE:
        return "arena" if value == ARENA else f"arena + {value - ARENA:#x}"
    return _format_number(value)


def _format_number(value: int) -> str:
    return str(value) if -4096 < value < 0 else f"{value & (1 << 64) - 1:#x}"


@cache
def _entries(kind: str, arch: str) -> tuple[tuple[str, int], ...]:
    """Those names that mean the same when they are read."""
    known = constants(arch)
    return tuple((name, value) for name, value in names(kind, arch).entries if known.get(name) == value)


def _format_flags(value: int, word: str, arch: str) -> str:
    kind = word[2:]
    entries = _entries(kind, arch)
    if word[0] == "v":
        return next((name for name, number in entries if number == value & 0xFFFF_FFFF == value), _format_number(value))
    shown: list[str] = []
    left = value
    if left < 0:
        return _format_number(value)
    if word[0] == "F":  # the type of a mapping is a number among the flags
        type_name = next((name for name, number in _entries("maptype", arch) if number and number == left & 15), None)
        if type_name is not None:
            shown.append(type_name)
            left &= ~15
    for name, bits in entries:
        if bits and left & bits == bits:
            shown.append(name)
            left &= ~bits
    if left or not shown:
        zero = next((name for name, bits in entries if not bits), None)
        shown.append(zero if zero and not left else f"{left:#x}")
    return "|".join(shown)


def _format_bytes(data: bytes) -> str:
    if data and not any(data):
        return f"[{len(data):#x}]"
    printable = sum(32 <= byte < 127 for byte in data)
    if data and len(data) % 8 == 0 and len(data) <= 128 and printable * 2 < len(data):
        words = [signed(int.from_bytes(data[at : at + 8], "little")) for at in range(0, len(data), 8)]
        return f"<{', '.join(map(_format_number, words))}>"
    return '"' + "".join(_CHARACTERS[byte] for byte in data) + '"'


_CHARACTERS = [chr(byte) if 32 <= byte < 127 and byte not in (34, 92) else f"\\x{byte:02x}" for byte in range(256)]
_CHARACTERS[34], _CHARACTERS[92], _CHARACTERS[10] = '\\"', "\\\\", "\\n"
