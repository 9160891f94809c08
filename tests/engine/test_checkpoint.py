"""Checkpoints against a plain copy: whatever is done to memory, its contents come back."""

from __future__ import annotations

import random

import pytest

from emuvm.engine.checkpoint import Checkpoint
from emuvm.engine.unicorn import UnicornEngine
from emuvm.engine.unicorn_paged import PagedMemory

from .conftest import Make
from .guests import DATA, PAGE, TEXT, execute, load, store

PAGES = 400
OTHER = DATA + 0x1000_0000


def paged(engine: UnicornEngine) -> PagedMemory:
    assert isinstance(engine.memory, PagedMemory)
    return engine.memory


def filled(engine: UnicornEngine, pages: int = PAGES) -> None:
    """Half of the pages have content."""
    engine.space.map_at(DATA, pages * PAGE, 3)
    for page in range(0, pages, 2):
        engine.memory.write(DATA + page * PAGE, bytes((page & 0xFF or 1,)) * 16)
    store(engine, DATA + 17)


def contents(engine: UnicornEngine) -> dict[int, bytes]:
    return {vma.start: engine.memory.read(vma.start, vma.end - vma.start) for vma in engine.space if vma.start != TEXT}


@pytest.mark.parametrize("name", ["x86_64", "arm64"])
def test_stores_of_guest_and_host_are_undone_every_time(make: Make, name: str) -> None:
    engine = make(name)
    filled(engine)
    checkpoint, before = Checkpoint(paged(engine)), contents(engine)
    for turn in range(6):
        for page in (0, 1, 2, 7, 100 + turn):
            store(engine, DATA + page * PAGE + 5, 0x80 + turn)
        engine.memory.write(DATA + 11 * PAGE - 2, b"across")
        assert contents(engine) != before
        checkpoint.restore()
        assert contents(engine) == before
        assert list(checkpoint.differences()) == []
        assert load(engine, DATA + 5) == before[DATA][5]
    checkpoint.close()
    assert paged(engine).table.keeper is None


def test_a_set_that_moves_on_is_forgotten(make: Make) -> None:
    """Each run writes to other pages: what is copied back every time does not become all of them."""
    engine = make()
    filled(engine, 4000)
    checkpoint, before = Checkpoint(paged(engine)), contents(engine)
    most = 0
    for turn in range(40):
        for page in range(turn * 50, turn * 50 + 50):
            store(engine, DATA + 2 * page * PAGE, 0xEE)
        checkpoint.restore()
        most = max(most, len(checkpoint._planned))
        assert list(checkpoint.differences()) == []
    assert contents(engine) == before
    assert most <= 300 and len(checkpoint._planned) <= 300


def test_a_checkpoint_that_cannot_be_made_leaves_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make()
    filled(engine)
    memory = paged(engine)

    def refuse(address: int, length: int) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(memory.host, "read", refuse)
        with pytest.raises(MemoryError):
            Checkpoint(memory)
    assert memory.table.keeper is None and not memory.table.drained
    store(engine, DATA + 9)
    assert DATA in memory.take_dirty()
    memory.verify()


def test_pages_without_content_are_absent_again(make: Make) -> None:
    engine = make()
    filled(engine)
    memory = paged(engine)
    checkpoint = Checkpoint(memory)
    odd = DATA + 5 * PAGE
    store(engine, odd)
    assert memory.resident(odd, odd + PAGE, cached=False)
    checkpoint.restore()
    assert not memory.resident(odd, odd + PAGE, cached=False)


