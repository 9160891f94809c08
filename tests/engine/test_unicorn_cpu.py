"""The CPU driver: calls, traps, faults, stopping, exceptions."""

from __future__ import annotations

import threading
from typing import Any, Literal

import pytest

from emuvm.abi.arch import BY_NAME
from emuvm.engine.base import Access, FaultStop, LimitStop, SyscallStop, Trap, TrapStop
from emuvm.engine.pagetable import native_fill
from emuvm.engine.unicorn import UnicornEngine
from emuvm.engine.unicorn_paged import PagedMemory
from emuvm.errors import EngineError
from emuvm.mm.space import AddressSpace

from .conftest import Make

CODE, DATA = 0x40_0000, 0x60_0000
ARCHES = ["x86_64", "arm64"]
SYSCALL = {"x86_64": "0f05", "arm64": "010000d4"}
LOAD8 = {"x86_64": "488b07", "arm64": "010040f9"}  # mov rax,[rdi]; ldr x1,[x0]
STORE8 = {"x86_64": "488907", "arm64": "010000f9"}  # mov [rdi],rax; str x1,[x0]
JUMP = {"x86_64": "ffe7", "arm64": "00001fd6"}  # jmp rdi; br x0
ADDRESS = {"x86_64": "rdi", "arm64": "x0"}
VALUE = {"x86_64": "rax", "arm64": "x1"}


def start(engine: UnicornEngine, code: str, pc: int = CODE) -> None:
    """Put code and a page of data in place."""
    if engine.space.query(CODE) is None:
        engine.space.map_at(CODE, 0x4000, 5)
        engine.space.map_at(DATA, 0x1000, 3)
    engine.memory.write(pc, bytes.fromhex(code))
    engine.set("pc", pc)


def fault(engine: UnicornEngine) -> FaultStop:
    """Run into a fault of eight bytes, whose size need not be known."""
    stop = engine.run()
    assert isinstance(stop, FaultStop)
    assert stop.size in (0, 8)
    return stop._replace(size=8)


@pytest.mark.parametrize("name", ARCHES)
def test_syscall_stop_has_number_arguments_and_the_pc_behind(make: Make, name: str) -> None:
    engine = make(name)
    start(engine, SYSCALL[name] * 2)
    for n, register in enumerate(engine.arch.syscall_args):
        engine.set(register, 1000 + n)
    engine.set(engine.arch.syscall_number, 77)
    assert engine.run() == SyscallStop(77, (1000, 1001, 1002, 1003, 1004, 1005))
    width = len(SYSCALL[name]) // 2
    assert engine.get("pc") == CODE + width
    if name == "x86_64":
        assert engine.get("rcx") == CODE + 2
        assert engine.get("r11") == engine.get("eflags")
    engine.set_result(-14)
    assert engine.get(engine.arch.syscall_result) == (1 << 64) - 14
    engine.set(engine.arch.syscall_number, 78)
    stop = engine.run()
    assert isinstance(stop, SyscallStop)
    assert stop.number == 78
    assert engine.get("pc") == CODE + 2 * width


@pytest.mark.parametrize("name", ARCHES)
def test_fast_call_answers_inside_the_run(make: Make, name: str) -> None:
    engine = make(name)
    start(engine, SYSCALL[name] * 3)
    engine.set(engine.arch.syscall_number, 5)
    asked: list[int] = []

    def fast(number: int, _args: tuple[int, ...]) -> int | None:
        asked.append(number)
        return -38 if len(asked) < 3 else None

    engine.fast_call = fast
    stop = engine.run()
    assert isinstance(stop, SyscallStop)
    assert len(asked) == 3
    result = engine.get(engine.arch.syscall_result)
    assert result == (1 << 64) - 38


