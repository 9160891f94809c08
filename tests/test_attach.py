"""attach(): adoption, life cycle, Linux operations, operations inside hooks; no Linux-only call on the way."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import unicorn
from unicorn import x86_const

from emuvm.abi.errno import Errno
from emuvm.attach import Attached, AttachError, attach, of
from emuvm.engine.base import Access, FaultStop
from emuvm.errors import EmulatorBug, EngineError, GuestError

PAGE = 0x1000
CODE = 0x40_0000
HEAP = 0x80_0000
RAX, RBX, RIP = x86_const.UC_X86_REG_RAX, x86_const.UC_X86_REG_RBX, x86_const.UC_X86_REG_RIP


@pytest.fixture
def uc() -> Any:
    """An engine as somebody's script leaves it: code, data, and a guard."""
    engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    engine.mem_map(CODE, 4 * PAGE, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
    engine.mem_map(HEAP, 8 * PAGE, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
    engine.mem_map(HEAP + 8 * PAGE, PAGE, unicorn.UC_PROT_NONE)
    engine.mem_write(HEAP + 3 * PAGE, b"contents")
    return engine


def test_adopts_what_is_there_and_leaves_it(uc: Any) -> None:
    before = list(uc.mem_regions())
    with attach(uc) as vm:
        assert list(uc.mem_regions()) == before
        assert [(v.start, v.end, v.prot) for v in vm.space] == [
            (CODE, CODE + 4 * PAGE, 5),
            (HEAP, HEAP + 8 * PAGE, 3),
            (HEAP + 8 * PAGE, HEAP + 9 * PAGE, 0),
        ]
        assert vm.arch.name == "x86_64"
        assert vm.read(HEAP + 3 * PAGE, 8) == b"contents"
        vm.write(HEAP + 3 * PAGE, b"changed!")
        assert bytes(uc.mem_read(HEAP + 3 * PAGE, 8)) == b"changed!"
        vm.verify()
        assert list(uc.mem_regions()) == before


@pytest.mark.parametrize("size", [8, 4096])
def test_adopted_memory_changes_like_any_other(uc: Any, size: int) -> None:
    uc.mem_map(0x4000_0000, size * PAGE)
    uc.mem_write(0x4000_0000 + (size - 1) * PAGE, b"last")
    with attach(uc) as vm:
        vm.mprotect(HEAP + 2 * PAGE, 3 * PAGE, 1)
        vm.munmap(HEAP + 6 * PAGE, PAGE)
        vm.verify()
        assert bytes(uc.mem_read(HEAP + 3 * PAGE, 8)) == b"contents"
        vm.mprotect(HEAP + 2 * PAGE, 3 * PAGE, 3)
        moved = vm.mremap(0x4000_0000, size * PAGE, 2 * size * PAGE, maymove=True)
        assert vm.read(moved + (size - 1) * PAGE, 8) == b"last\0\0\0\0"
        vm.mprotect(HEAP + 8 * PAGE, PAGE, 3)
        vm.write(HEAP + 8 * PAGE, b"guard")
        assert bytes(uc.mem_read(HEAP + 8 * PAGE, 5)) == b"guard"
        vm.verify()
    assert bytes(uc.mem_read(HEAP + 3 * PAGE, 8)) == b"contents"


def test_mprotect_across_two_areas_where_the_engine_alone_would_do_half(uc: Any) -> None:
    with attach(uc) as vm:
        vm.mprotect(CODE, PAGE, 1)
        vm.map_at(CODE + 4 * PAGE, PAGE, 3)
        vm.mprotect(CODE, 5 * PAGE, 1)
        assert next(iter(vm.space)).prot == 1
        with pytest.raises(GuestError) as caught:
            vm.mprotect(CODE, 6 * PAGE, 3)
        assert caught.value.errno == Errno.ENOMEM
        query = vm.query(CODE)
        assert query is not None and query.prot == 3, "as Linux: what precedes the hole is changed"
        vm.verify()


def test_devices_are_seen_and_left_alone(uc: Any) -> None:
    uc.mmio_map(0x5000_0000, PAGE, lambda uc, offset, size, data: 7, None, None, None)
    with attach(uc) as vm:
        assert vm.query(0x5000_0000) is not None
        for change in (
            lambda: vm.munmap(0x5000_0000, PAGE),
            lambda: vm.mprotect(0x5000_0000, PAGE, 0),
            lambda: vm.map_at(0x5000_0000, PAGE, 3),
        ):
            with pytest.raises(EngineError, match="mmio"):
                change()
        vm.verify()


def test_regions_mapped_behind_our_back(uc: Any) -> None:
    with attach(uc) as vm:
        uc.mem_map(0x6000_0000, PAGE)
        with pytest.raises(EmulatorBug):
            vm.verify()
        with pytest.raises(EngineError):
            vm.map_at(0x6000_0000, PAGE, 3)
        assert [(v.start, v.end) for v in vm.adopt()] == [(0x6000_0000, 0x6000_1000)]
        vm.verify()
        assert vm.adopt() == []
        vm.munmap(0x6000_0000, PAGE)
        vm.verify()


def test_one_attachment_and_of_finds_it(uc: Any) -> None:
    assert of(uc) is None
    seen: list[Attached | None] = []
    uc.hook_add(unicorn.UC_HOOK_CODE, lambda uc, *rest: seen.append(of(uc)))
    with attach(uc) as vm:
        with pytest.raises(AttachError, match="attached already"):
            attach(uc)
        vm.write(CODE, b"\x90")
        uc.emu_start(CODE, CODE + 1)
    assert seen == [vm]
    assert of(uc) is None
    vm.detach()
    with attach(uc) as again:
        assert of(uc) is again
        again.verify()


def test_detached_engine_runs_on_with_its_memory(uc: Any) -> None:
    hooks = len(uc._callbacks)
    with attach(uc) as vm:
        data = vm.mmap(length=4 * PAGE, prot=3)
        sparse = vm.mmap(length=1 << 36, prot=3, noreserve=True)
        vm.write(data, (77).to_bytes(8, "little"))
        vm.write(CODE, bytes.fromhex("488b03"))
    pages = vm.pages
    del vm
    gc.collect()
    assert len(uc._callbacks) == hooks
    uc.reg_write(RBX, data)
    uc.emu_start(CODE, CODE + 3)
    assert uc.reg_read(RAX) == 77
    uc.reg_write(RBX, sparse + (1 << 35))
    uc.emu_start(CODE, CODE + 3)
    assert uc.reg_read(RAX) == 0
    uc.mem_protect(data, PAGE, 1)
    assert any(kept is pages for kept in uc._emuvm_pages)


def test_a_detached_space_does_not_pretend(uc: Any) -> None:
    with attach(uc) as vm:
        pass
    with pytest.raises(AttachError, match="detached"):
        vm.mmap(length=PAGE, prot=3)
    assert [v.start for v in vm.space] == [CODE, HEAP, HEAP + 8 * PAGE]


def test_small_engine_pages() -> None:
    engine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_ARM)
    engine.mem_map(0x400, 0x400)
    with pytest.raises(EngineError, match="page_size"):
        attach(engine)
    assert of(engine) is None
    assert not engine._callbacks
    with attach(engine, page_size=0x400) as vm:
        vm.protect(0x400, 0x400, 1)
        vm.map_at(0x800, 0x400, 3)
        vm.verify()


def test_linux_operations(uc: Any, tmp_path: Path) -> None:
    with attach(uc, brk=0x1000_0000) as vm:
        assert vm.brk() == 0x1000_0000
        assert vm.brk(0x1000_2001) == 0x1000_2001
        assert bytes(uc.mem_read(0x1000_2000, 1)) == b"\0"
        addr = vm.mmap(length=3 * PAGE, prot=3)
        vm.write(addr + PAGE, b"gone")
        vm.madvise(addr, 3 * PAGE, 4)
        assert vm.read(addr + PAGE, 4) == bytes(4)
        vm.madvise(addr, 3 * PAGE, 3)
        for advice, length, errno in ((4, 8 * PAGE, Errno.ENOMEM), (77, PAGE, Errno.EINVAL), (3, 1 << 40, Errno.ENOMEM)):
            with pytest.raises(GuestError) as caught:
                vm.madvise(addr, length, advice)
            assert caught.value.errno == errno
        with pytest.raises(GuestError) as caught:
            vm.mmap(addr, PAGE, 3, fixed=True, replace=False)
        assert caught.value.errno == Errno.EEXIST
        path = tmp_path / "file"
        path.write_bytes(b"filedata")
        with path.open("r+b") as opened, path.open("rb") as reader:
            shared = vm.mmap(length=PAGE, prot=3, file=opened, shared=True)
            vm.write(shared, b"FILE")
            assert path.read_bytes() == b"FILEdata"
            seen = vm.mmap(length=PAGE, prot=1, file=reader, shared=True)
            assert vm.read(seen, 8) == b"FILEdata"
            with pytest.raises(GuestError) as caught:
                vm.mprotect(seen, PAGE, 3)
            assert caught.value.errno == Errno.EACCES
        vm.verify()


def test_snapshot_and_generic_operations(uc: Any) -> None:
    with attach(uc) as vm:
        snap = vm.snapshot()
        addr = vm.map_any(4 * PAGE, 3, hint=0x7000_0000)
        vm.mprotect(addr, PAGE, 5)
        vm.protect(addr, PAGE, lambda old: old & ~4)
        vm.unmap(addr + 2 * PAGE, PAGE)
        vm.restore(snap)
        assert [v.start for v in vm.space] == [CODE, HEAP, HEAP + 8 * PAGE]
        assert vm.maps().count("\n") == 3
        vm.verify()


def test_other_architectures_take_the_generic_operations() -> None:
    for kind, mode in (
        (unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64),
        (unicorn.UC_ARCH_MIPS, unicorn.UC_MODE_MIPS32 | unicorn.UC_MODE_BIG_ENDIAN),
        (unicorn.UC_ARCH_ARM, unicorn.UC_MODE_ARM),
        (unicorn.UC_ARCH_X86, unicorn.UC_MODE_32),
    ):
        engine = unicorn.Uc(kind, mode)
        engine.mem_map(0x10_0000, PAGE)
        with attach(engine) as vm:
            addr = vm.mmap(length=4 * PAGE, prot=3)
            vm.mprotect(addr + PAGE, PAGE, 1)
            vm.munmap(0x10_0000, PAGE)
            vm.write(addr, b"data")
            assert bytes(engine.mem_read(addr, 4)) == b"data"
            vm.verify()


def test_no_libc_call_on_the_way(uc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a host library was opened")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    monkeypatch.setattr(ctypes, "PyDLL", refuse)
    with attach(uc) as vm:
        assert type(vm.pages).__module__ == "emuvm.engine.portable"
        addr = vm.mmap(length=1 << 30, prot=3)
        vm.write(addr, b"x")
        vm.mprotect(addr, PAGE, 1)
        vm.munmap(addr, 1 << 30)
        vm.verify()


# -- inside hooks ---------------------------------------------------------------------------------------------------------


CALL_OUT = bytes.fromhex("0f05 48ffc3 48ffc3 eb00 48ffc3 90".replace(" ", ""))
"""syscall; inc rbx; inc rbx; jmp next; next: inc rbx; nop"""


def in_hook(uc: Any, change: Callable[[Attached], object]) -> tuple[str, int, int, FaultStop | None]:
    """Run CALL_OUT with `change` in the syscall hook: (error, rip offset, rbx, fault)."""
    with attach(uc) as vm:
        vm.write(CODE, CALL_OUT)
        uc.hook_add(unicorn.UC_HOOK_INSN, lambda uc, data: change(vm), None, 1, 0, x86_const.UC_X86_INS_SYSCALL)
        error = ""
        try:
            uc.emu_start(CODE, CODE + len(CALL_OUT) - 1)
        except unicorn.UcError as failure:
            error = str(failure)
        vm.verify()
        return error, uc.reg_read(RIP) - CODE, uc.reg_read(RBX), vm.take_fault()


def test_harmless_changes_in_a_hook_go_on(uc: Any) -> None:
    def change(vm: Attached) -> None:
        vm.munmap(HEAP, 4 * PAGE)
        vm.mprotect(CODE + PAGE, PAGE, 1)
        vm.mprotect(CODE, PAGE, 7)
        vm.mprotect(CODE, PAGE, 5)
        vm.mprotect(CODE, PAGE, 0)
        vm.mprotect(CODE, PAGE, 5)
        vm.mmap(length=PAGE, prot=3)

    assert in_hook(uc, change) == ("", len(CALL_OUT) - 1, 3, None)


def test_taking_away_the_running_page_in_a_hook_faults_at_the_next_instruction(uc: Any) -> None:
    error, rip, rbx, fault = in_hook(uc, lambda vm: vm.mprotect(CODE, PAGE, 1))
    assert "FETCH_PROT" in error
    assert (rip, rbx) == (2, 0)
    assert fault is not None and (fault.address, fault.access, fault.mapped) == (CODE + 2, Access.EXEC, True)


def test_unmapping_the_running_page_in_a_hook_faults_at_the_next_instruction(uc: Any) -> None:
    error, rip, rbx, fault = in_hook(uc, lambda vm: vm.munmap(CODE, 4 * PAGE))
    assert "FETCH_UNMAPPED" in error
    assert (rip, rbx) == (2, 0)
    assert fault is not None and (fault.address, fault.access, fault.mapped) == (CODE + 2, Access.EXEC, False)


def test_rewriting_the_running_page_in_a_hook(uc: Any) -> None:
    def change(vm: Attached) -> None:
        vm.write(CODE + 2, bytes.fromhex("48ffcb" * 2))

    assert in_hook(uc, change) == ("", len(CALL_OUT) - 1, (1 << 64) - 1, None)


def run_with_hook(uc: Any, kind: int, code: str, change: Callable[[Attached], object]) -> tuple[str, int, FaultStop | None]:
    """Run `code` with `change` once in a hook of that kind: (error, rip offset, fault)."""
    with attach(uc) as vm:
        vm.write(CODE, bytes.fromhex(code))
        todo = [change]

        def hook(*args: object) -> None:
            if todo:
                todo.pop()(vm)

        uc.hook_add(kind, hook)
        uc.reg_write(RBX, HEAP)
        error = ""
        try:
            uc.emu_start(CODE, CODE + len(bytes.fromhex(code)))
        except unicorn.UcError as failure:
            error = str(failure)
        vm.verify()
        return error, uc.reg_read(RIP) - CODE, vm.take_fault()


LOADS = "488b03 eb00 488b03 eb00 90".replace(" ", "")
"""mov rax, [rbx]; jmp next; next: mov rax, [rbx]; jmp last; last: nop"""


@pytest.mark.parametrize("kind", [unicorn.UC_HOOK_CODE, unicorn.UC_HOOK_BLOCK, unicorn.UC_HOOK_MEM_READ])
@pytest.mark.parametrize("prot", [None, 1])
def test_taking_code_away_in_other_hooks_faults_at_the_next_block_at_the_latest(uc: Any, kind: int, prot: int | None) -> None:
    def change(vm: Attached) -> None:
        if prot is None:
            vm.munmap(CODE, 4 * PAGE)
        else:
            vm.mprotect(CODE, 4 * PAGE, prot)

    error, rip, fault = run_with_hook(uc, kind, LOADS, change)
    assert "FETCH" in error
    assert rip in (0, 3, 5)
    assert fault is not None and fault.access is Access.EXEC and fault.mapped == (prot is not None)


@pytest.mark.parametrize("kind", [unicorn.UC_HOOK_CODE, unicorn.UC_HOOK_BLOCK])
def test_taking_data_away_in_a_hook_faults_at_the_access(uc: Any, kind: int) -> None:
    error, rip, fault = run_with_hook(uc, kind, LOADS, lambda vm: vm.munmap(HEAP, PAGE))
    assert "READ_UNMAPPED" in error and rip == 0
    assert fault == FaultStop(HEAP, Access.READ, 8, mapped=False)


def test_sparse_memory_comes_before_the_users_own_fault_hook_or_after(uc: Any) -> None:
    refused: list[int] = []

    def refuse(uc: Any, kind: int, address: int, *rest: object) -> bool:
        refused.append(address)
        return False

    uc.hook_add(unicorn.UC_HOOK_MEM_UNMAPPED, refuse)
    with attach(uc) as vm:
        sparse = vm.mmap(length=1 << 36, prot=3, noreserve=True)
        vm.write(CODE, bytes.fromhex("488b03"))
        uc.reg_write(RBX, sparse + 0x1234_5678)
        uc.emu_start(CODE, CODE + 3)
        assert refused == [sparse + 0x1234_5678], "a hook that was there first is asked first"
        vm.verify()
