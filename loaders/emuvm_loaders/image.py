"""What a loader found in a file: a frozen Image, and the one error it may raise instead.

Owns: Image, Segment, Note, Property, LoadError. Must not know any file format, emuvm or an engine.

Addresses are guest addresses as the file states them ("unbiased"): a position independent image is moved by adding
one bias to all of them (see `plan`). Ranges are half open, sizes are bytes, everything is checked only as far as Linux
checks it in execve before the point of no return (fs/binfmt_elf.c:load_elf_binary, 6.1 to 7.2); `plan` checks the rest.

Everything here is immutable. The records are named tuples because making a frozen dataclass costs a program's start one
to three milliseconds each.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from emuvm_loaders.source import Source

R, W, X = 4, 2, 1
"""Bits of a segment's `flags`: the ELF's PF_R, PF_W and PF_X (not PROT_*, which count the other way round)."""

ENOENT, EIO, ENOEXEC, EACCES, EFAULT, EINVAL, EPERM, EOVERFLOW = 2, 5, 8, 13, 14, 22, 1, 75
"""The errno values a LoadError carries; Linux numbers them alike for every architecture, EOVERFLOW excepted (mips 79, sparc 92)."""


def printable(text: str | bytes) -> str:
    """What a file says, made harmless for a terminal: everything that cannot be printed as it is becomes a \\x escape."""
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    clean = raw.decode("utf-8", "backslashreplace")
    return clean if clean.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in clean)


class LoadError(Exception):
    """The file is not something that can be loaded. `reason` is a sentence, `errno` what execve would fail with."""

    def __init__(self, reason: str, errno: int = ENOEXEC) -> None:
        self.reason = reason
        self.errno = errno
        super().__init__(reason)


class ScriptError(LoadError):
    """ENOEXEC: a `#!` script. `interpreter` and `argument` (or None) are what its first line says, as bytes."""

    def __init__(self, interpreter: bytes, argument: bytes | None) -> None:
        self.interpreter = interpreter
        self.argument = argument
        line = interpreter if argument is None else interpreter + b" " + argument
        super().__init__(f"a script for '{printable(line)}', not a program: run its interpreter with the script as argument")


class Segment(NamedTuple):
    """One program header. `type` is 'LOAD', 'NOTE', 'GNU_STACK', ... or '0x...' for a number without a name."""

    type: str
    offset: int
    vaddr: int
    filesz: int
    memsz: int
    flags: int
    align: int

    @property
    def end(self) -> int:
        """First address behind the segment in memory."""
        return self.vaddr + self.memsz

    @property
    def letters(self) -> str:
        """The rights as in 'r-x'."""
        return "".join(c if self.flags & bit else "-" for c, bit in (("r", R), ("w", W), ("x", X)))


class Note(NamedTuple):
    """One entry of a PT_NOTE segment. `type` is the number; its meaning depends on `owner` ('GNU', 'Go', ...)."""

    owner: str
    type: int
    desc: bytes


class Property(NamedTuple):
    """One entry of the PT_GNU_PROPERTY note, e.g. 0xc0000000: AArch64 BTI (bit 0) and PAC (bit 1)."""

    type: int
    data: bytes


class Image(NamedTuple):
    """A loadable file, as its headers describe it. Nothing of the segments' contents is held: see `data`."""

    name: str
    """Where it came from, for messages."""
    type: Literal["exec", "dyn", "raw"]
    arch: str
    """emuvm's name for (machine, bits, big_endian): 'x86_64', 'arm64', 'mips32', ...; '' when it has none."""
    machine: int
    """e_machine."""
    bits: int
    big_endian: bool
    entry: int
    source: Source
    headers: tuple[Segment, ...] = ()
    """All program headers, in table order."""
    e_flags: int = 0
    osabi: int = 0
    phoff: int = 0
    phentsize: int = 0
    phnum: int = 0
    phdr_address: int = 0
    """Unbiased address of the program headers (AT_PHDR); 0 when no segment holds them."""
    interpreter: str | None = None
    """Path in the first PT_INTERP: the program is dynamic and this must load it."""
    stack_flags: int | None = None
    """R, W, X bits of the last PT_GNU_STACK; None when there is none."""
    tls: Segment | None = None
    notes: tuple[Note, ...] = ()
    properties: tuple[Property, ...] = ()

    def __repr__(self) -> str:
        order = "big" if self.big_endian else "little"
        segments = " ".join(f"{s.letters}@{s.vaddr:#x}+{s.memsz:#x}" for s in self.segments)
        return f"<Image {self.name!r} {self.type} {self.arch or self.machine} {self.bits}-bit {order} entry={self.entry:#x} {segments}>"

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The PT_LOAD headers, in table order."""
        return tuple(s for s in self.headers if s.type == "LOAD")

    @property
    def pie(self) -> bool:
        """May (and must) be placed at an address of the kernel's choice."""
        return self.type == "dyn"

    def data(self, segment: Segment) -> bytes:
        """The bytes of a segment that the file really holds: at most `filesz`, fewer when the file ends before."""
        return self.source.read_at(segment.offset, segment.filesz)

    def note(self, owner: str, number: int) -> bytes | None:
        """Contents of the first note of that owner and type, e.g. ('GNU', 3) for the build id."""
        for note in self.notes:
            if note.type == number and note.owner == owner:
                return note.desc
        return None
