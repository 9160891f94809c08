"""Which pages are in memory, population, holes. All adapters alike."""

from __future__ import annotations

import os

import pytest

from emuvm.abi.arch import BY_NAME
from emuvm.engine import hostmem
from emuvm.engine.base import Access, Residency, SyscallStop
from emuvm.engine.memory import MemoryEngine
from emuvm.engine.unicorn import UnicornEngine
from emuvm.errors import EngineError
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import File, VmFlag

from .guests import DATA, OTHER, PAGE, STORE, Disk, faults, load, store
from .work import calls_of

SHARED = VmFlag.SHARED | VmFlag.MAYSHARE | VmFlag.MAYWRITE
WRITTEN = Residency.PRESENT | Residency.PRIVATE | Residency.MAPPED
IN_FILE = Residency.PRESENT | Residency.FILE
MAPPED_FILE = IN_FILE | Residency.MAPPED


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
    found: list[tuple[int, int, int]] = []
    assert calls_of(lambda: found.extend(engine.memory.resident(start, start + (1 << 40)))) < 500
    assert found == [(start + (700 << 30), start + (700 << 30) + PAGE, WRITTEN)]


def test_a_sparse_terabyte_of_a_shared_object_costs_nothing(engine: UnicornEngine) -> None:
    start, size = 1 << 40, 1 << 40
    fd = os.memfd_create("sparse")
    os.ftruncate(fd, size)

    class Object:
        def fileno(self) -> int:
            return fd

        def size(self) -> int:
            return size

    def work() -> None:
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

    assert calls_of(work) < 2000
    os.close(fd)


def test_huge_pages_of_the_host_are_not_used(engine: UnicornEngine) -> None:
    engine.space.map_at(1 << 40, 64 << 20, 3)
    store(engine, (1 << 40) + (33 << 20))
    big: list[list[str]] = []
    size = 0
    with open("/proc/self/smaps") as stream:
        for line in stream:
            first, *rest = line.split()
            if first == "VmFlags:":
                if size >= 1 << 20 and "nr" in rest and "wr" in rest:
                    big.append(rest)
            elif "-" in first:
                low, high = (int(x, 16) for x in first.split("-"))
                size = high - low
    assert any("nh" in names for names in big)
    assert len(engine.memory.resident(1 << 40, (1 << 40) + (64 << 20))) == 1


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


def test_the_page_map_is_the_process_s_own_and_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    if hostmem.scan_pages(0, PAGE) is None:
        pytest.skip("a host without PAGEMAP_SCAN")
    kept = hostmem._pagemap
    assert kept[0] == os.getpid() and hostmem.scan_pages(0, PAGE) == [] and hostmem._pagemap == kept
    page = hostmem.host_map_fresh(PAGE)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        # Written in the child only: the parent's page map would not show it.
        hostmem.host_populate(page, PAGE, write=True)
        found = hostmem.scan_pages(page, page + PAGE)
        os.write(write, b"1" if found and found[0][:2] == (page, page + PAGE) and hostmem._pagemap[1] != kept[1] else b"0")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 1) == b"1" and hostmem.scan_pages(page, page + PAGE) == []
    for fd in (read, write, kept[1]):
        os.close(fd)
    # Somebody closed it, and it may be another file by now.
    other = os.open("/dev/null", os.O_RDONLY)
    if other != kept[1]:
        os.dup2(other, kept[1])
    assert hostmem.scan_pages(page, page + PAGE) == [] and hostmem._pagemap[1] != kept[1]
    for fd in {other, kept[1]}:
        os.close(fd)
    hostmem.host_unmap(page, PAGE)
