"""ELF core files, as Linux and gdb write them -> a frozen Core: the first thread's registers, and memory as far as it was dumped.

Owns: the layout of the notes (include/linux/elfcore.h, arch/*/include/asm/elf.h) for x86-64 and arm64. Must not know emuvm, nor where
the files that memory came from are.

    PT_LOAD   an area; bytes behind p_filesz were left out, because a file has them or because they were never touched. gdb leaves out
              whole areas of files, which only NT_FILE tells
    PT_NOTE   NT_PRSTATUS registers   NT_PRPSINFO name   NT_AUXV   NT_FILE which areas are of which file   NT_FPREGSET   NT_SIGINFO
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from emuvm_loaders.image import EIO, LoadError
from emuvm_loaders.source import Source

NT_PRSTATUS, NT_FPREGSET, NT_PRPSINFO, NT_AUXV, NT_FILE, NT_SIGINFO, NT_ARM_TLS = 1, 2, 3, 6, 0x46494C45, 0x53494749, 0x401
MACHINES = {62: "x86_64", 183: "arm64"}
PAGE = 4096
ORDER: dict[str, tuple[str, ...]] = {
    "x86_64": tuple(
        "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs".split()
    ),
    "arm64": (*(f"x{n}" for n in range(31)), "sp", "pc", "pstate"),
}
"""struct user_regs_struct, struct user_pt_regs."""
PRSTATUS, REGS_AT = {"x86_64": 336, "arm64": 392}, 112
FPREGS = {"x86_64": 512, "arm64": 528}
PRPSINFO = struct.Struct("<BBBbxxxxQIIiiii16s80s")
"""State, its letter, is it a zombie, nice, flags, uid, gid, pid, ppid, process group, session, name, arguments."""
EHDR, PHDR = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ")
_ET_CORE, _PT_LOAD, _PT_NOTE, _XNUM = 4, 1, 4, 0xFFFF
_MOST_NOTES, _MOST_AREAS, _MOST_FILES = 64 << 20, 1 << 20, 1 << 20
_TOP = 1 << 64


class CoreArea(NamedTuple):
    """Memory [start, end), of which the core has the first `held` bytes, at `offset`. `flags` are the ELF's R, W and X."""

    start: int
    end: int
    flags: int
    offset: int
    held: int


class CoreFile(NamedTuple):
    """[start, end) shows a file from `offset` on."""

    start: int
    end: int
    offset: int
    path: str


class Core(NamedTuple):
    """A process that was dumped. Registers have the kernel's names (`ORDER`), arm64 also 'tpidr_el0' where the core has it."""

    name: str
    """Where it came from, for messages."""
    arch: str
    areas: tuple[CoreArea, ...]
    """Ascending, without overlaps, in whole pages."""
    files: tuple[CoreFile, ...]
    registers: dict[str, int]
    fpu: bytes
    """As the kernel's user_fpsimd_state (arm64) or FXSAVE (x86-64); empty when the core has none."""
    signal: int
    """What it was dumped for; 0: nothing."""
    pid: int
    ppid: int
    command: bytes
    """Its name, at most 15 bytes."""
    auxv: bytes
    siginfo: bytes
    threads: int
    mask: int
    """Blocked signals, bit n-1 for signal n."""
    source: Source

    def data(self, area: CoreArea, start: int, length: int) -> bytes:
        """Bytes that the core holds, from `start` in the area on; fewer only where it holds no more. LoadError: the file ends before."""
        length = min(length, area.start + area.held - start)
        if length <= 0:
            return b""
        found = self.source.read_at(area.offset + start - area.start, length)
        if len(found) != length:
            raise LoadError(f"the core file is cut off: it lacks memory at {start:#x}", EIO)
        return found

    def auxiliary(self, key: int) -> int | None:
        """A value of the auxiliary vector."""
        for at in range(0, len(self.auxv) - 15, 16):
            found, value = struct.unpack_from("<QQ", self.auxv, at)
            if found == key:
                return int(value)
        return None


def is_core(head: bytes) -> bool:
    """Is a file that begins so an ELF core file, in either byte order?"""
    return head[:4] == b"\x7fELF" and head[16:18] in (b"\x04\x00", b"\x00\x04")


def load_core(source: str | Path | bytes | bytearray | memoryview | Source, *, name: str | None = None) -> Core:
    """What a core file says. LoadError: it cannot be read, is no core file of these architectures, or makes no sense."""
    from emuvm_loaders import _open

    opened, name = _open(source, name)
    try:
        return _load(opened, name)
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror or error}", error.errno or EIO) from error


