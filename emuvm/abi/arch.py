"""One frozen Arch value per architecture: register names, call convention, memory layout, ELF identity.

Owns facts as data. Must not know engines: Unicorn's integers are looked up by name in `emuvm.engine`.
"""

from __future__ import annotations

from dataclasses import dataclass


def _rights(*, write_reads: bool, exec_reads: bool) -> tuple[int, ...]:
    """Effective rights (R=1 W=2 X=4) for each value of the three region bits; LINUX: arch protection_map."""
    table = []
    for prot in range(8):
        effective = prot
        if (prot & 2 and write_reads) or (prot & 4 and exec_reads):
            effective |= 1
        table.append(effective)
    return tuple(table)


@dataclass(frozen=True, slots=True)
class Arch:
    """A guest architecture. Addresses and sizes are in bytes."""

    name: str
    """'x86_64', 'arm64', ...: emuvm's name, used in options and reports."""
    machine: str
    """uname's machine: 'x86_64', 'aarch64', ..."""
    bits: int
    big_endian: bool
    elf_machine: int
    """e_machine of its ELF files."""
    page_size: int
    task_size: int
    """User addresses lie in [0, task_size)."""
    stack_top: int
    mmap_base: int
    """Top-down mmap ceiling without address randomisation and with an 8 MiB stack limit."""
    unmapped_base: int
    """TASK_UNMAPPED_BASE: floor of the bottom-up search that follows a failed top-down one."""
    elf_et_dyn_base: int
    syscall_number: str
    syscall_args: tuple[str, ...]
    syscall_result: str
    pc: str
    sp: str
    tls: str
    report_registers: tuple[str, ...]
    """Names in the order a fault report shows them."""
    rights: tuple[int, ...]
    """Effective access rights for each of the eight PROT values."""
    platform: str
    """AT_PLATFORM, or ''."""
    hwcap: int
    hwcap2: int = 0


_PAGE = 4096

X86_64 = Arch(
    name="x86_64",
    machine="x86_64",
    bits=64,
    big_endian=False,
    elf_machine=62,
    page_size=_PAGE,
    task_size=0x7FFF_FFFF_F000,
    stack_top=0x7FFF_FFFF_F000,
    mmap_base=0x7FFF_F7FF_F000,
    unmapped_base=0x2AAA_AAAA_B000,
    elf_et_dyn_base=0x5555_5555_4000,
    syscall_number="rax",
    syscall_args=("rdi", "rsi", "rdx", "r10", "r8", "r9"),
    syscall_result="rax",
    pc="rip",
    sp="rsp",
    tls="fs_base",
    report_registers=(
        "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
        "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "eflags", "fs_base", "gs_base",
    ),
    rights=_rights(write_reads=True, exec_reads=True),
    platform="x86_64",
    hwcap=0x078B_FBFD,
    hwcap2=2,
)  # fmt: skip

ARM64 = Arch(
    name="arm64",
    machine="aarch64",
    bits=64,
    big_endian=False,
    elf_machine=183,
    page_size=_PAGE,
    task_size=1 << 48,
    stack_top=1 << 48,
    mmap_base=(1 << 48) - 0x800_0000,
    unmapped_base=1 << 46,
    elf_et_dyn_base=(1 << 48) // 3 * 2 & ~0xFFF,
    syscall_number="x8",
    syscall_args=("x0", "x1", "x2", "x3", "x4", "x5"),
    syscall_result="x0",
    pc="pc",
    sp="sp",
    tls="tpidr_el0",
    report_registers=(*(f"x{n}" for n in range(31)), "sp", "pc", "nzcv", "tpidr_el0"),
    rights=_rights(write_reads=True, exec_reads=True),
    platform="aarch64",
    hwcap=0xFB,
)

BY_ELF: dict[tuple[int, int, bool], Arch] = {(a.elf_machine, a.bits, a.big_endian): a for a in (X86_64, ARM64)}
"""(e_machine, bits, big_endian) -> Arch: the architectures emuvm runs."""

BY_NAME: dict[str, Arch] = {a.name: a for a in (X86_64, ARM64)}
