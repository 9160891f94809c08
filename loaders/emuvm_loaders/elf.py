"""ELF files -> Image, with the checks Linux makes in execve before the point of no return.

Owns: reading the ELF header and the program headers, and the only import of pyelftools. Must not know addresses that
a process will get (see `plan`). Section headers and symbols are never looked at: Linux does not either.
Source: fs/binfmt_elf.c:load_elf_binary, load_elf_phdrs (6.1 to 7.2).
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from emuvm_loaders import machines
from emuvm_loaders.image import EIO, Image, LoadError, Note, Property, Segment
from emuvm_loaders.notes import MAX_NOTES, PROPERTY_LIMIT, parse_notes, parse_properties
from emuvm_loaders.source import Source

if TYPE_CHECKING:
    from elftools.elf.structs import ELFStructs


_HEAD = 4096
_PHDRS_LIMIT = 0x1_0000
_PATH_MAX = 4096
_NOTES_LIMIT = 0x1_0000
_OFFSET_LIMIT = 1 << 63
_TYPES: dict[Any, Literal["exec", "dyn"]] = {"ET_EXEC": "exec", "ET_DYN": "dyn"}
_OTHER_TYPES = {"ET_NONE": "has no type", "ET_REL": "is an object file, not linked yet", "ET_CORE": "is a core dump"}


class _Later(ModuleType):
    """Stands for a module until somebody uses it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(import_module(self.__name__), name)


def _pformat(value: Any) -> str:
    """pprint's, imported when it is used: by pyelftools only to show its containers to people."""
    from pprint import pformat

    return pformat(value)


def _import_pyelftools() -> None:
    """Import what is needed of pyelftools, without the debugger and its relatives.

    Its parser library imports them for a debugging aid, which is half of the start-up time. They are kept out only while
    this import runs, and even that debugging aid still finds them at its first use.
    """
    names = [n for n in ("pdb", "traceback", "pprint") if n not in sys.modules]
    for name in names:
        sys.modules[name] = stand_in = _Later(name)
        if name == "pprint":
            stand_in.__dict__["pformat"] = _pformat
    try:
        import elftools.elf.structs  # noqa: F401 - loaded here for the functions below
    finally:
        for name in names:
            if isinstance(sys.modules.get(name), _Later):
                del sys.modules[name]


@lru_cache(maxsize=32)
def _structs(little_endian: bool, bits: int, machine: str | None) -> ELFStructs:
    """pyelftools' description of the structures; without a machine only of the ELF header."""
    _import_pyelftools()
    from elftools.elf.structs import ELFStructs

    structs = ELFStructs(little_endian, bits)
    structs.create_basic_structs()
    if machine is not None:
        structs.create_advanced_structs(None, machine, None)
    return structs


def _parse(struct: Any, data: bytes, what: str) -> Any:
    from elftools.common.exceptions import ELFError
    from elftools.common.utils import struct_parse

    try:
        return struct_parse(struct, BytesIO(data), 0)
    except ELFError as error:
        raise LoadError(f"{what} cannot be parsed: {error}") from error


def _machine_number(machine: int | str) -> int:
    from elftools.elf.enums import ENUM_E_MACHINE

    return machine if isinstance(machine, int) else ENUM_E_MACHINE[machine]


def load_elf(source: Source, name: str) -> Image:
    """Read the headers. ENOEXEC for what Linux refuses, EIO where a part it must read lies behind the end of the file."""
    head = source.read_at(0, _HEAD)
    if head[:4] != b"\x7fELF":
        raise LoadError(f"not an ELF file: it starts with {head[:4].hex(' ')}")
    if len(head) < 16:
        raise LoadError("the ELF header is cut off")
    bits = {1: 32, 2: 64}.get(head[4])
    if bits is None or head[5] not in (1, 2):
        raise LoadError(f"neither a 32- nor a 64-bit, little- or big-endian ELF file (class {head[4]}, data {head[5]})")
    little = head[5] == 1
    structs = _structs(little, bits, None)
    size = structs.Elf_Ehdr.sizeof()
    if len(head) < size:
        raise LoadError("the ELF header is cut off")
    header = _parse(structs.Elf_Ehdr, head[:size], "the ELF header")
    kind = _TYPES.get(header["e_type"])
    if kind is None:
        raise LoadError(f"an ELF file that {_OTHER_TYPES.get(header['e_type'], 'is not a program')} (e_type {header['e_type']})")
    machine = header["e_machine"]
    number = _machine_number(machine)
    entry, e_flags, osabi = header["e_entry"], header["e_flags"], head[7]
    refused = machines.refusal(number, bits, osabi, e_flags, entry)
    if refused is not None:
        raise LoadError(refused)
    headers = _program_headers(source, head, _structs(little, bits, str(machine)), header)
    order: Literal["little", "big"] = "little" if little else "big"
    interpreter = _interpreter(source, headers)
    stack = [s.flags for s in headers if s.type == "GNU_STACK"]
    return Image(
        name=name,
        type=kind,
        arch=machines.name_of(number, bits, not little, e_flags),
        machine=number,
        bits=bits,
        big_endian=not little,
        entry=entry,
        source=source,
        headers=headers,
        e_flags=e_flags,
        osabi=osabi,
        phoff=header["e_phoff"],
        phentsize=header["e_phentsize"],
        phnum=header["e_phnum"],
        phdr_address=_phdr_address(headers, header["e_phoff"]),
        interpreter=interpreter,
        stack_flags=stack[-1] if stack else None,
        tls=next((s for s in headers if s.type == "TLS"), None),
        notes=_notes(source, headers, order),
        properties=_properties(source, headers, number, bits, order),
    )


