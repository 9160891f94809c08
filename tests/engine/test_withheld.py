"""Withheld pages (MADV_GUARD_INSTALL), and random operations with them. All adapters alike."""

from __future__ import annotations

import random

import pytest

from emuvm.abi.arch import BY_NAME
from emuvm.engine.base import Access, FaultStop, SyscallStop
from emuvm.engine.memory import MemoryEngine
from emuvm.engine.unicorn import UnicornEngine
from emuvm.mm.space import AddressSpace

from .conftest import Make
from .guests import DATA, LOAD, PAGE, STORE, TEXT, Guards, execute, faults, load, store


def test_withheld_pages_fault_as_if_not_mapped_and_their_neighbours_do_not(engine: UnicornEngine) -> None:
    guards = Guards()
    engine.memory.withheld = guards
    engine.space.map_at(DATA, 16 * PAGE, 7)
    for n in range(16):
        store(engine, DATA + n * PAGE, n)
    guards.ranges = [(DATA + 3 * PAGE, DATA + 4 * PAGE), (DATA + 7 * PAGE, DATA + 9 * PAGE)]
    for low, high in guards.ranges:
        engine.memory.withdraw(low, high)
    engine.memory.verify()
    for page in (3, 7, 8):
        place = DATA + page * PAGE + 0x123
        assert faults(engine, LOAD, place) == (place, Access.READ, False)
        assert faults(engine, STORE, place) == (place, Access.WRITE, False)
        engine.set("pc", place)
        stop = engine.run()
        assert isinstance(stop, FaultStop)
        assert (stop.address, stop.access, stop.mapped) == (place, Access.EXEC, False)
    for page in (2, 4, 5, 6, 9, 15):
        assert load(engine, DATA + page * PAGE) == page
    engine.memory.verify()
    old, guards.ranges = guards.ranges, [(DATA, DATA + PAGE)]
    for low, high in [*old, *guards.ranges]:
        engine.memory.withdraw(low, high)
    assert [load(engine, DATA + n * PAGE) for n in range(1, 16)] == list(range(1, 16))
    assert faults(engine, LOAD, DATA + PAGE - 1) == (DATA + PAGE - 1, Access.READ, False)
    assert engine.memory.read(DATA, 1) == b"\0"
    engine.memory.verify()


def test_pages_withheld_before_they_were_touched(engine: UnicornEngine) -> None:
    guards = Guards()
    engine.memory.withheld = guards
    guards.ranges = [(DATA + 2 * PAGE, DATA + 3 * PAGE)]
    engine.space.map_at(DATA, 8 * PAGE, 3)
    engine.memory.withdraw(DATA + 2 * PAGE, DATA + 3 * PAGE)
    store(engine, DATA + PAGE)
    store(engine, DATA + 3 * PAGE)
    assert faults(engine, STORE, DATA + 2 * PAGE) == (DATA + 2 * PAGE, Access.WRITE, False)
    engine.space.protect(DATA, 8 * PAGE, 0)
    engine.space.protect(DATA, 8 * PAGE, 3)
    assert faults(engine, STORE, DATA + 2 * PAGE) == (DATA + 2 * PAGE, Access.WRITE, False)
    store(engine, DATA + 3 * PAGE)
    engine.memory.verify()


def test_the_engine_without_cpu_withholds_too() -> None:
    plain = MemoryEngine(BY_NAME["x86_64"], AddressSpace(0, 1 << 47)).memory
    plain.space.map_at(DATA, 2 * PAGE, 3)
    plain.withheld = Guards()
    plain.withheld.ranges = [(DATA, DATA + PAGE)]
    plain.withdraw(DATA, DATA + PAGE)
    assert plain.allows(DATA + 5, Access.READ) == FaultStop(DATA + 5, Access.READ, 1, mapped=False)
    assert plain.allows(DATA + PAGE, Access.READ) is None


class World:
    """A dict of pages as the model: rights, a byte, and the area each page belongs to; withheld pages; areas written to."""

    def __init__(self, engine: UnicornEngine, rng: random.Random) -> None:
        self.engine, self.rng = engine, rng
        self.pages: dict[int, tuple[int, int]] = {}
        self.guards = Guards()
        engine.memory.withheld = self.guards

    def withhold(self, pages: range, *, yes: bool) -> None:
        hidden = {low for low, _ in self.guards.ranges}
        places = {DATA + n * PAGE for n in pages}
        hidden = hidden | {place for place in places if (place - DATA) // PAGE in self.pages} if yes else hidden - places
        self.guards.ranges = [(low, low + PAGE) for low in sorted(hidden)]
        self.engine.memory.withdraw(DATA + pages.start * PAGE, DATA + pages.stop * PAGE)

    def step(self) -> None:
        rng, space = self.rng, self.engine.space
        first, count = rng.randrange(24), rng.randint(1, 8)
        pages, at, length = range(first, first + count), DATA + first * PAGE, count * PAGE
        kind = rng.randrange(8)
        if kind == 0:
            prot = rng.choice([0, 1, 3, 3, 7])
            space.map_at(at, length, prot, rng.choice([0x100, 0x200]))
            self.withhold(pages, yes=False)
            self.pages.update({n: (prot, 0) for n in pages})
        elif kind == 1:
            space.unmap(at, length)
            self.withhold(pages, yes=False)
            for n in pages:
                self.pages.pop(n, None)
        elif kind == 2:
            prot = rng.choice([0, 1, 3])
            space.protect(at, length, prot, holes="skip")
            self.pages.update({n: (prot, self.pages[n][1]) for n in pages if n in self.pages})
        elif kind == 3 and all(n in self.pages for n in pages):
            to = first + count + rng.randrange(10)
            space.move(at, length, DATA + to * PAGE)
            self.withhold(range(first, to + count), yes=False)
            moved = {n - first + to: self.pages.pop(n) for n in pages}
            self.pages.update(moved)
        elif kind == 4:
            self.withhold(range(first, first + 2), yes=rng.random() < 0.6)
        else:
            self.access(first, at + 7)

    def access(self, page: int, place: int) -> None:
        value, hidden = self.rng.randrange(1, 256), bool(self.guards(place, place + 1))
        self.engine.memory.take_written()
        stop = execute(self.engine, STORE, place, value)
        if self.pages.get(page, (0, 0))[0] & 2 and not hidden:
            assert isinstance(stop, SyscallStop)
            self.pages[page] = (self.pages[page][0], value)
            assert [n for n in self.engine.memory.take_written() if n != TEXT] in ([], [place & -PAGE])
        else:
            assert isinstance(stop, FaultStop)
            allowed = bool(self.pages.get(page, (0, 0))[0] & 2)
            assert (stop.address, stop.mapped) == (place, page in self.pages and not (hidden and allowed))


@pytest.mark.parametrize("seed", range(4))
def test_random_operations_with_withheld_pages_and_first_writes(build: Make, seed: int) -> None:
    engine = build("x86_64" if seed % 2 else "arm64")
    world = World(engine, random.Random(seed))
    for _ in range(200):
        world.step()
        engine.memory.verify()
        for n, (_, value) in world.pages.items():
            assert engine.memory.read(DATA + n * PAGE + 7, 1)[0] == value
    for vma in list(engine.space.regions(DATA, 64 * PAGE)):
        # Every area that the guest writes to now, and that nobody wrote to before, is told.
        if vma.prot & 2:
            world.guards.ranges = []
            engine.memory.withdraw(vma.start, vma.end)
            engine.space.map_at(vma.start, vma.size, 3, 0x400)
            engine.memory.take_written()
            store(engine, vma.end - 1)
            assert engine.memory.take_written() == [vma.end - PAGE]
