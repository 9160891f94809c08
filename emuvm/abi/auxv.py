"""The auxiliary vector: AT_ numbers, and which entries a program gets in which order.

Owns the order of the kernel (fs/binfmt_elf.c:create_elf_tables, Linux 6.x, and each architecture's ARCH_DLINFO). Must not know
where things lie: addresses are given. emuvm has no vDSO, so the entries that name one are left out unless an address is given.
"""

from __future__ import annotations

from emuvm.abi.arch import Arch
from emuvm.abi.flags_mm import family
from emuvm.abi.tuples import NamedTuple

AT_NULL = 0
AT_IGNORE = 1
AT_EXECFD = 2
AT_PHDR = 3
AT_PHENT = 4
AT_PHNUM = 5
AT_PAGESZ = 6
AT_BASE = 7
AT_FLAGS = 8
AT_ENTRY = 9
AT_UID = 11
AT_EUID = 12
AT_GID = 13
AT_EGID = 14
AT_PLATFORM = 15
AT_HWCAP = 16
AT_CLKTCK = 17
AT_DCACHEBSIZE = 19
AT_ICACHEBSIZE = 20
AT_UCACHEBSIZE = 21
AT_IGNOREPPC = 22
AT_SECURE = 23
AT_BASE_PLATFORM = 24
AT_RANDOM = 25
AT_HWCAP2 = 26
AT_RSEQ_FEATURE_SIZE = 27
AT_RSEQ_ALIGN = 28
AT_HWCAP3 = 29
AT_HWCAP4 = 30
AT_EXECFN = 31
AT_SYSINFO = 32
AT_SYSINFO_EHDR = 33
AT_L1I_CACHESIZE = 40
AT_L3_CACHEGEOMETRY = 47
AT_MINSIGSTKSZ = 51

CLOCK_TICKS = 100
"""AT_CLKTCK: the unit of times(2), in Hz."""


class Facts(NamedTuple):
    """What the loader and the process know. 0 for an address that is not there."""

    phdr: int
    """Guest address of the program headers."""
    phnum: int
    entry: int
    base: int = 0
    """Where the interpreter is loaded; 0 for static programs."""
    uid: int = 0
    euid: int = 0
    gid: int = 0
    egid: int = 0
    secure: bool = False
    hwcap: int | None = None
    """None: the architecture's value."""
    hwcap2: int | None = None
    sysinfo: int = 0
    """i386: __kernel_vsyscall."""
    sysinfo_ehdr: int = 0
    """The vDSO."""
    minsigstksz: int = 0
    rseq_size: int = 0
    """Feature size of rseq, 0 without rseq."""
    rseq_align: int = 0


class Addresses(NamedTuple):
    """Where the strings of the initial stack lie; 0 for those that are not there."""

    random: int
    execfn: int
    platform: int = 0
    base_platform: int = 0


def _arch_block(arch: Arch, facts: Facts) -> list[tuple[int, int]]:
    """ARCH_DLINFO: what the architecture puts first."""
    kind = family(arch.name)
    caches = [(number, 0) for number in range(AT_L1I_CACHESIZE, AT_L3_CACHEGEOMETRY + 1)]
    block: list[tuple[int, int]] = []
    if kind == "powerpc":
        block += [(AT_IGNOREPPC, AT_IGNOREPPC)] * 2
        block += [(AT_DCACHEBSIZE, arch.cache_line), (AT_ICACHEBSIZE, arch.cache_line), (AT_UCACHEBSIZE, 0)]
    if arch.name == "i386" and facts.sysinfo:
        block.append((AT_SYSINFO, facts.sysinfo))
    if facts.sysinfo_ehdr:
        block.append((AT_SYSINFO_EHDR, facts.sysinfo_ehdr))
    if kind in ("powerpc", "riscv"):
        block += caches
    if facts.minsigstksz and kind in ("x86", "arm64", "riscv", "powerpc"):
        block.append((AT_MINSIGSTKSZ, facts.minsigstksz))
    elif kind == "arm64":
        block.append((AT_IGNORE, 0))
    return block


def build(arch: Arch, facts: Facts, where: Addresses) -> list[tuple[int, int]]:
    """(type, value) pairs in kernel order, the closing AT_NULL included."""
    hwcap = arch.hwcap if facts.hwcap is None else facts.hwcap
    vector = _arch_block(arch, facts)
    vector += [
        (AT_HWCAP, hwcap),
        (AT_PAGESZ, arch.page_size),
        (AT_CLKTCK, CLOCK_TICKS),
        (AT_PHDR, facts.phdr),
        (AT_PHENT, 56 if arch.bits == 64 else 32),
        (AT_PHNUM, facts.phnum),
        (AT_BASE, facts.base),
        (AT_FLAGS, 0),
        (AT_ENTRY, facts.entry),
        (AT_UID, facts.uid),
        (AT_EUID, facts.euid),
        (AT_GID, facts.gid),
        (AT_EGID, facts.egid),
        (AT_SECURE, int(facts.secure)),
        (AT_RANDOM, where.random),
    ]
    if arch.has_hwcap2:
        vector.append((AT_HWCAP2, arch.hwcap2 if facts.hwcap2 is None else facts.hwcap2))
    vector.append((AT_EXECFN, where.execfn))
    if where.platform:
        vector.append((AT_PLATFORM, where.platform))
    if where.base_platform:
        vector.append((AT_BASE_PLATFORM, where.base_platform))
    if facts.rseq_size:
        vector += [(AT_RSEQ_FEATURE_SIZE, facts.rseq_size), (AT_RSEQ_ALIGN, facts.rseq_align)]
    vector.append((AT_NULL, 0))
    return vector
