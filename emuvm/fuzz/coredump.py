"""A process written as an ELF core file, as Linux writes one: for gdb and others, and for `fuzz.resume`.

Owns: what goes into the notes and which memory is dumped. Must not know how such files are read (`emuvm_loaders.core`).

    memory that was written, and shared memory    dumped; what was never touched is a hole, or left out at the end
    regions of files that nobody wrote to         left out but for the first page of an ELF file, by which debuggers know it

Source: fs/coredump.c:vma_dump_size, fs/binfmt_elf.c:elf_core_dump.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from emuvm.abi.sigframes import pack_siginfo
from emuvm.engine.base import Residency, host_file, is_shared
from emuvm.errors import EmuvmError
from emuvm.mm.types import File, Vma
from emuvm_loaders.core import (
    EHDR,
    NT_ARM_TLS,
    NT_AUXV,
    NT_FILE,
    NT_FPREGSET,
    NT_PRPSINFO,
    NT_PRSTATUS,
    NT_SIGINFO,
    ORDER,
    PHDR,
    PRPSINFO,
    PRSTATUS,
    REGS_AT,
)

if TYPE_CHECKING:
    from emuvm.kernel.process import Process
    from emuvm.kernel.siginfo import SignalInfo

PAGE = 4096
_MACHINES = {"x86_64": 62, "arm64": 183}
_SEGMENTS = {"cs": 0x33, "ss": 0x2B, "ds": 0, "es": 0, "fs": 0, "gs": 0}
"""What Linux's programs have in them."""
_PIECE = 1 << 20
_NO_CALL = (1 << 64) - 1
_XNUM = 0xFFFF


def save_core(proc: Process, path: str | Path, info: SignalInfo | None = None) -> None:
    """Write a core file of a process that stands still, or has ended. `info`: the signal it is for. EmuvmError: it cannot be written."""
    if proc.arch.name not in _MACHINES:
        raise EmuvmError(f"no core files for {proc.arch.name}")
    try:
        with Path(path).open("wb") as out:
            _write(proc, out, info)
    except (OSError, ValueError) as error:
        raise EmuvmError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _write(proc: Process, out: BinaryIO, info: SignalInfo | None) -> None:
    notes = b"".join(_note(owner, kind, data) for owner, kind, data in _notes(proc, info))
    regions = [(vma, _dumped(proc, vma)) for vma in proc.space]
    count = len(regions) + 1
    place = EHDR.size + PHDR.size * count
    table = [PHDR.pack(4, 0, place, 0, 0, len(notes), 0, 4)]
    place += len(notes)
    place += -place % PAGE
    begin, where = place, []
    for vma, held in regions:
        flags = (4 if vma.prot & 1 else 0) | (vma.prot & 2) | (1 if vma.prot & 4 else 0)
        table.append(PHDR.pack(1, flags, place, vma.start, 0, held, vma.end - vma.start, PAGE))
        where.append(place)
        place += held
    many = count >= _XNUM
    ident = b"\x7fELF\2\1\1" + bytes(9)
    shoff = place if many else 0
    head = (4, _MACHINES[proc.arch.name], 1, 0, EHDR.size, shoff, 0, EHDR.size, PHDR.size, min(count, _XNUM), 64 * many, int(many), 0)
    out.write(EHDR.pack(ident, *head) + b"".join(table) + notes)
    for (vma, held), start in zip(regions, where, strict=True):
        _contents(proc, out, vma, held, start)
    out.seek(place)
    if many:
        out.write(struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, count, 0, 0))
    out.truncate(max(out.tell(), begin))


def _resident(proc: Process, vma: Vma) -> list[tuple[int, int]]:
    """The parts of a region that a core file is to have."""
    private = host_file(vma) is not None and not is_shared(vma)
    wanted = Residency.PRIVATE if private else Residency.PRESENT
    return [(low, high) for low, high, bits in proc.engine.memory.resident(vma.start, vma.end, cached=False) if bits & wanted]


def _dumped(proc: Process, vma: Vma) -> int:
    """Bytes of a region that are dumped, from its start on. A file's region is dumped whole when any of it was written."""
    backing = host_file(vma)
    if backing is not None and not getattr(backing.file, "restorable", False):
        if is_shared(vma):
            return 0
        if _resident(proc, vma):
            return vma.end - vma.start
        first = proc.engine.memory.read(vma.start, 4) if backing.offset == 0 and vma.prot & 1 else b""
        return PAGE if first == b"\x7fELF" else 0
    parts = _resident(proc, vma)
    return parts[-1][1] - vma.start if parts else 0


