"""The promises of AddressSpace that random operations do not reach: bad input, callbacks, re-entry, backings, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from emuvm.errors import BadArgument, EmulatorBug, EmuvmError, Hole, NoSpace, Occupied, ReentryError
from emuvm.mm import AddressSpace, File, Kind, Update, Vma

PAGE = 4096
WORD = 1 << 64


def filled() -> AddressSpace:
    """[0x10000, 0x30000) with a region, a gap, and two neighbours."""
    space = AddressSpace(0x1_0000, 0x2_0000)
    space.map_at(0x1_0000, 0x2000, 3)
    space.map_at(0x1_4000, 0x1000, 1)
    space.map_at(0x1_5000, 0x1000, 5)
    return space


# -- bad input --------------------------------------------------------------------------------------------------------

NOT_INTEGERS = [True, False, 1.0, 4096.0, "4096", None, b"x", [], (1,)]
BAD_ADDRESSES = [*NOT_INTEGERS, -1, -PAGE, 1, 0x1_0001, 0x1_0FFF, 0, 0xF000, 0x3_0000, 0x4_0000, WORD - PAGE, WORD, 1 << 70]
BAD_LENGTHS = [*NOT_INTEGERS, 0, -1, -PAGE, 0x2_0001, 0x2_1000, WORD - 1, WORD, WORD + 1, 1 << 80]
BAD_WORDS = [*NOT_INTEGERS, -1, WORD, 1 << 80]

BAD_LIMITS = [5, "ab", (1,), (1, 2, 3), (-1, 5), (9, 5), (0.0, 5), (0, None), (True, 5)]

Operation = Callable[[AddressSpace, Any], Any]


def filter_says(space: AddressSpace, word: Any) -> None:
    space.protect(0x1_0000, 0x6000, lambda old: word if old == 5 else 4, holes="skip")


CASES: list[tuple[str, str, list[Any], Operation]] = [
    ("map_at", "addr", BAD_ADDRESSES, lambda s, x: s.map_at(x, PAGE, 1)),
    ("map_at", "length", BAD_LENGTHS, lambda s, x: s.map_at(0x1_0000, x, 1)),
    ("map_at", "prot", BAD_WORDS, lambda s, x: s.map_at(0x1_0000, PAGE, x)),
    ("map_at", "flags", BAD_WORDS, lambda s, x: s.map_at(0x1_0000, PAGE, 1, x)),
    ("map_any", "length", [*NOT_INTEGERS, 0, -1], lambda s, x: s.map_any(x, 1)),
    ("map_any", "prot", BAD_WORDS, lambda s, x: s.map_any(PAGE, x)),
    ("map_any", "flags", BAD_WORDS, lambda s, x: s.map_any(PAGE, 1, x)),
    ("map_any", "hint", [*NOT_INTEGERS, -1, -PAGE], lambda s, x: s.map_any(PAGE, 1, hint=x)),
    ("map_any", "align", [*(x for x in NOT_INTEGERS if x is not None), 0, -1, -4096, 3, 6144], lambda s, x: s.map_any(PAGE, 1, align=x)),
    ("map_any", "limit", BAD_LIMITS, lambda s, x: s.map_any(PAGE, 1, limit=x)),
    ("unmap", "addr", BAD_ADDRESSES, lambda s, x: s.unmap(x, PAGE)),
    ("unmap", "length", BAD_LENGTHS, lambda s, x: s.unmap(0x1_0000, x)),
    ("protect", "addr", BAD_ADDRESSES, lambda s, x: s.protect(x, PAGE, 1)),
    ("protect", "length", BAD_LENGTHS, lambda s, x: s.protect(0x1_0000, x, 1)),
    ("protect", "prot", BAD_WORDS, lambda s, x: s.protect(0x1_0000, PAGE, x)),
    ("protect", "prot", [x for x in BAD_WORDS if x is not None], filter_says),
    ("protect", "holes", ["", "Skip", None, 0], lambda s, x: s.protect(0x1_0000, PAGE, 1, holes=x)),
    ("move", "addr", BAD_ADDRESSES, lambda s, x: s.move(x, PAGE, 0x2_0000)),
    ("move", "length", BAD_LENGTHS, lambda s, x: s.move(0x1_0000, x, 0x2_0000)),
    ("move", "to", [*BAD_ADDRESSES, 0x1_0000, 0x1_1000], lambda s, x: s.move(0x1_0000, 0x2000, x)),
    ("find_free", "length", [*NOT_INTEGERS, 0, -1], lambda s, x: s.find_free(x)),
    ("query", "addr", NOT_INTEGERS, lambda s, x: s.query(x)),
    ("regions", "addr", [*NOT_INTEGERS, -1, 0xFFFF, 0x3_0000, WORD], lambda s, x: s.regions(x, 1)),
    ("regions", "length", BAD_LENGTHS, lambda s, x: s.regions(0x1_0000, x)),
    ("overlaps", "length", BAD_LENGTHS, lambda s, x: s.overlaps(0x1_0000, x)),
    ("gaps", "length", BAD_LENGTHS, lambda s, x: s.gaps(0x1_0000, x)),
    ("restore", "snap", [None, 1, "snap", AddressSpace(0, PAGE).snapshot()], lambda s, x: s.restore(x)),
    ("subscribe", "callback", [None, 1, "x"], lambda s, x: s.subscribe(x)),
    ("subscribe", "committed", [0, 5, "x"], lambda s, x: s.subscribe(print, committed=x)),
]


@pytest.mark.parametrize(("operation", "argument", "values", "call"), CASES, ids=[f"{c[0]}-{c[1]}-{i}" for i, c in enumerate(CASES)])
def test_a_bad_argument_is_named_and_changes_nothing(operation: str, argument: str, values: list[Any], call: Operation) -> None:
    for value in values:
        space = filled()
        updates: list[Update] = []
        space.subscribe(updates.append)
        before = list(space)
        with pytest.raises(BadArgument) as error:
            call(space, value)
        assert error.value.argument == argument or (argument == "length" and error.value.argument == "addr"), value
        assert error.value.errno == 22 and isinstance(error.value, ValueError) and argument in str(error.value) or argument == "length"
        assert list(space) == before and not updates


def test_too_long_for_any_gap_is_no_space() -> None:
    for length in (0x2_0001, WORD - 1):
        with pytest.raises(NoSpace) as error:
            filled().map_any(length, 1)
        assert error.value.errno == 12
    whole = AddressSpace(0, WORD, 1)
    assert whole.find_free(WORD) == 0 and whole.map_any(WORD, 1) == 0 and whole.find_free(WORD) is None
    for length in (WORD + 1, 1 << 80):
        with pytest.raises(BadArgument) as refused:
            whole.map_any(length, 1)
        assert refused.value.argument == "length"


def test_a_negative_start_is_refused_with_single_bytes_too() -> None:
    with pytest.raises(BadArgument) as error:
        AddressSpace(-1, 10, 1)
    assert error.value.argument == "start"


@pytest.mark.parametrize(
    ("argument", "values", "make"),
    [
        ("start", [*NOT_INTEGERS, -1, -PAGE, 1, 0xFFF], lambda x: AddressSpace(x, PAGE)),
        ("length", [*NOT_INTEGERS, 0, -1, WORD + 1, WORD], lambda x: AddressSpace(PAGE, x)),
        ("page_size", [*NOT_INTEGERS, 0, -1, -4096, 3, 4095, WORD * 2], lambda x: AddressSpace(0, PAGE, x)),
    ],
    ids=["start", "length", "page_size"],
)
def test_a_bad_space(argument: str, values: list[Any], make: Callable[[Any], AddressSpace]) -> None:
    for value in values:
        with pytest.raises(BadArgument) as error:
            make(value)
        assert error.value.argument == argument


def test_the_whole_64_bits_can_be_a_space() -> None:
    space = AddressSpace(0, WORD, 1)
    assert space.map_at(WORD - 1, 1, 1) == WORD - 1
    assert space.map_any(WORD - 1, 2) == 0
    assert [(v.start, v.end) for v in space] == [(0, WORD - 1), (WORD - 1, WORD)]
    with pytest.raises(BadArgument):
        space.unmap(WORD - 1, 2)
    assert space.query(WORD) is None and space.query(-1) is None
    assert AddressSpace(0x1000, 1).end == 0x2000


def test_errors_of_state() -> None:
    space = filled()
    before = list(space)
    with pytest.raises(Occupied) as occupied:
        space.map_at(0x1_1000, PAGE, 1, replace=False)
    assert occupied.value.errno == 17
    for low in (0x1_2000, 0x1_3000):
        space.map_at(low, PAGE, 6, replace=False)
        space.unmap(low, PAGE)
    for holes in ("error", "stop"):
        with pytest.raises(Hole) as hole:
            space.protect(0x1_2000, 0x3000, 7, holes=holes)
        assert hole.value.errno == 12 and hole.value.address == 0x1_2000
    with pytest.raises(Hole) as hole:
        space.protect(0x1_0000, 0x5000, 7)
    assert hole.value.address == 0x1_2000
    assert list(space) == before
    with pytest.raises(Hole) as hole:
        space.protect(0x1_0000, 0x5000, 7, holes="stop")
    assert hole.value.address == 0x1_2000 and [v.prot for v in space] == [7, 1, 5]


class Index:
    """What numpy's integers look like: no int, but usable as one."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Sub(int):
    """An int, but not exactly."""