@pytest.mark.parametrize("name", ARCHES)
def test_answers_of_any_size_and_what_the_instruction_leaves(make: Make, name: str) -> None:
    engine = make(name)
    width = len(SYSCALL[name]) // 2
    for result in (0, 5, -1, 1 << 63, (1 << 64) - 3, -(1 << 63), True, 1 << 70 | 9):
        start(engine, SYSCALL[name] + LOAD8[name])
        engine.set(ADDRESS[name], 0)  # so that the run ends behind the call
        engine.fast_call = lambda _number, _args, result=result: result
        if name == "x86_64":
            engine.set("rcx", 1)
            engine.set("r11", 1)
            engine.set("eflags", 0xAD7)
        assert isinstance(engine.run(), FaultStop)
        assert engine.get("pc") == CODE + width
        assert engine.get(engine.arch.syscall_result) == result % (1 << 64), result
        if name == "x86_64":
            assert (engine.get("rcx"), engine.get("r11")) == (CODE + 2, 0xAD7)


@pytest.mark.parametrize("name", ARCHES)
def test_who_answers_may_change_while_a_call_is_answered(make: Make, name: str) -> None:
    engine = make(name)
    start(engine, SYSCALL[name] * 3)
    asked: list[str] = []

    def second(_number: int, _args: tuple[int, ...]) -> int | None:
        asked.append("second")
        return None

    def first(_number: int, _args: tuple[int, ...]) -> int | None:
        asked.append("first")
        engine.fast_call = second
        return 0

    engine.fast_call = first
    del first
    assert isinstance(engine.run(), SyscallStop)
    assert asked == ["first", "second"]
    engine.fast_call = None
    assert isinstance(engine.run(), SyscallStop) and asked == ["first", "second"]


@pytest.mark.parametrize("answered", [True, False])
def test_with_the_trap_flag_a_call_does_not_trap_but_what_follows_does(make: Make, answered: bool) -> None:
    """Linux comes back by iret, behind which one instruction is executed first."""
    engine = make()
    start(engine, "90" + SYSCALL["x86_64"] + "9090")
    engine.fast_call = lambda _number, _args: 7 if answered else None
    engine.set("eflags", 0x302)
    assert engine.run() == TrapStop(Trap.BREAKPOINT, 1) and engine.get("pc") == CODE + 1
    assert isinstance(engine.run(), SyscallStop), "not within the hook"
    assert engine.get("pc") == CODE + 3 and engine.get("eflags") & 0x100 and engine.get("r11") & 0x100
    for place in (4, 5):
        assert engine.run() == TrapStop(Trap.BREAKPOINT, 1) and engine.get("pc") == CODE + place
    engine.set("eflags", 0x202)
    start(engine, SYSCALL["x86_64"] + LOAD8["x86_64"])
    engine.set("rdi", 0)
    assert isinstance(engine.run(), FaultStop if answered else SyscallStop), "as ever without the flag"


@pytest.mark.parametrize("flags", [0x202, 0x302])
def test_there_is_no_sysenter(make: Make, flags: int) -> None:
    engine = make()
    start(engine, "0f34" + SYSCALL["x86_64"])
    engine.set("eflags", flags)
    for _ in range(2):
        assert engine.run() == TrapStop(Trap.ILLEGAL, 6) and engine.get("pc") == CODE
    engine.set("eflags", 0x202)
    engine.set("pc", CODE + 2)
    assert isinstance(engine.run(), SyscallStop) and engine.get("pc") == CODE + 4


@pytest.mark.parametrize("name", ARCHES)
def test_an_answer_that_is_no_number_is_an_error(make: Make, name: str) -> None:
    engine = make(name)
    start(engine, SYSCALL[name])
    engine.fast_call = lambda _number, _args: "no"  # type: ignore[assignment, return-value]
    with pytest.raises(TypeError):
        engine.run()


