"""The paged mirror: contents, sparse memory, stale code, dirty pages, files, refusals, random operations."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from emuvm.engine.base import FaultStop, SyscallStop
from emuvm.engine.unicorn import UnicornEngine
from emuvm.engine.unicorn_paged import PagedMemory
from emuvm.errors import EngineError
from emuvm.mm.types import File, VmFlag

from .conftest import Make

PAGE = 4096
CODE, DATA, OTHER = 0x40_0000, 0x60_0000, 0x7000_0000_0000
ARCHES = ["x86_64", "arm64"]
# Load a small constant into the call's number, then make the call.
RETURNS = {
    "x86_64": lambda n: bytes([0xB8, n, 0, 0, 0, 0x0F, 0x05]),
    "arm64": lambda n: (0xD2800008 | n << 5).to_bytes(4, "little") + bytes.fromhex("010000d4"),
}
STORE = {"x86_64": "8807", "arm64": "01000039"}  # mov [rdi],al; strb w1,[x0]
LOAD = {"x86_64": "8a07", "arm64": "01004039"}
ADDRESS = {"x86_64": "rdi", "arm64": "x0"}
VALUE = {"x86_64": "rax", "arm64": "x1"}
CALL = {"x86_64": "0f05", "arm64": "010000d4"}


class Disk:
    """A host file as HostFile."""

    def __init__(self, path: Path, mode: str = "r+b") -> None:
        self.stream = path.open(mode)

    def fileno(self) -> int:
        return self.stream.fileno()

    def size(self) -> int:
        return self.stream.seek(0, 2)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "file"
    path.write_bytes(b"".join(bytes([65 + n]) * PAGE for n in range(2)) + b"end")
    opened = Disk(path)
    yield opened
    opened.stream.close()


def paged(engine: UnicornEngine) -> PagedMemory:
    assert isinstance(engine.memory, PagedMemory)
    return engine.memory


def number(engine: UnicornEngine, pc: int = CODE) -> int:
    """Run from pc to the first call; its number."""
    engine.set("pc", pc)
    stop = engine.run()
    assert isinstance(stop, SyscallStop), stop
    engine.memory.verify()
    return stop.number


def guest(engine: UnicornEngine, code: str, address: int, value: int = 0) -> Any:
    """Execute one load or store of a byte from a page of its own; the stop."""
    if engine.space.query(0x10_0000) is None:
        engine.space.map_at(0x10_0000, PAGE, 5)
    name = engine.arch.name
    engine.memory.write(0x10_0000, bytes.fromhex(code + CALL[name]))
    engine.set(ADDRESS[name], address)
    engine.set(VALUE[name], value)
    engine.set("pc", 0x10_0000)
    return engine.run()


def resident() -> int:
    """Bytes of host memory in use by this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.mark.parametrize("name", ARCHES)
def test_code_written_from_outside_runs(make: Make, name: str) -> None:
    engine = make(name)
    engine.space.map_at(CODE, PAGE, 5)
    for n in (11, 22, 33):
        engine.memory.write(CODE, RETURNS[name](n))
        assert number(engine) == n
        assert number(engine) == n


@pytest.mark.parametrize("name", ARCHES)
def test_code_rewritten_by_the_guest_while_not_executable_runs(make: Make, name: str) -> None:
    engine = make(name)
    engine.space.map_at(CODE, PAGE, 5)
    engine.memory.write(CODE, RETURNS[name](1))
    assert number(engine) == 1
    engine.space.protect(CODE, PAGE, 3)
    for offset, byte in enumerate(RETURNS[name](2)):
        assert isinstance(guest(engine, STORE[name], CODE + offset, byte), SyscallStop)
    assert isinstance(guest(engine, LOAD[name], CODE), SyscallStop)
    engine.set("pc", CODE)
    assert isinstance(engine.run(), FaultStop)
    engine.space.protect(CODE, PAGE, 5)
    assert number(engine) == 2


@pytest.mark.parametrize("name", ARCHES)
def test_code_in_writable_pages_follows_the_guests_stores(make: Make, name: str) -> None:
    engine = make(name)
    engine.space.map_at(CODE, PAGE, 7)
    engine.memory.write(CODE, RETURNS[name](1))
    assert number(engine) == 1
    for offset, byte in enumerate(RETURNS[name](7)):
        guest(engine, STORE[name], CODE + offset, byte)
    assert number(engine) == 7