@pytest.mark.parametrize("kind", [Index, Sub])
def test_whatever_has_an_index_is_an_integer_and_is_kept_as_a_plain_one(kind: Any) -> None:
    space = AddressSpace(kind(0x1_0000), kind(0x2_0000), kind(PAGE))
    assert space.map_at(kind(0x1_0000), kind(1), kind(3), kind(8)) == 0x1_0000
    limit = (kind(0x1_0000), kind(0x3_0000))
    assert space.map_any(kind(PAGE), kind(1), kind(0), hint=kind(0x1_4000), limit=limit, align=kind(0x2000)) == 0x1_4000
    assert space.find_free(kind(PAGE), hint=kind(0x1_6000), limit=limit, align=kind(0x2000), top_down=True) == 0x1_6000
    space.protect(kind(0x1_0000), kind(PAGE), kind(5))
    space.protect(kind(0x1_4000), kind(PAGE), lambda old: kind(old | 4))
    space.move(kind(0x1_4000), kind(PAGE), kind(0x2_0000))
    assert [tuple(vma) for vma in space] == [
        (0x1_0000, 0x1_1000, 5, 8, None, 0x1_0000, PAGE),
        (0x2_0000, 0x2_1000, 5, 0, None, 0x2_0000, PAGE),
    ]
    assert all(type(number) is int for vma in space for number in vma if number is not None)
    assert space.query(kind(0x1_0FFF)) == space.regions(kind(0x1_0FFF), kind(1))[0]
    assert space.overlaps(kind(0x1_0FFF), kind(1)) and not space.overlaps(kind(0x1_1000), kind(1))
    assert space.gaps(kind(0x1_0000), kind(0x1001)) == [(0x1_1000, 0x1_1001)]
    above = space.region_above(kind(0x1_0001))
    assert above is not None and above.start == 0x2_0000
    space.unmap(kind(0x1_0000), kind(0x2_0000))
    assert len(space) == 0


