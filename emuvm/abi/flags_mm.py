"""Raw bits of the memory system calls: MAP_*, PROT_*, MCL_*, MREMAP_*, MADV_*, MS_*.

Owns facts as data, per architecture; see `emuvm.abi.flags` for how the tables are built and chosen. Must not know handlers.
Values: include/uapi/asm-generic/mman*.h and arch/*/include/uapi/asm/mman.h, Linux 6.1 (MADV_GUARD_*: 6.13).
"""

from __future__ import annotations


class Map:
    """mmap(2) flags, as on arm, arm64, riscv, s390, m68k."""

    MAP_SHARED: int = 0x1
    MAP_PRIVATE: int = 0x2
    MAP_SHARED_VALIDATE: int = 0x3
    MAP_TYPE: int = 0xF
    MAP_FIXED: int = 0x10
    MAP_ANONYMOUS: int = 0x20
    MAP_32BIT: int = 0
    """0 where the architecture has no such flag; likewise MAP_ABOVE4G, MAP_SYNC and MAP_UNINITIALIZED."""
    MAP_ABOVE4G: int = 0
    MAP_GROWSDOWN: int = 0x100
    MAP_DENYWRITE: int = 0x800
    MAP_EXECUTABLE: int = 0x1000
    MAP_LOCKED: int = 0x2000
    MAP_NORESERVE: int = 0x4000
    MAP_POPULATE: int = 0x8000
    MAP_NONBLOCK: int = 0x1_0000
    MAP_STACK: int = 0x2_0000
    MAP_HUGETLB: int = 0x4_0000
    MAP_SYNC: int = 0x8_0000
    MAP_FIXED_NOREPLACE: int = 0x10_0000
    MAP_UNINITIALIZED: int = 0x400_0000
    MAP_HUGE_SHIFT: int = 26
    MAP_HUGE_MASK: int = 0x3F


class MapX86(Map):
    MAP_32BIT = 0x40
    MAP_ABOVE4G = 0x80


class MapMips(Map):
    MAP_NORESERVE = 0x400
    MAP_ANONYMOUS = 0x800
    MAP_GROWSDOWN = 0x1000
    MAP_DENYWRITE = 0x2000
    MAP_EXECUTABLE = 0x4000
    MAP_LOCKED = 0x8000
    MAP_POPULATE = 0x1_0000
    MAP_NONBLOCK = 0x2_0000
    MAP_STACK = 0x4_0000
    MAP_HUGETLB = 0x8_0000
    MAP_SYNC = 0
    MAP_UNINITIALIZED = 0


class MapPowerpc(Map):
    MAP_NORESERVE = 0x40
    MAP_LOCKED = 0x80


class MapSparc(Map):
    MAP_NORESERVE = 0x40
    MAP_LOCKED = 0x100
    MAP_GROWSDOWN = 0x200


class MapAlpha(Map):
    MAP_ANONYMOUS = 0x10
    MAP_FIXED = 0x100
    MAP_GROWSDOWN = 0x1000
    MAP_DENYWRITE = 0x2000
    MAP_EXECUTABLE = 0x4000
    MAP_LOCKED = 0x8000
    MAP_NORESERVE = 0x1_0000
    MAP_POPULATE = 0x2_0000
    MAP_NONBLOCK = 0x4_0000
    MAP_STACK = 0x8_0000
    MAP_HUGETLB = 0x10_0000
    MAP_FIXED_NOREPLACE = 0x20_0000
    MAP_SYNC = 0
    MAP_UNINITIALIZED = 0


class MapParisc(Map):
    MAP_TYPE = 0x2B
    MAP_FIXED = 0x4
    MAP_ANONYMOUS = 0x10
    MAP_GROWSDOWN = 0x8000
    MAP_POPULATE = 0x1_0000
    MAP_NONBLOCK = 0x2_0000
    MAP_STACK = 0x4_0000
    MAP_HUGETLB = 0x8_0000
    MAP_SYNC = 0
    MAP_UNINITIALIZED = 0


