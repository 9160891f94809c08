"""Arch values of the 64-bit architectures besides x86-64 and arm64: riscv64, mips64, ppc64, s390x, sparc64.

Owns facts as data. Must not know engines. Sizes: arch/*/include/asm/processor.h and elf.h.
"""

from __future__ import annotations

from typing import Any

from emuvm.abi.arch_base import (
    READABLE_AND_EXECUTABLE_IF_ANY,
    READABLE_IF_ANY,
    READABLE_IF_EXECUTABLE,
    READABLE_IF_WRITABLE,
    Arch,
    mmap_base,
    page_align,
)

_RISCV_REGISTERS = (
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7",
    "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6", "pc",
)  # fmt: skip

MIPS_REGISTERS = (
    "zero", "at", "v0", "v1", "a0", "a1", "a2", "a3", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7",
    "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "t8", "t9", "k0", "k1", "gp", "sp", "fp", "ra", "hi", "lo", "pc",
)  # fmt: skip
"""o32 names; n64 calls $8..$11 a4..a7, see `_MIPS64_REGISTERS`."""

_MIPS64_REGISTERS = (
    "zero", "at", "v0", "v1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "t0", "t1", "t2", "t3",
    "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "t8", "t9", "k0", "k1", "gp", "sp", "fp", "ra", "hi", "lo", "pc",
)  # fmt: skip

RISCV_COMMON: dict[str, Any] = {
    "big_endian": False,
    "elf_machine": 243,
    "syscall_number": "a7",
    "syscall_args": ("a0", "a1", "a2", "a3", "a4", "a5"),
    "syscall_result": "a0",
    "pc": "pc",
    "sp": "sp",
    "tls": "tp",
    "report_registers": _RISCV_REGISTERS,
    "rights": READABLE_IF_WRITABLE,
    "platform": "",
    "hwcap": 0x112D,
}
"""What riscv64 and riscv32 share; the hwcap is IMAFDC."""