def test_moving_nothing_does_nothing_and_moving_one_page_replaces_the_whole_target() -> None:
    space = filled()
    updates: list[Update] = []
    space.subscribe(updates.append)
    before = list(space)
    space.move(0x2_0000, 0x6000, 0x1_0000)
    assert list(space) == before and not updates
    space.map_at(0x2_3000, PAGE, 7)
    space.move(0x2_0000, 0x6000, 0x1_0000)
    assert [(vma.start, vma.end, vma.prot) for vma in space] == [(0x1_3000, 0x1_4000, 7)]


def test_a_base_that_moves_stays_in_64_bits() -> None:
    space = AddressSpace(0, 0x10000)
    space.map_at(0x5000, 0x3000, 1)
    space.unmap(0x5000, 0x2000)
    space.move(0x7000, PAGE, 0)
    (vma,) = space
    assert (vma.start, vma.base, vma.length) == (0, 0, PAGE)
    top = AddressSpace(WORD - 0x10000, 0x10000)
    top.map_at(WORD - 0x10000, 0x3000, 1)
    top.unmap(WORD - 0xF000, 0x2000)
    top.move(WORD - 0x10000, PAGE, WORD - PAGE)
    (vma,) = top
    assert (vma.start, vma.base) == (WORD - PAGE, WORD - PAGE) and vma.base + vma.length <= WORD


