"""System-call numbers by architecture; a table is imported only when it is asked for.

Owns the choice of the table. Must not know which calls emuvm implements.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

_SINCE_6_2 = (
    "cachestat", "fchmodat2", "map_shadow_stack", "futex_wake", "futex_wait", "futex_requeue", "statmount", "listmount",
    "lsm_get_self_attr", "lsm_set_self_attr", "lsm_list_modules", "mseal", "setxattrat", "getxattrat", "listxattrat",
    "removexattrat", "open_tree_attr",
)  # fmt: skip
"""Calls younger than the headers of the generated tables, from 451 on: new calls have one number on all architectures
(arch/*/kernel/syscalls/syscall*.tbl), above the base that mips adds."""

_TABLES = {
    "x86_64": ("x86_64", 0),
    "arm64": ("arm64", 0),
    "i386": ("i386", 0),
    "arm": ("arm", 0),
    "riscv64": ("riscv64", 0),
    "riscv32": ("riscv32", 0),
    "ppc64": ("ppc64", 0),
    "ppc64le": ("ppc64", 0),
    "ppc32": ("ppc32", 0),
    "s390x": ("s390x", 0),
    "mips32": ("mips_o32", 4000),
    "mips32le": ("mips_o32", 4000),
    "mips64": ("mips_n64", 5000),
    "mips64le": ("mips_n64", 5000),
    "m68k": ("m68k", 0),
    "sparc32": ("sparc32", 0),
    "sparc64": ("sparc64", 0),
}
"""Arch.name -> (table, base of the numbers)."""


@cache
def table(arch_name: str) -> dict[int, str]:
    """Number -> system-call name for an `Arch.name`. Shared: do not change it. KeyError for an unknown architecture."""
    module, base = _TABLES[arch_name]
    names: dict[int, str] = dict(import_module(f"emuvm.abi.numbers_{module}").NAMES)
    for number, name in enumerate(_SINCE_6_2, base + 451):
        names.setdefault(number, name)
    return names


_ELSEWHERE = frozenset((
    "getxgid", "getxpid", "getxuid", "osf_select", "osf_shmat", "osf_utimes", "kern_features", "riscv_flush_icache", "riscv_hwprobe",
    "s390_guarded_storage", "s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr", "s390_sthyi",
))  # fmt: skip
"""Calls of single architectures that have no table here, or that their table lacks."""


@cache
def every_name() -> frozenset[str]:
    """The names of the system calls of all architectures."""
    return _ELSEWHERE.union(*(table(name).values() for name in _TABLES))


@cache
def numbers(arch_name: str) -> dict[str, int]:
    """System-call name -> number: the inverse of `table`."""
    return {name: number for number, name in table(arch_name).items()}
