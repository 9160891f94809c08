"""What a kernel asks an engine about pages: withheld ones, first writes, residency, population, holes. All adapters alike."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from emuvm.abi.arch import BY_NAME
from emuvm.engine import hostmem, pagetable
from emuvm.engine.base import Access, Engine, FaultStop, Residency, SyscallStop
from emuvm.engine.memory import MemoryEngine
from emuvm.engine.pagetable import native_fill
from emuvm.engine.unicorn import UnicornEngine
from emuvm.errors import EngineError
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import Anon, File, VmFlag

from .guests import LOAD, PAGE, STORE, STORE8, TEXT, Disk, execute, load, store

DATA, OTHER = 0x60_0000, 0x7000_0000_0000
SHARED = VmFlag.SHARED | VmFlag.MAYSHARE | VmFlag.MAYWRITE
WRITTEN = Residency.PRESENT | Residency.PRIVATE | Residency.MAPPED
IN_FILE = Residency.PRESENT | Residency.FILE
MAPPED_FILE = IN_FILE | Residency.MAPPED

Build = Callable[[str], UnicornEngine]


@pytest.fixture(params=["native", "python", "regions"])
def build(request: pytest.FixtureRequest) -> Iterator[Build]:
    if request.param == "native" and not native_fill():
        pytest.skip("the C module is not built")
    engines: list[UnicornEngine] = []

    def make(name: str = "x86_64") -> UnicornEngine:
        arch = BY_NAME[name]
        space = AddressSpace(0, arch.task_size)
        adapter = "regions" if request.param == "regions" else "paged"
        engines.append(UnicornEngine(arch, space, adapter=adapter, native=request.param == "native"))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture(params=["x86_64", "arm64"])
def engine(request: pytest.FixtureRequest, build: Build) -> UnicornEngine:
    return build(request.param)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "file"
    path.write_bytes(b"A" * PAGE + b"B" * PAGE + b"C" * PAGE + b"end")
    opened = Disk(path)
    yield opened
    opened.stream.close()


class Guards:
    """A kernel's record of withheld ranges."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []

    def __call__(self, start: int, end: int) -> list[tuple[int, int]]:
        return [(max(low, start), min(high, end)) for low, high in self.ranges if low < end and start < high]


def faults(engine: UnicornEngine, code: dict[str, str], address: int) -> tuple[int, Access, bool]:
    stop = execute(engine, code, address)
    assert isinstance(stop, FaultStop), stop
    return stop.address, stop.access, stop.mapped


# -- withheld pages ---------------------------------------------------------------------------------------------------


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


# -- first writes -----------------------------------------------------------------------------------------------------


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