RISCV64 = Arch(
    name="riscv64",
    machine="riscv64",
    bits=64,
    task_size=1 << 47,
    stack_top=1 << 47,
    mmap_base=mmap_base(1 << 47),
    unmapped_base=page_align((1 << 39) // 3),
    elf_et_dyn_base=(1 << 47) // 3 * 2 & ~0xFFF,
    **RISCV_COMMON,
)
"""The sv48 layout."""

_MIPS64: dict[str, Any] = {
    "machine": "mips64",
    "bits": 64,
    "elf_machine": 8,
    "task_size": 1 << 40,
    "stack_top": (1 << 40) - 0x1000,
    "mmap_base": mmap_base((1 << 40) - 0x1000),
    "unmapped_base": page_align((1 << 40) // 3),
    "elf_et_dyn_base": (1 << 40) // 3 * 2 & ~0xFFF,
    "syscall_number": "v0",
    "syscall_args": ("a0", "a1", "a2", "a3", "a4", "a5"),
    "syscall_result": "v0",
    "error_flag": "a3",
    "pc": "pc",
    "sp": "sp",
    "tls": "cp0_userlocal",
    "report_registers": _MIPS64_REGISTERS,
    "rights": READABLE_AND_EXECUTABLE_IF_ANY,
    "implies_exec": True,
    "platform": "",
    "hwcap": 0,
}
"""n64. The page that the kernel keeps for emulating delay slots lies above the stack; no RIXI."""

MIPS64 = Arch(name="mips64", big_endian=True, **_MIPS64)
MIPS64LE = Arch(name="mips64le", big_endian=False, **_MIPS64)

PPC_REGISTERS = (*(f"r{n}" for n in range(32)), "lr", "ctr", "cr", "xer", "pc")

_PPC64: dict[str, Any] = {
    "bits": 64,
    "elf_machine": 21,
    "task_size": 1 << 46,
    "stack_top": 1 << 46,
    "mmap_base": mmap_base(1 << 46),
    "unmapped_base": 1 << 44,
    "elf_et_dyn_base": 0x1_0000_0000,
    "syscall_number": "r0",
    "syscall_args": ("r3", "r4", "r5", "r6", "r7", "r8"),
    "syscall_result": "r3",
    "error_flag": "cr0.so",
    "pc": "pc",
    "sp": "r1",
    "tls": "r13",
    "report_registers": PPC_REGISTERS,
    "rights": READABLE_IF_WRITABLE,
    "platform": "power8",
    "base_platform": "power8",
    "hwcap2": 0x8000_0000 | 0x0800_0000 | 0x0400_0000 | 0x0200_0000,  # ARCH_2_07 ISEL TAR VEC_CRYPTO
    "has_hwcap2": True,
    "cache_line": 128,
}
"""4 KiB pages."""

_PPC64_HWCAP = 0x8000_0000 | 0x4000_0000 | 0x1000_0000 | 0x0800_0000 | 0x0400_0000 | 0x100 | 0x80
"""PPC_FEATURE_32, 64, HAS_ALTIVEC, HAS_FPU, HAS_MMU, ARCH_2_06, HAS_VSX."""

PPC64 = Arch(name="ppc64", machine="ppc64", big_endian=True, hwcap=_PPC64_HWCAP, **_PPC64)
PPC64LE = Arch(name="ppc64le", machine="ppc64le", big_endian=False, hwcap=_PPC64_HWCAP | 2, **_PPC64)

_S390X_STACK_TOP = (1 << 42) - 0x1000

S390X = Arch(
    name="s390x",
    machine="s390x",
    bits=64,
    big_endian=True,
    elf_machine=22,
    task_size=(1 << 64) - 0x1000,
    stack_top=_S390X_STACK_TOP,
    mmap_base=mmap_base(_S390X_STACK_TOP),
    unmapped_base=1 << 41,
    elf_et_dyn_base=_S390X_STACK_TOP // 3 * 2 & ~0xFFFF_FFFF,
    syscall_number="r1",
    syscall_args=("r2", "r3", "r4", "r5", "r6", "r7"),
    syscall_result="r2",
    clone_args=("stack", "flags", "parent_tid", "child_tid", "tls"),
    pc="pc",
    sp="r15",
    tls="a0:a1",
    report_registers=(*(f"r{n}" for n in range(16)), "pc", "pswm", "a0", "a1"),
    rights=READABLE_IF_ANY,
    platform="z10",
    hwcap=0x23F,
)
"""The number is in the svc instruction unless that says 0. hwcap: ESAN3 ZARCH STFLE MSA(8) LDISP EIMM HIGHGPRS, no vectors."""

SPARC_REGISTERS = (
    "g0", "g1", "g2", "g3", "g4", "g5", "g6", "g7", "o0", "o1", "o2", "o3", "o4", "o5", "sp", "o7",
    "l0", "l1", "l2", "l3", "l4", "l5", "l6", "l7", "i0", "i1", "i2", "i3", "i4", "i5", "fp", "i7", "pc",
)  # fmt: skip

_SPARC64_TOP = (1 << 43) - (1 << 32)

SPARC64 = Arch(
    name="sparc64",
    machine="sparc64",
    bits=64,
    big_endian=True,
    elf_machine=43,
    page_size=8192,
    task_size=_SPARC64_TOP,
    stack_top=_SPARC64_TOP,
    mmap_base=mmap_base(_SPARC64_TOP),
    unmapped_base=page_align(_SPARC64_TOP // 3, 8192),
    bottom_up=True,
    elf_et_dyn_base=0x100_0000_0000,
    syscall_number="g1",
    syscall_args=("o0", "o1", "o2", "o3", "o4", "o5"),
    syscall_result="o0",
    error_flag="carry",
    pc="pc",
    sp="sp",
    tls="g7",
    report_registers=SPARC_REGISTERS,
    rights=READABLE_IF_EXECUTABLE,
    platform="",
    hwcap=0x1F,
    data_executable=True,
    window_save=16 * 8,
    stack_bias=2047,
)
"""Linux begins its search above the hole of the address space, which lies beyond task_size; unmapped_base is emuvm's choice."""

ALL = (RISCV64, MIPS64, MIPS64LE, PPC64, PPC64LE, S390X, SPARC64)
