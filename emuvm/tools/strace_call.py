"""One system call as a trace looks at it, and the vocabulary of decoders.

Owns: safe looks into guest memory, flags by name, the table from a decoder's name to its function. Must not know single calls.

A decoder is a function (call, raw word) -> text, or None: the argument is not shown. It never raises, whatever the guest passes:
what cannot be read is shown as an address.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from struct import Struct
from typing import Any

from emuvm.abi.arch import Arch
from emuvm.abi.names import Names, names
from emuvm.errors import EngineError, GuestError
from emuvm.kernel.usermem import UserMemory
from emuvm.tools.strace_text import quote

MAX_ERRNO = 4095
PATH_SHOWN = 4096


class Call:
    """Name, raw arguments, and, once the call is over, its signed result. `limit`: how many bytes or elements are shown."""

    __slots__ = ("arch", "args", "limit", "mem", "name", "note", "result")

    def __init__(self, arch: Arch, mem: UserMemory, name: str, args: tuple[int, ...], limit: int) -> None:
        self.arch = arch
        self.mem = mem
        self.name = name
        self.args = args
        self.limit = limit
        self.result: int | None = None
        self.note: Any = None
        """What a decoder saw before the call and another one needs after it."""

    @property
    def failed(self) -> bool:
        return self.result is not None and -MAX_ERRNO <= self.result < 0

    def names(self, kind: str) -> Names:
        return names(kind, self.arch.name)

    # -- guest memory -----------------------------------------------------------------------------------------------------

    def read(self, address: int, length: int) -> bytes | None:
        """All of the bytes, or None. Changes nothing: stacks do not grow."""
        try:
            return self.mem.read(address, length)
        except (GuestError, EngineError, OverflowError, ValueError):
            return None

    def unpack(self, address: int, fmt: str) -> tuple[Any, ...] | None:
        """A structure; 'w' is a long, 'W' an unsigned one."""
        layout = _layout(self.arch, fmt)
        data = self.read(address, layout.size) if address else None
        return None if data is None else layout.unpack(data)

    def word(self, address: int) -> int | None:
        found = self.unpack(address, "W")
        return None if found is None else int(found[0])

    def string(self, address: int, limit: int) -> str:
        """The NUL-terminated string, cut; the address where there is none."""
        if not address:
            return "NULL"
        parts: list[bytes] = []
        done = 0
        while done <= limit:
            step = min(256 - (address + done) % 256, limit + 1 - done)
            part = self.read(address + done, step)
            if part is None:
                return pointer(address)
            end = part.find(b"\0")
            if end >= 0:
                parts.append(part[:end])
                return quote(b"".join(parts)[:limit], done + end > limit)
            parts.append(part)
            done += step
        return quote(b"".join(parts)[:limit], True)

    def data(self, address: int, length: int) -> str:
        """Bytes as a string, cut."""
        if not address:
            return "NULL"
        shown = self.read(address, min(length, self.limit + 1))
        return pointer(address) if shown is None else quote(shown[: self.limit], length > self.limit)


@cache
def _layout(arch: Arch, fmt: str) -> Struct:
    signed, unsigned = ("q", "Q") if arch.bits == 64 else ("i", "I")
    return Struct((">" if arch.big_endian else "<") + fmt.replace("w", signed).replace("W", unsigned))


# -- words ----------------------------------------------------------------------------------------------------------------


def s32(value: int) -> int:
    return ((value & 0xFFFF_FFFF) ^ 0x8000_0000) - 0x8000_0000


def u32(value: int) -> int:
    return value & 0xFFFF_FFFF


def s64(value: int) -> int:
    return ((value & 0xFFFF_FFFF_FFFF_FFFF) ^ 0x8000_0000_0000_0000) - 0x8000_0000_0000_0000


def pointer(value: int) -> str:
    return f"{value:#x}" if value else "NULL"


def hexed(value: int) -> str:
    return f"{value:#x}" if value else "0"


def mode(value: int) -> str:
    """Octal with a leading 0, three digits at least."""
    return "0" + f"{value & 0xFFFF:o}".rjust(2, "0")


def flags(value: int, known: Names, zero: str = "0") -> str:
    """'O_CREAT|O_EXCL|0x8'; bits without any name as '0x8 /* O_??? */'."""
    found, rest = [], value
    for name, bits in known.entries:
        if bits and rest & bits == bits:
            found.append(name)
            rest &= ~bits
    if not value:
        return known.entries[0][0] if known.entries and known.entries[0][1] == 0 else zero
    if rest:
        found.append(hexed(rest) if found else f"{rest:#x} /* {known.unknown} */")
    return "|".join(found)


def one(value: int, known: Names) -> str:
    """The name of exactly this value, or '0x63 /* MADV_??? */'."""
    for name, number in known.entries:
        if number == value:
            return name
    return f"{hexed(value)} /* {known.unknown} */"


# -- decoders -------------------------------------------------------------------------------------------------------------

Decoder = Callable[[Call, int], "str | None"]
Maker = Callable[[str], Decoder]

_plain: dict[str, Decoder] = {}
_makers: dict[str, Maker] = {}


def decoder(*known: str) -> Callable[[Decoder], Decoder]:
    """Register a decoder under names of the table."""

    def register(function: Decoder) -> Decoder:
        _plain.update(dict.fromkeys(known, function))
        return function

    return register


Fields = tuple[Any, ...]


def structure(known: str, layout: str, *, narrow: str | None = "same") -> Callable[[Callable[[Call, Fields], str]], Decoder]:
    """Register a decoder of a structure, given its fields (`Call.unpack`); where they cannot be read the address is shown.

    `narrow`: the layout of 32-bit architectures if it is another one; None: not known.
    """

    def register(function: Callable[[Call, Fields], str]) -> Decoder:
        def show(call: Call, value: int) -> str:
            fmt = layout if call.arch.bits == 64 or narrow == "same" else narrow
            found = call.unpack(value, fmt) if fmt else None
            return pointer(value) if found is None else function(call, found)

        return decoder(known)(show)

    return register


def maker(known: str) -> Callable[[Maker], Maker]:
    """Register what makes a decoder from the part behind the colon: 'f:open', 'b:2'."""

    def register(function: Maker) -> Maker:
        _makers[known] = function
        return function

    return register


@cache
def find(token: str) -> Decoder:
    """The decoder a token of the table means; KeyError."""
    kind, colon, rest = token.partition(":")
    return _makers[kind](rest) if colon else _plain[token]


def wanted(call: Call, rule: str, value: int) -> int:
    """A length: 'r' the result, '2' an argument, 'r2' the smaller of both."""
    counts = [max(call.result or 0, 0)] if rule.startswith("r") else []
    counts += [call.args[int(rule[-1])]] if rule[-1].isdecimal() else []
    return min(counts)
