"""Where a program came from, without debug information: the words on the stack that stand behind a call.

Owns: recognising calls in front of an address, and the hash over what was found. Must not know why somebody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.errors import EmuvmError

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_DEEP = 8192
"""Bytes of the stack that are looked at."""
_FRAMES = 8
_HASHED = 4
"""Return addresses beside pc that go into the hash: further out, equal bugs are reached by many ways."""
_EXEC = 4
_PRIME, _WORD = 0x100_0000_01B3, (1 << 64) - 1


def frames(proc: Process) -> tuple[int, ...]:
    """Likely return addresses, innermost first. A stale one may be among them: nothing tells it from a live one."""
    arch, engine, memory = proc.arch, proc.engine, proc.engine.memory
    sp = engine.get("sp")
    vma = proc.space.query(sp)
    found: list[int] = []
    if arch.name == "arm64" and _behind_call(proc, engine.get("x30")):
        found.append(engine.get("x30"))
    if vma is None or not vma.prot & 1:
        return tuple(found)
    width = arch.bits // 8
    try:
        stack = memory.read(sp, min(_DEEP, vma.end - sp) & -width)
    except EmuvmError:
        return tuple(found)
    for place in range(0, len(stack), width):
        word = int.from_bytes(stack[place : place + width], "big" if arch.big_endian else "little")
        if word >= proc.arch.page_size and _behind_call(proc, word) and found[-1:] != [word]:
            found.append(word)
            if len(found) == _FRAMES:
                break
    return tuple(found)


def _behind_call(proc: Process, address: int) -> bool:
    vma = proc.space.query(address)
    if vma is None or not vma.prot & _EXEC:
        return False
    length = min(7, address - vma.start)
    try:
        before = proc.engine.memory.read(address - length, length) if length > 0 else b""
    except EmuvmError:
        return False
    if proc.arch.name == "x86_64":
        if before[-5:-4] == b"\xe8":
            return True  # call rel32; below: call through a register or memory, FF /2
        return any(before[-n] == 0xFF and before[1 - n] >> 3 & 7 == 2 for n in range(2, len(before) + 1))
    word = int.from_bytes(before[-4:], "little")
    return len(before) >= 4 and (word >> 26 == 0b100101 or word & 0xFFFF_FC1F == 0xD63F_0000)


def stack_hash(pc: int, found: tuple[int, ...]) -> int:
    """FNV-1a over pc and the innermost frames; never 0."""
    value = 0xCBF2_9CE4_8422_2325
    for word in (pc, *found[:_HASHED]):
        for byte in word.to_bytes(8, "little"):
            value = (value ^ byte) * _PRIME & _WORD
    return value or 1