@pytest.mark.parametrize("name", ARCHES)
def test_unmap_and_map_again_restore_and_move(make: Make, name: str) -> None:
    engine = make(name)
    space = engine.space
    space.map_at(CODE, PAGE, 5)
    engine.memory.write(CODE, RETURNS[name](1))
    snap = space.snapshot()
    assert number(engine) == 1
    space.unmap(CODE, PAGE)
    space.map_at(CODE, PAGE, 5)
    assert engine.memory.read(CODE, PAGE) == bytes(PAGE)
    engine.memory.write(CODE, RETURNS[name](2))
    assert number(engine) == 2
    space.map_at(CODE, PAGE, 1)
    space.restore(snap)
    engine.memory.write(CODE, RETURNS[name](3))
    assert number(engine) == 3
    space.map_at(OTHER, PAGE, 5)
    engine.memory.write(OTHER, RETURNS[name](4))
    assert number(engine, OTHER) == 4
    space.move(OTHER, PAGE, CODE)
    assert number(engine) == 4
    engine.set("pc", OTHER)
    assert isinstance(engine.run(), FaultStop)


@pytest.mark.parametrize("freed", [False, True])
def test_discarded_code_is_gone(make: Make, freed: bool) -> None:
    engine = make()
    engine.space.map_at(CODE, 2 * PAGE, 5)
    engine.memory.write(CODE, RETURNS["x86_64"](1))
    if freed:
        engine.memory.may_free(CODE, CODE + PAGE)
    assert number(engine) == 1
    if freed:
        engine.memory.page_out(CODE, CODE + PAGE)
    else:
        engine.memory.discard(CODE, PAGE)
    assert engine.memory.read(CODE, 16) == bytes(16)
    engine.set("rax", 0)
    engine.set("pc", CODE)
    assert isinstance(engine.run(), FaultStop)  # add [rax], al


def test_huge_areas_cost_nothing(make: Make) -> None:
    engine = make()
    space = engine.space
    space.map_at(CODE, PAGE, 5)
    before = resident()
    space.map_at(1 << 40, 1 << 40, 0)
    space.map_at(3 << 40, 64 << 30, 3)
    assert isinstance(guest(engine, STORE["x86_64"], (3 << 40) + (33 << 30), 5), SyscallStop)
    space.protect(3 << 40, 64 << 30, 1)
    space.protect(1 << 40, 1 << 40, 3)
    assert isinstance(guest(engine, STORE["x86_64"], (1 << 40) + (700 << 30), 6), SyscallStop)
    assert engine.memory.read((3 << 40) + (33 << 30), 1) == b"\5"
    engine.memory.verify()
    space.unmap(1 << 40, 1 << 40)
    space.unmap(3 << 40, 64 << 30)
    assert resident() - before < 2 << 20
    space.map_at(1 << 40, 1 << 40, 3)
    assert engine.memory.read((1 << 40) + (700 << 30), 1) == b"\0"


def test_dirty_pages(make: Make) -> None:
    engine = make()
    memory = paged(engine)
    engine.space.map_at(DATA, 64 * PAGE, 3)
    guest(engine, LOAD["x86_64"], DATA)
    memory.take_dirty()
    guest(engine, LOAD["x86_64"], DATA)
    guest(engine, STORE["x86_64"], DATA + 5 * PAGE + 17)
    memory.write(DATA + 9 * PAGE - 1, b"xy")
    assert memory.take_dirty() - {0x10_0000} == {DATA + n * PAGE for n in (5, 8, 9)}
    guest(engine, LOAD["x86_64"], DATA + 5 * PAGE)
    assert memory.take_dirty() - {0x10_0000} == set()
    guest(engine, STORE["x86_64"], DATA + 5 * PAGE)
    assert memory.take_dirty() - {0x10_0000} == {DATA + 5 * PAGE}


