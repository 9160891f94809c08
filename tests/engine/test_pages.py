"""File pages, updates that change nothing, faults, refusals. All adapters alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emuvm.engine.base import Access, FaultStop
from emuvm.engine.unicorn import UnicornEngine
from emuvm.errors import EngineError
from emuvm.mm.types import Anon, File, VmFlag

from .conftest import Make
from .guests import DATA, LOAD, OTHER, PAGE, STORE, STORE8, Disk, execute, faults, load, store

SHARED = VmFlag.SHARED | VmFlag.MAYSHARE | VmFlag.MAYWRITE


def test_a_shared_mapping_of_a_file_open_for_reading_only(engine: UnicornEngine, disk: Disk, tmp_path: Path) -> None:
    memory, space = engine.memory, engine.space
    readable = Disk(tmp_path / "file", "rb")
    space.map_at(DATA, 3 * PAGE, 1, VmFlag.MAYSHARE, backing=File(readable))
    assert load(engine, DATA) == ord("A")
    disk.stream.seek(5)
    disk.stream.write(b"new")
    assert memory.read(DATA + 4, 5) == b"AnewA"
    assert load(engine, DATA + 5) == ord("n")
    memory.discard(DATA, PAGE)
    assert load(engine, DATA + 5) == ord("n")
    with pytest.raises(EngineError, match="reading only"):
        memory.write(DATA, b"x")
    assert faults(engine, STORE, DATA + 7) == (DATA + 7, Access.WRITE, True)
    with pytest.raises(EngineError, match="reading only"):
        space.protect(DATA, PAGE, 3)
    with pytest.raises(EngineError):
        space.map_at(OTHER, PAGE, 3, VmFlag.SHARED, backing=File(readable))
    assert space.query(OTHER) is None
    memory.verify()
    space.unmap(DATA, 3 * PAGE)
    readable.stream.close()


@pytest.mark.parametrize("flags", [SHARED, VmFlag.MAYWRITE])
def test_stores_behind_the_end_of_a_file_stay_in_the_page(engine: UnicornEngine, disk: Disk, flags: int) -> None:
    engine.space.map_at(DATA, 6 * PAGE, 3, flags, backing=File(disk))
    last = DATA + 3 * PAGE
    assert [load(engine, last + n) for n in (2, 3, PAGE - 1)] == [ord("d"), 0, 0]
    store(engine, last + 3, 7)
    store(engine, last + PAGE - 1, 8)
    assert [load(engine, last + n) for n in (3, PAGE - 1)] == [7, 8]
    assert disk.size() == 3 * PAGE + 3
    stop = execute(engine, LOAD, last + PAGE + 1)
    assert isinstance(stop, FaultStop)
    assert (stop.address, stop.bus, stop.mapped) == (last + PAGE + 1, True, True)
    disk.stream.truncate(5 * PAGE)
    assert load(engine, last + PAGE + 1) == 0
    engine.memory.verify()


def test_truncation_takes_written_private_pages_too(engine: UnicornEngine, disk: Disk) -> None:
    engine.space.map_at(DATA, 3 * PAGE, 3, VmFlag.MAYWRITE, backing=File(disk))
    store(engine, DATA + PAGE, 1)
    store(engine, DATA, 2)
    disk.stream.truncate(1)
    stop = execute(engine, LOAD, DATA + PAGE)
    assert isinstance(stop, FaultStop)
    assert stop.bus
    assert load(engine, DATA) == 2
    disk.stream.truncate(2 * PAGE)
    assert load(engine, DATA + PAGE) == 0
    engine.memory.verify()


def test_bookkeeping_of_the_space_does_not_reach_the_engine(engine: UnicornEngine, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags, anon and names change; rights do not."""
    from emuvm.mm.types import Kind, Update

    memory: Any = engine.memory
    space = engine.space
    space.map_at(DATA, 4 * PAGE, 3, backing=Anon(DATA))
    space.map_at(OTHER, 3 * PAGE, 3, backing=File(disk))
    store(engine, DATA, 3)
    store(engine, OTHER, 4)
    for place, backing in ((DATA, Anon(DATA, 7, b"name")), (OTHER, File(disk, 0, 7))):
        old = space.query(place)
        assert old is not None
        new = old._replace(flags=old.flags | VmFlag.LOCKED, backing=backing)
        update = Update(Kind.PROTECT, old.start, old.end, old, new)

        def forbidden(*_args: Any) -> Any:
            raise AssertionError("the engine was asked")

        with monkeypatch.context() as patch:
            patch.setattr(memory, "attempt", forbidden)
            memory._update(update)
            memory._update(update.inverse())
            memory._update(update)
            memory._committed()
    memory.verify()
    assert not memory._pending
    assert (load(engine, DATA), load(engine, OTHER)) == (3, 4)