def test_first_writes_survive_a_full_log(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_first_writes_do_not_take_dirty_pages_away(build: Build) -> None:
    engine = build("x86_64")
    memory: Any = engine.memory
    if not hasattr(memory, "take_dirty"):
        pytest.skip("only the paged adapter has a dirty log")
    areas(engine, DATA)
    store(engine, DATA)
    memory.take_written()
    store(engine, DATA + PAGE)
    assert memory.take_dirty() >= {DATA, DATA + PAGE}
    assert DATA + PAGE not in memory.take_dirty()
    assert memory.take_written() == [DATA + PAGE]
    store(engine, DATA + PAGE)
    assert memory.take_dirty() == {DATA + PAGE}


def test_asking_for_first_writes_is_cheap_when_there_are_none(build: Build) -> None:
    engine = build("x86_64")
    areas(engine, DATA)
    store(engine, DATA)
    take = engine.memory.take_written
    take()
    best = 1.0
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(1000):
            take()
        best = min(best, time.perf_counter() - start)
    assert best < 0.002  # 0.2 us each, on a slow day ten times that


def test_a_store_that_had_to_wait_for_its_right_is_done_once(engine: UnicornEngine) -> None:
    """Instructions that read, modify and write, or move their pointer, and whose first write finds no right."""
    areas(engine, DATA)
    code = {"x86_64": "f048ff07", "arm64": "018400f8"}  # lock inc [rdi]; str x1, [x0], #8
    stop = execute(engine, code, DATA + 8, 1)
    assert isinstance(stop, SyscallStop)
    assert engine.memory.read(DATA + 8, 8) == (1).to_bytes(8, "little")
    assert engine.arch.name == "x86_64" or engine.get("x0") == DATA + 16
    assert DATA in engine.memory.take_written()


# -- residency --------------------------------------------------------------------------------------------------------


def bits(engine: UnicornEngine, start: int, pages: int) -> list[int]:
    found = engine.memory.residency(start, start + pages * PAGE)
    again = [0] * pages
    for low, high, value in engine.memory.resident(start, start + pages * PAGE):
        assert start <= low < high <= start + pages * PAGE
        for place in range(low, high, PAGE):
            again[(place - start) // PAGE] = value
    assert again == list(found)
    return again


@pytest.fixture(params=["scan", "entries"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to ask the host."""
    if request.param == "entries":
        monkeypatch.setattr("emuvm.engine.residency.scan_pages", lambda start, end: None)


@pytest.mark.usefixtures("way")
def test_anonymous_pages_are_resident_when_touched(engine: UnicornEngine) -> None:
    engine.space.map_at(DATA, 64 * PAGE, 3)
    assert bits(engine, DATA, 64) == [0] * 64
    load(engine, DATA + 2 * PAGE)
    store(engine, DATA + 5 * PAGE)
    engine.memory.write(DATA + 9 * PAGE, b"x")
    wanted = {2: Residency.PRESENT, 5: WRITTEN, 9: WRITTEN}
    assert bits(engine, DATA, 64) == [wanted.get(n, 0) for n in range(64)]
    store(engine, DATA + 2 * PAGE)
    engine.memory.discard(DATA + 5 * PAGE, PAGE)
    wanted = {2: WRITTEN, 9: WRITTEN}
    assert bits(engine, DATA, 64) == [wanted.get(n, 0) for n in range(64)]
    assert bits(engine, DATA + 2 * PAGE, 1) == [WRITTEN]
    engine.space.move(DATA, 64 * PAGE, OTHER)
    assert bits(engine, OTHER, 64) == [wanted.get(n, 0) for n in range(64)]
    engine.space.unmap(OTHER, 64 * PAGE)
    engine.space.map_at(OTHER, 64 * PAGE, 3)
    assert bits(engine, OTHER, 64) == [0] * 64


def test_memory_that_was_only_read_is_new_when_it_is_mapped_again(engine: UnicornEngine) -> None:
    engine.space.map_at(DATA, 4 * PAGE, 3)
    engine.memory.read(DATA, PAGE)
    engine.space.unmap(DATA, 4 * PAGE)
    engine.space.map_at(DATA, 4 * PAGE, 3)
    assert bits(engine, DATA, 4) == [0] * 4


def test_a_refused_store_does_not_touch_the_page_below(engine: UnicornEngine) -> None:
    engine.space.map_at(DATA, 4 * PAGE, 3)
    store(engine, DATA + 3 * PAGE)
    for _ in range(20):
        assert faults(engine, STORE, DATA + 4 * PAGE) == (DATA + 4 * PAGE, Access.WRITE, False)
    engine.space.protect(DATA + 2 * PAGE, PAGE, 1)
    assert faults(engine, STORE, DATA + 2 * PAGE + 9) == (DATA + 2 * PAGE + 9, Access.WRITE, True)
    assert bits(engine, DATA, 3) == [0] * 3


@pytest.mark.usefixtures("way")
def test_file_pages_are_resident_in_the_page_cache(engine: UnicornEngine, disk: Disk) -> None:
    disk.stream.truncate(4 * PAGE)
    disk.content(0, 4 * PAGE)
    engine.space.map_at(DATA, 4 * PAGE, 3, backing=File(disk))
    engine.space.map_at(OTHER, 4 * PAGE, 3, SHARED, backing=File(disk))
    assert {bit | Residency.MAPPED for bit in bits(engine, DATA, 4)} == {MAPPED_FILE}
    store(engine, DATA + PAGE)
    store(engine, OTHER + 2 * PAGE)
    assert bits(engine, DATA, 4)[1] == WRITTEN
    assert bits(engine, OTHER, 4)[2] == MAPPED_FILE


def test_a_sparse_terabyte_costs_nothing(engine: UnicornEngine) -> None:
    start = 1 << 40
    engine.space.map_at(start, 1 << 40, 3)
    store(engine, start + (700 << 30))
    began = time.perf_counter()
    assert engine.memory.resident(start, start + (1 << 40)) == [(start + (700 << 30), start + (700 << 30) + PAGE, WRITTEN)]
    assert time.perf_counter() - began < 0.1


def test_a_sparse_terabyte_of_a_shared_object_costs_nothing(engine: UnicornEngine) -> None:
    start, size = 1 << 40, 1 << 40
    fd = os.memfd_create("sparse")
    os.ftruncate(fd, size)

    class Object:
        def fileno(self) -> int:
            return fd

        def size(self) -> int:
            return size

    began = time.perf_counter()
    engine.space.map_at(start, size, 3, SHARED | VmFlag.NORESERVE, backing=File(Object()))
    store(engine, start + (700 << 30) + 5, 77)
    os.pwrite(fd, b"x", 900 << 30)
    page = start + (700 << 30)
    cached = start + (900 << 30)
    assert engine.memory.resident(start, start + size) == [(page, page + PAGE, MAPPED_FILE), (cached, cached + PAGE, IN_FILE)]
    assert os.pread(fd, 1, (700 << 30) + 5) == b"M"
    engine.memory.punch(page, PAGE)
    assert load(engine, page + 5) == 0
    assert os.fstat(fd).st_blocks * 512 <= 2 * PAGE
    engine.memory.verify()
    engine.space.unmap(start, size)
    assert time.perf_counter() - began < 0.5
    os.close(fd)


def test_huge_pages_of_the_host_are_not_used(engine: UnicornEngine) -> None:
    engine.space.map_at(1 << 40, 64 << 20, 3)
    store(engine, (1 << 40) + (33 << 20))
    flags = []
    with open("/proc/self/smaps") as stream:
        for line in stream:
            if line.startswith("VmFlags:"):
                flags.append(line.split())
            elif "-" in line.split()[0]:
                low, high = (int(x, 16) for x in line.split()[0].split("-"))
                flags.append([str(high - low)])
    sizes = {int(size[0]): names for size, names in zip(flags[::2], flags[1::2], strict=True)}
    big = [names for size, names in sizes.items() if size >= 1 << 20 and "nr" in names and "wr" in names]
    assert any("nh" in names for names in big)
    assert len(engine.memory.resident(1 << 40, (1 << 40) + (64 << 20))) == 1


# -- population, holes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old_host", [False, True])
def test_population_touches_every_page(engine: UnicornEngine, disk: Disk, old_host: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if old_host:
        monkeypatch.setattr(hostmem, "_POPULATE_READ", 222)
        monkeypatch.setattr(hostmem, "_POPULATE_WRITE", 222)
        monkeypatch.setattr("emuvm.engine.portable._POPULATE_READ", 222)
        monkeypatch.setattr("emuvm.engine.portable._POPULATE_WRITE", 222)
    memory, space = engine.memory, engine.space
    space.map_at(DATA, 8 * PAGE, 3)
    space.map_at(DATA + 8 * PAGE, 3 * PAGE, 3, backing=File(disk))
    memory.populate(DATA, DATA + 2 * PAGE, write=False)
    memory.take_written()
    assert bits(engine, DATA, 8) == [Residency.PRESENT] * 2 + [0] * 6
    memory.populate(DATA + PAGE, DATA + 10 * PAGE, write=True)
    assert bits(engine, DATA, 11)[:10] == [Residency.PRESENT] + [WRITTEN] * 9
    assert memory.take_written() == [DATA + PAGE, DATA + 8 * PAGE]
    assert memory.read(DATA + 8 * PAGE, PAGE) == b"A" * PAGE
    assert disk.content(0, 1) == b"A"
    space.map_at(OTHER, 3 * PAGE, 3, SHARED, backing=File(disk))
    memory.populate(OTHER, OTHER + 3 * PAGE, write=True)
    assert bits(engine, OTHER, 3) == [MAPPED_FILE] * 3
    assert memory.take_written() == []
    with pytest.raises(EngineError):
        memory.populate(OTHER, OTHER + 4 * PAGE, write=False)
    memory.verify()


def test_population_reaches_pages_of_a_file_that_has_grown(engine: UnicornEngine, disk: Disk) -> None:
    engine.space.map_at(OTHER, 6 * PAGE, 3, SHARED, backing=File(disk))
    disk.stream.truncate(6 * PAGE)
    engine.memory.populate(OTHER, OTHER + 6 * PAGE, write=True)
    assert bits(engine, OTHER, 6) == [MAPPED_FILE] * 6


def test_a_hole_is_seen_by_all_who_map_the_object(engine: UnicornEngine, disk: Disk) -> None:
    memory, space = engine.memory, engine.space
    for place in (DATA, OTHER):
        space.map_at(place, 3 * PAGE, 3, SHARED, backing=File(disk))
    assert load(engine, OTHER + PAGE) == ord("B")
    memory.punch(DATA + PAGE, PAGE)
    assert load(engine, DATA + PAGE) == load(engine, OTHER + PAGE) == 0
    assert load(engine, DATA) == ord("A")
    assert disk.content(PAGE - 1, 3) == b"A\0\0"
    assert disk.size() == 3 * PAGE + 3
    store(engine, DATA + PAGE, 9)
    assert disk.content(PAGE, 1) == b"\x09"
    space.map_at(DATA, PAGE, 3)
    with pytest.raises(EngineError):
        memory.punch(DATA, 2 * PAGE)
    memory.verify()


def test_code_in_a_hole_is_gone(engine: UnicornEngine, disk: Disk) -> None:
    other = OTHER + 16 * PAGE
    for place, prot in ((DATA, 3), (other, 5)):
        engine.space.map_at(place, PAGE, prot, SHARED, backing=File(disk))
    code = {"x86_64": b"\x0f\x05", "arm64": bytes.fromhex("010000d4")}[engine.arch.name]
    engine.memory.write(DATA, code)
    engine.set("pc", other)
    assert isinstance(engine.run(), SyscallStop)
    engine.memory.punch(DATA, PAGE)
    for register in ("rax", "rcx") if engine.arch.name == "x86_64" else ():
        engine.set(register, 0)
    engine.set("pc", other)
    assert not isinstance(engine.run(), SyscallStop)  # zeros: a store to address 0; an undefined instruction


# -- files ------------------------------------------------------------------------------------------------------------


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


# -- updates that change nothing --------------------------------------------------------------------------------------


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


# -- faults -----------------------------------------------------------------------------------------------------------


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


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_a_refused_host_call_changes_nothing(build: Build, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
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
        lambda: memory.residency(DATA, DATA + PAGE),
        lambda: memory.resident(OTHER, OTHER + PAGE),
    ]
    for operation in operations:
        seen = [memory.read(DATA, 4 * PAGE), memory.read(OTHER, PAGE), bits(engine, DATA, 4)]

        def refuse(*_args: Any) -> Any:
            raise EngineError("refused")

        with monkeypatch.context() as patch:
            patch.setattr(memory, "attempt", refuse)
            with pytest.raises(EngineError, match="refused"):
                operation()
        assert seen == [memory.read(DATA, 4 * PAGE), memory.read(OTHER, PAGE), bits(engine, DATA, 4)]
        assert memory.take_written() == []
        memory.verify()
        operation()
        memory.take_written()


def test_the_engine_without_cpu_knows_pages_too(disk: Disk) -> None:
    memory = MemoryEngine(BY_NAME["x86_64"], AddressSpace(0, 1 << 47)).memory
    space = memory.space
    space.map_at(DATA, 4 * PAGE, 3)
    space.map_at(OTHER, 3 * PAGE, 3, SHARED, backing=File(disk))
    memory.populate(DATA, DATA + PAGE, write=False)
    memory.write(OTHER, b"x")
    assert memory.take_written() == []
    memory.write(DATA + 2 * PAGE, b"x")
    memory.populate(DATA + PAGE, DATA + 3 * PAGE, write=True)
    assert memory.take_written() == [DATA + 2 * PAGE, DATA + PAGE]
    assert list(memory.residency(DATA, DATA + 4 * PAGE)) == [1, WRITTEN, WRITTEN, 0]
    assert list(memory.residency(OTHER, OTHER + 3 * PAGE)) == [MAPPED_FILE] * 3
    memory.punch(OTHER, PAGE)
    assert memory.read(OTHER, 2 * PAGE) == bytes(PAGE) + b"B" * PAGE
    space.move(DATA, 4 * PAGE, DATA + 16 * PAGE)
    space.map_at(DATA, 4 * PAGE, 3)
    memory.write(DATA + 2 * PAGE, b"x")
    memory.write(DATA + 18 * PAGE, b"x")
    assert memory.take_written() == [DATA + 2 * PAGE]
    for operation in (
        lambda: memory.populate(DATA, DATA + PAGE, write=True),
        lambda: memory.punch(OTHER, PAGE),
        lambda: memory.residency(DATA, DATA + PAGE),
    ):
        memory.fail_at = 1
        with pytest.raises(EngineError, match="as asked"):
            operation()
    assert memory.take_written() == []
    memory.discard(DATA, 4 * PAGE)
    assert memory.residency(DATA, DATA + 4 * PAGE) == bytes(4)
