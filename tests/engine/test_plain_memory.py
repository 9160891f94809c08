"""The engine without CPU: it mirrors the space, keeps contents, and refuses when asked to."""

from __future__ import annotations

from pathlib import Path

import pytest

from emuvm.abi.arch import X86_64
from emuvm.engine.base import Access, FaultStop, LimitStop, SyscallStop
from emuvm.engine.memory import MemoryEngine
from emuvm.errors import EmulatorBug, EngineError
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import File, Prot

PAGE = 4096


def build() -> MemoryEngine:
    return MemoryEngine(X86_64, AddressSpace(0x10000, 1 << 40))


def test_contents_follow_the_updates() -> None:
    engine = build()
    space, memory = engine.memory.space, engine.memory
    space.map_at(0x20000, 4 * PAGE, 3)
    memory.write(0x20000 + PAGE - 2, b"abcd")
    assert memory.read(0x20000 + PAGE - 3, 6) == b"\0abcd\0"
    space.move(0x20000, 2 * PAGE, 0x80000)
    assert memory.read(0x80000 + PAGE - 2, 4) == b"abcd"
    memory.discard(0x80000, PAGE)
    assert memory.read(0x80000 + PAGE - 2, 4) == b"\0\0cd"
    space.map_at(0x80000 + PAGE, PAGE, 1)
    assert memory.read(0x80000 + PAGE, 2) == b"\0\0"
    memory.verify()
    with pytest.raises(EngineError):
        memory.read(0x20000, 1)
    with pytest.raises(EngineError):
        memory.write(0x82000 - 1, b"xy")


def test_freed_pages_go_unless_written_again() -> None:
    memory = build().memory
    memory.space.map_at(0x20000, 4 * PAGE, 3)
    memory.write(0x20000, b"x" * 3 * PAGE)
    memory.may_free(0x20000, 0x20000 + 3 * PAGE)
    memory.write(0x20000, b"y")
    memory.space.move(0x20000 + 2 * PAGE, PAGE, 0x80000)
    assert memory.read(0x20000 + PAGE, 2) == b"xx"
    for start in (0x20000, 0x80000):
        memory.page_out(start, start + 4 * PAGE)
    assert memory.read(0x20000, 2) == b"yx" and memory.read(0x20000 + PAGE, 2) == memory.read(0x80000, 2) == bytes(2)
    assert memory.residency(0x20000, 0x20000 + 2 * PAGE) == b"\x0b\0"


def test_rights_and_faults() -> None:
    memory = build().memory
    memory.space.map_at(0x20000, PAGE, Prot.WRITE)
    assert memory.allows(0x20010, Access.READ) is None
    assert memory.allows(0x20010, Access.EXEC) == FaultStop(0x20010, Access.EXEC, 1, mapped=True)
    assert memory.allows(0x21000, Access.READ) == FaultStop(0x21000, Access.READ, 1, mapped=False)


def test_file_content_appears_and_returns(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * PAGE + b"tail")
    memory = build().memory
    with path.open("rb") as stream:
        memory.space.map_at(0x20000, 3 * PAGE, 3, backing=File(stream, PAGE))
        assert memory.read(0x20000, 6) == b"tail\0\0"
        memory.write(0x20000, b"over")
        memory.discard(0x20000, PAGE)
        assert memory.read(0x20000, 4) == b"tail"


def test_any_refused_call_changes_nothing() -> None:
    for nth in range(1, 10):
        memory = build().memory
        space = memory.space
        space.map_at(0x20000, PAGE, 3)
        space.map_at(0x22000, PAGE, 1)
        memory.write(0x20000, b"kept")
        before = list(space)
        memory.fail_at = nth
        try:
            space.map_at(0x20000, 4 * PAGE, 5)
        except EngineError:
            assert list(space) == before
            assert memory.read(0x20000, 4) == b"kept"
            memory.verify()
            continue
        assert nth == 4
        memory.verify()
        return
    pytest.fail("it never succeeds")


def test_verify_notices_a_difference() -> None:
    memory = build().memory
    memory.space.map_at(0x20000, PAGE, 3)
    memory._areas[0].rights = 5
    with pytest.raises(EmulatorBug):
        memory.verify()


def test_scripted_stops_and_registers() -> None:
    engine = build()
    engine.script.append(SyscallStop(1, (0, 0, 0, 0, 0, 0)))
    assert engine.run() == SyscallStop(1, (0, 0, 0, 0, 0, 0))
    assert engine.run() == LimitStop()
    engine.set_result(-1)
    assert engine.get("rax") == (1 << 64) - 1
    engine.set("sp", 5)
    assert engine.get("rsp") == 5
