"""Single guest accesses, and files to map, for the tests of engine memory."""

from __future__ import annotations

from pathlib import Path

from emuvm.engine.base import Access, FaultStop, Stop, SyscallStop
from emuvm.engine.unicorn import UnicornEngine

PAGE = 4096
TEXT, DATA, OTHER = 0x10_0000, 0x60_0000, 0x7000_0000_0000
LOAD = {"x86_64": "8a07", "arm64": "01004039"}  # mov al,[rdi]; ldrb w1,[x0]
STORE = {"x86_64": "8807", "arm64": "01000039"}
STORE8 = {"x86_64": "488907", "arm64": "010000f9"}
CALL = {"x86_64": "0f05", "arm64": "010000d4"}
ADDRESS = {"x86_64": "rdi", "arm64": "x0"}
VALUE = {"x86_64": "rax", "arm64": "x1"}


class Disk:
    """A host file as HostFile."""

    def __init__(self, path: Path, mode: str = "r+b") -> None:
        self.stream = path.open(mode, buffering=0)

    def fileno(self) -> int:
        return self.stream.fileno()

    def size(self) -> int:
        return self.stream.seek(0, 2)

    def content(self, offset: int, length: int) -> bytes:
        self.stream.seek(offset)
        return self.stream.read(length) or b""


def execute(engine: UnicornEngine, code: dict[str, str], address: int, value: int = 0) -> Stop:
    """Execute one access from a page of its own, and the call behind it; the stop."""
    name = engine.arch.name
    wanted = bytes.fromhex(code[name] + CALL[name])
    if engine.space.query(TEXT) is None:
        engine.space.map_at(TEXT, PAGE, 5)
    if engine.memory.read(TEXT, len(wanted)) != wanted:
        engine.memory.write(TEXT, wanted)
    engine.set(ADDRESS[name], address)
    engine.set(VALUE[name], value)
    engine.set("pc", TEXT)
    return engine.run()


def load(engine: UnicornEngine, address: int) -> int:
    """The byte a guest load gets."""
    stop = execute(engine, LOAD, address)
    assert isinstance(stop, SyscallStop), stop
    return engine.get(VALUE[engine.arch.name]) & 0xFF


def store(engine: UnicornEngine, address: int, value: int = 1) -> None:
    """A guest store of a byte."""
    stop = execute(engine, STORE, address, value)
    assert isinstance(stop, SyscallStop), stop


def faults(engine: UnicornEngine, code: dict[str, str], address: int) -> tuple[int, Access, bool]:
    """What a guest access that must fail tells."""
    stop = execute(engine, code, address)
    assert isinstance(stop, FaultStop), stop
    return stop.address, stop.access, stop.mapped


class Guards:
    """A kernel's record of withheld ranges."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []

    def __call__(self, start: int, end: int) -> list[tuple[int, int]]:
        return [(max(low, start), min(high, end)) for low, high in self.ranges if low < end and start < high]
