"""The regions adapter under a running CPU: faults, stale code, areas mapped by touching, files."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import unicorn
from unicorn import arm64_const, x86_const

from emuvm.abi.arch import ARM64, X86_64
from emuvm.attach import OpenFile
from emuvm.engine.base import Access, FaultStop
from emuvm.engine.unicorn_regions import CHUNK, RegionsMemory
from emuvm.mm import AddressSpace, File, VmFlag

PAGE = 0x1000
CODE = 0x40_0000
STOP = CODE + 16 * PAGE
"""Where runs end: not in the block under test, for the engine translates the block before the end anew each time."""
DATA = 0x80_0000
SPARSE = 1 << 40


class Machine:
    """One architecture with a space, and code by hand."""

    def __init__(self, name: str) -> None:
        self.name = name
        if name == "x86_64":
            self.uc: Any = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
            self.registers = x86_const.UC_X86_REG_RAX, x86_const.UC_X86_REG_RBX, x86_const.UC_X86_REG_RIP
        else:
            self.uc = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
            self.registers = arm64_const.UC_ARM64_REG_X0, arm64_const.UC_ARM64_REG_X1, arm64_const.UC_ARM64_REG_PC
        self.space = AddressSpace(0, 1 << 46)
        self.memory = RegionsMemory(self.uc, self.space, (X86_64 if name == "x86_64" else ARM64).rights)
        self.space.map_at(STOP, PAGE, 5)

    def returns(self, value: int) -> bytes:
        """Code: result = value (an imm16)."""
        if self.name == "x86_64":
            return b"\xb8" + value.to_bytes(4, "little") + b"\x90"
        return (0xD2800000 | value << 5).to_bytes(4, "little") + bytes.fromhex("1f2003d5")

    def load(self) -> bytes:
        """Code: result = *pointer (8 bytes)."""
        return bytes.fromhex("488b03") if self.name == "x86_64" else bytes.fromhex("200040f9")

    def store(self) -> bytes:
        """Code: *pointer = result (8 bytes)."""
        return bytes.fromhex("488903") if self.name == "x86_64" else bytes.fromhex("200000f9")

    def run(self, pointer: int = 0, at: int = CODE) -> int | FaultStop | None:
        """Run the code at `at`; the result register, or the fault."""
        self.memory.before_run()
        self.uc.reg_write(self.registers[1], pointer)
        try:
            self.uc.emu_start(at, STOP)
        except unicorn.UcError:
            return self.memory.take_fault()
        assert self.memory.take_fault() is None
        return int(self.uc.reg_read(self.registers[0]))

    def then_stop(self, code: bytes) -> bytes:
        """Code for CODE that goes on to STOP."""
        distance = STOP - CODE - len(code)
        if self.name == "x86_64":
            return code + b"\xe9" + (distance - 5).to_bytes(4, "little")
        return code + (0x14000000 | distance >> 2).to_bytes(4, "little")

    def put(self, code: bytes) -> None:
        self.space.map_at(CODE, PAGE, 5)
        self.memory.write(CODE, self.then_stop(code))


@pytest.fixture(params=["x86_64", "arm64"])
def machine(request: pytest.FixtureRequest) -> Machine:
    return Machine(request.param)


def rewrite_outside(m: Machine, code: bytes) -> None:
    m.memory.write(CODE, code)


def rewrite_w_xor_x(m: Machine, code: bytes) -> None:
    m.space.protect(CODE, PAGE, 3)
    m.memory.write(CODE, code)
    m.space.protect(CODE, PAGE, 5)


def rewrite_w_xor_x_by_engine_call(m: Machine, code: bytes) -> None:
    m.space.protect(CODE, PAGE, 3)
    m.uc.mem_write(CODE, code)
    m.space.protect(CODE, PAGE, 5)


def rewrite_through_none(m: Machine, code: bytes) -> None:
    m.space.protect(CODE, PAGE, 0)
    m.memory.write(CODE, code)
    m.space.protect(CODE, PAGE, 5)


def unmap_and_map(m: Machine, code: bytes) -> None:
    m.space.unmap(CODE, PAGE)
    m.space.map_at(CODE, PAGE, 5)
    m.memory.write(CODE, code)


def map_over(m: Machine, code: bytes) -> None:
    m.space.map_at(CODE, PAGE, 5)
    m.memory.write(CODE, code)


def unmap_while_not_executable(m: Machine, code: bytes) -> None:
    m.space.protect(CODE, PAGE, 3)
    m.space.unmap(CODE, PAGE)
    m.space.map_at(CODE, PAGE, 3)
    m.memory.write(CODE, code)
    m.space.protect(CODE, PAGE, 5)


def restore(m: Machine, code: bytes) -> None:
    snap = m.space.snapshot()
    m.space.unmap(CODE, PAGE)
    m.space.restore(snap)
    m.memory.write(CODE, code)


def move_in(m: Machine, code: bytes) -> None:
    m.space.map_at(DATA, PAGE, 5)
    m.memory.write(DATA, code)
    m.space.move(DATA, PAGE, CODE)


@pytest.mark.parametrize(
    "change",
    [
        rewrite_outside,
        rewrite_w_xor_x,
        rewrite_w_xor_x_by_engine_call,
        rewrite_through_none,
        unmap_and_map,
        map_over,
        unmap_while_not_executable,
        restore,
        move_in,
    ],
)
def test_the_new_code_runs(machine: Machine, change: Callable[[Machine, bytes], None]) -> None:
    machine.put(machine.returns(42))
    for value in range(43, 48):
        assert machine.run() == value - 1
        change(machine, machine.then_stop(machine.returns(value)))
        assert machine.run() == value
    machine.memory.verify()


def test_discarded_code_is_not_run(machine: Machine) -> None:
    machine.put(machine.returns(42))
    assert machine.run() == 42
    machine.uc.reg_write(machine.registers[0], DATA)
    machine.memory.discard(CODE, PAGE)
    assert machine.run() != 42


def test_faults_name_address_access_and_kind(machine: Machine) -> None:
    m = machine
    m.space.map_at(DATA, PAGE, 1)
    m.space.map_at(DATA + PAGE, PAGE, 0)
    m.put(m.load())
    assert m.run(DATA + 2 * PAGE + 8) == FaultStop(DATA + 2 * PAGE + 8, Access.READ, 8, mapped=False)
    assert m.run(DATA + PAGE + 16) == FaultStop(DATA + PAGE + 16, Access.READ, 8, mapped=True)
    assert m.run(DATA + 8) == 0
    fault = m.run(DATA + PAGE - 3)
    assert isinstance(fault, FaultStop) and fault.address == DATA + PAGE and fault.mapped
    m.put(m.store())
    assert m.run(DATA + 24) == FaultStop(DATA + 24, Access.WRITE, 8, mapped=True)
    assert m.run(0x10) == FaultStop(0x10, Access.WRITE, 8, mapped=False)
    fault = m.run(at=DATA)
    assert isinstance(fault, FaultStop)
    assert (fault.address, fault.access, fault.mapped) == (DATA, Access.EXEC, True)
    fault = m.run(at=DATA + 4 * PAGE)
    assert isinstance(fault, FaultStop)
    assert (fault.address, fault.access, fault.mapped) == (DATA + 4 * PAGE, Access.EXEC, False)


def test_sparse_memory_comes_when_the_cpu_touches_it(machine: Machine) -> None:
    m = machine
    m.put(m.store())
    m.space.map_at(SPARSE, 1 << 40, 3)
    rng = random.Random(1)
    places = [SPARSE + rng.randrange(1 << 37) * 8 for _ in range(40)] + [SPARSE + CHUNK - 4, SPARSE + (1 << 40) - 8]
    for number, place in enumerate(places, 1):
        m.uc.reg_write(m.registers[0], number)
        assert m.run(place) == number
        m.memory.verify()
    m.put(m.load())
    for number, place in enumerate(places, 1):
        assert m.run(place) == number
    m.space.protect(SPARSE, 1 << 40, 1)
    m.memory.verify()
    m.put(m.store())
    assert m.run(places[0]) == FaultStop(places[0], Access.WRITE, 8, mapped=True)


def test_exceptions_in_the_adapters_hook_are_kept(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    m = machine
    m.put(m.load())
    m.space.map_at(SPARSE, 1 << 30, 3)

    def fail(address: int) -> bool:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr(m.memory, "_touch_chunk", fail)
    with pytest.raises(ZeroDivisionError, match="inside"):
        m.run(SPARSE)


@pytest.fixture
def two_pages(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"one.page" * 512 + b"next.one" + b"x" * 92)
    return path


def test_shared_file_mappings_are_the_file(machine: Machine, two_pages: Path) -> None:
    m = machine
    with two_pages.open("r+b", buffering=0) as opened:
        backing = File(OpenFile(opened), 0)
        m.space.map_at(DATA, 4 * PAGE, 3, int(VmFlag.SHARED), backing=backing)
        m.space.map_at(DATA + 16 * PAGE, PAGE, 1, int(VmFlag.SHARED), backing=File(backing.file, PAGE))
        m.memory.verify()
        m.put(m.store())
        m.uc.reg_write(m.registers[0], int.from_bytes(b"REWRITE!", "little"))
        m.run(DATA + PAGE)
        assert two_pages.read_bytes()[PAGE : PAGE + 8] == b"REWRITE!"
        assert m.memory.read(DATA + 16 * PAGE, 8) == b"REWRITE!"
        opened.seek(8)
        opened.write(b"HOSTSIDE")
        m.put(m.load())
        assert m.run(DATA + 8) == int.from_bytes(b"HOSTSIDE", "little")
        assert m.run(DATA + PAGE + 100) == 0, "the last page is zero behind the end"
        assert m.run(DATA + 2 * PAGE) == FaultStop(DATA + 2 * PAGE, Access.READ, 8, mapped=True, bus=True)
        opened.truncate(3 * PAGE)
        assert m.run(DATA + 2 * PAGE) == 0, "a file that grew has the page"
        m.memory.verify()
        opened.truncate(PAGE)
        assert m.run(DATA + PAGE) == FaultStop(DATA + PAGE, Access.READ, 8, mapped=True, bus=True)
        m.memory.verify()


def test_private_file_mappings_copy_and_revert(machine: Machine, two_pages: Path) -> None:
    m = machine
    with two_pages.open("rb") as opened:
        m.space.map_at(DATA, 2 * PAGE, 3, backing=File(OpenFile(opened), 0))
        m.put(m.store())
        m.uc.reg_write(m.registers[0], 1)
        m.run(DATA + PAGE)
        assert two_pages.read_bytes()[PAGE : PAGE + 8] == b"next.one"
        assert m.memory.read(DATA + PAGE, 8) == (1).to_bytes(8, "little")
        m.space.protect(DATA, PAGE, 1)
        m.space.move(DATA, 2 * PAGE, DATA + 8 * PAGE)
        m.memory.verify()
        assert m.memory.read(DATA + 8 * PAGE, 8) == b"one.page"
        assert m.memory.read(DATA + 9 * PAGE, 8) == (1).to_bytes(8, "little")
        m.memory.discard(DATA + 8 * PAGE, 2 * PAGE)
        assert m.memory.read(DATA + 9 * PAGE, 8) == b"next.one"
        m.space.map_at(DATA + 9 * PAGE, PAGE, 3)
        assert m.memory.read(DATA + 9 * PAGE, 8) == bytes(8)
        m.memory.verify()


def test_a_file_mapped_over_itself_is_fresh(machine: Machine, two_pages: Path) -> None:
    m = machine
    with two_pages.open("rb") as opened:
        backing = File(OpenFile(opened), 0)
        for _ in range(3):
            m.space.map_at(DATA, 2 * PAGE, 3, backing=backing)
            m.memory.verify()
            assert m.memory.read(DATA, 8) == bytes(m.uc.mem_read(DATA, 8)) == b"one.page"
            m.uc.mem_write(DATA, b"scribble")
            assert m.memory.read(DATA, 8) == b"scribble"


def test_a_file_that_cannot_be_mapped_is_refused(tmp_path: Path) -> None:
    m = Machine("x86_64")
    path = tmp_path / "file"
    path.write_bytes(bytes(PAGE))
    m.space.map_at(DATA, PAGE, 3)
    m.memory.write(DATA, b"old")
    with path.open("rb") as opened, pytest.raises(Exception, match="cannot map"):
        m.space.map_at(DATA, PAGE, 3, int(VmFlag.SHARED), backing=File(OpenFile(opened), 0))
    assert m.memory.read(DATA, 3) == b"old"
    m.memory.verify()
