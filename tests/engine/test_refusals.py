"""A fault told by the hook and a fault read from the engine's structure are the same, whatever the instruction."""

from __future__ import annotations

from typing import Any

import pytest

from emuvm.engine.base import FaultStop
from emuvm.engine.unicorn import UnicornEngine

from .conftest import Make
from .guests import CALL, DATA, LOAD, OTHER, PAGE, TEXT, execute, faults

X86 = {
    "mov [rdi], rax": "488907",
    "mov rax, [rdi]": "488b07",
    "push rax": "50",
    "pop rax": "58",
    "call": "e800000000",
    "ret": "c3",
    "add [rdi], rax": "480107",
    "lock xadd [rdi], rcx": "f0480fc10f",
    "lock cmpxchg [rdi], rcx": "f0480fb10f",
    "xchg [rdi], rax": "488707",
    "movups [rdi], xmm0": "0f1107",
    "movups xmm0, [rdi]": "0f1007",
    "stosq": "48ab",
    "rep stosb": "f3aa",
    "rep movsb": "f3a4",
    "push [rdi]": "ff37",
    "jmp [rdi]": "ff27",
    "enter 16, 0": "c8100000",
    "inc rcx; mov [rdi], rax; inc rcx": "48ffc1" + "488907" + "48ffc1",
}
ARM64 = {
    "str x1, [x0]": "010000f9",
    "ldr x1, [x0]": "010040f9",
    "str x1, [x0, #8]!": "018c00f8",
    "ldr x1, [x0], #8": "018440f8",
    "stp x1, x2, [x0]": "010800a9",
    "ldp x1, x2, [x0]": "010840a9",
    "str q0, [x0]": "0000803d",
    "ldxr x1, [x0]": "017c5fc8",
    "dc zva, x0": "20740bd5",
    "add x2, x2, #1; str x1, [x0]; add x2, x2, #1": "42040091" + "010000f9" + "42040091",
}
CODES = [("x86_64", name, code) for name, code in X86.items()] + [("arm64", name, code) for name, code in ARM64.items()]
REGISTERS = {
    "x86_64": ("rax", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "eflags", "rip"),
    "arm64": ("x0", "x1", "x2", "x3", "sp", "pc", "nzcv"),
}


def told(engine: UnicornEngine, code: str, place: int) -> tuple[Any, ...]:
    """All there is to see of a fault."""
    name = engine.arch.name
    engine.memory.write(TEXT, bytes.fromhex(code + CALL[name]))
    engine.memory.write(DATA, bytes(range(256)) * (engine.space.regions(DATA, PAGE)[0].size // 256))
    names = REGISTERS[name]
    values = [place if n in ("rdi", "rsp", "x0", "rbp") else DATA if n in ("rsi", "sp") else 0x20 for n in names]
    engine.set_many(names, values)
    if code in (X86["push rax"], X86["call"], X86["enter 16, 0"]):
        engine.set("rsp", place + 8)
    engine.set("pc", TEXT)
    stop = engine.run()
    if not isinstance(stop, FaultStop):
        return (stop,)
    return stop._replace(size=0), engine.get_many(names), engine.memory.read(DATA, PAGE)


@pytest.mark.parametrize(("name", "what", "code"), CODES, ids=[what for _, what, _ in CODES])
def test_both_ways_tell_the_same(make: Make, name: str, what: str, code: str) -> None:
    hooked, read = make(name), make(name)
    for engine in (hooked, read):
        engine.space.map_at(TEXT, PAGE, 5)
        engine.space.map_at(DATA, 2 * PAGE, 3)
        engine.space.map_at(DATA + 2 * PAGE, PAGE, 0)
        assert faults(engine, LOAD, OTHER)
        engine.memory.refusals.always_hooked = engine is hooked  # type: ignore[attr-defined]
    assert read.memory.refusals._field is not None  # type: ignore[attr-defined]
    seen = 0
    for place in (OTHER + 0x238, DATA + 2 * PAGE + 16, DATA + 2 * PAGE - 8, DATA + 2 * PAGE - 3, DATA + 2 * PAGE - 2, OTHER + 0xFFE):
        one, two = told(hooked, code, place), told(read, code, place)
        assert one == two, what
        if isinstance(one[0], FaultStop):
            seen += 1
    assert seen >= 2


def test_a_field_that_moved_is_found_again(make: Make) -> None:
    """An engine whose structure is not what it was: the instruction is executed again, with the hook."""
    engine = make("x86_64")
    refusals: Any = engine.memory.refusals  # type: ignore[attr-defined]
    assert faults(engine, LOAD, OTHER + 1)
    right = refusals._field
    refusals._field = type(right)(77)
    assert faults(engine, LOAD, OTHER + 2)[0] == OTHER + 2
    assert refusals._field is not None
    assert faults(engine, LOAD, OTHER + 3)[0] == OTHER + 3
    assert not refusals.watch


def test_instructions_that_store_twice_fault_once(make: Make) -> None:
    engine = make("x86_64")
    for place in (DATA + PAGE - 8, DATA + PAGE - 3, DATA + PAGE, OTHER):
        for code in ("db3f", "0f1107", "f3a4"):  # fstp tbyte; movups; rep movsb
            if engine.space.query(DATA) is None:
                engine.space.map_at(DATA, PAGE, 3)
                engine.space.map_at(TEXT, PAGE, 5)
            stop = told(engine, code, place)
            assert isinstance(stop[0], FaultStop)
            assert stop[0].address == max(place, DATA + PAGE)
            assert engine.get("pc") == TEXT


def test_engines_that_do_not_tell_keep_the_hook(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emuvm.engine.unicorn_refusals.heap_block", lambda pointer: 0)
    monkeypatch.setattr("emuvm.engine.unicorn_refusals._offsets", [])
    engine = make("x86_64")
    for n in range(40):
        stop = execute(engine, LOAD, OTHER + n)
        assert isinstance(stop, FaultStop)
        assert (stop.address, stop.size) == (OTHER + n, 1)
