"""Ways back that are gone again and again: the mirror takes them at once, by the C module and by its twin."""

from __future__ import annotations

import ctypes
import random
from typing import Any

import pytest

from emuvm.engine import unicorn_again
from emuvm.engine.checkpoint import Checkpoint
from emuvm.engine.native_code import native
from emuvm.engine.pagetable import PRESENT
from emuvm.engine.unicorn import UnicornEngine
from emuvm.engine.unicorn_again import Step, laid_out, one_by_one, prepare
from emuvm.engine.unicorn_paged import PagedMemory
from emuvm.mm.types import File, Kind, Update, Vma, VmFlag

from .conftest import Make
from .guests import DATA, PAGE, Disk, load, store

PAGES = 64


def paged(engine: UnicornEngine) -> Any:
    assert isinstance(engine.memory, PagedMemory)
    return engine.memory


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a way was taken at once: one entry each, of its number of updates."""
    taken: list[int] = []

    def preparing(memory: PagedMemory, updates: list[Update]) -> Any:
        again = prepare(memory, updates)
        if again is None:
            return None

        def call() -> None:
            taken.append(len(updates))
            again()

        return call

    monkeypatch.setattr("emuvm.engine.unicorn_paged.prepare", preparing)
    return taken


@pytest.mark.parametrize("name", ["x86_64", "arm64"])
@pytest.mark.parametrize("seed", range(4))
def test_contents_and_rights_come_back(make: Make, name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = counted(monkeypatch)
    engine = make(name)
    space, memory = engine.space, paged(engine)
    space.map_at(DATA, PAGES * PAGE, 3)
    for page in range(0, PAGES, 3):
        engine.memory.write(DATA + page * PAGE, bytes((page + 1,)) * 32)
    snap, checkpoint = space.snapshot(), Checkpoint(memory)
    before = memory.read(DATA, PAGES * PAGE)

    def run(script: int) -> None:
        rng = random.Random(script)
        for _ in range(rng.randrange(1, 8)):
            page, count = rng.randrange(PAGES + 8), rng.randrange(1, 12)
            start, length = DATA + page * PAGE, count * PAGE
            kind = rng.randrange(5)
            if kind == 0:
                space.unmap(start, length)
            elif kind == 1:
                space.map_at(start, length, 3)
            elif kind == 2:
                space.protect(start, length, rng.choice((0, 1, 3, 5, 7)), holes="skip")
            else:
                vma = space.query(start)
                if vma is not None and vma.prot & 2:
                    store(engine, start + rng.randrange(PAGE), rng.randrange(256))
                elif vma is not None and vma.prot & 1:
                    load(engine, start)

    rng = random.Random(seed)
    for _ in range(30):
        run(seed * 3 + rng.randrange(3))
        space.restore(snap)
        checkpoint.restore()
        memory.verify()
        assert memory.read(DATA, PAGES * PAGE) == before
        assert load(engine, DATA + 3 * PAGE) == 4
        store(engine, DATA + 3 * PAGE, 99)
        assert load(engine, DATA + 3 * PAGE) == 99
        checkpoint.restore()
    assert len(taken) > 10 and max(taken) > 1


def test_code_that_comes_and_goes_is_translated_anew(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = counted(monkeypatch)
    engine = make("x86_64")
    space, memory = engine.space, paged(engine)
    space.map_at(DATA, PAGE, 3)
    snap, checkpoint = space.snapshot(), Checkpoint(memory)
    place = DATA + 8 * PAGE
    for turn in range(5):
        space.map_at(place, PAGE, 7)
        memory.write(place, bytes((0xB0, turn, 0x0F, 0x05)))  # mov al, turn; syscall
        engine.set("rip", place)
        engine.run()
        assert engine.get("rax") & 0xFF == turn
        space.restore(snap)
        checkpoint.restore()
        memory.verify()
    assert len(taken) == 3


def test_what_may_be_refused_is_told_one_by_one(make: Make, disk: Disk) -> None:
    engine = make("x86_64")
    memory = paged(engine)
    engine.space.map_at(DATA, 4 * PAGE, 3)
    plain = Vma(DATA, DATA + PAGE, 3, 0, None, DATA, PAGE)
    far = Vma(3 << 40, (3 << 40) + PAGE, 3, 0, None, 3 << 40, PAGE)
    of_file = Vma(DATA, DATA + PAGE, 3, 0, File(disk), DATA, PAGE)
    long = Vma(DATA, DATA + (1 << 30), 3, 0, None, DATA, 1 << 30)

    def at_once(*updates: Update) -> bool:
        return prepare(memory, list(updates)) is not None

    gone, come = Update(Kind.UNMAP, DATA, DATA + PAGE, plain, None), Update(Kind.MAP, DATA, DATA + PAGE, None, plain)
    assert at_once(gone, come)
    assert not at_once(gone, Update(Kind.MAP, DATA, DATA + PAGE, None, of_file))
    assert not at_once(Update(Kind.UNMAP, DATA, DATA + PAGE, of_file, None))
    shared = of_file._replace(flags=int(VmFlag.SHARED | VmFlag.MAYSHARE))
    assert at_once(Update(Kind.PROTECT, DATA, DATA + PAGE, of_file, of_file._replace(prot=1)))
    assert not at_once(Update(Kind.PROTECT, DATA, DATA + PAGE, shared._replace(prot=1), shared)), "the file may be read-only"
    assert not at_once(Update(Kind.MAP, far.start, far.end, None, far)), "its window has to be made"
    assert not at_once(Update(Kind.UNMAP, far.start, far.end, far, None))
    assert not at_once(Update(Kind.UNMAP, long.start, long.end, long, None)), "too many page bytes to look at"
    assert not at_once(Update(Kind.MOVE, DATA, DATA + PAGE, plain, far))


@pytest.mark.skipif(native() is None or native().steps is None, reason="the C module is not built")  # type: ignore[union-attr]
def test_native_and_python_steps_agree_on_every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    code = native()
    assert code is not None and code.steps is not None
    rng = random.Random(5)
    from emuvm.abi.arch import X86_64
    from emuvm.mm.space import AddressSpace

    def room(pages: bytes) -> Any:
        engine = UnicornEngine(X86_64, AddressSpace(0, X86_64.task_size))
        memory = paged(engine)
        engine.space.map_at(DATA, 256 * PAGE, 3)
        memory.write(DATA, bytes((7,)) * 256 * PAGE)
        ctypes.memmove(memory.table.pointer(DATA), pages, 256)
        return engine

    for turn in range(40):
        pages = bytes(rng.choice((0, PRESENT, rng.randrange(256))) for _ in range(256)) if turn else bytes(range(256))
        plan = []
        place = 0
        while place < 256:
            length = rng.randrange(1, 20) if turn else 256
            stop = min(256, place + length)
            plan.append(Step(DATA + place * PAGE, DATA + stop * PAGE, rng.choice((-1, 0, 1, 3, 5, 7)), rng.choice((0, 8))))
            place = stop + (rng.randrange(3) if turn else 0)
        one, two = room(pages), room(pages)
        for step in plan:  # one at a time, so that each one's answer is seen
            listed = laid_out(one.memory, [step])
            assert code.steps(ctypes.addressof(listed), 1) == one_by_one(two.memory, [step]), (step, pages)
        tables = [ctypes.string_at(engine.memory.table.pointer(DATA), 256) for engine in (one, two)]
        assert tables[0] == tables[1]
        contents = [engine.memory.host.read(DATA, 256 * PAGE) for engine in (one, two)]
        assert contents[0] == contents[1]
        gone = [step for step in plan if step.rights < 0]
        assert all(contents[0][s.start - DATA : s.end - DATA].count(0) == s.end - s.start for s in gone)
        for engine in (one, two):
            engine.close()


def test_locked_memory_is_forgotten_too(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    """madvise refuses locked pages; what was there is gone all the same."""
    engine = make("x86_64")
    memory = paged(engine)
    engine.space.map_at(DATA, 2 * PAGE, 3)
    memory.write(DATA, b"secret")
    libc = ctypes.CDLL(None, use_errno=True)
    pointer = ctypes.c_void_p(memory.host.pointer(DATA))
    if libc.mlock(pointer, ctypes.c_size_t(PAGE)):
        pytest.skip("this user may not lock memory")
    update = Update(Kind.UNMAP, DATA, DATA + PAGE, Vma(DATA, DATA + PAGE, 3, 0, None, DATA, PAGE), None)
    again = prepare(memory, [update])
    assert again is not None
    again()
    assert memory.host.read(DATA, 6) == bytes(6)
    libc.munlock(pointer, ctypes.c_size_t(PAGE))


def test_the_engine_is_told_when_rights_went(make: Make) -> None:
    engine = make("x86_64")
    memory = paged(engine)
    engine.space.map_at(DATA, PAGE, 3)
    store(engine, DATA)
    assert unicorn_again.protection(memory, engine.space.query(DATA)) == (3, False)  # type: ignore[arg-type]
    old, new = (Vma(DATA, DATA + PAGE, prot, 0, None, DATA, PAGE) for prot in (3, 1))
    memory.before_run()
    less = prepare(memory, [Update(Kind.PROTECT, DATA, DATA + PAGE, old, new)])
    more = prepare(memory, [Update(Kind.PROTECT, DATA, DATA + PAGE, new, old)])
    assert less is not None and more is not None
    less()
    assert memory.disturbed
    memory.before_run()
    more()
    assert not memory.disturbed, "the TLB grants too little at worst, and asks"
