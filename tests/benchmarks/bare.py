"""The plain script everyone starts with: one mem_map per mmap, mem_protect, registers read in a syscall hook. x86-64, static.

The yardstick of run_speed.py; it knows nothing of emuvm and is not meant to be right, only usual. It runs static glibc, musl and
libc-free programs that print to stdout; whatever they ask beyond that gets ENOSYS.
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
MMAP_BASE = 0x7000_0000_0000
EINVAL, ENOSYS = 22, 38
AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_ENTRY, AT_RANDOM = 3, 4, 5, 6, 9, 25
ARCH_SET_FS, MAP_FIXED = 0x1002, 0x10
# The call number and its six arguments.
REGS = [
    x86.UC_X86_REG_RAX, x86.UC_X86_REG_RDI, x86.UC_X86_REG_RSI, x86.UC_X86_REG_RDX,
    x86.UC_X86_REG_R10, x86.UC_X86_REG_R8, x86.UC_X86_REG_R9,
]  # fmt: skip


def up(size: int) -> int:
    """Rounded up to whole pages."""
    return (size + PAGE - 1) & -PAGE


class Bare:
    """A program in an engine."""

    def __init__(self, argv: list[str]) -> None:
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self.next = MMAP_BASE
        self.brk = 0
        self.status = 0
        auxv = self.load(argv[0])
        self.uc.mem_map(STACK, STACK_SIZE)
        self.uc.reg_write(x86.UC_X86_REG_RSP, self.stack(argv, auxv))
        self.uc.hook_add(unicorn.UC_HOOK_INSN, self.syscall, None, 1, 0, x86.UC_X86_INS_SYSCALL)

    def load(self, path: str) -> dict[int, int]:
        """Map the segments; what the auxiliary vector says about them."""
        with open(path, "rb") as file:
            data = file.read()
        self.entry, phoff = struct.unpack_from("<QQ", data, 24)
        size, count = struct.unpack_from("<HH", data, 54)
        headers = 0
        for i in range(count):
            kind, flags, offset, addr, _, filesz, memsz, _ = struct.unpack_from("<IIQQQQQQ", data, phoff + i * size)
            if kind == 1:
                start, end = addr & -PAGE, up(addr + memsz)
                prot = (flags & 4) >> 2 | flags & 2 | (flags & 1) << 2
                self.uc.mem_map(start, end - start, prot)
                self.uc.mem_write(addr, data[offset : offset + filesz])
                self.brk = max(self.brk, end)
                if offset <= phoff < offset + filesz:
                    headers = addr + phoff - offset
        return {AT_PHDR: headers, AT_PHENT: size, AT_PHNUM: count, AT_PAGESZ: PAGE, AT_ENTRY: self.entry}

    def stack(self, argv: list[str], auxv: dict[int, int]) -> int:
        """Write argc, argv, an empty environment and the auxiliary vector; the stack pointer."""
        top = STACK + STACK_SIZE - PAGE
        self.uc.mem_write(top, os.urandom(16))
        auxv[AT_RANDOM] = top
        words = [len(argv)]
        for arg in argv:
            raw = arg.encode() + b"\0"
            top -= len(raw)
            self.uc.mem_write(top, raw)
            words.append(top)
        words += [0, 0]
        for pair in auxv.items():
            words += pair
        words += [0, 0]
        sp = (top - 8 * len(words)) & -16
        self.uc.mem_write(sp, struct.pack(f"<{len(words)}Q", *words))
        return sp

    def syscall(self, uc: Any, _: Any) -> None:
        """The hook: dispatch on the number, result into rax."""
        number, a, b, c, d, _e, _f = uc.reg_read_batch(REGS)
        result = 0
        if number == 1:  # write
            result = os.write(a, uc.mem_read(b, c))
        elif number == 9:  # mmap, anonymous
            size = up(b)
            if size == 0:
                result = -EINVAL
            else:
                if d & MAP_FIXED:
                    uc.mem_unmap(a, size)
                else:
                    a, self.next = self.next, self.next + size
                uc.mem_map(a, size, c & 7)
                result = a
        elif number == 10:  # mprotect
            uc.mem_protect(a, up(b), c & 7)
        elif number == 11:  # munmap
            uc.mem_unmap(a, up(b))
        elif number == 12:  # brk
            result = self.grow(a)
        elif number == 20:  # writev
            for i in range(c):
                base, size = struct.unpack("<QQ", uc.mem_read(b + 16 * i, 16))
                result += os.write(a, uc.mem_read(base, size)) if size else 0
        elif number == 110:  # getppid
            result = os.getppid()
        elif number == 158 and a == ARCH_SET_FS:
            uc.reg_write(x86.UC_X86_REG_FS_BASE, b)
        elif number in (60, 231):  # exit, exit_group
            self.status = a & 0xFF
            uc.emu_stop()
        else:
            result = -ENOSYS
        uc.reg_write(x86.UC_X86_REG_RAX, result & (1 << 64) - 1)

    def grow(self, end: int) -> int:
        """The heap up to `end`; where it ends now."""
        if end > self.brk:
            start = up(self.brk)
            if up(end) > start:
                self.uc.mem_map(start, up(end) - start)
            self.brk = end
        return self.brk

    def run(self) -> int:
        """Run to the exit; the status."""
        self.uc.emu_start(self.entry, 0)
        return self.status


if __name__ == "__main__":
    sys.exit(Bare(sys.argv[1:]).run())
