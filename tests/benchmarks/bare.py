"""The plain script everyone starts with: one mem_map per mmap, mem_protect, registers read in a syscall hook. x86-64, static.

The yardstick of run_speed.py; it knows nothing of emuvm and is not meant to be right, only usual.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import Any

import unicorn
from unicorn import x86_const as x86

PAGE = 4096
STACK, STACK_SIZE = 0x7FFF_0000_0000, 8 << 20
REGS = [x86.UC_X86_REG_RAX, x86.UC_X86_REG_RDI, x86.UC_X86_REG_RSI, x86.UC_X86_REG_RDX, x86.UC_X86_REG_R10]


class Bare:
    def __init__(self, argv: list[str]) -> None:
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self.next = 0x7000_0000_0000
        self.status = 0
        self.entry = self.load(argv[0])
        self.uc.mem_map(STACK, STACK_SIZE)
        self.uc.reg_write(x86.UC_X86_REG_RSP, self.stack(argv))
        self.uc.hook_add(unicorn.UC_HOOK_INSN, self.syscall, None, 1, 0, x86.UC_X86_INS_SYSCALL)

    def load(self, path: str) -> int:
        with open(path, "rb") as file:
            data = file.read()
        entry, phoff = struct.unpack_from("<QQ", data, 24)
        size, count = struct.unpack_from("<HH", data, 54)
        for i in range(count):
            kind, _, offset, addr, _, filesz, memsz, _ = struct.unpack_from("<IIQQQQQQ", data, phoff + i * size)
            if kind == 1:
                start = addr & -PAGE
                self.uc.mem_map(start, (addr + memsz - start + PAGE - 1) & -PAGE)
                self.uc.mem_write(addr, data[offset : offset + filesz])
        return int(entry)

    def stack(self, argv: list[str]) -> int:
        top = STACK + STACK_SIZE - PAGE
        words = [len(argv)]
        for arg in argv:
            raw = arg.encode() + b"\0"
            top -= len(raw)
            self.uc.mem_write(top, raw)
            words.append(top)
        words += [0, 0, 6, PAGE, 0, 0]
        sp = (top - 8 * len(words)) & -16
        self.uc.mem_write(sp, struct.pack(f"<{len(words)}Q", *words))
        return sp

    def syscall(self, uc: Any, _: Any) -> None:
        number, a, b, c, flags = uc.reg_read_batch(REGS)
        result = 0
        if number == 1:
            os.write(a, uc.mem_read(b, c))
            result = c
        elif number == 9:
            size = (b + PAGE - 1) & -PAGE
            if flags & 0x10:
                uc.mem_unmap(a, size)
            else:
                a, self.next = self.next, self.next + size
            uc.mem_map(a, size, c & 7)
            result = a
        elif number == 10:
            uc.mem_protect(a, (b + PAGE - 1) & -PAGE, c & 7)
        elif number == 11:
            uc.mem_unmap(a, (b + PAGE - 1) & -PAGE)
        elif number == 110:
            result = os.getppid()
        elif number in (60, 231):
            self.status = a
            uc.emu_stop()
        else:
            result = -38
        uc.reg_write(x86.UC_X86_REG_RAX, result & (1 << 64) - 1)

    def run(self) -> int:
        self.uc.emu_start(self.entry, 0)
        return self.status


if __name__ == "__main__":
    sys.exit(Bare(sys.argv[1:]).run())
