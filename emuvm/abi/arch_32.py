"""Arch values of the 32-bit architectures: i386, arm, riscv32, mips32, ppc32, m68k, sparc32.

Owns facts as data. Must not know engines. Sizes: arch/*/include/asm/processor.h and elf.h.
"""

from __future__ import annotations

from typing import Any

from emuvm.abi.arch_64 import MIPS_REGISTERS, PPC_REGISTERS, RISCV_COMMON, SPARC_REGISTERS
from emuvm.abi.arch_base import (
    READABLE_AND_EXECUTABLE_IF_ANY,
    READABLE_IF_ANY,
    Arch,
    mmap_base,
    page_align,
    rights,
)

I386 = Arch(
    name="i386",
    machine="i686",
    bits=32,
    big_endian=False,
    elf_machine=3,
    task_size=0xFFFF_E000,
    stack_top=0xFFFF_E000,
    mmap_base=mmap_base(0xFFFF_E000),
    unmapped_base=page_align(0xFFFF_E000 // 3),
    elf_et_dyn_base=0x40_0000,
    syscall_number="eax",
    syscall_args=("ebx", "ecx", "edx", "esi", "edi", "ebp"),
    syscall_result="eax",
    pc="eip",
    sp="esp",
    tls="gs",
    report_registers=("eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "eip", "eflags", "gs"),
    rights=READABLE_IF_ANY,
    implies_exec=True,
    platform="i686",
    hwcap=0x078B_FBFD,
    has_hwcap2=True,
)
"""A 32-bit program on a 64-bit kernel: nearly 4 GiB."""

ARM = Arch(
    name="arm",
    machine="armv7l",
    bits=32,
    big_endian=False,
    elf_machine=40,
    task_size=0xFFFF_F000,
    stack_top=0xFFFF_0000,
    mmap_base=mmap_base(0xFFFF_0000),
    unmapped_base=0x4000_0000,
    elf_et_dyn_base=0x40_0000,
    syscall_number="r7",
    syscall_args=("r0", "r1", "r2", "r3", "r4", "r5"),
    syscall_result="r0",
    aligned_pairs=True,
    pc="pc",
    sp="sp",
    tls="tpidruro",
    report_registers=(*(f"r{n}" for n in range(13)), "sp", "lr", "pc", "cpsr"),
    rights=READABLE_IF_ANY,
    implies_exec=True,
    platform="v7l",
    # HALF THUMB FAST_MULT VFP EDSP NEON VFPv3 TLS VFPv4 IDIVA IDIVT VFPD32 LPAE
    hwcap=0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x1000 | 0x2000 | 0x8000 | 0x1_0000 | 0x2_0000 | 0x4_0000 | 0x8_0000 | 0x10_0000,
    has_hwcap2=True,
)
"""A 32-bit program on an arm64 kernel: the vectors page at 0xffff0000 is a user mapping above the stack."""

RISCV32 = Arch(
    name="riscv32",
    machine="riscv32",
    bits=32,
    task_size=0x9FC0_0000,
    stack_top=0x9FC0_0000,
    mmap_base=mmap_base(0x9FC0_0000),
    unmapped_base=page_align(0x9FC0_0000 // 3),
    elf_et_dyn_base=0x9FC0_0000 // 3 * 2 & ~0xFFF,
    **RISCV_COMMON,
)

_MIPS32: dict[str, Any] = {
    "machine": "mips",
    "bits": 32,
    "elf_machine": 8,
    "task_size": 0x7FFF_8000,
    "stack_top": 0x7FFF_7000,
    "mmap_base": mmap_base(0x7FFF_7000),
    "unmapped_base": page_align(0x7FFF_8000 // 3),
    "elf_et_dyn_base": 0x7FFF_8000 // 3 * 2 & ~0xFFF,
    "syscall_number": "v0",
    "syscall_args": ("a0", "a1", "a2", "a3"),
    "stack_args": (16, 20, 24),
    "syscall_result": "v0",
    "error_flag": "a3",
    "aligned_pairs": True,
    "pc": "pc",
    "sp": "sp",
    "tls": "cp0_userlocal",
    "report_registers": MIPS_REGISTERS,
    "rights": READABLE_AND_EXECUTABLE_IF_ANY,
    "implies_exec": True,
    "platform": "",
    "hwcap": 0,
}
"""o32 as on a 64-bit kernel. The page that the kernel keeps for emulating delay slots lies above the stack; no RIXI."""

MIPS32 = Arch(name="mips32", big_endian=True, **_MIPS32)
MIPS32LE = Arch(name="mips32le", big_endian=False, **_MIPS32)

PPC32 = Arch(
    name="ppc32",
    machine="ppc",
    bits=32,
    big_endian=True,
    elf_machine=20,
    task_size=0xC000_0000,
    stack_top=0xC000_0000,
    mmap_base=mmap_base(0xC000_0000),
    unmapped_base=0xC000_0000 // 8 * 3,
    elf_et_dyn_base=0x40_0000,
    syscall_number="r0",
    syscall_args=("r3", "r4", "r5", "r6", "r7", "r8"),
    syscall_result="r3",
    error_flag="cr0.so",
    aligned_pairs=True,
    pc="pc",
    sp="r1",
    tls="r2",
    report_registers=PPC_REGISTERS,
    rights=READABLE_AND_EXECUTABLE_IF_ANY,
    implies_exec=True,
    platform="ppc7450",
    base_platform="ppc7450",
    hwcap=0x8000_0000 | 0x1000_0000 | 0x0800_0000 | 0x0400_0000,  # 32 HAS_ALTIVEC HAS_FPU HAS_MMU
    has_hwcap2=True,
    cache_line=32,
)

M68K = Arch(
    name="m68k",
    machine="m68k",
    bits=32,
    big_endian=True,
    elf_machine=4,
    task_size=0xF000_0000,
    stack_top=0xF000_0000,
    mmap_base=mmap_base(0xF000_0000),
    unmapped_base=0xC000_0000,
    bottom_up=True,
    elf_et_dyn_base=0xD000_0000,
    syscall_number="d0",
    syscall_args=("d1", "d2", "d3", "d4", "d5", "a0"),
    syscall_result="d0",
    clone_args=("flags", "stack", "parent_tid", "child_tid", "tls"),
    pc="pc",
    sp="a7",
    tls="",
    report_registers=(*(f"d{n}" for n in range(8)), *(f"a{n}" for n in range(8)), "pc", "sr"),
    rights=READABLE_AND_EXECUTABLE_IF_ANY,
    data_executable=True,
    platform="",
    hwcap=0,
)

SPARC32 = Arch(
    name="sparc32",
    machine="sparc",
    bits=32,
    big_endian=True,
    elf_machine=2,
    task_size=0xF000_0000,
    stack_top=0xEFFF_F000,
    mmap_base=mmap_base(0xEFFF_F000),
    unmapped_base=0x5000_0000,
    bottom_up=True,
    elf_et_dyn_base=0x5000_0000,
    syscall_number="g1",
    syscall_args=("o0", "o1", "o2", "o3", "o4", "o5"),
    syscall_result="o0",
    error_flag="carry",
    pc="pc",
    sp="sp",
    tls="g7",
    report_registers=SPARC_REGISTERS,
    rights=rights(write_reads=False, exec_reads=True, any_executes=True),
    platform="",
    hwcap=0xF,
    data_executable=True,
    window_save=16 * 4,
)

ALL = (I386, ARM, RISCV32, MIPS32, MIPS32LE, PPC32, M68K, SPARC32)