# -- callbacks --------------------------------------------------------------------------------------------------------


def test_changing_the_space_from_a_callback_is_an_error() -> None:
    space = filled()
    snap = space.snapshot()
    calls: list[Callable[[], Any]] = [
        lambda: space.map_any(PAGE, 1),
        lambda: space.map_at(0x1_0000, PAGE, 1),
        lambda: space.unmap(0x1_0000, PAGE),
        lambda: space.protect(0x1_0000, PAGE, 7),
        lambda: space.move(0x1_0000, PAGE, 0x2_0000),
        lambda: space.restore(snap),
        space.clear,
        lambda: space.subscribe(print),
    ]
    for call in calls:
        before = list(space)
        stop = space.subscribe(lambda update, call=call: call())  # type: ignore[misc]
        with pytest.raises(ReentryError) as error:
            space.map_at(0x2_0000, PAGE, 1)
        assert isinstance(error.value, EmuvmError)
        stop()
        assert list(space) == before
    space.map_at(0x2_0000, PAGE, 1)
    space.check()


def test_changing_the_space_from_a_filter_is_an_error() -> None:
    space = filled()
    before = list(space)

    def meddle(old: int) -> int:
        space.unmap(0x1_0000, PAGE)
        return 7

    with pytest.raises(ReentryError):
        space.protect(0x1_0000, 0x2000, meddle)
    assert list(space) == before
    space.unmap(0x1_0000, PAGE)


def test_changing_the_space_while_it_cuts_is_an_error() -> None:
    space = AddressSpace(0, 0x10000)

    class Meddler:
        def split(self, offset: int) -> Meddler:
            space.clear()
            return self

        def joins(self, next: Any) -> bool:
            return False

    space.map_at(0x1000, 0x3000, 1, backing=Meddler())
    before = list(space)
    with pytest.raises(ReentryError):
        space.unmap(0x2000, PAGE)
    assert list(space) == before


def test_a_filter_that_fails_changes_nothing() -> None:
    space = filled()
    updates: list[Update] = []
    space.subscribe(updates.append)
    before, asked = list(space), []

    def ask(old: int) -> int:
        asked.append(old)
        if old == 5:
            raise KeyError(old)
        return 7

    with pytest.raises(KeyError):
        space.protect(0x1_0000, 0x6000, ask, holes="skip")
    assert asked == [3, 1, 5] and list(space) == before and not updates
    asked.clear()
    space.protect(0x1_4000, PAGE, lambda old: asked.append(old))
    assert asked == [1] and list(space) == before


def test_subscribers_are_served_in_order_and_undone_in_reverse() -> None:
    space = filled()
    heard: list[tuple[str, Kind, int]] = []

    def listen(name: str, refuse: int | None = None) -> Callable[[Update], None]:
        def callback(update: Update) -> None:
            if update.start == refuse:
                raise OSError(name)
            heard.append((name, update.kind, update.start))

        return callback

    done: list[str] = []
    space.subscribe(listen("a"), committed=lambda: done.append("a"))
    stop = space.subscribe(listen("b", 0x1_4000), committed=lambda: done.append("b"))
    space.subscribe(listen("c"), committed=lambda: done.append("c"))
    with pytest.raises(OSError, match="b"):
        space.unmap(0x1_1000, 0x5000)
    unmap, back = Kind.UNMAP, Kind.MAP
    assert heard == [
        *((name, unmap, 0x1_1000) for name in "abc"),
        ("a", unmap, 0x1_4000),
        ("a", back, 0x1_4000),
        *((name, back, 0x1_1000) for name in "cba"),
    ]
    assert done == [] and len(space) == 3
    stop()
    stop()
    heard.clear()
    space.unmap(0x1_1000, 0x5000)
    assert [name for name, _kind, _start in heard] == ["a", "c"] * 3 and done == ["a", "c"]
    space.unmap(0x2_0000, PAGE)
    space.protect(0x1_0000, PAGE, 3)
    assert done == ["a", "c"], "nothing changed, nobody is told"


