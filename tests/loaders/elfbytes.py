"""ELF files made by hand, field by field, for the loader tests: no compiler, any class and byte order."""

from __future__ import annotations

import struct
from typing import NamedTuple

LOAD, DYNAMIC, INTERP, NOTE, TLS = 1, 2, 3, 4, 7
GNU_STACK, GNU_PROPERTY = 0x6474E551, 0x6474E553
R, W, X = 4, 2, 1


class Ph(NamedTuple):
    """A program header; `data` is put into the file at `offset`."""

    type: int
    offset: int = 0
    vaddr: int = 0
    filesz: int = 0
    memsz: int = 0
    flags: int = R
    align: int = 0x1000
    data: bytes = b""


def elf(
    *headers: Ph,
    machine: int = 62,
    bits: int = 64,
    big: bool = False,
    type: int = 2,
    entry: int = 0x401000,
    e_flags: int = 0,
    osabi: int = 0,
    phoff: int | None = None,
    phnum: int | None = None,
    phentsize: int | None = None,
    size: int = 0,
) -> bytes:
    """The file, at least `size` bytes long."""
    order = ">" if big else "<"
    ehsize, each = (64, 56) if bits == 64 else (52, 32)
    word = "Q" if bits == 64 else "I"
    at = ehsize if phoff is None else phoff
    ident = b"\x7fELF" + bytes([bits // 32, 2 if big else 1, 1, osabi]) + bytes(8)
    out = bytearray(ident)
    out += struct.pack(order + "HHI" + word * 3, type, machine, 1, entry, at, 0)
    count = len(headers) if phnum is None else phnum
    out += struct.pack(order + "IHHHHHH", e_flags, ehsize, each if phentsize is None else phentsize, count, 64, 0, 0)
    table = b"".join(_ph(h, order, bits) for h in headers)
    if at < 1 << 20:
        out = _put(out, at, table)
    for h in headers:
        if h.data:
            out = _put(out, h.offset, h.data)
    return bytes(out) + bytes(max(0, size - len(out)))


def _ph(h: Ph, order: str, bits: int) -> bytes:
    if bits == 64:
        return struct.pack(order + "IIQQQQQQ", h.type, h.flags, h.offset, h.vaddr, h.vaddr, h.filesz, h.memsz, h.align)
    return struct.pack(order + "IIIIIIII", h.type, h.offset, h.vaddr, h.vaddr, h.filesz, h.memsz, h.flags, h.align)


def _put(out: bytearray, at: int, data: bytes) -> bytearray:
    out += bytes(max(0, at + len(data) - len(out)))
    out[at : at + len(data)] = data
    return out


def note(owner: bytes, number: int, desc: bytes, *, big: bool = False, align: int = 4) -> bytes:
    """One note record, padded."""
    out = struct.pack((">" if big else "<") + "III", len(owner), len(desc), number) + owner
    out += bytes(-len(out) % align) + desc
    return out + bytes(-len(out) % align)


def text_and_data(**options: object) -> bytes:
    """An ordinary static program: text at 0x400000 with the headers in it, data with bss behind it, a stack header."""
    return elf(
        Ph(LOAD, 0, 0x400000, 0x1200, 0x1200, R | X),
        Ph(LOAD, 0x1F00, 0x402F00, 0x180, 0x2300, R | W),
        Ph(GNU_STACK, flags=R | W),
        **{"size": 0x2080, **options},  # type: ignore[arg-type]
    )