@pytest.mark.parametrize("name", ARCHES)
@pytest.mark.parametrize("place", [0x70_0123, 0x7000_1230_0456])
def test_faults_of_unmapped_memory(make: Make, name: str, place: int) -> None:
    engine = make(name)
    for code, access in ((LOAD8, Access.READ), (STORE8, Access.WRITE)):
        start(engine, code[name])
        engine.set(ADDRESS[name], place)
        for _ in range(2):
            assert fault(engine) == FaultStop(place, access, 8, mapped=False)
            assert engine.get("pc") == CODE
    start(engine, JUMP[name])
    engine.set(ADDRESS[name], place & ~3)
    stop = engine.run()
    assert isinstance(stop, FaultStop)
    assert (stop.address, stop.access, stop.mapped) == (place & ~3, Access.EXEC, False)
    assert engine.get("pc") == place & ~3


@pytest.mark.parametrize("name", ARCHES)
def test_faults_of_forbidden_memory_and_going_on_afterwards(make: Make, name: str) -> None:
    engine = make(name)
    start(engine, STORE8[name] + SYSCALL[name])
    engine.space.protect(DATA, 0x1000, 1)
    engine.set(ADDRESS[name], DATA + 0x19)
    engine.set(VALUE[name], 0x1122)
    assert fault(engine) == FaultStop(DATA + 0x19, Access.WRITE, 8, mapped=True)
    engine.space.protect(DATA, 0x1000, 3)
    assert isinstance(engine.run(), SyscallStop)
    assert engine.memory.read(DATA + 0x19, 2) == b"\x22\x11"
    start(engine, JUMP[name])
    engine.set(ADDRESS[name], DATA + 0x20)
    stop = engine.run()
    assert isinstance(stop, FaultStop)
    assert (stop.address, stop.access, stop.mapped) == (DATA + 0x20, Access.EXEC, True)


@pytest.mark.parametrize("name", ARCHES)
def test_an_access_across_the_border_faults_at_the_second_page_and_stores_nothing(make: Make, name: str) -> None:
    engine = make(name)
    start(engine, STORE8[name])
    engine.memory.write(DATA + 0xFF8, b"ABCDEFGH")
    engine.set(VALUE[name], 0x1122_3344_5566_7788)
    engine.set(ADDRESS[name], DATA + 0xFFC)
    stop = engine.run()
    assert isinstance(stop, FaultStop)
    assert (stop.address, stop.access, stop.mapped) == (DATA + 0x1000, Access.WRITE, False)
    assert engine.memory.read(DATA + 0xFF8, 8) == b"ABCDEFGH"
    start(engine, LOAD8[name])
    stop = engine.run()
    assert isinstance(stop, FaultStop)
    assert (stop.address, stop.access) == (DATA + 0x1000, Access.READ)
    engine.set(ADDRESS[name], DATA - 4)
    stop = engine.run()
    assert isinstance(stop, FaultStop)
    assert (stop.address, stop.access) == (DATA - 4, Access.READ)


@pytest.mark.parametrize("name", ARCHES)
@pytest.mark.parametrize("place", [0xFFFF_8000_0000_0008, 0x8000_0000_0000_0100, 0xFFFF_FFFF_FFFF_FFF0])
def test_kernel_and_non_canonical_addresses_are_faults(make: Make, name: str, place: int) -> None:
    engine = make(name)
    for code, access in ((LOAD8, Access.READ), (STORE8, Access.WRITE)):
        start(engine, code[name])
        engine.set(ADDRESS[name], place)
        assert fault(engine) == FaultStop(place, access, 8, mapped=False)
    start(engine, JUMP[name])
    stop = engine.run()
    assert isinstance(stop, FaultStop)
    assert stop.access is Access.EXEC


@pytest.mark.parametrize("name", ARCHES)
def test_a_jump_to_zero_is_a_fault(make: Make, name: str) -> None:
    engine = make(name)
    start(engine, JUMP[name])
    engine.set(ADDRESS[name], 0)
    stop = engine.run()
    assert isinstance(stop, FaultStop)
    assert (stop.address, stop.access, stop.mapped) == (0, Access.EXEC, False)


