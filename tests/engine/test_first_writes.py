"""First writes in order, as Linux's anon_vma needs them. All adapters alike."""

from __future__ import annotations

from typing import Any

import pytest

from emuvm.engine import pagetable
from emuvm.engine.base import Engine, SyscallStop
from emuvm.engine.unicorn import UnicornEngine
from emuvm.mm.types import File, VmFlag

from .conftest import Make
from .guests import DATA, OTHER, PAGE, TEXT, Disk, execute, load, store
from .work import calls_of

SHARED = VmFlag.SHARED | VmFlag.MAYSHARE | VmFlag.MAYWRITE


def areas(engine: Engine, *places: int) -> None:
    """Areas of four pages that do not merge."""
    for n, place in enumerate(places):
        engine.memory.space.map_at(place, 4 * PAGE, 3, 0x100 << n)  # type: ignore[attr-defined]


def test_first_writes_are_told_in_order(engine: UnicornEngine) -> None:
    memory = engine.memory
    places = [DATA + 4 * n * PAGE for n in range(5)]
    areas(engine, *places)
    load(engine, places[0])
    assert memory.take_written() == [TEXT]  # the code that was put there
    for n in (3, 1, 4):
        store(engine, places[n] + PAGE + 5)
        load(engine, places[0])
    memory.write(places[0] + 2 * PAGE, b"x")
    store(engine, places[2])
    store(engine, places[3])
    assert [page - PAGE if page == places[n] + PAGE else page for page, n in zip(memory.take_written(), (3, 1, 4, 0, 2), strict=False)][
        :5
    ] == [places[3], places[1], places[4], places[0] + 2 * PAGE, places[2]]
    assert memory.take_written() == []
    memory.verify()


def test_what_is_new_at_an_old_address_is_told_again(engine: UnicornEngine) -> None:
    memory, space = engine.memory, engine.space
    areas(engine, DATA)
    store(engine, DATA)
    assert DATA in memory.take_written()
    space.unmap(DATA, 4 * PAGE)
    areas(engine, DATA)
    load(engine, DATA)
    assert memory.take_written() == []
    store(engine, DATA)
    assert memory.take_written() == [DATA]
    space.map_at(DATA, 4 * PAGE, 3, 0x200)
    store(engine, DATA + PAGE)
    assert memory.take_written() == [DATA + PAGE]
    areas(engine, OTHER)
    space.move(OTHER, 4 * PAGE, DATA)
    store(engine, DATA + PAGE)
    assert memory.take_written() == [DATA + PAGE]
    memory.verify()


def test_protection_does_not_lose_a_first_write(engine: UnicornEngine) -> None:
    memory, space = engine.memory, engine.space
    space.map_at(DATA, 4 * PAGE, 1)
    load(engine, DATA)
    memory.take_written()
    space.protect(DATA, 4 * PAGE, 3)
    load(engine, DATA)
    store(engine, DATA + 2 * PAGE)
    assert memory.take_written() == [DATA + 2 * PAGE]
    space.protect(DATA, 2 * PAGE, 1)
    space.protect(DATA, 2 * PAGE, 3)
    store(engine, DATA)
    assert memory.take_written() in ([], [DATA])
    memory.verify()


def test_what_is_gone_and_what_is_shared_is_not_told(engine: UnicornEngine, disk: Disk) -> None:
    memory, space = engine.memory, engine.space
    areas(engine, DATA)
    space.map_at(OTHER, PAGE, 3, SHARED, backing=File(disk))
    space.map_at(OTHER + PAGE, PAGE, 3, VmFlag.MAYWRITE, backing=File(disk))
    store(engine, DATA)
    store(engine, OTHER)
    memory.write(OTHER, b"x")
    store(engine, OTHER + PAGE)
    space.unmap(DATA, 4 * PAGE)
    assert [page for page in memory.take_written() if page != TEXT] == [OTHER + PAGE]


def test_first_writes_survive_a_full_log(build: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagetable, "_LOG", 8)
    engine = build("x86_64")
    places = [DATA + 4 * n * PAGE for n in range(40)]
    for n, place in enumerate(places):
        engine.space.map_at(place, 4 * PAGE, 3, 0x100 << n % 2)
    for n, place in enumerate(reversed(places)):
        if n % 7 == 3:
            engine.memory.write(place + PAGE, b"host")
        else:
            store(engine, place + PAGE)
    written = [page for page in engine.memory.take_written() if page != TEXT]
    assert written == [place + PAGE for place in reversed(places)]
    assert engine.memory.take_written() == []


def test_first_writes_do_not_take_dirty_pages_away(make: Make) -> None:
    engine = make("x86_64")
    memory: Any = engine.memory
    areas(engine, DATA)
    store(engine, DATA)
    memory.take_written()
    store(engine, DATA + PAGE)
    assert memory.take_dirty() >= {DATA, DATA + PAGE}
    assert DATA + PAGE not in memory.take_dirty()
    assert memory.take_written() == [DATA + PAGE]
    store(engine, DATA + PAGE)
    assert memory.take_dirty() == {DATA + PAGE}


def test_asking_for_first_writes_is_cheap_when_there_are_none(build: Make) -> None:
    engine = build("x86_64")
    areas(engine, DATA)
    store(engine, DATA)
    take = engine.memory.take_written
    take()
    assert calls_of(take) <= 4


def test_a_store_that_had_to_wait_for_its_right_is_done_once(engine: UnicornEngine) -> None:
    """Instructions that read, modify and write, or move their pointer, and whose first write finds no right."""
    areas(engine, DATA)
    code = {"x86_64": "f048ff07", "arm64": "018400f8"}  # lock inc [rdi]; str x1, [x0], #8
    stop = execute(engine, code, DATA + 8, 1)
    assert isinstance(stop, SyscallStop)
    assert engine.memory.read(DATA + 8, 8) == (1).to_bytes(8, "little")
    assert engine.arch.name == "x86_64" or engine.get("x0") == DATA + 16
    assert DATA in engine.memory.take_written()
