"""The regions adapter against the real engine: random operations, refusals at every call, sparse areas, verify()."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable
from typing import Any

import pytest
import unicorn

from emuvm.abi.arch import X86_64
from emuvm.engine import unicorn_regions
from emuvm.engine.unicorn_regions import RegionsMemory
from emuvm.errors import EmulatorBug, EngineError, SpaceError
from emuvm.mm import AddressSpace

from .work import calls_of

PAGE = 0x1000
BASE = 0x10000
PAGES = 48


def make(pages: int = PAGES, *, track: bool = False) -> tuple[Any, AddressSpace, RegionsMemory]:
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    space = AddressSpace(BASE, pages * PAGE)
    return uc, space, RegionsMemory(uc, space, X86_64.rights, track_writes=track)


class Model:
    """What every page must hold: its address -> its first eight bytes."""

    def __init__(self, space: AddressSpace, memory: RegionsMemory) -> None:
        self.space, self.memory = space, memory
        self.pages: dict[int, bytes] = {}

    def random_step(self, rng: random.Random) -> None:
        space = self.space
        page = rng.randrange(PAGES)
        count = rng.randint(1, min(8, PAGES - page))
        addr, length = BASE + page * PAGE, count * PAGE
        prot = rng.choice((0, 1, 3, 3, 5, 7))
        choice = rng.randrange(6)
        if choice == 0:
            space.map_at(addr, length, prot, rng.choice((0, 0, 0x100)))
            self.pages.update((place, bytes(8)) for place in range(addr, addr + length, PAGE))
        elif choice == 1:
            space.unmap(addr, length)
            for place in range(addr, addr + length, PAGE):
                self.pages.pop(place, None)
        elif choice == 2:
            space.protect(addr, length, prot, holes="skip")
        elif choice == 3:
            self.move(addr, length, BASE + rng.randrange(PAGES - count + 1) * PAGE)
        elif choice == 4:
            for vma in space.regions(addr, length):
                place = rng.randrange(vma.start, vma.end, PAGE)
                self.pages[place] = rng.randbytes(8)
                self.memory.write(place, self.pages[place])
        else:
            for low in (place for place in range(addr, addr + length, PAGE) if place in self.pages):
                self.memory.discard(low, PAGE)
                self.pages[low] = bytes(8)

    def move(self, addr: int, length: int, to: int) -> None:
        if addr < to + length and to < addr + length:
            return
        source = [place for place in range(addr, addr + length, PAGE) if place in self.pages]
        self.space.move(addr, length, to)
        if source:
            for place in range(to, to + length, PAGE):
                self.pages.pop(place, None)
            self.pages.update({place - addr + to: self.pages.pop(place) for place in source})

    def check(self, uc: Any) -> None:
        self.memory.verify()
        self.space.check()
        in_engine = [(start, end) for start, end, _ in uc.mem_regions()]
        for place, data in self.pages.items():
            assert self.memory.read(place, 8) == data
            if any(start <= place <= end for start, end in in_engine):
                assert bytes(uc.mem_read(place, 8)) == data


@pytest.mark.parametrize("seed", range(6))
def test_random_operations(seed: int) -> None:
    rng = random.Random(seed)
    uc, space, memory = make()
    model = Model(space, memory)
    for _ in range(150):
        model.random_step(rng)
        model.check(uc)
        assert {p for vma in space for p in range(vma.start, vma.end, PAGE)} == set(model.pages)


@pytest.mark.parametrize("seed", range(4))
def test_random_operations_with_nearly_everything_sparse(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicorn_regions, "EAGER", 2 * PAGE)
    monkeypatch.setattr(unicorn_regions, "CHUNK", 4 * PAGE)
    rng = random.Random(seed)
    uc, space, memory = make()
    model = Model(space, memory)
    for _ in range(150):
        model.random_step(rng)
        model.check(uc)
    memory.complete()
    model.check(uc)
    readable = {p for vma in space if vma.prot for p in range(vma.start, vma.end, PAGE)}
    assert readable == {p for start, end, _ in uc.mem_regions() for p in range(start, end, PAGE)}


@pytest.mark.parametrize("seed", range(4))
def test_random_operations_on_adopted_regions(seed: int) -> None:
    rng = random.Random(seed)
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    space = AddressSpace(BASE, PAGES * PAGE)
    memory = RegionsMemory(uc, space, X86_64.rights)
    model = Model(space, memory)
    for start in range(BASE, space.end, 6 * PAGE):
        prot = rng.choice((0, 1, 2, 3, 5, 7))
        uc.mem_map(start, 5 * PAGE, prot)
        for place in range(start, start + 5 * PAGE, PAGE):
            model.pages[place] = rng.randbytes(8)
            uc.mem_write(place, model.pages[place])
        memory.adopt(start, start + 5 * PAGE, prot)
    model.check(uc)
    for _ in range(60):
        model.random_step(rng)
        model.check(uc)


def test_equal_neighbours_are_one_region() -> None:
    uc, space, memory = make()
    space.map_at(BASE, 4 * PAGE, 3)
    space.map_at(BASE + 4 * PAGE, 4 * PAGE, 3, 0x100, backing="named")
    assert len(space) == 2
    assert list(uc.mem_regions()) == [(BASE, BASE + 8 * PAGE - 1, 3)]
    space.protect(BASE + PAGE, PAGE, 1)
    assert len(list(uc.mem_regions())) == 3
    space.protect(BASE + PAGE, PAGE, 3)
    assert len(list(uc.mem_regions())) == 1
    space.protect(BASE, 8 * PAGE, 0)
    assert list(uc.mem_regions()) == []
    memory.verify()


def test_contents_survive_no_access_and_come_back() -> None:
    uc, space, memory = make()
    space.map_at(BASE, 4 * PAGE, 3)
    memory.write(BASE + PAGE, b"kept")
    space.protect(BASE, 4 * PAGE, 0)
    assert memory.read(BASE + PAGE, 4) == b"kept"
    space.protect(BASE, 4 * PAGE, 1)
    assert bytes(uc.mem_read(BASE + PAGE, 4)) == b"kept"


def test_effective_rights_follow_the_architecture() -> None:
    uc, space, memory = make()
    space.map_at(BASE, PAGE, 2)
    space.map_at(BASE + PAGE, PAGE, 4)
    assert [rights for _, _, rights in uc.mem_regions()] == [3, 5]
    memory.verify()


class Refusing:
    """Makes the n-th engine call fail; everything before and after works."""

    CALLS = ("mem_map_ptr", "mem_unmap", "mem_protect", "ctl_remove_cache")

    def __init__(self, uc: Any, number: int) -> None:
        self.uc, self.left = uc, number
        for name in self.CALLS:
            setattr(uc, name, self.wrap(getattr(uc, name)))

    def wrap(self, call: Callable[..., None]) -> Callable[..., None]:
        def wrapped(*args: Any) -> None:
            self.left -= 1
            if self.left == 0:
                raise unicorn.UcError(unicorn.UC_ERR_NOMEM)
            call(*args)

        return wrapped

    def stop(self) -> None:
        for name in self.CALLS:
            delattr(self.uc, name)


OPERATIONS: list[Callable[[AddressSpace, RegionsMemory], object]] = [
    lambda s, m: s.map_at(BASE + 2 * PAGE, 5 * PAGE, 3),
    lambda s, m: s.map_at(BASE + 30 * PAGE, 2 * PAGE, 5),
    lambda s, m: s.unmap(BASE + PAGE, 8 * PAGE),
    lambda s, m: s.protect(BASE + PAGE, 9 * PAGE, 1, holes="skip"),
    lambda s, m: s.protect(BASE + PAGE, 9 * PAGE, 0, holes="skip"),
    lambda s, m: s.protect(BASE, 4 * PAGE, 3),
    lambda s, m: s.move(BASE, 10 * PAGE, BASE + 20 * PAGE),
    lambda s, m: s.clear(),
    lambda s, m: m.withdraw(BASE + 2 * PAGE, BASE + 10 * PAGE),
]


def image(uc: Any, memory: RegionsMemory, space: AddressSpace) -> tuple[Any, ...]:
    contents = [memory.read(vma.start, vma.size) for vma in space]
    if memory.writes is not None:
        # The kernel side has written: the guest may have the right to, but only needs it when it writes itself.
        pages = {place: rights & ~2 for start, end, rights in memory.engine_regions for place in range(start, end, PAGE)}
        return list(space), pages, contents
    return list(space), memory.engine_regions, sorted(uc.mem_regions()), contents


AREAS = ((BASE, 4, 5), (BASE + 4 * PAGE, 3, 3), (BASE + 8 * PAGE, 3, 7), (BASE + 22 * PAGE, 3, 3))


@pytest.mark.parametrize("kind", ["plain", "adopted", "tracked"])
@pytest.mark.parametrize("number", range(len(OPERATIONS)))
def test_refusal_of_any_engine_call_changes_nothing(number: int, kind: str) -> None:
    refused = 0
    for nth in range(1, 60):
        uc, space, memory = make(track=kind == "tracked")
        for start, pages, prot in AREAS:
            if kind == "adopted":
                uc.mem_map(start, pages * PAGE, prot)
                memory.adopt(start, start + pages * PAGE, prot)
            else:
                space.map_at(start, pages * PAGE, prot)
        for vma in space:
            for place in range(vma.start, vma.end, PAGE):
                memory.write(place, place.to_bytes(8, "little"))
        before = image(uc, memory, space)
        refusing = Refusing(uc, nth)
        try:
            OPERATIONS[number](space, memory)
        except EngineError:
            refusing.stop()
            refused += 1
            memory.verify()
            assert image(uc, memory, space) == before
        else:
            refusing.stop()
            memory.verify()
        if refusing.left > 0:
            break
        # Whatever happened, the operation works afterwards.
        OPERATIONS[number](space, memory)
        memory.verify()
    else:
        pytest.fail("the operation makes more engine calls than this test tried")
    assert refused


def test_refusal_of_any_engine_call_in_a_restore() -> None:
    refused = 0
    for nth in range(1, 60):
        uc, space, memory = make()
        for start, pages, prot in AREAS:
            space.map_at(start, pages * PAGE, prot)
        snap = space.snapshot()
        space.protect(BASE + PAGE, 5 * PAGE, 1)
        space.map_at(BASE + 9 * PAGE, 6 * PAGE, 3, 0x100)
        space.unmap(BASE + 22 * PAGE, PAGE)
        memory.write(BASE + 9 * PAGE, b"later")
        before = image(uc, memory, space)
        refusing = Refusing(uc, nth)
        try:
            space.restore(snap)
        except EngineError:
            refused += 1
            refusing.stop()
            memory.verify()
            assert image(uc, memory, space) == before
            space.restore(snap)
        else:
            refusing.stop()
        memory.verify()
        assert [(v.start, v.size // PAGE, v.prot) for v in space] == list(AREAS)
        if refusing.left > 0:
            break
    assert 3 < refused < nth


def test_another_subscriber_refuses() -> None:
    uc, space, memory = make()
    space.map_at(BASE, 8 * PAGE, 3)
    memory.write(BASE + PAGE, b"precious")
    before = image(uc, memory, space)

    def refuse(update: object) -> None:
        raise SpaceError(12, "no")

    stop = space.subscribe(refuse)
    for operation in (
        lambda: space.unmap(BASE, 4 * PAGE),
        lambda: space.map_at(BASE, 4 * PAGE, 3),
        lambda: space.move(BASE, 4 * PAGE, BASE + 20 * PAGE),
        lambda: space.protect(BASE, 2 * PAGE, 1),
    ):
        with pytest.raises(SpaceError):
            operation()
        memory.verify()
        assert image(uc, memory, space) == before
    stop()
    space.protect(BASE + 6 * PAGE, PAGE, 1)
    space.map_at(BASE + 7 * PAGE, PAGE, 1)
    assert memory.read(BASE + PAGE, 8) == b"precious", "undone operations must not be committed with the next one"
    space.unmap(BASE, 4 * PAGE)
    space.map_at(BASE, 4 * PAGE, 3)
    assert memory.read(BASE + PAGE, 8) == bytes(8)


@pytest.mark.parametrize(("size", "prot"), [(1 << 40, 0), (64 << 30, 3), (1 << 40, 3)])
def test_sparse_areas_cost_nothing(size: int, prot: int) -> None:
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    space = AddressSpace(0, 1 << 47)
    memory = RegionsMemory(uc, space, X86_64.rights)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    places = [0]

    def work() -> None:
        addr = places[0] = space.map_any(size, prot, hint=1 << 44)
        assert list(uc.mem_regions()) == []
        memory.write(addr + size // 2, b"here")
        assert memory.read(addr + size // 2 - 2, 8) == b"\0\0here\0\0"
        if prot:
            assert bytes(uc.mem_read(addr + size // 2, 4)) == b"here", "the engine has what was written"
        assert memory.pages.bytes_reserved() > 0
        memory.verify()
        space.unmap(addr, size)
        memory.verify()
        assert list(uc.mem_regions()) == []
        assert memory.pages.bytes_reserved() == 0

    assert calls_of(work) < 2000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 5 << 10
    space.map_at(places[0], size, 3)
    assert memory.read(places[0] + size // 2, 4) == bytes(4)


def test_verify_sees_what_others_do_to_the_engine() -> None:
    for meddle in (
        lambda uc: uc.mem_unmap(BASE, PAGE),
        lambda uc: uc.mem_protect(BASE, PAGE, 1),
        lambda uc: uc.mem_map(BASE + 40 * PAGE, PAGE),
    ):
        uc, space, memory = make()
        space.map_at(BASE, 4 * PAGE, 3)
        memory.verify()
        meddle(uc)
        with pytest.raises(EmulatorBug):
            memory.verify()


def test_unmapped_addresses_are_refused() -> None:
    _, space, memory = make()
    space.map_at(BASE, PAGE, 3)
    for call in (
        lambda: memory.read(BASE, PAGE + 1),
        lambda: memory.write(BASE + PAGE, b"x"),
        lambda: memory.read(0, 1),
        lambda: memory.discard(BASE, 2 * PAGE),
    ):
        with pytest.raises(EngineError):
            call()


def test_page_size_must_fit_the_engine() -> None:
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    with pytest.raises(EngineError, match="multiple"):
        RegionsMemory(uc, AddressSpace(0, 1 << 20, 256), X86_64.rights)
