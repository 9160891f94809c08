"""attach(syscalls=True): guest code makes the calls; the user's own hooks see all the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import unicorn
from unicorn import arm64_const, x86_const

from emuvm.abi.numbers import numbers
from emuvm.attach import Attached, attach
from emuvm.errors import EmuvmError

PAGE = 0x1000
CODE = 0x40_0000
ERRNO = {"EINVAL": 22, "ENOMEM": 12, "EEXIST": 17, "EFAULT": 14, "EBADF": 9}
MASK = (1 << 64) - 1


class Guest:
    """A Uc with a system-call instruction at CODE, and a harness hook that answers calls the way harnesses do."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[int] = []
        x86 = name == "x86_64"
        if x86:
            self.uc: Any = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
            self.number, self.result = x86_const.UC_X86_REG_RAX, x86_const.UC_X86_REG_RAX
            self.args = [getattr(x86_const, f"UC_X86_REG_{r}") for r in ("RDI", "RSI", "RDX", "R10", "R8", "R9")]
            self.code = bytes.fromhex("0f0590")
        else:
            self.uc = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
            self.number, self.result = arm64_const.UC_ARM64_REG_X8, arm64_const.UC_ARM64_REG_X0
            self.args = [getattr(arm64_const, f"UC_ARM64_REG_X{n}") for n in range(6)]
            self.code = bytes.fromhex("010000d41f2003d5")
        self.uc.mem_map(CODE, PAGE)
        self.uc.mem_write(CODE, self.code)

    def add_harness_hook(self) -> int:
        if self.name == "x86_64":
            return int(self.uc.hook_add(unicorn.UC_HOOK_INSN, self.harness, None, 1, 0, x86_const.UC_X86_INS_SYSCALL))
        return int(self.uc.hook_add(unicorn.UC_HOOK_INTR, lambda uc, number, data: self.harness(uc, data)))

    def harness(self, uc: Any, data: Any) -> None:
        self.seen.append(uc.reg_read(self.number))
        uc.reg_write(self.result, 0xCAFE)

    def call(self, name: str, *args: int) -> int:
        self.uc.reg_write(self.number, numbers(self.name)[name])
        for register, value in zip(self.args, (*args, *[0] * (6 - len(args))), strict=True):
            self.uc.reg_write(register, value & MASK)
        self.uc.emu_start(CODE, CODE + len(self.code))
        result = int(self.uc.reg_read(self.result))
        return result - (1 << 64) if result >> 63 else result


@pytest.fixture(params=["x86_64", "arm64"])
def guest(request: pytest.FixtureRequest) -> Guest:
    return Guest(request.param)


def test_memory_calls_are_served_and_others_are_not(guest: Guest) -> None:
    with attach(guest.uc, syscalls=True, brk=0x1000_0000) as vm:
        guest.add_harness_hook()
        anonymous = 0x22
        addr = guest.call("mmap", 0, 5 * PAGE, 3, anonymous, -1, 0)
        assert addr > 0 and vm.query(addr) is not None
        assert guest.call("getpid") == 0xCAFE
        vm.write(addr + 2 * PAGE, b"bytes")
        assert guest.call("mprotect", addr + PAGE, 2 * PAGE, 1) == 0
        assert guest.call("munmap", addr + 3 * PAGE, PAGE) == 0
        assert guest.call("mprotect", addr, 5 * PAGE, 3) == -ERRNO["ENOMEM"]
        moved = guest.call("mremap", addr + PAGE, 2 * PAGE, 40 * PAGE, 1, 0)
        assert vm.read(moved + PAGE, 5) == b"bytes"
        assert guest.call("madvise", moved, 2 * PAGE, 4) == 0
        assert vm.read(moved + PAGE, 5) == bytes(5)
        assert guest.call("brk", 0) == 0x1000_0000
        assert guest.call("brk", 0x1000_0123) == 0x1000_0123
        assert guest.call("mmap", addr, PAGE, 3, anonymous | 0x10_0000, -1, 0) == -ERRNO["EEXIST"]
        assert guest.call("mmap", 0, 0, 3, anonymous, -1, 0) == -ERRNO["EINVAL"]
        assert guest.call("mmap", 0, PAGE, 3, 0x20, -1, 0) == -ERRNO["EINVAL"]
        assert guest.call("munmap", addr + 1, PAGE) == -ERRNO["EINVAL"]
        assert guest.call("mremap", 0x1234_5000, PAGE, 2 * PAGE, 1) == -ERRNO["EFAULT"]
        assert guest.call("write", 1, addr, 4) == 0xCAFE
        assert guest.seen == [numbers(guest.name)["getpid"], numbers(guest.name)["write"]]
        vm.verify()
    assert guest.call("mmap", 0, PAGE, 3, anonymous, -1, 0) == 0xCAFE, "after detaching every call is the harness's"