Pages = dict[int, tuple[int, int]]
"""Address of a page -> its prot and its place in the file."""


def pages_of(vmas: Iterable[Vma]) -> Pages:
    return {at: (vma.prot, vma.backing.offset + at - vma.start) for vma in vmas for at in range(vma.start, vma.end, PAGE)}


class Shadow:
    """The pages of a space, kept by its updates alone; refuses the `refuse`-th that anybody hears (`heard` is shared)."""

    def __init__(self, space: AddressSpace, heard: list[Update], refuse: int, error: type[BaseException]) -> None:
        self.space, self.heard, self.refuse, self.error = space, heard, refuse, error
        self.pages, self.before, self.done = pages_of(space), list(space), 0
        space.subscribe(self.update, committed=self.committed)

    def update(self, update: Update) -> None:
        assert list(self.space) == self.before, "the old state shows as long as anybody may refuse"
        self.heard.append(update)
        if len(self.heard) == self.refuse:
            raise self.error("refused")
        if update.old is not None:
            gone = pages_of([update.old])
            assert {at: self.pages.pop(at) for at in gone} == gone
        if update.new is not None:
            come = pages_of([update.new])
            assert not come.keys() & self.pages.keys()
            self.pages |= come

    def committed(self) -> None:
        self.done += 1


def seven() -> AddressSpace:
    space = AddressSpace(0, 0x4_0000)
    for page, count in ((1, 3), (5, 2), (8, 1), (9, 3), (0x21, 2), (0x24, 3)):
        space.map_at(page * PAGE, count * PAGE, 1 + count % 2, page % 2, backing=File("f", page * PAGE))
    return space


def back_to(space: AddressSpace) -> Callable[[AddressSpace], None]:
    snap = space.snapshot()
    space.unmap(0x2000, 0x6000)
    space.map_at(0x9000, 0x2000, 7, backing=File("f", 0x9000))
    space.protect(0x2_1000, PAGE, 5)
    space.map_at(0x3_0000, 0x3000, 1, backing=File("f", 0x3_0000))
    return lambda same: same.restore(snap)


REFUSED: dict[str, Callable[[AddressSpace], Any]] = {
    "map_at": lambda s: s.map_at(0x2000, 0xC000, 7, backing=File("f", 0x2000)),
    "map_any": lambda s: s.map_any(PAGE, 1, backing=File("f", 0)),
    "unmap": lambda s: s.unmap(0x2000, 0xC000),
    "protect": lambda s: s.protect(0x2000, 0xA000, 4, holes="skip"),
    "move": lambda s: s.move(0x2000, 0x6000, 0x2_0000),
    "clear": lambda s: s.clear(),
}


@pytest.mark.parametrize("error", [KeyError, MemoryError, KeyboardInterrupt, StopIteration, GeneratorExit])
@pytest.mark.parametrize("name", [*REFUSED, "restore"])
def test_a_refusal_at_any_place_among_three_subscribers(name: str, error: type[BaseException]) -> None:
    for refuse in range(1, 100):
        space = seven()
        operation = back_to(space) if name == "restore" else REFUSED[name]
        heard: list[Update] = []
        shadows = [Shadow(space, heard, refuse, error) for _ in range(3)]
        before = list(space)
        try:
            operation(space)
        except error:
            assert list(space) == before
            assert [(shadow.pages, shadow.done) for shadow in shadows] == [(pages_of(before), 0)] * 3
        else:
            assert refuse > 3 and [(shadow.pages, shadow.done) for shadow in shadows] == [(pages_of(space), 1)] * 3
            return
        for shadow in shadows:
            shadow.refuse = 0
        operation(space)
        assert [(shadow.pages, shadow.done) for shadow in shadows] == [(pages_of(space), 1)] * 3
        space.check()
    raise AssertionError("never accepted")