@pytest.mark.parametrize("shared", [True, False])
def test_files_are_clipped_at_their_end_and_grow(make: Make, disk: Disk, shared: bool) -> None:
    engine = make()
    flags = VmFlag.SHARED if shared else VmFlag.NONE
    engine.space.map_at(DATA, 6 * PAGE, 3, flags, backing=File(disk, PAGE))
    assert engine.memory.read(DATA, 1) + engine.memory.read(DATA + PAGE, 5) == b"Bend\0\0"
    assert isinstance(guest(engine, STORE["x86_64"], DATA + 1, 0x7A), SyscallStop)
    disk.stream.seek(PAGE)
    assert disk.stream.read(2) == (b"Bz" if shared else b"BB")
    stop = guest(engine, LOAD["x86_64"], DATA + 2 * PAGE + 9)
    assert isinstance(stop, FaultStop)
    assert (stop.address, stop.mapped, stop.bus) == (DATA + 2 * PAGE + 9, True, True)
    disk.stream.truncate(5 * PAGE)
    assert isinstance(guest(engine, LOAD["x86_64"], DATA + 2 * PAGE + 9), SyscallStop)
    disk.stream.truncate(PAGE + 1)
    assert isinstance(guest(engine, LOAD["x86_64"], DATA), SyscallStop)
    stop = guest(engine, LOAD["x86_64"], DATA + PAGE)
    assert isinstance(stop, FaultStop)
    assert stop.bus
    engine.memory.verify()
    engine.space.map_at(DATA, 6 * PAGE, 3)
    assert engine.memory.read(DATA, PAGE) == bytes(PAGE)


def test_discard_of_private_file_pages_brings_the_file_back(make: Make, disk: Disk) -> None:
    engine = make()
    engine.space.map_at(DATA, PAGE, 3, backing=File(disk))
    engine.memory.write(DATA, b"changed")
    engine.memory.discard(DATA, PAGE)
    assert engine.memory.read(DATA, 7) == b"AAAAAAA"


def test_moves_carry_contents(make: Make, disk: Disk) -> None:
    engine = make()
    space, memory = engine.space, engine.memory
    size = 1 << 20
    space.map_at(DATA, size, 3)
    space.map_at(DATA + size, 4 * PAGE, 3, backing=File(disk))
    memory.write(DATA, b"first")
    memory.write(DATA + size - 4, b"last")
    memory.write(DATA + size + 1, b"file")
    for there in (OTHER, (5 << 40) - 8 * PAGE):
        space.move(DATA, size + 4 * PAGE, there)
        memory.verify()
        assert memory.read(there, 5) == b"first"
        assert memory.read(there + size - 4, 10) == b"lastAfileA"
        space.map_at(DATA, size, 3)
        assert memory.read(DATA, size) == bytes(size)
        space.move(there, size + 4 * PAGE, DATA)
    assert memory.read(DATA + size - 4, 10) == b"lastAfileA"


def _operations(disk: Disk) -> list[Callable[[Any], Any]]:
    return [
        lambda s: s.map_at(DATA + PAGE, 2 * PAGE, 1),
        lambda s: s.map_at(DATA + PAGE, 5 * PAGE, 3, VmFlag.SHARED, backing=File(disk)),
        lambda s: s.map_at(9 << 40, PAGE, 3),
        lambda s: s.unmap(DATA, 16 * PAGE),
        lambda s: s.protect(DATA + PAGE, 3 * PAGE, 0),
        lambda s: s.move(DATA, 6 * PAGE, OTHER),
        lambda s: s.move(DATA, 6 * PAGE, 9 << 40),
    ]


def _scene(engine: UnicornEngine, disk: Disk) -> Callable[[], Any]:
    """Regions of every kind with contents; a function that returns all there is to see."""
    space, memory = engine.space, engine.memory
    space.map_at(DATA, 4 * PAGE, 3)
    space.map_at(DATA + 4 * PAGE, 2 * PAGE, 3, backing=File(disk))
    space.map_at(OTHER, 2 * PAGE, 5)
    memory.write(DATA, b"0123" * PAGE)
    memory.write(DATA + 4 * PAGE, b"private")
    memory.write(OTHER, b"there")
    guest(engine, LOAD["x86_64"], DATA + PAGE)
    return lambda: (list(space), [memory.read(vma.start, vma.size) for vma in space])


def _refused(operation: Callable[[Any], Any], space: Any) -> bool:
    try:
        operation(space)
    except EngineError:
        return True
    return False