def test_a_file_region_may_be_split(engine: UnicornEngine, disk: Disk) -> None:
    engine.space.map_at(DATA, 3 * PAGE, 3, backing=File(disk))
    engine.space.protect(DATA + PAGE, PAGE, 1)
    engine.memory.verify()
    assert [load(engine, DATA + n * PAGE) for n in range(3)] == [65, 66, 67]


def test_many_faults_have_exact_addresses_and_store_nothing(engine: UnicornEngine) -> None:
    """More than are told by a hook; every kind of place, a page border among them."""
    space, memory = engine.space, engine.memory
    space.map_at(DATA, 4 * PAGE, 3)
    space.protect(DATA + 2 * PAGE, PAGE, 1)
    memory.write(DATA, bytes(range(256)) * 64)
    before = memory.read(DATA, 4 * PAGE)
    for n in range(60):
        place = DATA + 2 * PAGE + 61 * n
        assert faults(engine, STORE8, place) == (place, Access.WRITE, True)
        if n % 3 == 0:
            assert faults(engine, LOAD, OTHER + n) == (OTHER + n, Access.READ, False)
        if n % 5 == 0 and engine.memory.__class__.__name__ == "PagedMemory":
            assert faults(engine, STORE8, DATA + 2 * PAGE - 3) == (DATA + 2 * PAGE, Access.WRITE, True)
        if n % 7 == 0:
            store(engine, DATA + 3 * PAGE, before[3 * PAGE])
    assert memory.read(DATA, 4 * PAGE) == before
    assert execute(engine, STORE8, DATA + PAGE, 5) is not None
    assert memory.read(DATA + PAGE, 8) == (5).to_bytes(8, "little")


def test_faults_in_the_kernels_half(build: Make) -> None:
    engine = build("x86_64")
    for place in (0xFFFF_8000_0000_1003, 0xFFFF_FFFF_FFFF_F000):
        assert faults(engine, LOAD, place) == (place, Access.READ, False)
        assert faults(engine, STORE, place) == (place, Access.WRITE, False)


def test_a_write_barrier(engine: UnicornEngine) -> None:
    """Pages are made read-only and writable again, one by one, as a garbage collector does it."""
    space = engine.space
    space.map_at(DATA, 64 * PAGE, 3)
    for n in range(64):
        store(engine, DATA + n * PAGE, n)
    for _ in range(3):
        space.protect(DATA, 64 * PAGE, 1)
        for n in range(64):
            place = DATA + n * PAGE + n
            assert faults(engine, STORE, place) == (place, Access.WRITE, True)
            space.protect(place & -PAGE, PAGE, 3)
            store(engine, place, n)
            assert load(engine, place) == n
        engine.memory.verify()


def test_a_refused_host_call_changes_nothing(build: Make, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = build("x86_64")
    memory: Any = engine.memory
    engine.space.map_at(DATA, 4 * PAGE, 3)
    engine.space.map_at(OTHER, 3 * PAGE, 3, SHARED, backing=File(disk))
    store(engine, DATA)
    memory.take_written()
    operations: list[Callable[[], Any]] = [
        lambda: memory.populate(DATA, DATA + 4 * PAGE, write=True),
        lambda: memory.populate(OTHER, OTHER + PAGE, write=False),
        lambda: memory.punch(OTHER, PAGE),
        lambda: memory.residency(DATA, DATA + 2 * PAGE),
        lambda: memory.resident(OTHER, OTHER + PAGE),
    ]
    for operation in operations:
        seen = [memory.read(DATA, 4 * PAGE), memory.read(OTHER, PAGE), engine.memory.residency(DATA, DATA + 4 * PAGE)]

        def refuse(*_args: Any) -> Any:
            raise EngineError("refused")

        with monkeypatch.context() as patch:
            patch.setattr(memory, "attempt", refuse)
            with pytest.raises(EngineError, match="refused"):
                operation()
        assert seen == [memory.read(DATA, 4 * PAGE), memory.read(OTHER, PAGE), engine.memory.residency(DATA, DATA + 4 * PAGE)]
        assert memory.take_written() == []
        memory.verify()
        operation()
        memory.take_written()