def test_a_locked_instruction_faults_too(make: Make) -> None:
    engine = make()
    start(engine, "f0480fc107")  # lock xadd [rdi], rax
    engine.set("rdi", 0x70_0008)
    stop = engine.run()
    assert isinstance(stop, FaultStop)
    assert stop.address == 0x70_0008


@pytest.mark.parametrize(
    ("name", "code", "trap", "offset"),
    [
        ("x86_64", "31d2b80100000031c9f7f1", Trap.DIVIDE, 9),  # div ecx
        ("x86_64", "90cc", Trap.BREAKPOINT, 2),
        ("x86_64", "900f0b", Trap.ILLEGAL, 1),
        ("x86_64", "90f4", Trap.PROTECTION, 1),
        ("arm64", "1f2003d500000000", Trap.ILLEGAL, 4),
        ("arm64", "1f2003d5000020d4", Trap.BREAKPOINT, 4),
    ],
)
def test_traps(make: Make, name: str, code: str, trap: Trap, offset: int) -> None:
    engine = make(name)
    start(engine, code)
    stop = engine.run()
    assert isinstance(stop, TrapStop)
    assert stop.trap is trap
    assert engine.get("pc") == CODE + offset


def test_arm64_user_state(make: Make) -> None:
    engine = make("arm64")
    # mrs x1,ctr_el0; mrs x2,dczid_el0; mrs x3,cntvct_el0; dc zva,x0; dc cvau,x0; ic ivau,x0; svc 0
    start(engine, "21003bd5e2003bd543e03bd520740bd5207b0bd520750bd5010000d4")
    engine.memory.write(DATA, b"x" * 128)
    engine.set("x0", DATA)
    assert isinstance(engine.run(), SyscallStop)
    assert engine.memory.read(DATA, 65) == bytes(64) + b"x"
    engine.set("x0", 0x70_0000)
    engine.set("pc", CODE + 12)
    stop = engine.run()
    assert isinstance(stop, FaultStop)
    assert (stop.address, stop.access) == (0x70_0000, Access.WRITE)
    assert engine.get("pc") == CODE + 12


def test_stop_before_and_during_a_run(make: Make) -> None:
    engine = make()
    start(engine, "ebfe")  # jmp .
    engine.stop()
    assert engine.run() == LimitStop()
    for delay in (0.0, 0.02):
        timer = threading.Timer(delay, engine.stop)
        timer.start()
        assert engine.run() == LimitStop()
        timer.join()
    assert engine.get("pc") == CODE


class Odd(Exception):
    """Raised by the tests' hooks."""


