"""One frozen Arch value per architecture: register names, call convention, memory layout, ELF identity.

Owns facts as data. Must not know engines: Unicorn's integers are looked up by name in `emuvm.engine`.
"""

from __future__ import annotations

from emuvm.abi import arch_32, arch_64
from emuvm.abi.arch_base import READABLE_IF_ANY, Arch, mmap_base

__all__ = ["ARM64", "BY_ELF", "BY_NAME", "X86_64", "Arch"]

X86_64 = Arch(
    name="x86_64",
    machine="x86_64",
    bits=64,
    big_endian=False,
    elf_machine=62,
    task_size=0x7FFF_FFFF_F000,
    stack_top=0x7FFF_FFFF_F000,
    mmap_base=mmap_base(0x7FFF_FFFF_F000),
    unmapped_base=0x2AAA_AAAA_B000,
    elf_et_dyn_base=0x5555_5555_4000,
    syscall_number="rax",
    syscall_args=("rdi", "rsi", "rdx", "r10", "r8", "r9"),
    syscall_result="rax",
    clone_args=("flags", "stack", "parent_tid", "child_tid", "tls"),
    pc="rip",
    sp="rsp",
    tls="fs_base",
    report_registers=(
        "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
        "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "eflags", "fs_base", "gs_base",
    ),
    rights=READABLE_IF_ANY,
    platform="x86_64",
    hwcap=0x078B_FBFD,
    hwcap2=2,
    has_hwcap2=True,
    runnable=True,
)  # fmt: skip

ARM64 = Arch(
    name="arm64",
    machine="aarch64",
    bits=64,
    big_endian=False,
    elf_machine=183,
    task_size=1 << 48,
    stack_top=1 << 48,
    mmap_base=mmap_base(1 << 48),
    unmapped_base=1 << 46,
    elf_et_dyn_base=(1 << 48) // 3 * 2 & ~0xFFF,
    syscall_number="x8",
    syscall_args=("x0", "x1", "x2", "x3", "x4", "x5"),
    syscall_result="x0",
    pc="pc",
    sp="sp",
    tls="tpidr_el0",
    report_registers=(*(f"x{n}" for n in range(31)), "sp", "pc", "nzcv", "tpidr_el0"),
    rights=READABLE_IF_ANY,
    platform="aarch64",
    hwcap=0xFB,
    has_hwcap2=True,
    runnable=True,
)

_ALL = (X86_64, ARM64, *arch_64.ALL, *arch_32.ALL)

BY_ELF: dict[tuple[int, int, bool], Arch] = {(a.elf_machine, a.bits, a.big_endian): a for a in _ALL}
"""(e_machine, bits, big_endian) -> Arch: every architecture known; `Arch.runnable` tells which emuvm runs."""

BY_NAME: dict[str, Arch] = {a.name: a for a in _ALL}
