"""Programs of system calls, made at random from the descriptions.

Owns: which call comes next and what its arguments are likely to be. Must not know how programs run, nor what came of them.

Arguments are drawn so that most calls get past the first checks, and some do not: addresses and descriptors are results of earlier
calls, lengths a few pages, flags what exists; each may be a value from the edges instead.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache, partial
from random import Random

from emuvm.abi.names import names
from emuvm.fuzz.sequences.describe import NEVER, ON_THE_HOST, Description, descriptions, forbidden_on_host
from emuvm.fuzz.sequences.program import ARENA, ARENA_SIZE, WINDOW, WINDOW_PAGES, Arg, Call, Const, Literal, Program, Ref, const

PAGE = 0x1000
_EDGES = (
    0, 1, 2, 7, 8, 0xFFF, 0x1000, 0x1001, 0x1FFFFF, 0x200000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x1_0000_0000, (1 << 47) - 0x1000,
    1 << 47, (1 << 48) - 0x1000, (1 << 63) - 1, 1 << 63, -0x1000, -4096 + 1, -2, -1,
)  # fmt: skip
"""Numbers at which something begins or ends."""
_WILD = 0.04
"""How often an argument is a number from the edges, whatever it should be."""
_SEEN_FDS = range(3, 9)
_PATHS = ("/a", "/dev/shm/b", "/proc/self/maps", "/proc/self/statm", "/proc", "/", "", "/proc/self/mem", "a")
_NAMED = {
    "SPLICE": (0, 1, 2, 3), "LIMIT": (1, 2, 3, 7, 8, 9), "PIPE": (0o4000, 0o2004000, 0o4000),
    "SHM": (0o1600, 0o1600, 0o1000, 0o600, 0o3600, 0o11600, 0o1400),
}  # fmt: skip
"""Flags that `abi.names` has under no kind, or not in this mix: pipes do not wait, or the runner would."""
_FIRST = ("", "", "mmap", "mmap mmap", "memfd_create ftruncate mmap", "memfd_create pwrite64 mmap mmap", "shmget shmat", "mmap brk brk")
_MAPPING = {"mmap": (0, 1, 3), "mremap": (4, 2, 3), "shmat": (1, -1, 2)}
"""Calls that map -> which of their arguments are the place, the length, the flags."""
_FIXED = 0x10
_HOST_COMMANDS = {"shmctl": (0, 1, 3, 11, 12, 14), "fcntl": (1, 3, 1033, 1034, 1033, 1034), "prctl": (0x53564D41,)}


@cache
def _choices(arch: str, host: bool) -> tuple[tuple[Description, ...], tuple[int, ...]]:
    """What may be called, and the weights added up."""
    known = descriptions(arch)
    allowed = sorted(known.keys() & ON_THE_HOST if host else known.keys() - NEVER)
    found = [known[name] for name in allowed]
    sums, total = [], 0
    for described in found:
        total += described.weight
        sums.append(total)
    return tuple(found), tuple(sums)


@cache
def _values(kind: str, arch: str) -> tuple[int, ...]:
    return tuple(value for _, value in names(kind, arch).entries) or (0,)


class Generator:
    """All it draws comes from `random`. `host`: only programs that may run on the host, too."""

    def __init__(self, random: Random, arch: str = "x86_64", *, host: bool = False) -> None:
        self.random = random
        self.arch = arch
        self.host = host
        self.described = descriptions(arch)
        self._calls, self._sums = _choices(arch, host)
        self._makers: dict[str, Callable[[Program, list[Arg]], Arg]] = {
            "addr": self._address, "hint": self._hint, "ptr": self._pointer, "brk": self._break, "shmaddr": self._attached,
            "shared": self._shared, "len": self._length, "size": self._size, "off": self._offset, "pos": self._offset, "flen": self._offset,
            "mapoff": self._page_offset, "out": self._out, "in": self._in, "iov": self._iovec, "str": self._text, "path": self._path,
            "any": self._any, "rlim": self._limit,
        }  # fmt: skip
        self._makers |= {kind: partial(self._resource, kind) for kind in ("fd", "pid", "shmid")}
        self._makers["self"] = self._makers["pid"]
        for word, end in (("timer", 3), ("page", 5), ("sig", 66), ("SEALS", 64)):
            self._makers[word] = partial(self._up_to, end)
        for word, number in (("mode", 0o600), ("at", -100)):
            self._makers[word] = lambda before, args, number=number: const(number)  # type: ignore[misc]
        self._makers["pair"] = lambda before, args: const(ARENA + 8 * self._below(16))

    # -- calls --------------------------------------------------------------------------------------------------------------

    def program(self, length: int) -> Program:
        """So many calls, the first of which often are to map something for the others."""
        made: Program = ()
        for name in _FIRST[self._below(len(_FIRST))].split():
            if len(made) < length:
                made += (self.call(made, name),)
        while len(made) < length:
            made += (self.call(made),)
        return made

    def call(self, before: Program, name: str = "") -> Call:
        """One to stand behind others: of this name, or any."""
        while True:
            described = self.described[name] if name else self._calls[self._weighted()]
            made = Call(described.name, self.arguments(described, before))
            if not self.host or not forbidden_on_host((*before, made)) or forbidden_on_host(before):
                return made

    def arguments(self, described: Description, before: Program) -> tuple[Arg, ...]:
        """Of such a call."""
        args: list[Arg] = []
        for word in described.args:
            args.append(self.argument(described.name, word, before, args))
        return tuple(args)

    def argument(self, name: str, word: str, before: Program, args: list[Arg]) -> Arg:
        """One; `args`: those in front of it."""
        if self.random.random() < _WILD and not (self.host and word == "flen"):
            return const(self._edge())
        if name == "mmap" and word == "fd":
            flags = args[3]
            anonymous = isinstance(flags, Const) and flags.value & 0x20
            return const(-1) if anonymous else self._resource("fd", before, args)
        maker = self._makers.get(word)
        if maker is not None:
            return maker(before, args)
        kind, colon, rest = word.partition(":")
        if self.host and name in _HOST_COMMANDS and kind == "v" and len(args) == (name != "prctl"):
            return const(self.random.choice(_HOST_COMMANDS[name]))
        if colon:
            if name == "mmap" and kind == "F":
                return const(self._map_flags(before, args))
            return const(self._one(rest) if kind == "v" else self._flags(rest))
        if word in _NAMED:
            return const(self.random.choice(_NAMED[word]))
        return const(int(word))

    def _weighted(self) -> int:
        wanted, low, high = self._below(self._sums[-1]), 0, len(self._sums) - 1
        while low < high:
            middle = (low + high) // 2
            if self._sums[middle] > wanted:
                high = middle
            else:
                low = middle + 1
        return low

    # -- numbers ------------------------------------------------------------------------------------------------------------

    def _below(self, end: int) -> int:
        return int(self.random.random() * end)

    def _up_to(self, end: int, before: Program, args: list[Arg]) -> Arg:
        return const(self._below(end))

    def _edge(self) -> int:
        return self.random.choice(_EDGES)

    def _any(self, before: Program, args: list[Arg]) -> Arg:
        return const(self._edge() if self.random.random() < 0.3 else self._below(256))

    def _one(self, kind: str) -> int:
        return self.random.choice(_values(kind, self.arch))

    def _map_flags(self, before: Program, args: list[Arg]) -> int:
        """Of mmap: types and places that go together, and often something more."""
        anonymous = self.random.random() < (0.6 if self._results(before, "fd") else 0.96)
        found = (2, 2, 1)[self._below(3)] | (0x20 if anonymous else 0) if self.random.random() < 0.95 else self._below(16)
        if args and args[0] != Const(0) and self.random.random() < 0.6:
            found |= _FIXED if self.random.random() < 0.85 else 0x10_0000
        while self.random.random() < 0.25:
            found |= self._one("map")
        return found

    def _flags(self, kind: str) -> int:
        choice = self.random.random()
        if kind == "prot":
            return (3, 3, 3, 1, 1, 0, 7, 5, 2)[self._below(9)] if choice < 0.97 else self._one("prot")
        values = _values(kind, self.arch)
        if kind == "mremap" and choice < 0.9:
            return (0, 1, 1, 3, 3, 5)[self._below(6)]
        if choice < 0.5:
            return 0
        found = self.random.choice(values)
        while choice > 0.5:
            found |= self.random.choice(values)
            choice = self.random.random()
        return found

    def _offset(self, before: Program, args: list[Arg]) -> Arg:
        return const(min(self._below(6), self._below(6)) * PAGE if self.random.random() < 0.8 else self._below(0x5000))

    def _page_offset(self, before: Program, args: list[Arg]) -> Arg:
        return const(max(0, self._below(8) - 3) * PAGE if self.random.random() < 0.97 else self._below(0x5000))

    def _length(self, before: Program, args: list[Arg]) -> Arg:
        choice = self.random.random()
        if choice < 0.85:
            return const((1 + min(self._below(6), self._below(6))) * PAGE)
        if choice < 0.93:
            return const(self._below(0x5000))
        return const((0x20_0000, 0x20_0000 * 2, 0x1_0000, 64 << 20)[self._below(4)])

    def _size(self, before: Program, args: list[Arg]) -> Arg:
        last = args[-1] if args else None
        if type(last) is Literal:
            return const(len(last.data))
        return const(self._below(64)) if self.random.random() < 0.4 else self._length(before, args)

    # -- what earlier calls gave --------------------------------------------------------------------------------------------

    def _results(self, before: Program, kind: str) -> list[int]:
        described = self.described
        return [number for number, call in enumerate(before) if call.name in described and described[call.name].result == kind]

    def _resource(self, kind: str, before: Program, args: list[Arg]) -> Arg:
        found = self._results(before, kind)
        if found and self.random.random() < 0.85:
            return Ref(found[max(self._below(len(found)), self._below(len(found)))])
        if kind == "fd":
            return const(self.random.choice(_SEEN_FDS))
        return const(self._below(3) if kind == "shmid" else 0)

    def _pages(self, length: int) -> int:
        """From the beginning of a mapping of this length, in bytes: mostly inside."""
        choice = self.random.random()
        if choice < 0.45:
            return 0
        if choice < 0.9:
            return self._below(max(1, min(length, 1 << 20) + PAGE - 1 >> 12)) * PAGE
        return -PAGE if choice < 0.93 else length if choice < 0.97 else self._below(0x3000)

    def _mappings(self, before: Program, wanted: Callable[[Call], bool]) -> list[tuple[Arg, int]]:
        """(where, length) of what earlier calls are likely to have mapped: a fixed place, or what the call returns."""
        found: list[tuple[Arg, int]] = []
        for number, call in enumerate(before):
            if call.name not in _MAPPING or not wanted(call):
                continue
            if call.name != "mmap" and self.random.random() < 0.5:  # those fail more often
                continue
            place, length, flags = (_number(call, at) for at in _MAPPING[call.name])
            fixed = call.name == "mmap" and flags & _FIXED and place
            found.append((const(place) if fixed else Ref(number), length or 2 * PAGE))
        return found

    def _address(self, before: Program, args: list[Arg]) -> Arg:
        return self._in_mapping(before, lambda call: True)

    def _in_mapping(self, before: Program, wanted: Callable[[Call], bool]) -> Arg:
        choice = self.random.random()
        found = self._mappings(before, wanted)
        if found and choice < 0.85:
            at, length = found[max(self._below(len(found)), self._below(len(found)))]
            pages = self._pages(length)
            return Ref(at.call, pages) if type(at) is Ref else const(at.value + pages if type(at) is Const else 0)
        return self._place() if choice < 0.97 else self._out(before, [])

    def _place(self) -> Arg:
        """A page of the window, the lower the likelier."""
        return const(WINDOW + PAGE * min(self._below(WINDOW_PAGES), self._below(WINDOW_PAGES), self._below(WINDOW_PAGES)))

    def _shared(self, before: Program, args: list[Arg]) -> Arg:
        return self._in_mapping(before, lambda call: call.name == "shmat" or (call.name == "mmap" and bool(_number(call, 3) & 1)))

    def _attached(self, before: Program, args: list[Arg]) -> Arg:
        found = [number for number, call in enumerate(before) if call.name == "shmat"]
        return Ref(found[self._below(len(found))]) if found and self.random.random() < 0.85 else self._address(before, args)

    def _hint(self, before: Program, args: list[Arg]) -> Arg:
        choice = self.random.random()
        return const(0) if choice < 0.4 else self._place() if choice < 0.75 else self._address(before, args)

    def _pointer(self, before: Program, args: list[Arg]) -> Arg:
        return self._address(before, args) if self.random.random() < 0.3 else self._out(before, args)

    def _break(self, before: Program, args: list[Arg]) -> Arg:
        found = [number for number, call in enumerate(before) if call.name == "brk"]
        return Ref(found[self._below(len(found))], self._pages(4 * PAGE)) if found and self.random.random() < 0.85 else const(0)

    # -- buffers ------------------------------------------------------------------------------------------------------------

    def _out(self, before: Program, args: list[Arg]) -> Arg:
        return const(ARENA + 16 * self._below(ARENA_SIZE // 32))

    def _in(self, before: Program, args: list[Arg]) -> Arg:
        choice = self.random.random()
        if choice < 0.6:
            return Literal(self.random.randbytes(1 + self._below(40)))
        return self._out(before, args) if choice < 0.8 else self._address(before, args)

    def _limit(self, before: Program, args: list[Arg]) -> Arg:
        which = (0, PAGE, 0x4000, 0x10000, 1 << 20, 8 << 20, 64 << 20, 256 << 20, (1 << 64) - 1, 16, 64)
        current, most = sorted((self.random.choice(which), self.random.choice(which)))
        if self.random.random() < 0.1:
            current, most = most, current
        return Literal(struct.pack("<QQ", current, most)) if self.random.random() < 0.9 else self._out(before, args)

    def _text(self, before: Program, args: list[Arg]) -> Arg:
        return Literal(self.random.choice((b"a\0", b"name\0", b"a name\0", b"\0", b"x" * 79 + b"\0", b"x" * 80 + b"\0", b"\1\0", b"a[b\0")))

    def _path(self, before: Program, args: list[Arg]) -> Arg:
        return Literal(self.random.choice(_PATHS).encode() + b"\0")

    def _iovec(self, before: Program, args: list[Arg]) -> Arg:
        base = ARENA + 64 * self._below(16) if self.random.random() < 0.6 else WINDOW + PAGE * self._below(8) - self._below(2) * 8
        return Literal(struct.pack("<QQ", base, self._below(64) if self.random.random() < 0.7 else PAGE * self._below(4)))


def _number(call: Call, place: int) -> int:
    """An argument that is a number; 0 for others, and for what is not there."""
    arg = call.args[place] if 0 <= place < len(call.args) else None
    return arg.value if type(arg) is Const else 0