@pytest.mark.parametrize("index", range(7))
def test_a_refused_call_changes_nothing(make: Make, disk: Disk, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted in range(1, 20):
        engine = make()
        memory, see = paged(engine), _scene(engine, disk)
        before, calls = see(), 0

        def attempt(call: Any, *args: Any, wanted: int = wanted) -> Any:
            nonlocal calls
            calls += 1
            if calls == wanted:
                raise EngineError("refused")
            return call(*args)

        with monkeypatch.context() as patch:
            patch.setattr(memory, "attempt", attempt)
            refused = _refused(_operations(disk)[index], engine.space)
        memory.verify()
        if refused:
            assert see() == before
        elif calls < wanted:
            return
    pytest.fail("it never succeeds")


@pytest.mark.parametrize("index", range(7))
def test_a_later_subscribers_refusal_is_undone(make: Make, disk: Disk, index: int) -> None:
    for wanted in range(1, 20):
        engine = make()
        see = _scene(engine, disk)
        before, seen = see(), 0

        def refuse(_update: Any, wanted: int = wanted) -> None:
            nonlocal seen
            seen += 1
            if seen == wanted:
                raise EngineError("refused")

        engine.space.subscribe(refuse)
        refused = _refused(_operations(disk)[index], engine.space)
        engine.memory.verify()
        if not refused:
            assert seen < wanted
            return
        assert see() == before
        assert guest(engine, LOAD["x86_64"], DATA + PAGE) == SyscallStop(ord("0"), (DATA + PAGE, 0, 0, 0, 0, 0))
    pytest.fail("it never succeeds")


@pytest.mark.parametrize("seed", range(3))
def test_random_operations_against_a_model(make: Make, disk: Disk, seed: int) -> None:
    """A dict of pages as the model: contents and rights agree after every operation."""
    engine = make()
    space, memory, rng = engine.space, engine.memory, random.Random(seed)
    space.map_at(0x10_0000, PAGE, 5)
    model: dict[int, tuple[int, int]] = {}
    for _ in range(150):
        first, count = rng.randrange(40), rng.randint(1, 12)
        pages, kind = range(first, first + count), rng.randrange(6)
        at, length = DATA + first * PAGE, count * PAGE
        if kind == 0:
            prot = rng.choice([0, 1, 3, 3])
            space.map_at(at, length, prot)
            model.update({n: (prot, 0) for n in pages})
        elif kind == 1:
            space.unmap(at, length)
            for n in pages:
                model.pop(n, None)
        elif kind == 2:
            prot = rng.choice([0, 1, 3])
            space.protect(at, length, prot, holes="skip")
            model.update({n: (prot, model[n][1]) for n in pages if n in model})
        elif kind == 3:
            to = first + count + rng.randrange(20)
            space.move(at, length, DATA + to * PAGE)
            if any(n in model for n in pages):
                moved = {n - first + to: model.pop(n) for n in pages if n in model}
                for n in range(to, to + count):
                    model.pop(n, None)
                model.update(moved)
        else:
            value = rng.randrange(1, 256)
            stop = guest(engine, STORE["x86_64"], at + 7, value)
            if model.get(first, (0, 0))[0] & 2:
                assert isinstance(stop, SyscallStop)
                model[first] = (model[first][0], value)
            else:
                assert isinstance(stop, FaultStop)
                assert (stop.address, stop.mapped) == (at + 7, first in model)
        memory.verify()
        for n, (_, value) in model.items():
            assert memory.read(DATA + n * PAGE + 7, 1)[0] == value, (n, kind)


def test_no_memory_hook_stays_behind(make: Make) -> None:
    """A memory hook makes the engine translate every load and store into a form eight times slower."""
    engine = make()
    assert isinstance(guest(engine, LOAD["x86_64"], 0x70_0000), FaultStop)
    assert not paged(engine).refusals.watch
    paged(engine).refusals.always_hooked = True
    assert isinstance(guest(engine, LOAD["x86_64"], 0x70_0000), FaultStop)
    assert paged(engine).refusals.watch
    engine.space.map_at(0x70_0000, PAGE, 1)
    assert isinstance(guest(engine, LOAD["x86_64"], 0x70_0000), SyscallStop)
    assert not paged(engine).refusals.watch
