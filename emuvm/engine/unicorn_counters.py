"""Instructions that tell the host's time or give random numbers: answered by somebody else.

Owns: finding them in memory, and what they do to registers. Must not know what time it is.

Unicorn has no hook for them, and lets them see the host's counters. A hook on code at their addresses stops the engine there, which
costs some microseconds each time.
Code that comes into being later (a JIT's) is not found.

    x86-64   rdtsc 0F 31    rdtscp 0F 01 F9    rdrand 0F C7 /6    rdseed 0F C7 /7, the last two behind 66 and REX prefixes
    arm64    mrs xN, cntpct_el0 D53BE02N    mrs xN, cntvct_el0 D53BE04N
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unicorn.unicorn_const import UC_HOOK_CODE

from emuvm.engine.unicorn_raw import BLOCK, FLUSH_CODE

if TYPE_CHECKING:
    from emuvm.engine.unicorn import UnicornEngine
    from emuvm.engine.unicorn_raw import Raw

_X86 = re.compile(rb"\x0f\x31|\x0f\x01\xf9|\x66?[\x40-\x4f]?\x0f\xc7[\xf0-\xff]", re.DOTALL)
_ARM64 = re.compile(rb"(?=[\x20-\x5f]\xe0\x3b\xd5)", re.DOTALL)
_NAMES = tuple("rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split())
_CARRY, _ARITHMETIC = 1, 0x8D5
_WORD = (1 << 64) - 1


class Counters:
    """`ticks` tells the time stamp counter, `random` gives so many bytes."""

    def __init__(self, engine: UnicornEngine, raw: Raw, ticks: Callable[[], int], random: Callable[[int], bytes]) -> None:
        self._engine, self._raw, self._ticks, self._random = engine, raw, ticks, random
        self._x86 = engine.arch.name == "x86_64"
        self._callback = BLOCK(self._hook)
        self._found: dict[int, int] = {}
        """Address -> its hook."""
        self.due = False
        """The engine was stopped for `step`."""

    def find(self, start: int, code: bytes) -> None:
        """Look through the code at guest address `start`."""
        if self._x86:
            for match in _X86.finditer(code):
                # The bytes before 0F may be prefixes or the end of another instruction: wherever one begins, it is asked about.
                for place in range(match.start(), match.end() - 1):
                    if code[place] != 0xC7 and (place == match.start() or code[place - 1] in (0x66, *range(0x40, 0x50))):
                        self._at(start + place)
        else:
            for match in _ARM64.finditer(code):
                if not (start + match.start()) & 3:
                    self._at(start + match.start())

    def _at(self, address: int) -> None:
        if address not in self._found:
            self._found[address] = self._raw.hook(UC_HOOK_CODE, self._callback, begin=address, end=address)

    def _forget(self, address: int) -> None:
        """There is other code now."""
        handle = self._found.pop(address, None)
        if handle is not None:
            self._raw.unhook(handle)
            self._raw.control(FLUSH_CODE)

    def _hook(self, _uch: Any, _address: int, _size: int, _data: Any) -> None:
        # Unicorn loses a pc that is written here (it is put back to this instruction): stop before it instead.
        self.due = True
        self._raw.stop()

    def step(self) -> None:
        """The engine was stopped at one of the instructions: do what it does, as we see it."""
        self.due = False
        engine = self._engine
        address = engine.get("pc")
        vma = engine.space.query(address)
        code = b"" if vma is None else engine.memory.read(address, min(5, vma.end - address))
        if self._x86:
            self._x86_instruction(address, code)
        elif (word := int.from_bytes(code[:4], "little")) & 0xFFFF_FFE0 in (0xD53B_E020, 0xD53B_E040):
            if word & 31 != 31:
                engine.set(f"x{word & 31}", self._ticks())
            engine.set("pc", address + 4)
        else:
            self._forget(address)

    def _x86_instruction(self, address: int, code: bytes) -> None:
        engine = self._engine
        if code[:2] == b"\x0f\x31" or code[:3] == b"\x0f\x01\xf9":
            now = self._ticks()
            engine.set("rax", now & 0xFFFF_FFFF)
            engine.set("rdx", now >> 32 & 0xFFFF_FFFF)
            if code[1] == 1:
                engine.set("rcx", 0)
            engine.set("rip", address + (2 if code[1] == 0x31 else 3))
            return
        found = _X86.match(code)
        if found is None:
            self._forget(address)
            return
        text = found.group()
        rex = text[-4] if len(text) > 3 and text[-4] & 0xF0 == 0x40 else 0
        width = 64 if rex & 8 else 16 if text[0] == 0x66 else 32
        register = _NAMES[text[-1] & 7 | (rex & 1) << 3]
        value = int.from_bytes(self._random(width // 8), "little")
        if width == 16:
            value |= engine.get(register) & ~0xFFFF
        engine.set(register, value & _WORD)
        engine.set("eflags", engine.get("eflags") & ~_ARITHMETIC | _CARRY)
        engine.set("rip", address + len(text))