def _load(source: Source, name: str) -> Core:
    head = source.read_at(0, EHDR.size)
    if head[:4] != b"\x7fELF":
        raise LoadError("not an ELF file" if head else "the file is empty")
    if len(head) < EHDR.size or head[4:6] != b"\2\1":
        raise LoadError("the ELF header is cut off" if len(head) < EHDR.size else "only 64-bit little-endian core files are known")
    _, kind, machine, _, _, phoff, shoff, _, _, entry, count, _, _, _ = EHDR.unpack(head)
    if kind != _ET_CORE:
        raise LoadError("an ELF file that is no core dump")
    arch = MACHINES.get(machine)
    if arch is None:
        raise LoadError(f"a core file of machine {machine}, which is not known")
    if count == _XNUM:  # the number is in the first section header: include/uapi/linux/elf.h
        section = source.read_at(shoff, 64)
        count = int.from_bytes(section[44:48], "little") if len(section) == 64 else 0
    if entry != PHDR.size or not 0 < count <= _MOST_AREAS:
        raise LoadError(f"{count} program headers of {entry} bytes")
    table = source.read_at(phoff, count * PHDR.size) if phoff < 1 << 62 else b""
    if len(table) < count * PHDR.size:
        raise LoadError("the file ends before its program headers do")
    areas, notes = [], []
    for header in PHDR.iter_unpack(table):
        if header[0] == _PT_LOAD and header[6]:
            areas.append(_area(header))
        elif header[0] == _PT_NOTE:
            notes.append(_notes(source, header))
    areas.sort()
    for one, two in zip(areas, areas[1:], strict=False):
        if two.start < one.end:
            raise LoadError(f"its areas at {one.start:#x} and {two.start:#x} overlap")
    return _with_notes(source, name, arch, tuple(areas), b"".join(notes))


def _area(header: tuple[int, ...]) -> CoreArea:
    _, flags, offset, start, _, held, size, _ = header
    if start % PAGE or size % PAGE or start + size > _TOP or held > size or offset >= 1 << 62:
        raise LoadError(f"an area of {size:#x} bytes at {start:#x}, {held:#x} of them at offset {offset:#x}")
    return CoreArea(start, start + size, flags & 7, offset, held)


def _notes(source: Source, header: tuple[int, ...]) -> bytes:
    _, _, offset, _, _, length, _, _ = header
    if length > _MOST_NOTES or offset >= 1 << 62:
        raise LoadError(f"notes of {length} bytes")
    data = source.read_at(offset, length)
    if len(data) != length:
        raise LoadError("the file ends before its notes do", EIO)
    return data + bytes(-len(data) % 4)


def _each(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, contents) of the kernel's notes ('CORE', 'LINUX')."""
    at = 0
    while at + 12 <= len(data):
        name, length, kind = struct.unpack_from("<III", data, at)
        start = at + 12 + name + -name % 4
        if start + length > len(data):
            raise LoadError(f"a note of {length} bytes is longer than what follows")
        if data[at + 12 : at + 12 + name].rstrip(b"\0") in (b"CORE", b"LINUX"):
            yield kind, data[start : start + length]
        at = start + length + -length % 4


def _with_notes(source: Source, name: str, arch: str, areas: tuple[CoreArea, ...], data: bytes) -> Core:
    found: dict[int, bytes] = {}
    threads = 0
    for kind, contents in _each(data):
        threads += kind == NT_PRSTATUS
        if threads < 2:  # what follows the second one's registers is the second thread's
            found.setdefault(kind, contents)
    status = found.get(NT_PRSTATUS, b"")
    if len(status) < PRSTATUS[arch]:
        raise LoadError("it has no registers" if not status else f"registers of {len(status)} bytes, not {PRSTATUS[arch]}")
    registers = dict(zip(ORDER[arch], struct.unpack_from(f"<{len(ORDER[arch])}Q", status, REGS_AT), strict=True))
    if arch == "arm64" and len(found.get(NT_ARM_TLS, b"")) >= 8:
        registers["tpidr_el0"] = int.from_bytes(found[NT_ARM_TLS][:8], "little")
    fpu = found.get(NT_FPREGSET, b"")
    if fpu and len(fpu) < FPREGS[arch]:
        raise LoadError(f"floating point registers of {len(fpu)} bytes, not {FPREGS[arch]}")
    pid, ppid = struct.unpack_from("<ii", status, 32)
    info = found.get(NT_PRPSINFO, b"")
    command = PRPSINFO.unpack_from(info)[11].split(b"\0")[0] if len(info) >= PRPSINFO.size else b""
    return Core(
        name=name, arch=arch, areas=areas, files=_files(found.get(NT_FILE, b"")), registers=registers, fpu=fpu[: FPREGS[arch]],
        signal=int.from_bytes(status[12:14], "little"), pid=pid, ppid=ppid, command=command[:15], auxv=found.get(NT_AUXV, b""),
        siginfo=found.get(NT_SIGINFO, b""), threads=threads, mask=int.from_bytes(status[24:32], "little"), source=source,
    )  # fmt: skip


def _files(data: bytes) -> tuple[CoreFile, ...]:
    """NT_FILE: count, page size; start, end, offset in pages of each; names, each with a zero byte behind it."""
    if not data:
        return ()
    if len(data) < 16:
        raise LoadError("the table of files is cut off")
    count, page = struct.unpack_from("<QQ", data)
    if count > _MOST_FILES or 16 + 24 * count > len(data) or page & (page - 1) or not 0 < page <= 1 << 20:
        raise LoadError(f"a table of {count} files in {len(data)} bytes, pages of {page} bytes")
    names = data[16 + 24 * count :].split(b"\0")
    if len(names) <= count:
        raise LoadError("the table of files has too few names")
    files = []
    for n in range(count):
        start, end, offset = struct.unpack_from("<QQQ", data, 16 + 24 * n)
        if start >= end or (start | end) % PAGE or offset * page >= 1 << 62:
            raise LoadError(f"a file at {start:#x}-{end:#x}, position {offset:#x}")
        files.append(CoreFile(start, end, offset * page, names[n].decode("utf-8", "surrogateescape")))
    return tuple(sorted(files))