def test_pages_without_content_that_are_written_every_time_stay(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make()
    filled(engine)
    space, memory, odd = engine.space, paged(engine), DATA + 5 * PAGE
    checkpoint, regions, before = Checkpoint(memory), space.snapshot(), contents(engine)
    for _ in range(2):
        store(engine, odd)
        checkpoint.restore()
    thrown_away: list[int] = []
    discard = memory.host.discard
    monkeypatch.setattr(memory.host, "discard", lambda start, end: (thrown_away.append(start), discard(start, end)))
    for doubtful in (False, True, True):
        store(engine, odd)
        if doubtful:
            checkpoint.doubt(odd, odd + PAGE)
        checkpoint.restore()
        assert memory.resident(odd, odd + PAGE, cached=False) and not thrown_away, "zeros are copied to it"
        assert contents(engine) == before
    for to in (odd, DATA + 0x800_0000):
        space.move(odd, PAGE, to) if to != odd else space.unmap(odd, PAGE)
        space.restore(regions)
        checkpoint.restore()
        assert contents(engine) == before


def test_code_that_was_written_over_is_translated_anew(make: Make) -> None:
    """mov eax, 7 / 9; syscall, in memory that may be written and executed."""
    engine = make()
    engine.space.map_at(OTHER, PAGE, 7)
    seven, nine = (bytes.fromhex(f"b80{n}0000000f05") for n in (7, 9))
    engine.memory.write(OTHER, seven)

    def result() -> int:
        engine.set("pc", OTHER)
        engine.run()
        return engine.get("rax")

    checkpoint = Checkpoint(paged(engine))
    for _ in range(3):
        assert result() == 7
        engine.space.map_at(DATA, PAGE, 3) if engine.space.query(DATA) is None else None
        execute(engine, {"x86_64": "8807"}, OTHER + 1, 9)
        assert engine.memory.read(OTHER, len(nine)) == nine
        assert result() == 9
        checkpoint.restore()
    assert result() == 7


def test_pages_that_the_host_may_free_come_back(make: Make) -> None:
    """MADV_FREE before the checkpoint and after it, on pages that are copied back at every restore and on others."""
    engine = make()
    filled(engine)
    memory = paged(engine)
    memory.may_free(DATA, DATA + 40 * PAGE)
    checkpoint, before = Checkpoint(memory), contents(engine)
    memory.page_out(DATA, DATA + 40 * PAGE)
    assert contents(engine) == before
    for _ in range(4):
        store(engine, DATA + 50 * PAGE, 1)
        memory.may_free(DATA + 20 * PAGE, DATA + 60 * PAGE)
        store(engine, DATA + 54 * PAGE, 0xEE)
        memory.page_out(DATA, DATA + PAGES * PAGE)
        assert [load(engine, DATA + page * PAGE) for page in (18, 20, 50, 54, 58, 60)] == [18, 0, 0, 0xEE, 0, 60]
        checkpoint.restore()
        assert contents(engine) == before


@pytest.mark.parametrize("seed", range(6))
def test_random_changes(make: Make, seed: int) -> None:
    """Stores, unmapping, mapping anew, other rights, moving, throwing away, freeing; two checkpoints, gone back to in any order."""
    engine, rng = make(), random.Random(seed)
    filled(engine)
    space, memory = engine.space, paged(engine)

    def change() -> None:
        kind, page, count = rng.randrange(10), rng.randrange(PAGES - 40), rng.randrange(1, 40)
        start, length = DATA + page * PAGE, count * PAGE
        mapped = not space.gaps(start, length)
        if kind == 0:
            space.unmap(start, length)
        elif kind == 1:
            space.map_at(start, length, 3)
        elif kind == 2 and mapped:
            space.protect(start, length, rng.choice((0, 1, 3, 5, 7)))
        elif kind == 3 and mapped:
            space.move(start, length, DATA + 0x800_0000 + rng.randrange(40) * PAGE)
        elif kind == 4 and mapped:
            memory.discard(start, length)
        elif kind in (8, 9) and mapped:
            (memory.may_free if kind == 8 else memory.page_out)(start, length + start)
        elif kind == 5 and not space.gaps(OTHER - 0x800_0000, PAGE):
            space.move(OTHER - 0x800_0000, PAGE, start)
        else:
            vma = space.query(start)
            if vma is not None and vma.prot & 2:
                store(engine, start + rng.randrange(PAGE), rng.randrange(256))
            elif mapped:
                memory.write(start + 9, rng.randbytes(20))

    kept = []
    for _ in range(2):
        for _ in range(12):
            change()
        kept.append((space.snapshot(), Checkpoint(memory), contents(engine)))
    for _ in range(12):
        for _ in range(rng.randrange(15)):
            change()
        regions, checkpoint, before = rng.choice(kept)
        space.restore(regions)
        checkpoint.restore()
        assert contents(engine) == before
        memory.verify()
