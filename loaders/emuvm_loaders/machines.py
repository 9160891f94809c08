"""Facts about ELF machines: emuvm's names for them, what each kernel refuses, and what it makes executable by default.

Owns tables only. Must not know images, files or emuvm.
Sources: arch/*/include/asm/elf.h (elf_check_arch, elf_read_implies_exec), arch/*/include/asm/page.h
(VM_DATA_DEFAULT_FLAGS), Linux 6.1 to 7.2.
"""

from __future__ import annotations

EM_386, EM_68K, EM_MIPS, EM_PPC, EM_PPC64, EM_S390, EM_ARM = 3, 4, 8, 20, 21, 22, 40
EM_X86_64, EM_AARCH64, EM_RISCV, EM_LOONGARCH = 62, 183, 243, 258

ARCHES: dict[str, tuple[int, int, bool]] = {
    "i386": (EM_386, 32, False),
    "x86_64": (EM_X86_64, 64, False),
    "x32": (EM_X86_64, 32, False),
    "arm": (EM_ARM, 32, False),
    "armeb": (EM_ARM, 32, True),
    "arm64": (EM_AARCH64, 64, False),
    "arm64_be": (EM_AARCH64, 64, True),
    "riscv32": (EM_RISCV, 32, False),
    "riscv64": (EM_RISCV, 64, False),
    "mips32": (EM_MIPS, 32, True),
    "mips32le": (EM_MIPS, 32, False),
    "mips64": (EM_MIPS, 64, True),
    "mips64le": (EM_MIPS, 64, False),
    "ppc32": (EM_PPC, 32, True),
    "ppc64": (EM_PPC64, 64, True),
    "ppc64le": (EM_PPC64, 64, False),
    "s390": (EM_S390, 32, True),
    "s390x": (EM_S390, 64, True),
    "m68k": (EM_68K, 32, True),
    "sparc32": (2, 32, True),
    "sparc32plus": (18, 32, True),
    "sparc64": (43, 64, True),
    "alpha": (0x9026, 64, False),
    "parisc": (15, 32, True),
    "sh4": (42, 32, False),
    "sh4eb": (42, 32, True),
    "loongarch64": (EM_LOONGARCH, 64, False),
}
"""Name -> (e_machine, bits, big_endian). The names are those of `emuvm.abi.arch` where it has the architecture."""

NAMES: dict[tuple[int, int, bool], str] = {identity: name for name, identity in ARCHES.items()}

PROPERTY_MACHINES = frozenset({EM_386, EM_X86_64, EM_AARCH64})
"""Those whose kernels read PT_GNU_PROPERTY, and refuse a malformed one."""

_READ_IMPLIES_EXEC = frozenset({EM_386, EM_ARM, EM_PPC, EM_MIPS})
_DATA_NOT_EXEC = frozenset({EM_386, EM_X86_64, EM_ARM, EM_AARCH64, EM_MIPS, EM_PPC, EM_PPC64, EM_S390, EM_RISCV, EM_LOONGARCH})

_FDPIC = 65  # EI_OSABI: ELFOSABI_ARM_FDPIC
_MIPS_ABI2, _MIPS_ABI, _MIPS_O32 = 0x20, 0xF000, 0x1000
_ARM_EABI, _ARM_APCS26 = 0xFF00_0000, 0x08


def name_of(machine: int, bits: int, big_endian: bool, e_flags: int) -> str:
    """emuvm's name for what a header says, or ''."""
    name = NAMES.get((machine, bits, big_endian), "")
    if machine == EM_MIPS and bits == 32 and e_flags & _MIPS_ABI2:
        return "mipsn32" if big_endian else "mipsn32le"
    return name


def refusal(machine: int, bits: int, osabi: int, e_flags: int, entry: int) -> str | None:
    """Why this machine's own kernel would refuse such a header with ENOEXEC; None when it would not."""
    if machine == EM_ARM:
        if osabi == _FDPIC:
            return "an FDPIC program: only kernels without an MMU run those"
        if entry & 3 == 2:
            return f"the entry address {entry:#x} is neither Thumb nor a multiple of four"
        if not e_flags & _ARM_EABI and e_flags & _ARM_APCS26:
            return "a program for 26-bit ARM"
    elif machine == EM_MIPS and bits == 32 and not e_flags & _MIPS_ABI2 and e_flags & _MIPS_ABI not in (0, _MIPS_O32):
        return f"a 32-bit mips program of another ABI than o32 and n32 (e_flags {e_flags:#x})"
    elif machine == EM_PPC64 and e_flags & 3 == 3:
        return "ppc64 ABI version 3 is unknown"
    return None


def read_implies_exec(machine: int, stack_flags: int | None) -> bool:
    """Does the process get the READ_IMPLIES_EXEC personality: readable mappings become executable? (mips: no RIXI)"""
    return stack_flags is None and machine in _READ_IMPLIES_EXEC


def data_executable(machine: int, stack_flags: int | None) -> bool:
    """Are bss, brk area and a stack without PT_GNU_STACK executable?"""
    return machine not in _DATA_NOT_EXEC or read_implies_exec(machine, stack_flags)
