"""Registers in bulk, and the floating point and vector state of signal frames."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
import unicorn

from emuvm.abi.arch import BY_NAME
from emuvm.engine.base import Engine, SyscallStop
from emuvm.engine.memory import MemoryEngine
from emuvm.engine.unicorn import UnicornEngine
from emuvm.errors import EngineError
from emuvm.mm.space import AddressSpace

CODE, DATA = 0x40_0000, 0x60_0000
GENERAL = {
    "x86_64": tuple("r8 r9 r10 r11 r12 r13 r14 r15 rdi rsi rbp rbx rdx rax rcx rsp rip eflags".split()),
    "arm64": (*(f"x{n}" for n in range(31)), "sp", "pc", "pstate"),
}


@pytest.fixture(params=["unicorn", "memory"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["x86_64", "arm64"])
def engine(request: pytest.FixtureRequest, kind: str) -> Iterator[Engine]:
    arch = BY_NAME[request.param]
    space = AddressSpace(0, arch.task_size)
    found: Engine = UnicornEngine(arch, space) if kind == "unicorn" else MemoryEngine(arch, space)
    yield found
    found.close()


@pytest.fixture
def x86() -> Iterator[UnicornEngine]:
    engine = UnicornEngine(BY_NAME["x86_64"], AddressSpace(0, BY_NAME["x86_64"].task_size))
    engine.space.map_at(CODE, 0x1000, 5)
    engine.space.map_at(DATA, 0x1000, 3)
    yield engine
    engine.close()


def execute(engine: UnicornEngine, code: str) -> None:
    """Run instructions and the system call behind them."""
    engine.memory.write(CODE, bytes.fromhex(code + "0f05"))
    engine.set("pc", CODE)
    assert isinstance(engine.run(), SyscallStop)


def test_many_registers_at_once_are_those_of_single_calls(engine: Engine) -> None:
    names = GENERAL[engine.arch.name]
    flags = names[-1]
    values = [0x1111_2222_3333_0000 + 16 * n for n in range(len(names) - 1)]
    wanted = [*values, 0x246 if flags == "eflags" else 0x6000_0000]
    engine.set_many(names, wanted)
    assert engine.get_many(names) == wanted
    assert [engine.get(name) for name in names] == wanted
    engine.set(names[3], 5)
    assert engine.get_many(names) == [*wanted[:3], 5, *wanted[4:]]
    engine.set_many(names[:2], (-1, 1 << 64 | 7))
    assert engine.get_many(("pc", "sp", *names[:2])) == [engine.get("pc"), engine.get("sp"), (1 << 64) - 1, 7]


def test_a_narrow_register_is_not_read_with_leftovers_of_a_wide_value() -> None:
    engine = UnicornEngine(BY_NAME["x86_64"], AddressSpace(0, 1 << 47))
    engine.set_many(("eflags", "rax"), (0xFFFF_0000_0000_0202, 1))
    assert engine.get_many(("eflags", "rax")) == [0x202, 1]
    engine.close()


def test_wrong_numbers_of_values_are_refused(engine: Engine) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is Python's
        engine.set_many(GENERAL[engine.arch.name][:3], (1, 2))


def test_the_state_round_trips_byte_for_byte(engine: Engine, kind: str) -> None:
    first = engine.fpu_state()
    assert len(first) == (512 if engine.arch.name == "x86_64" else 528)
    state = bytearray(first)
    vectors = 160 if engine.arch.name == "x86_64" else 16
    state[vectors : vectors + 256] = bytes(range(256))
    engine.set_fpu_state(bytes(state) + b"more is not looked at")
    assert engine.fpu_state() == bytes(state)
    if kind == "unicorn":
        assert engine.get("xmm15" if vectors == 160 else "q15") & (1 << 64) - 1 == int.from_bytes(bytes(range(240, 248)), "little")
    engine.reset()
    assert engine.fpu_state() == first
    with pytest.raises(EngineError):
        engine.set_fpu_state(bytes(511))


def test_fxsave_of_a_new_engine(x86: UnicornEngine) -> None:
    state = x86.fpu_state()
    assert struct.unpack_from("<HHBBHQQII", state) == (0x37F, 0, 0, 0, 0, 0, 0, 0x1F80, 0xFFFF)
    assert state[32:] == bytes(480)


def test_the_state_is_what_fxsave_stores(x86: UnicornEngine) -> None:
    # fldpi; fld1; fldz; fchs; ldmxcsr; movq xmm3, rax; fxsave64 [rdi]
    x86.memory.write(DATA + 1024, (0x5FA5).to_bytes(4, "little"))
    x86.set("rdi", DATA)
    x86.set("rax", 0x1234_5678_9ABC_DEF0)
    execute(x86, "d9ebd9e8d9eed9e0" + "0fae9700040000" + "66480f6ed8" + "480fae07")
    stored = x86.memory.read(DATA, 512)
    state = x86.fpu_state()
    assert state[:5] == stored[:5]
    assert state[4] == 0b1110_0000
    assert state[24:416] == stored[24:416]


def test_loaded_state_works(x86: UnicornEngine) -> None:
    """st0 and st1 are added, with the rounding of the control word; the sum is popped into memory."""
    state = bytearray(x86.fpu_state())
    struct.pack_into("<HHB", state, 0, 0x0F7F, 6 << 11, 0b1100_0000)  # truncate; top 6: two registers in use
    state[32:42] = bytes.fromhex("0000000000000080ff3f")  # 1.0
    state[48:58] = bytes.fromhex("0000000000000080be3f")  # 2**-65
    x86.set_fpu_state(bytes(state))
    x86.set("rdi", DATA)
    execute(x86, "dec1" + "db3f")  # faddp; fstp tbyte [rdi]
    assert x86.memory.read(DATA, 10).hex() == "0000000000000080ff3f"
    assert x86.fpu_state()[4] == 0
    assert struct.unpack_from("<H", x86.fpu_state(), 2)[0] >> 11 & 7 == 0
    struct.pack_into("<H", state, 0, 0x0B7F)  # round up
    x86.set_fpu_state(bytes(state))
    execute(x86, "dec1" + "db3f")
    assert x86.memory.read(DATA, 10).hex() == "0100000000000080ff3f"


def test_loaded_mxcsr_works(x86: UnicornEngine) -> None:
    state = bytearray(x86.fpu_state())
    for mode, wanted in ((0, 2), (1, 1), (2, 2), (3, 1)):
        struct.pack_into("<I", state, 24, 0x1F80 | mode << 13)
        state[160:168] = struct.pack("<d", 1.75)
        x86.set_fpu_state(bytes(state))
        execute(x86, "f2480f2dc0")  # cvtsd2si rax, xmm0
        assert x86.get("rax") == wanted


def test_fpsimd_context_of_arm64() -> None:
    engine = UnicornEngine(BY_NAME["arm64"], AddressSpace(0, 1 << 48))
    engine.space.map_at(CODE, 0x1000, 5)
    state = bytearray(engine.fpu_state())
    assert struct.unpack_from("<IIII", state) == (0x4650_8001, 528, 0, 0)
    struct.pack_into("<II", state, 8, 0x1F, 0x0040_0000)  # flags; round up
    state[16:32] = struct.pack("<dQ", 1.25, 0)
    engine.set_fpu_state(bytes(state))
    # frinti d1, d0; mrs x0, fpcr; mrs x1, fpsr; svc #0
    engine.memory.write(CODE, bytes.fromhex("01c0671e" "00443bd5" "21443bd5" "010000d4"))
    engine.set("pc", CODE)
    assert isinstance(engine.run(), SyscallStop)
    assert struct.unpack_from("<d", engine.fpu_state(), 32)[0] == 2.0
    assert engine.get("x0") == 0x0040_0000
    assert engine.get("x1") & 0x0F == 0x0F
    engine.close()


def test_pages_of_the_engine_are_those_of_the_space(engine: Engine, kind: str) -> None:
    """arm64 has 1 KiB pages if nobody asks for more: a TLB of a quarter of the reach."""
    if kind == "unicorn":
        assert isinstance(engine, UnicornEngine)
        assert engine.uc.query(unicorn.UC_QUERY_PAGE_SIZE) == 4096