class Prot:
    """mmap and mprotect rights."""

    PROT_NONE: int = 0x0
    PROT_READ: int = 0x1
    PROT_WRITE: int = 0x2
    PROT_EXEC: int = 0x4
    PROT_SEM: int = 0x8
    PROT_BTI: int = 0
    """0 where the architecture has no such bit; likewise PROT_MTE, PROT_SAO and PROT_ADI."""
    PROT_MTE: int = 0
    PROT_SAO: int = 0
    PROT_ADI: int = 0
    PROT_GROWSDOWN: int = 0x100_0000
    PROT_GROWSUP: int = 0x200_0000


class ProtArm64(Prot):
    PROT_BTI = 0x10
    PROT_MTE = 0x20


class ProtMips(Prot):
    PROT_SEM = 0x10


class ProtPowerpc(Prot):
    PROT_SAO = 0x10


class ProtSparc(Prot):
    PROT_ADI = 0x10


class Mcl:
    """mlockall(2) flags."""

    MCL_CURRENT: int = 0x1
    MCL_FUTURE: int = 0x2
    MCL_ONFAULT: int = 0x4


class MclPowerpc(Mcl):
    """powerpc, sparc (and alpha)."""

    MCL_CURRENT = 0x2000
    MCL_FUTURE = 0x4000
    MCL_ONFAULT = 0x8000


class Memory:
    """mremap, msync and mlock2 flags, madvise and membarrier commands: the same everywhere."""

    MREMAP_MAYMOVE = 1
    MREMAP_FIXED = 2
    MREMAP_DONTUNMAP = 4
    MS_ASYNC = 1
    MS_INVALIDATE = 2
    MS_SYNC = 4
    MLOCK_ONFAULT = 1
    MADV_NORMAL = 0
    MADV_RANDOM = 1
    MADV_SEQUENTIAL = 2
    MADV_WILLNEED = 3
    MADV_DONTNEED = 4
    MADV_FREE = 8
    MADV_REMOVE = 9
    MADV_DONTFORK = 10
    MADV_DOFORK = 11
    MADV_MERGEABLE = 12
    MADV_UNMERGEABLE = 13
    MADV_HUGEPAGE = 14
    MADV_NOHUGEPAGE = 15
    MADV_DONTDUMP = 16
    MADV_DODUMP = 17
    MADV_WIPEONFORK = 18
    MADV_KEEPONFORK = 19
    MADV_COLD = 20
    MADV_PAGEOUT = 21
    MADV_POPULATE_READ = 22
    MADV_POPULATE_WRITE = 23
    MADV_DONTNEED_LOCKED = 24
    MADV_COLLAPSE = 25
    MADV_HWPOISON = 100
    MADV_SOFT_OFFLINE = 101
    MADV_GUARD_INSTALL = 102
    MADV_GUARD_REMOVE = 103


_FAMILY = {"arm64": "arm64", "arm": "arm", "x86_64": "x86", "i386": "x86", "m68k": "m68k", "s390x": "s390"}


def family(arch_name: str) -> str:
    """The kernel's source directory for an `Arch.name`: 'x86', 'arm', 'arm64', 'mips', 'powerpc', ..."""
    for prefix, directory in (("mips", "mips"), ("ppc", "powerpc"), ("sparc", "sparc"), ("riscv", "riscv")):
        if arch_name.startswith(prefix):
            return directory
    return _FAMILY[arch_name]


def map_for(arch_name: str) -> type[Map]:
    by_family: dict[str, type[Map]] = {"x86": MapX86, "mips": MapMips, "powerpc": MapPowerpc, "sparc": MapSparc}
    return by_family.get(family(arch_name), Map)


def prot_for(arch_name: str) -> type[Prot]:
    by_family: dict[str, type[Prot]] = {"arm64": ProtArm64, "mips": ProtMips, "powerpc": ProtPowerpc, "sparc": ProtSparc}
    return by_family.get(family(arch_name), Prot)


def mcl_for(arch_name: str) -> type[Mcl]:
    return MclPowerpc if family(arch_name) in ("powerpc", "sparc") else Mcl

MAP_DROPPABLE = 8
"""A mapping type of mmap on all architectures, younger than the headers of the tables (Linux 6.11)."""
