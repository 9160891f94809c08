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
_FUNCTION = 1 << 14
"""No function is taken to be longer, in bytes."""
_PRIME, _WORD = 0x100_0000_01B3, (1 << 64) - 1


def frames(proc: Process) -> tuple[int, ...]:
    """Likely return addresses, innermost first.

    A word counts that stands behind a call of the function that the frame below it is in, or behind a call through a pointer; where that
    gives nothing (a wild jump, tail calls), every word behind a call. A stale one may be among them: nothing tells it from a live one.
    """
    arch, engine, memory = proc.arch, proc.engine, proc.engine.memory
    sp, pc = engine.get("sp"), engine.get("pc")
    vma = proc.space.query(sp)
    words = [engine.get("x30")] if arch.name == "arm64" else []
    width = arch.bits // 8
    if vma is not None and vma.prot & 1:
        try:
            stack = memory.read(sp, min(_DEEP, vma.end - sp) & -width)
        except EmuvmError:
            stack = b""
        for place in range(0, len(stack), width):
            words.append(int.from_bytes(stack[place : place + width], "big" if arch.big_endian else "little"))
    calls = [(word, target) for word in words if word >= arch.page_size and (target := _called(proc, word)) is not None]
    found: list[int] = []
    here = pc
    for word, target in calls:
        if found[-1:] != [word] and (target < 0 or 0 <= here - target < _FUNCTION) and len(found) < _FRAMES:
            found.append(word)
            here = word
    return tuple(found or [word for word, _ in calls[:_FRAMES]])


def _called(proc: Process, address: int) -> int | None:
    """What the call in front of an address calls; -1: what a register or memory says. None: no call is there."""
    vma = proc.space.query(address)
    if vma is None or not vma.prot & _EXEC:
        return None
    length = min(7, address - vma.start)
    try:
        before = proc.engine.memory.read(address - length, length) if length > 0 else b""
    except EmuvmError:
        return None
    if proc.arch.name == "x86_64":
        if before[-5:-4] == b"\xe8":
            return address + int.from_bytes(before[-4:], "little", signed=True) & _WORD
        # FF /2: call through a register or memory, 2 to 7 bytes long.
        return -1 if any(before[-n] == 0xFF and before[1 - n] >> 3 & 7 == 2 for n in range(2, len(before) + 1)) else None
    word = int.from_bytes(before[-4:], "little") if len(before) >= 4 else 0
    if word >> 26 == 0b100101:
        return address - 4 + ((word & 0x3FF_FFFF ^ 0x200_0000) - 0x200_0000 << 2) & _WORD
    return -1 if word & 0xFFFF_FC1F == 0xD63F_0000 else None


def stack_hash(pc: int, found: tuple[int, ...]) -> int:
    """FNV-1a over pc and the innermost frames; never 0."""
    value = 0xCBF2_9CE4_8422_2325
    for word in (pc, *found[:_HASHED]):
        for byte in word.to_bytes(8, "little"):
            value = (value ^ byte) * _PRIME & _WORD
    return value or 1