def test_the_new_state_shows_at_committed_and_its_failure_does_not_undo() -> None:
    space = filled()
    shown: list[int] = []

    def fail() -> None:
        shown.append(len(space))
        raise OSError("late")

    space.subscribe(lambda update: shown.append(-len(space)), committed=fail)
    space.subscribe(lambda update: None, committed=lambda: shown.append(100))
    with pytest.raises(OSError, match="late"):
        space.map_at(0x2_0000, PAGE, 1)
    assert shown == [-3, 4, 100] and len(space) == 4


def test_an_undo_that_fails_is_noted_and_the_others_are_still_undone() -> None:
    space = filled()
    heard: list[Kind] = []

    def stubborn(update: Update) -> None:
        if update.kind is Kind.UNMAP:
            raise KeyError("undo")

    def refuse(update: Update) -> None:
        raise OSError("first")

    space.subscribe(lambda update: heard.append(update.kind))
    space.subscribe(stubborn)
    space.subscribe(refuse)
    with pytest.raises(OSError, match="first") as error:
        space.map_at(0x2_0000, PAGE, 1)
    assert heard == [Kind.MAP, Kind.UNMAP] and len(space) == 3
    assert "'undo'" in error.value.__notes__[0] and "unmap 0x20000-0x21000" in error.value.__notes__[0]


# -- backings ---------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Counted:
    """A backing object that writes down what is asked of it."""

    log: list[tuple[Any, ...]]
    name: str = "x"
    friend: bool = field(default=True)

    def split(self, offset: int) -> Counted:
        self.log.append(("split", self.name, offset))
        return Counted(self.log, f"{self.name}+{offset:x}", self.friend)

    def joins(self, next: Any) -> bool:
        return self.friend and isinstance(next, Counted) and next.friend

    def removed(self) -> None:
        self.log.append(("removed", self.name))


def test_cuts_are_made_right_first_once_each_and_removed_is_said_after_the_commit() -> None:
    log: list[tuple[Any, ...]] = []
    space = AddressSpace(0, 0x10000)
    space.subscribe(lambda update: log.append((update.kind.value, len(space))), committed=lambda: log.append(("committed", len(space))))
    space.map_at(0x1000, 0x4000, 1, backing=Counted(log, friend=False))
    log.clear()
    space.unmap(0x2000, 0x1000)
    assert log == [("split", "x", 0x2000), ("split", "x", 0x1000), ("unmap", 1), ("removed", "x+1000"), ("committed", 2)]
    assert [v.backing.name for v in space] == ["x", "x+2000"]
    log.clear()
    space.protect(0x3000, 0x1000, 3)
    assert log == [("split", "x+2000", 0x1000), ("protect", 2), ("committed", 3)]
    log.clear()
    space.map_at(0x1000, 0x1000, 5)
    assert log == [("unmap", 3), ("map", 3), ("removed", "x"), ("committed", 3)]
    space.protect(0x3000, 0x1000, 1)
    assert len(space) == 3, "they do not want to join"


def test_joined_regions_keep_the_left_backing() -> None:
    log: list[tuple[Any, ...]] = []
    space = AddressSpace(0, 0x10000)
    space.map_at(0x2000, 0x1000, 1, backing=Counted(log, "right"))
    space.map_at(0x1000, 0x1000, 1, backing=Counted(log, "left"))
    (one,) = space
    assert (one.start, one.end, one.base, one.length, one.backing.name) == (0x1000, 0x3000, 0x1000, 0x2000, "left") and log == []


