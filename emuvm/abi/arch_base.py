"""The Arch type: what there is to know about an architecture, and how its numbers are derived.

Owns the shape of the facts; the values are in `arch` (64-bit main ones), `arch_64` and `arch_32`. Must not know engines.
"""

from __future__ import annotations

from typing import Any, dataclass_transform

PAGE = 4096
_GAP = 128 << 20
"""Room below the stack that mmap leaves: RLIMIT_STACK 8 MiB plus 256 guard pages, but at least 128 MiB (mm/util.c:mmap_base)."""


def rights(*, write_reads: bool, exec_reads: bool, any_executes: bool = False) -> tuple[int, ...]:
    """Effective rights (R=1 W=2 X=4) for each value of the three region bits; arch/*/mm: protection_map."""
    table = []
    for prot in range(8):
        effective = prot
        if (prot & 2 and write_reads) or (prot & 4 and exec_reads):
            effective |= 1
        if prot and any_executes:
            effective |= 4
        table.append(effective)
    return tuple(table)


READABLE_IF_ANY = rights(write_reads=True, exec_reads=True)
READABLE_AND_EXECUTABLE_IF_ANY = rights(write_reads=True, exec_reads=True, any_executes=True)
READABLE_IF_WRITABLE = rights(write_reads=True, exec_reads=False)
READABLE_IF_EXECUTABLE = rights(write_reads=False, exec_reads=True)


def mmap_base(stack_top: int) -> int:
    """The top-down ceiling without address randomisation and with an 8 MiB stack limit."""
    return stack_top - _GAP


def page_align(address: int, page_size: int = PAGE) -> int:
    """Rounded up to a page."""
    return -(-address // page_size) * page_size


@dataclass_transform(frozen_default=True, kw_only_default=True, eq_default=False)
class _Facts:
    """Named facts that never change, given by keyword. As a frozen dataclass, which every start would pay a millisecond for."""

    def __init__(self, **facts: Any) -> None:
        names = type(self).__annotations__
        unknown = facts.keys() - names.keys()
        missing = {name for name in names if name not in facts and not hasattr(type(self), name)}
        if unknown or missing:
            raise TypeError(f"{type(self).__name__}: unknown {sorted(unknown)}, missing {sorted(missing)}")
        self.__dict__.update(facts)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} never changes")

    __delattr__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class Arch(_Facts):
    """A guest architecture. Addresses and sizes are in bytes. Values are unique: compare with `is`."""

    name: str
    """'x86_64', 'arm64', ...: emuvm's name, used in options and reports."""
    machine: str
    """uname's machine: 'x86_64', 'aarch64', ..."""
    bits: int
    big_endian: bool
    elf_machine: int
    """e_machine of its ELF files."""
    page_size: int = PAGE
    task_size: int
    """User addresses lie in [0, task_size)."""
    stack_top: int
    mmap_base: int
    """Top-down mmap ceiling without address randomisation and with an 8 MiB stack limit."""
    unmapped_base: int
    """TASK_UNMAPPED_BASE: floor of the bottom-up search that follows a failed top-down one."""
    bottom_up: bool = False
    """The kernel never searches top-down here."""
    elf_et_dyn_base: int
    syscall_number: str
    syscall_args: tuple[str, ...]
    stack_args: tuple[int, ...] = ()
    """Where arguments beyond `syscall_args` lie, as offsets from sp."""
    syscall_result: str
    error_flag: str = ""
    """'' when a failed call returns -errno; else where the failure shows while the result is the positive errno:
    'a3' (register is 1), 'cr0.so' or 'carry' (bit of the condition register)."""
    aligned_pairs: bool = False
    """64-bit arguments of system calls start at an even register (32-bit ABIs only)."""
    clone_args: tuple[str, ...] = ("flags", "stack", "parent_tid", "tls", "child_tid")
    pc: str
    sp: str
    tls: str
    """Register that holds the thread pointer; '' when the kernel keeps it."""
    report_registers: tuple[str, ...]
    """Names in the order a fault report shows them."""
    rights: tuple[int, ...]
    """Effective access rights for each of the eight PROT values."""
    platform: str
    """AT_PLATFORM, or ''."""
    base_platform: str = ""
    """AT_BASE_PLATFORM, or ''."""
    hwcap: int
    hwcap2: int = 0
    has_hwcap2: bool = False
    """The kernel reports AT_HWCAP2, be it 0."""
    cache_line: int = 0
    """AT_DCACHEBSIZE and AT_ICACHEBSIZE where the kernel reports them (powerpc), else 0."""
    data_executable: bool = False
    """The brk area and an unmarked stack are RWX by default (VM_DATA_DEFAULT_FLAGS)."""
    implies_exec: bool = False
    """A binary without PT_GNU_STACK gets the READ_IMPLIES_EXEC personality."""
    window_save: int = 0
    """Bytes of register-window save area between sp and the arguments at program start (sparc)."""
    stack_bias: int = 0
    """What sp lacks to the address it stands for (sparc64)."""
    runnable: bool = False
    """An engine of emuvm executes it."""
