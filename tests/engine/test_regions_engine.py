"""UnicornEngine over the regions adapter: the same Stops as over any other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from emuvm.abi.arch import ARM64, X86_64
from emuvm.attach import OpenFile
from emuvm.engine.base import Access, FaultStop, SyscallStop
from emuvm.engine.unicorn import UnicornEngine
from emuvm.mm import AddressSpace, File, VmFlag

PAGE = 0x1000
CODE, DATA = 0x40_0000, 0x80_0000
PROGRAM = {
    "x86_64": bytes.fromhex("0f05 48890b 0f05".replace(" ", "")),  # syscall; mov [rbx], rcx; syscall
    "arm64": bytes.fromhex("010000d4 290000f9 010000d4".replace(" ", "")),  # svc 0; str x9, [x1]; svc 0
}
POINTER = {"x86_64": "rbx", "arm64": "x1"}


@pytest.fixture(params=[X86_64, ARM64], ids=lambda arch: arch.name)
def engine(request: pytest.FixtureRequest) -> Iterator[UnicornEngine]:
    made = UnicornEngine(request.param, AddressSpace(0, request.param.task_size), adapter="regions")
    made.space.map_at(CODE, PAGE, 5)
    made.memory.write(CODE, PROGRAM[made.arch.name])
    made.set("pc", CODE)
    made.set(POINTER[made.arch.name], DATA)
    yield made
    made.close()


def test_calls_faults_and_changes_between_runs(engine: UnicornEngine) -> None:
    engine.set(engine.arch.syscall_number, 39)
    stop = engine.run()
    assert isinstance(stop, SyscallStop) and stop.number == 39
    assert engine.run() == FaultStop(DATA, Access.WRITE, 8, mapped=False)
    engine.space.map_at(DATA, PAGE, 1)
    assert engine.run() == FaultStop(DATA, Access.WRITE, 8, mapped=True)
    engine.space.protect(DATA, PAGE, 3)
    assert isinstance(engine.run(), SyscallStop)
    engine.memory.verify()
    engine.space.protect(CODE, PAGE, 1)
    pc = engine.get("pc")
    fault = engine.run()
    assert isinstance(fault, FaultStop)
    assert (fault.address, fault.access, fault.mapped) == (pc, Access.EXEC, True)
    engine.space.unmap(CODE, PAGE)
    fault = engine.run()
    assert isinstance(fault, FaultStop)
    assert (fault.address, fault.access, fault.mapped) == (pc, Access.EXEC, False)
    engine.memory.verify()


def test_a_store_across_a_page_end_reaches_the_first_page(engine: UnicornEngine) -> None:
    """Unicorn 2.1.4 stores byte by byte here, and the second page's fault comes when the first bytes are in memory.

    Not what FaultStop promises; if this fails, the engine has been repaired, and the adapter's docstring can lose a sentence.
    """
    engine.space.map_at(DATA, PAGE, 3)
    engine.memory.write(DATA + PAGE - 4, b"\xee" * 4)
    engine.set(POINTER[engine.arch.name], DATA + PAGE - 3)
    assert isinstance(engine.run(), SyscallStop)
    assert engine.run() == FaultStop(DATA + PAGE, Access.WRITE, 5, mapped=False)
    assert engine.memory.read(DATA + PAGE - 4, 4) != b"\xee" * 4


@pytest.mark.parametrize("place", [1 << 60, (1 << 52) + 0x1234, 0x7FF8_0000_0000_0000, (1 << 64) - 8])
def test_addresses_of_x86_64_that_the_hook_hears_in_part(place: int) -> None:
    engine = UnicornEngine(X86_64, AddressSpace(0, X86_64.task_size), adapter="regions")
    engine.space.map_at(CODE, PAGE, 5)
    for code, access, size in (("488b03", Access.READ, 8), ("488903", Access.WRITE, 8), ("ffe3", Access.EXEC, 1), ("f3a4", Access.READ, 1)):
        engine.memory.write(CODE, bytes.fromhex(code))
        engine.set("pc", CODE)
        engine.set_many(("rbx", "rsi", "rdi", "rcx"), [place, place, DATA, 1])
        stop = engine.run()
        assert isinstance(stop, FaultStop)
        assert (stop.address, stop.access, stop.size, stop.mapped) == (place, access, size, False)
    engine.close()


def test_a_refused_read_of_x86_64_that_was_to_be_written_back_is_a_refused_write(tmp_path: Path) -> None:
    engine = UnicornEngine(X86_64, AddressSpace(0, X86_64.task_size), adapter="regions")
    engine.space.map_at(CODE, PAGE, 5)
    (tmp_path / "empty").write_bytes(b"")
    with (tmp_path / "empty").open("r+b") as opened:
        backing = File(OpenFile(opened), 0)
        for code, rights, expected in (
            ("f0480fc103", 1, (Access.WRITE, True, False)),  # lock xadd [rbx], rax: the right is missing, whatever the file has
            ("488303 01", 3, (Access.WRITE, True, True)),  # add qword [rbx], 1
            ("488b03", 1, (Access.READ, True, True)),
            ("488303 01", 0, (Access.WRITE, True, False)),
        ):
            engine.space.map_at(DATA, PAGE, rights, VmFlag.SHARED, backing=backing)
            engine.memory.write(CODE, bytes.fromhex(code))
            engine.set("pc", CODE)
            engine.set("rbx", DATA + 8)
            stop = engine.run()
            assert isinstance(stop, FaultStop)
            assert (stop.address, stop.access, stop.mapped, stop.bus) == (DATA + 8, *expected)
        engine.space.unmap(DATA, PAGE)
    engine.close()


def test_pages_of_a_file_that_grows_come_into_being_for_the_kernel_side_too(tmp_path: Path) -> None:
    engine = UnicornEngine(X86_64, AddressSpace(0, X86_64.task_size), adapter="regions")
    memory, path = engine.memory, tmp_path / "grows"
    path.write_bytes(b"a" * PAGE)
    with path.open("r+b", buffering=0) as opened:
        file = OpenFile(opened)
        engine.space.map_at(DATA, 4 * PAGE, 3, VmFlag.SHARED, backing=File(file, 0))
        engine.space.map_at(DATA + 8 * PAGE, 4 * PAGE, 3, backing=File(file, 0))
        memory.write(DATA + 8 * PAGE, b"mine")
        assert memory.read(DATA + PAGE, 4) == bytes(4)
        os.pwrite(opened.fileno(), b"b" * PAGE, PAGE)
        assert memory.residency(DATA, DATA + 4 * PAGE)[:2] != bytes(2) and memory.residency(DATA, DATA + 4 * PAGE)[2:] == bytes(2)
        assert memory.read(DATA + PAGE - 1, 2) == b"ab"
        assert memory.read(DATA + 8 * PAGE, 4 * PAGE) == b"mine" + b"a" * (PAGE - 4) + b"b" * PAGE + bytes(2 * PAGE)
        os.pwrite(opened.fileno(), b"c" * PAGE, 2 * PAGE)
        memory.write(DATA + 2 * PAGE, b"kept")
        assert path.read_bytes()[2 * PAGE : 2 * PAGE + 5] == b"keptc"
    memory.verify()
    engine.close()


def test_what_is_read_without_a_right_is_present(engine: UnicornEngine) -> None:
    for place, rights in ((DATA, 0), (DATA + (1 << 30), 1)):
        engine.space.map_at(place, 8 * PAGE, rights)
        assert engine.memory.read(place + 2 * PAGE + 8, PAGE) == bytes(PAGE)
        assert [bits & 1 for bits in engine.memory.residency(place, place + 8 * PAGE)] == [0, 0, 1, 1, 0, 0, 0, 0]
    engine.memory.verify()