@pytest.mark.parametrize("name", ARCHES)
def test_exceptions_of_hooks_come_out_unchanged(make: Make, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make(name)
    start(engine, SYSCALL[name] + LOAD8[name] + SYSCALL[name])
    error = Odd("from the call")

    def fast(_number: int, _args: tuple[int, ...]) -> int | None:
        raise error

    engine.fast_call = fast
    with pytest.raises(Odd) as caught:
        engine.run()
    assert caught.value is error
    engine.fast_call = None
    second = Odd("from a memory hook")

    def query(_address: int) -> Any:
        raise second

    engine.set(ADDRESS[name], DATA)
    with monkeypatch.context() as patch:
        patch.setattr(engine.space, "query", query)
        with pytest.raises(Odd) as caught:
            engine.run()
    assert caught.value is second
    engine.set("pc", CODE + len(SYSCALL[name]) // 2)
    assert isinstance(engine.run(), SyscallStop)


def test_run_inside_run_is_an_error(make: Make) -> None:
    engine = make()
    start(engine, SYSCALL["x86_64"])
    engine.fast_call = lambda _number, _args: engine.run() and 0
    with pytest.raises(EngineError, match="inside"):
        engine.run()


@pytest.mark.parametrize("name", ARCHES)
@pytest.mark.parametrize("adapter", ["paged", "regions"])
def test_code_that_falls_through_to_a_page_without_rights_has_been_executed_until_there(
    name: str, adapter: Literal["paged", "regions"], native: bool
) -> None:
    """Also when the engine has translated it all before, and when the guest wrote it, so that no fetch was ever asked for."""
    engine = UnicornEngine(BY_NAME[name], AddressSpace(0, BY_NAME[name].task_size), adapter=adapter, native=native)
    try:
        step, call = {"x86_64": ("48ffc0", "0f05"), "arm64": ("21040091", "010000d4")}[name]  # inc rax; add x1, x1, #1
        code = bytes.fromhex(step)
        engine.space.map_at(CODE, 0x2000, 7)
        border, counted = CODE + 0x1000, VALUE[name]
        for guest_writes in (False, True):
            engine.space.protect(CODE, 0x2000, 7)
            engine.memory.write(border - len(code), code * 2 + bytes.fromhex(call))
            if guest_writes:  # the rights of the page come with the store
                for place in (border - 256, border + 256):
                    engine.memory.write(CODE, bytes.fromhex(STORE8[name] + call))
                    engine.set(ADDRESS[name], place)
                    engine.set("pc", CODE)
                    assert isinstance(engine.run(), SyscallStop)
            for length in (0x1000, 0):
                engine.set(counted, 5)
                engine.set("pc", border - len(code))
                if length:
                    assert isinstance(engine.run(), SyscallStop)
                    assert engine.get(counted) == 7 or name == "x86_64"
                    engine.space.protect(border, length, 0)
                else:
                    stop = engine.run()
                    assert isinstance(stop, FaultStop) and (stop.address, stop.access) == (border, Access.EXEC)
                    assert (engine.get("pc"), engine.get(counted)) == (border, 6)
    finally:
        engine.close()


@pytest.mark.parametrize("name", ARCHES)
def test_code_that_the_guest_wrote_and_the_host_replaces(make: Make, name: str) -> None:
    """A system call that reads into memory that may be written and executed, where code has been executed."""
    engine = make(name)
    one, two, call = {"x86_64": ("48c7c001000000", "48c7c002000000", "0f05"), "arm64": ("210080d2", "410080d2", "010000d4")}[name]
    page, value = CODE + (1 << 20), VALUE[name]
    engine.space.map_at(CODE, 0x1000, 5)
    engine.space.map_at(page, 0x1000, 7)
    engine.memory.write(CODE, bytes.fromhex(STORE8[name] + call))
    engine.set(ADDRESS[name], page + 0x800)
    engine.set("pc", CODE)
    assert isinstance(engine.run(), SyscallStop), "the guest has the right to write there, and to execute"
    for code, result in ((one, 1), (two, 2), (one, 1)):
        engine.memory.write(page, bytes.fromhex(code + call))
        engine.set("pc", page)
        stop = engine.run()
        assert isinstance(stop, SyscallStop)
        assert (stop.number if name == "x86_64" else engine.get(value)) == result
    engine.space.unmap(page, 0x1000)
    engine.space.map_at(page, 0x1000, 7)
    engine.set("pc", page)
    engine.set(ADDRESS[name], DATA)
    stop = engine.run()
    assert not isinstance(stop, SyscallStop), "what was there is gone"


def test_an_instruction_across_the_border_faults_there_after_everything_before_it(make: Make) -> None:
    engine = make()
    engine.space.map_at(CODE, 0x1000, 5)
    engine.memory.write(CODE + 0xF00, bytes.fromhex("48ffc0") * 84 + b"\x90" * 3 + b"\x48")  # inc rax, 84 times
    engine.set("rax", 0)
    engine.set("pc", CODE + 0xF00)
    stop = engine.run()
    assert isinstance(stop, FaultStop)
    assert (stop.address, stop.access) == (CODE + 0x1000, Access.EXEC)
    assert engine.get("pc") == CODE + 0xFFF
    assert engine.get("rax") == 84


@pytest.mark.parametrize("left", range(5))
@pytest.mark.parametrize(
    ("name", "code"), [("x86_64", "f0480fc106"), ("x86_64", "480106"), ("x86_64", "488706"), ("arm64", "227c5fc84300008b237c04c8")]
)
def test_whatever_fill_lets_the_tlb_grow_an_instruction_is_executed_once(make: Make, name: str, code: str, left: int) -> None:
    """lock xadd [rsi], rax; add [rsi], rax; xchg [rsi], rax; ldxr, add, stxr: being stopped after the store would repeat it."""
    engine = make(name)
    start(engine, code + SYSCALL[name])
    value, address = ("rax", "rsi") if name == "x86_64" else ("x0", "x1")
    engine.set(value, 5)
    engine.set(address, DATA + 0x100)
    paged = engine.memory
    assert isinstance(paged, PagedMemory)
    paged.table.state.fills_left = left
    assert isinstance(engine.run(), SyscallStop)
    stored = int.from_bytes(engine.memory.read(DATA + 0x100, 8), "little")
    assert stored == 5
    if code != "480106":
        assert engine.get("x2" if name == "arm64" else value) == 0


@pytest.mark.skipif(not native_fill(), reason="the C module is not built")
@pytest.mark.parametrize("adapter", ["paged", "regions"])
def test_who_expects_stops_is_stopped_between_instructions(adapter: Literal["paged", "regions"]) -> None:
    """A loop that counts twice in memory and once in a register, in two blocks; a thread stops it again and again."""
    loop = "48ff07" "eb00" "48ff4710" "48ffc9" "75f2"  # inc [rdi]; jmp; inc [rdi+16]; dec rcx; jnz
    arch, count = BY_NAME["x86_64"], 3_000_000
    engine = UnicornEngine(arch, AddressSpace(0, arch.task_size), adapter=adapter)
    start(engine, loop + SYSCALL["x86_64"])
    engine.set("rdi", DATA)
    engine.set("rcx", count)
    engine.expect_stops()
    over = threading.Event()

    def poke() -> None:
        while not over.wait(0.0005):
            engine.stop()

    thread = threading.Thread(target=poke)
    thread.start()
    try:
        stops = 0
        while isinstance(engine.run(), LimitStop):
            stops += 1
    finally:
        over.set()
        thread.join()
    assert stops
    counts = [int.from_bytes(engine.memory.read(DATA + place, 8), "little") for place in (0, 16)]
    assert counts == [count, count]
    engine.close()


def test_random_instructions_change_what_their_width_says(make: Make) -> None:
    engine = make()
    start(engine, "660fc7f3 0fc7f6 480fc7f7 660fc7fa" + SYSCALL["x86_64"])  # rdrand bx; rdrand esi; rdrand rdi; rdseed dx
    engine.replace_counters(lambda: 0, lambda length: bytes((0xAA,)) * length)
    registers = ("rbx", "rsi", "rdi", "rdx")
    for register in registers:
        engine.set(register, 0x1122_3344_5566_7788)
    assert isinstance(engine.run(), SyscallStop)
    assert [engine.get(register) for register in registers] == [
        0x1122_3344_5566_AAAA, 0xAAAA_AAAA, 0xAAAA_AAAA_AAAA_AAAA, 0x1122_3344_5566_AAAA,
    ]  # fmt: skip


def test_a_counter_instruction_that_is_overwritten_stops_the_engine_once_more(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make()
    start(engine, "90 0f31" + SYSCALL["x86_64"])  # nop; rdtsc
    engine.replace_counters(lambda: 77, bytes)
    counters, steps = engine._counters, []
    assert counters is not None
    step = counters.step
    monkeypatch.setattr(counters, "step", lambda: (steps.append(engine.get("pc")), step()))
    assert engine.run() == SyscallStop(77, (0,) * 6) and steps == [CODE + 1]
    start(engine, "90 b04d" + SYSCALL["x86_64"])  # mov al, 77
    for _ in range(3):
        engine.set("pc", CODE)
        engine.set("rax", 0)
        assert engine.run() == SyscallStop(77, (0,) * 6)
    assert steps == [CODE + 1] * 2, "then it is known that there is other code"