def _program_headers(source: Source, head: bytes, structs: ELFStructs, header: Any) -> tuple[Segment, ...]:
    entry_size, count, at = header["e_phentsize"], header["e_phnum"], header["e_phoff"]
    wanted = structs.Elf_Phdr.sizeof()
    if count == 0:
        raise LoadError("the file has no program headers")
    if entry_size != wanted:
        raise LoadError(f"program headers of {entry_size} bytes each, not {wanted}")
    size = entry_size * count
    if size > _PHDRS_LIMIT:
        raise LoadError(f"{count} program headers are more than 64 KiB")
    if at >= _OFFSET_LIMIT:
        raise LoadError(f"the program headers lie at file offset {at:#x}")
    table = head[at : at + size] if at + size <= len(head) else source.read_at(at, size)
    if len(table) < size:
        raise LoadError("the file ends before its program headers do")
    return tuple(_segment(_parse(structs.Elf_Phdr, table[i : i + entry_size], "a program header")) for i in range(0, size, entry_size))


def _segment(header: Any) -> Segment:
    kind = header["p_type"]
    return Segment(
        type=kind.removeprefix("PT_") if isinstance(kind, str) else f"{kind:#x}",
        offset=header["p_offset"],
        vaddr=header["p_vaddr"],
        filesz=header["p_filesz"],
        memsz=header["p_memsz"],
        flags=header["p_flags"],
        align=header["p_align"],
    )


def _phdr_address(headers: tuple[Segment, ...], phoff: int) -> int:
    address = 0
    for s in headers:  # the last segment that holds the table counts
        if s.type == "LOAD" and s.offset <= phoff < s.offset + s.filesz:
            address = phoff - s.offset + s.vaddr
    return address


def _interpreter(source: Source, headers: tuple[Segment, ...]) -> str | None:
    segment = next((s for s in headers if s.type == "INTERP"), None)
    if segment is None:
        return None
    if not 2 <= segment.filesz <= _PATH_MAX:
        raise LoadError(f"the interpreter's path (PT_INTERP) has {segment.filesz} bytes")
    path = source.read_at(segment.offset, segment.filesz)
    if len(path) < segment.filesz:
        raise LoadError("the file ends before the interpreter's path (PT_INTERP) does", EIO)
    if path[-1]:
        raise LoadError("the interpreter's path (PT_INTERP) does not end in a zero byte")
    return path.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _notes(source: Source, headers: tuple[Segment, ...], order: Literal["little", "big"]) -> tuple[Note, ...]:
    found: list[Note] = []
    budget = _NOTES_LIMIT
    for s in headers:
        if s.type == "NOTE" and budget > 0 and len(found) < MAX_NOTES:
            data = source.read_at(s.offset, min(s.filesz, budget))
            budget -= len(data)
            found += parse_notes(data, s.align, order)
    return tuple(dict.fromkeys(found[:MAX_NOTES]))


def _properties(
    source: Source, headers: tuple[Segment, ...], machine: int, bits: int, order: Literal["little", "big"]
) -> tuple[Property, ...]:
    segment = next((s for s in reversed(headers) if s.type == "GNU_PROPERTY"), None)
    if segment is None or machine not in machines.PROPERTY_MACHINES:
        return ()
    if segment.filesz > PROPERTY_LIMIT:
        raise LoadError(f"PT_GNU_PROPERTY of {segment.filesz} bytes")
    return tuple(parse_properties(source.read_at(segment.offset, segment.filesz), bits, order))
