"""ELF notes: lists of (owner, type, contents) records, and the property array inside one of them.

Owns: walking note bytes that may be garbage. Must not know files or pyelftools.

    namesz:4 descsz:4 type:4 | name, padded | desc, padded        padding to 4, or 8 in segments aligned to 8
"""

from __future__ import annotations

from typing import Literal

from emuvm_loaders.image import EIO, LoadError, Note, Property

MAX_NOTES = 256
"""More notes than any real file has; the rest of a longer list is not looked at."""

PROPERTY_LIMIT = 1024
"""Linux refuses a PT_GNU_PROPERTY larger than this (fs/binfmt_elf.c:NOTE_DATA_SZ)."""

_HEADER = 12
_PROPERTY_TYPE_0 = 5


def _up(value: int, align: int) -> int:
    return -(-value // align) * align


def parse_notes(data: bytes, align: int, order: Literal["little", "big"]) -> list[Note]:
    """The notes in `data` up to the first that does not fit: Linux ignores PT_NOTE, so nothing here is an error."""
    step = 8 if align == 8 else 4
    found: list[Note] = []
    at = 0
    while at + _HEADER <= len(data) and len(found) < MAX_NOTES:
        namesz, descsz, number = (int.from_bytes(data[at + i : at + i + 4], order) for i in (0, 4, 8))
        name = at + _HEADER
        desc = _up(name + namesz, step)
        end = desc + descsz
        if end > len(data):
            break
        owner = data[name : name + namesz].split(b"\0", 1)[0].decode("latin-1")
        found.append(Note(owner, number, data[desc:end]))
        at = _up(end, step)
    return found


def parse_properties(data: bytes, bits: int, order: Literal["little", "big"]) -> list[Property]:
    """The properties of a PT_GNU_PROPERTY segment with the checks of fs/binfmt_elf.c:parse_elf_properties.

    ENOEXEC: not exactly a GNU property note, properties too long, unsorted or repeated; EIO: too short for one.
    """
    align = 8 if bits == 64 else 4
    first = _HEADER + 4  # a multiple of both alignments
    if len(data) < _HEADER + 4:
        raise LoadError("the property note is too short", EIO)
    namesz, descsz, number = (int.from_bytes(data[i : i + 4], order) for i in (0, 4, 8))
    if number != _PROPERTY_TYPE_0 or namesz != 4 or data[_HEADER : _HEADER + 4] != b"GNU\0":
        raise LoadError("PT_GNU_PROPERTY does not hold a GNU property note")
    end = first + descsz
    if end > len(data):
        raise LoadError("the property note is longer than its segment")
    found: list[Property] = []
    at = first
    while at < end:
        if end - at < 8:
            raise LoadError("a GNU property is cut off")
        kind, size = (int.from_bytes(data[at + i : at + i + 4], order) for i in (0, 4))
        if _up(size, align) > end - at - 8:
            raise LoadError(f"GNU property {kind:#x} is longer than its note")
        if found and kind <= found[-1].type:
            raise LoadError("the GNU properties are not sorted")
        found.append(Property(kind, data[at + 8 : at + 8 + size]))
        at += 8 + _up(size, align)
    return found
