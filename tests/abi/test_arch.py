"""The architecture values: consistency, the derived figures, and the rights tables."""

from __future__ import annotations

import pytest

from emuvm.abi.arch import ARM64, BY_ELF, BY_NAME, X86_64, Arch

R, W, X = 1, 2, 4
ARCHES = sorted(BY_NAME.values(), key=lambda arch: arch.name)


def test_every_architecture_has_its_own_name_and_elf_identity() -> None:
    assert len(BY_NAME) == len(BY_ELF) == 17
    for (machine, bits, big), arch in BY_ELF.items():
        assert (arch.elf_machine, arch.bits, arch.big_endian) == (machine, bits, big)
        assert BY_NAME[arch.name] is arch


def test_two_architectures_run() -> None:
    assert {arch.name for arch in ARCHES if arch.runnable} == {"x86_64", "arm64"}


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_layout_is_sane(arch: Arch) -> None:
    page = arch.page_size
    for address in (arch.task_size, arch.stack_top, arch.mmap_base, arch.unmapped_base, arch.elf_et_dyn_base):
        assert address % page == 0
        assert 0 < address <= 1 << arch.bits
    assert arch.unmapped_base < arch.stack_top <= arch.task_size
    assert arch.elf_et_dyn_base < arch.stack_top
    stack_and_guard = (8 << 20) + 256 * page
    assert arch.stack_top - arch.mmap_base == max(128 << 20, stack_and_guard)
    assert arch.mmap_base > arch.unmapped_base


def test_layouts_given_by_the_kernel() -> None:
    bases = {"x86_64": 0x7FFF_F7FF_F000, "i386": 0xF7FF_E000}
    for name, base in bases.items():
        assert BY_NAME[name].mmap_base == base
    assert X86_64.elf_et_dyn_base == X86_64.task_size // 3 * 2 & ~0xFFF
    assert X86_64.unmapped_base == -(-X86_64.task_size // 3 // 4096) * 4096
    assert ARM64.unmapped_base == ARM64.task_size // 4


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_rights_tables(arch: Arch) -> None:
    """Which region bits let a load, a store and a fetch through, from the processors' manuals and the kernel's protection_map."""
    loads = {
        "riscv64": R | W, "riscv32": R | W, "ppc64": R | W, "ppc64le": R | W, "sparc32": R | X, "sparc64": R | X,
    }.get(arch.name, R | W | X)  # fmt: skip
    fetches = R | W | X if arch.name in ("mips32", "mips32le", "mips64", "mips64le", "ppc32", "m68k", "sparc32") else X
    for prot in range(8):
        effective = arch.rights[prot]
        assert bool(effective & R) == bool(prot & loads), prot
        assert bool(effective & W) == bool(prot & W), prot
        assert bool(effective & X) == bool(prot & fetches), prot


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_call_convention(arch: Arch) -> None:
    assert len(arch.syscall_args) + len(arch.stack_args) >= 6
    assert len(set(arch.syscall_args)) == len(arch.syscall_args)
    assert not (arch.stack_args and arch.bits == 64)
    shown = set(arch.report_registers) | {"sp", "r13", "r15", "a7"}
    assert {arch.syscall_number, arch.syscall_result, arch.pc, arch.sp, *arch.syscall_args} <= shown
    assert sorted(arch.clone_args) == ["child_tid", "flags", "parent_tid", "stack", "tls"]
    assert not (arch.aligned_pairs and arch.bits == 64)


def test_values_are_frozen() -> None:
    with pytest.raises(AttributeError):
        X86_64.bits = 32  # type: ignore[misc]