def _contents(proc: Process, out: BinaryIO, vma: Vma, held: int, place: int) -> None:
    """Untouched memory becomes a hole of the file."""
    parts = [(vma.start, vma.start + held)] if isinstance(vma.backing, File) else _resident(proc, vma)
    for start, end in parts:
        for low in range(start, min(end, vma.start + held), _PIECE):
            out.seek(place + low - vma.start)
            out.write(proc.engine.memory.read(low, min(_PIECE, end - low)))


def _note(owner: bytes, kind: int, data: bytes) -> bytes:
    name = owner + b"\0"
    head = struct.pack("<III", len(name), len(data), kind) + name
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def _notes(proc: Process, info: SignalInfo | None) -> list[tuple[bytes, int, bytes]]:
    fpu = proc.engine.fpu_state()
    if proc.arch.name == "arm64":  # the frame's head is the frame's; the status registers come last
        fpu = fpu[16:528] + fpu[8:16] + bytes(8)
    found = [
        (b"CORE", NT_PRSTATUS, _status(proc, info)),
        (b"CORE", NT_PRPSINFO, _info(proc)),
        (b"CORE", NT_SIGINFO, _siginfo(proc, info)),
        (b"CORE", NT_AUXV, proc.stack_info.auxv if proc.stack_info is not None else bytes(16)),
        (b"CORE", NT_FILE, _files(proc)),
        (b"CORE", NT_FPREGSET, fpu),
    ]
    if proc.arch.name == "arm64":
        found.append((b"LINUX", NT_ARM_TLS, struct.pack("<Q", proc.engine.get("tpidr_el0"))))
    return found


def _status(proc: Process, info: SignalInfo | None) -> bytes:
    """struct elf_prstatus."""
    names, engine = ORDER[proc.arch.name], proc.engine
    values = []
    for name in names:
        if name == "orig_rax":
            values.append(_NO_CALL)
        elif name == "pstate":
            values.append(engine.get("nzcv"))
        else:
            values.append(_SEGMENTS[name] if name in _SEGMENTS else engine.get(name))
    signal = info.signal if info is not None else 0
    masks = proc.signals.pending, proc.signals.mask
    head = struct.pack("<iiihxxQQiiii", signal, 0, 0, signal, *masks, proc.pid, proc.ppid, proc.pid, proc.pid)
    registers = struct.pack(f"<{len(names)}Q", *values)
    return (head.ljust(REGS_AT, b"\0") + registers + struct.pack("<i", 1)).ljust(PRSTATUS[proc.arch.name], b"\0")


def _info(proc: Process) -> bytes:
    """struct elf_prpsinfo."""
    system, stack, words = proc.system, proc.stack_info, b""
    if stack is not None and stack.arg_end > stack.arg_start:
        try:
            words = proc.engine.memory.read(stack.arg_start, min(79, stack.arg_end - stack.arg_start)).rstrip(b"\0").replace(b"\0", b" ")
        except EmuvmError:
            words = b""  # the program has unmapped its stack
    return PRPSINFO.pack(0, ord("R"), 0, 0, 0, system.uid, system.gid, proc.pid, proc.ppid, proc.pid, proc.pid, proc.name[:15], words)


def _siginfo(proc: Process, info: SignalInfo | None) -> bytes:
    if info is None:
        return bytes(128)
    fields = info.fields if info.fields is not None else struct.pack("<Q", info.address) if info.address is not None else b""
    return pack_siginfo(proc.arch, info.signal, info.code, fields, info.errno)


def _files(proc: Process) -> bytes:
    """NT_FILE."""
    rows, names = [], []
    for vma in proc.space:
        name = getattr(vma.backing.file, "path", None) if isinstance(vma.backing, File) else None
        if name:
            rows.append(struct.pack("<QQQ", vma.start, vma.end, vma.backing.offset // PAGE))
            names.append((name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")) + b"\0")
    return struct.pack("<QQ", len(rows), PAGE) + b"".join(rows) + b"".join(names)