def test_file_mappings_go_to_the_harness_unless_files_knows_the_fd(guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello" + bytes(PAGE))
    with path.open("rb") as opened, attach(guest.uc, syscalls=True, files={5: opened}.get) as vm:
        guest.add_harness_hook()
        assert guest.call("mmap", 0, PAGE, 1, 2, 6, 0) == 0xCAFE
        addr = guest.call("mmap", 0, PAGE, 1, 2, 5, 0)
        assert vm.read(addr, 5) == b"hello"


def test_a_program_that_unmaps_itself_faults_at_the_next_instruction(guest: Guest) -> None:
    with attach(guest.uc, syscalls=True) as vm:
        with pytest.raises(unicorn.UcError, match="FETCH_UNMAPPED"):
            guest.call("munmap", CODE, PAGE)
        fault = vm.take_fault()
        assert fault is not None and fault.address == CODE + len(guest.code) - (1 if guest.name == "x86_64" else 4)
        vm.verify()


def test_a_program_that_forbids_itself_to_run_faults_at_the_next_instruction(guest: Guest) -> None:
    with attach(guest.uc, syscalls=True) as vm:
        with pytest.raises(unicorn.UcError, match="FETCH_PROT"):
            guest.call("mprotect", CODE, PAGE, 1)
        fault = vm.take_fault()
        assert fault is not None and fault.mapped
        vm.verify()


def test_hooks_that_are_there_already_are_refused_and_nothing_stays(guest: Guest) -> None:
    guest.add_harness_hook()
    callbacks = dict(guest.uc._callbacks)
    with pytest.raises(EmuvmError, match=r"vm\.serve"):
        attach(guest.uc, syscalls=True)
    assert guest.uc._callbacks == callbacks
    with attach(guest.uc) as vm:
        assert vm.query(CODE) is not None


def test_other_exceptions_are_not_taken_for_calls() -> None:
    guest = Guest("arm64")
    seen: list[int] = []
    with attach(guest.uc, syscalls=True) as vm:
        guest.uc.hook_add(unicorn.UC_HOOK_INTR, lambda uc, number, data: (seen.append(number), uc.emu_stop()))
        guest.uc.mem_write(CODE, bytes.fromhex("000020d4"))  # brk #0
        areas = len(vm.space)
        guest.call("mmap", 0, PAGE, 3, 0x22, -1, 0)
        assert (seen, len(vm.space)) == ([7], areas)


def test_serving_from_the_harness_own_hook(guest: Guest) -> None:
    machines: list[Attached] = []
    plain = guest.harness

    def with_emuvm(uc: Any, data: Any) -> None:
        if machines[0].serve():
            return
        plain(uc, data)

    guest.harness = with_emuvm  # type: ignore[method-assign]
    guest.add_harness_hook()
    with attach(guest.uc) as vm:
        machines.append(vm)
        addr = guest.call("mmap", 0, PAGE, 3, 0x22, -1, 0)
        assert vm.query(addr) is not None
        assert guest.call("getpid") == 0xCAFE


def test_architectures_without_a_table_say_so() -> None:
    uc = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64)
    with pytest.raises(EmuvmError, match="riscv64"):
        attach(uc, syscalls=True)
    with attach(uc):
        pass