def test_file_offsets_after_many_cuts() -> None:
    space = AddressSpace(0, 0x100 * PAGE)
    space.map_at(0, 0x100 * PAGE, 1, backing=File("f", 7 * PAGE))
    for page in range(1, 0x100, 3):
        space.protect(page * PAGE, PAGE, 3)
    assert len(space) == 171
    assert all(v.backing == File("f", 7 * PAGE + v.start) and (v.base, v.length) == (0, 0x100 * PAGE) for v in space)
    space.protect(0, 0x100 * PAGE, 1)
    assert [(v.start, v.end, v.backing) for v in space] == [(0, 0x100 * PAGE, File("f", 7 * PAGE))]


@pytest.mark.parametrize(
    ("left", "right", "joins"),
    [
        (None, None, True),
        (File("f", 0), File("f", PAGE), True),
        (File("f", PAGE), File("f", 2 * PAGE), True),
        (File("f", 0), File("f", 0), False),
        (File("f", PAGE), File("f", 0), False),
        (File("f", 0), File("g", PAGE), False),
        (File("f", 0), None, False),
        (None, File("f", 0), False),
        ("heap", "heap", True),
        ("heap", "stack", False),
        ("heap", None, False),
        (File("f", 0), "f", False),
        ("f", File("f", PAGE), False),
        (b"split", b"split", True),
        (0, 0, True),
        (0, None, False),
    ],
)
def test_merge_rules(left: Any, right: Any, joins: bool) -> None:
    for prot, flags in ((1, 0), (1 << 63, 0), (1, 1)):
        space = AddressSpace(0, 0x10000)
        space.map_at(0x2000, PAGE, 1, backing=right)
        space.map_at(0x1000, PAGE, prot, flags, backing=left)
        assert len(space) == (1 if joins and prot == 1 and flags == 0 else 2)
        space.map_at(0x4000, PAGE, prot, flags, backing=left)
        space.map_at(0x5000, PAGE, prot, flags, backing=right)
        assert len(space) == (1 if joins and prot == 1 and flags == 0 else 2) + (1 if joins else 2)


def test_defaults() -> None:
    space = filled()
    assert space.find_free(PAGE) == 0x1_2000 == space.map_any(PAGE, 2)
    space.map_at(0x1_2000, PAGE, 6)
    assert [(v.prot, v.flags, v.backing) for v in space.regions(0x1_2000, 1)] == [(6, 0, None)]
    assert AddressSpace(0, 1).page_size == PAGE and AddressSpace(0, 1).context is None


def test_texts() -> None:
    space = filled()
    assert repr(space) == "<AddressSpace 0x10000-0x30000 page=0x1000 regions=3>"
    space.map_at(0x2_0000, PAGE, 5, backing=File("/bin/x", 0x3000))
    assert space.maps().splitlines()[2:] == [
        "00015000-00016000 r-xp 00000000 00:00 0 ",
        "00020000-00021000 r-xp 00003000 00:00 0".ljust(73) + "/bin/x",
    ]


def test_check_finds_what_is_wrong() -> None:
    space = filled()
    space.check()
    root = space._root
    assert root is not None and root.leaf
    vma = root.items[0]
    for attribute, value in (("end", 0x1_1800), ("end", 0x1_8000), ("start", 0xF000), ("base", 0x1_1000), ("length", PAGE)):
        root.items[0] = vma._replace(**{attribute: value})
        with pytest.raises(EmulatorBug):
            space.check()
        root.items[0] = vma
        space.check()


def test_checking_looks_after_every_change() -> None:
    space = filled()
    root = space._root
    assert root is not None and root.leaf
    root.items[0] = root.items[0]._replace(base=0x2_0000)
    space.map_at(0x2_0000, PAGE, 1)
    space.checking = True
    with pytest.raises(EmulatorBug):
        space.map_at(0x2_2000, PAGE, 1)


def test_check_wants_whole_pages() -> None:
    for low, high in ((0x1001, 0x2000), (0x1000, 0x2001)):
        space = AddressSpace(0, 0x10000, 1)
        space.map_at(low, high - low, 1)
        space.check()
        space._mask = 0xFFF
        with pytest.raises(EmulatorBug, match="pages"):
            space.check()
