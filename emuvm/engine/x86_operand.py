"""What an x86-64 instruction does with its memory operand: as much of it as faults need to know.

Owns: the decoding of prefixes, opcode, ModRM and SIB. Must not know engines or memory: code comes as bytes, registers by a function.

A CPU takes the write fault of `add [m], r` before it reads; Unicorn reads first. And it makes the first page of a store across a page
border present before the second one faults. Both show in which pages are in memory afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from emuvm.abi.tuples import NamedTuple

LONGEST = 15
"""Bytes in the longest instruction."""
_REGISTERS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3))
_ALU = frozenset(base + low for base in (0x00, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30) for low in (0, 1)) | {0x86, 0x87}
"""add or adc sbb and sub xor, and xchg, with a memory operand on the left."""
_GROUPS = {
    **{opcode: frozenset(range(7)) for opcode in (0x80, 0x81, 0x83)},
    **{opcode: frozenset(range(8)) for opcode in (0xC0, 0xC1, 0xD0, 0xD1, 0xD2, 0xD3)},
    0xF6: frozenset((2, 3)),
    0xF7: frozenset((2, 3)),
    0xFE: frozenset((0, 1)),
    0xFF: frozenset((0, 1)),
}
"""Opcodes whose ModRM byte tells the operation -> those that read and write."""
_TWO_BYTE = frozenset((0xA4, 0xA5, 0xAB, 0xAC, 0xAD, 0xB0, 0xB1, 0xB3, 0xBB, 0xC0, 0xC1))
"""shld bts shrd cmpxchg btr btc xadd."""
_TWO_BYTE_GROUPS = {0xBA: frozenset((5, 6, 7)), 0xC7: frozenset((1,))}
_WITHOUT_MODRM = frozenset((*range(0x50, 0x60), 0x68, 0x6A, *range(0xA0, 0xA8), *range(0xAA, 0xB0), 0xE8))
_ABSOLUTE = frozenset(range(0xA0, 0xA4))
"""mov between the accumulator and an address of 64 bits that stands in the instruction."""
_STRINGS = frozenset((*range(0xA4, 0xA8), *range(0xAA, 0xB0)))
_OF_BYTES = frozenset((0x80, 0x84, 0x86, 0x88, 0x8A, 0xA0, 0xA2, 0xA4, 0xA6, 0xAA, 0xAC, 0xAE, 0xC0, 0xC6, 0xD0, 0xD2, 0xF6, 0xFE))
_OF_BYTES_TWO = frozenset((*range(0x90, 0xA0), 0xB0, 0xB6, 0xBE, 0xC0))
_OF_STACK = frozenset((*range(0x50, 0x60), 0x68, 0x6A, 0x8F, 0xC3, 0xE8))
_VECTORS = frozenset((0x10, 0x11, 0x28, 0x29, 0x2B, 0x6F, 0x7F, 0xE7))
_BYTE_BEHIND = frozenset((0x80, 0x83, 0xC0, 0xC1, 0xC6, 0x6B))
_BYTE_BEHIND_TWO = frozenset((0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6, *range(0x70, 0x74)))


class Instruction(NamedTuple):
    """The parts of one instruction. `table`: 1 for one-byte opcodes, 2 for 0F, 3 for 0F 38 and 0F 3A. `modrm` -1: there is none."""

    table: int
    opcode: int
    rex: int
    narrow: bool
    segment: str
    modrm: int
    after: bytes
    """What follows the ModRM byte."""
    consumed: int
    """Bytes up to and with the ModRM byte."""


def decode(code: bytes) -> Instruction | None:
    """The instruction that `code` begins with; None when it ends too early."""
    place, rex, narrow, segment = 0, 0, False, ""
    try:
        while code[place] in _PREFIXES:
            narrow |= code[place] == 0x66
            segment = {0x64: "fs_base", 0x65: "gs_base"}.get(code[place], segment)
            place += 1
        if code[place] & 0xF0 == 0x40:
            rex = code[place]
            place += 1
        table, opcode = 1, code[place]
        if opcode == 0x0F:
            place += 1
            table, opcode = 2, code[place]
            if opcode in (0x38, 0x3A):
                table, opcode = 3, opcode << 8 | code[place + 1]
                place += 1
        place += 1
        if table == 1 and opcode in _WITHOUT_MODRM:
            return Instruction(table, opcode, rex, narrow, segment, -1, code[place : place + 8], place)
        return Instruction(table, opcode, rex, narrow, segment, code[place], code[place + 1 :], place + 1)
    except IndexError:
        return None


def modifies(code: bytes) -> bool:
    """Does the instruction read its memory operand and write it back?"""
    found = decode(code)
    if found is None or found.modrm >> 6 == 3 or found.modrm < 0:
        return False
    operation = found.modrm >> 3 & 7
    if found.table == 1:
        return found.opcode in _ALU or operation in _GROUPS.get(found.opcode, ())
    if found.table == 2:
        return found.opcode in _TWO_BYTE or operation in _TWO_BYTE_GROUPS.get(found.opcode, ())
    return False


def operand(code: bytes, pc: int, register: Callable[[str], int]) -> int | None:
    """The address of the memory the instruction at `pc` stores to; None when that cannot be told."""
    found = decode(code)
    if found is None:
        return None
    if found.modrm < 0:
        if found.opcode in _ABSOLUTE:
            return _absolute(found, register)
        if found.opcode in (0xA4, 0xA5, 0xAA, 0xAB):
            return register("rdi")
        return register("rsp") - 8 & (1 << 64) - 1 if found.opcode not in range(0x58, 0x60) else None
    if found.modrm >> 6 == 3:
        return None
    if found.table == 1 and found.opcode == 0xFF and found.modrm >> 3 & 7 in (2, 6):
        return register("rsp") - 8 & (1 << 64) - 1
    try:
        return _effective(found, pc, register)
    except IndexError:
        return None


def places(code: bytes, pc: int, register: Callable[[str], int]) -> list[int]:
    """Every address at which the instruction at `pc` may begin to read or write, all 64 bits of it."""
    found, word = decode(code), (1 << 64) - 1
    out = [register("rsp"), register("rsp") - 8 & word]
    if found is None:
        return out
    if found.table == 1 and found.opcode in _ABSOLUTE:
        absolute = _absolute(found, register)
        out = out if absolute is None else [absolute, *out]
    elif found.table == 1 and found.opcode in _STRINGS:
        out += [register("rsi"), register("rdi")]
    elif found.modrm >= 0 and found.modrm >> 6 != 3:
        with suppress(IndexError):
            out.insert(0, _effective(found, pc, register))
    return out


def width(code: bytes) -> int:
    """How many bytes of memory the instruction reads or writes at once: general registers and the common vector moves; 1: not known."""
    found = decode(code + b"\0")  # an instruction may end where its memory does
    if found is None:
        return 1
    if found.table == 1:
        if found.opcode in _OF_BYTES or (found.opcode < 0x40 and found.opcode & 7 in (0, 2)):
            return 1
        if found.opcode in _OF_STACK:
            return 8
    elif found.table == 2:
        if found.opcode in _VECTORS:
            repeated = code[:4].lstrip(b"\x66")[:1] if found.opcode in (0x10, 0x11) else b""
            return {b"\xf3": 4, b"\xf2": 8}.get(repeated, 16)
        if found.opcode in (0xB7, 0xBF):
            return 2
        if found.opcode in _OF_BYTES_TWO:
            return 1
    return 8 if found.rex & 8 else 2 if found.narrow else 4


def _absolute(found: Instruction, register: Callable[[str], int]) -> int | None:
    if len(found.after) < 8:
        return None
    base = register(found.segment) if found.segment else 0
    return base + int.from_bytes(found.after, "little") & (1 << 64) - 1


def _effective(found: Instruction, pc: int, register: Callable[[str], int]) -> int:
    mode, low, after = found.modrm >> 6, found.modrm & 7, found.after
    address, used = 0, 0
    base: int | None = low | (found.rex & 1) << 3
    if low == 4:
        sib, used = after[0], 1
        base = sib & 7 | (found.rex & 1) << 3
        index = sib >> 3 & 7 | (found.rex & 2) << 2
        if index != 4:
            address += register(_REGISTERS[index]) << (sib >> 6)
        if sib & 7 == 5 and mode == 0:
            base = None
    size = {0: 0, 1: 1, 2: 4}[mode]
    relative = mode == 0 and low == 5
    if relative or base is None:
        size, base = 4, None
    if len(after) < used + size:
        raise IndexError
    address += int.from_bytes(after[used : used + size], "little", signed=True)
    if relative:
        address += pc + found.consumed + used + size + _immediate(found)
    elif base is not None:
        address += register(_REGISTERS[base])
    if found.segment:
        address += register(found.segment)
    return address & (1 << 64) - 1


def _immediate(found: Instruction) -> int:
    """Bytes behind the operand."""
    operation, wide = found.modrm >> 3 & 7, 2 if found.narrow else 4
    if found.table == 3:
        return int(found.opcode >> 8 == 0x3A)
    if found.table == 2:
        return int(found.opcode in _BYTE_BEHIND_TWO)
    if found.opcode in _BYTE_BEHIND or (found.opcode == 0xF6 and operation < 2):
        return 1
    return wide if found.opcode in (0x81, 0xC7, 0x69) or (found.opcode == 0xF7 and operation < 2) else 0
