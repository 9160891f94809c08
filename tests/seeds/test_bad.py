"""What emuvm does where a recording is marked `bad`: one test for each kind of weakness the old systems had.

Kinds, by their marks: zero length (empty_area, empty_region), outside the space (out_of_space), failures half-way (panic,
abort, atomic false), wrong region lists (model, partition, ub), wrong callbacks (cb_missing, cb_units), wrong answers
(query, result_vs_first_fit).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from emuvm.errors import BadArgument, NoSpace
from emuvm.mm import AddressSpace, Kind, Update

PAGE = 4096


class Refusal(Exception):
    """The injected failure."""


def space_of(*regions: tuple[int, int, int], start: int = 0, length: int = 0x10000, page_size: int = PAGE) -> AddressSpace:
    space = AddressSpace(start, length, page_size)
    for low, high, prot in regions:
        space.map_at(low, high - low, prot)
    return space


def seen_by(space: AddressSpace) -> list[Update]:
    updates: list[Update] = []
    space.subscribe(updates.append)
    return updates


@pytest.mark.parametrize("at", [0x2000, 0x3000, 0x6000, 0x8000])
@pytest.mark.parametrize("operation", ["map_at", "map_any", "unmap", "protect"])
def test_zero_length_is_an_error_and_changes_nothing(operation: str, at: int) -> None:
    space = space_of((0x2000, 0x6000, 7))
    updates, before = seen_by(space), list(space)
    calls: dict[str, Callable[[], Any]] = {
        "map_at": lambda: space.map_at(at, 0, 1),
        "map_any": lambda: space.map_any(0, 1, hint=at),
        "unmap": lambda: space.unmap(at, 0),
        "protect": lambda: space.protect(at, 0, 1),
    }
    with pytest.raises(BadArgument) as error:
        calls[operation]()
    assert error.value.argument == "length" and error.value.errno == 22
    assert list(space) == before and not updates


def test_an_inverted_range_cannot_be_stored() -> None:
    space = space_of(page_size=1)
    with pytest.raises(BadArgument):
        space.map_at(0x5000, 0x3000 - 0x5000, 7)
    assert len(space) == 0


@pytest.mark.parametrize("at", [0x1_0000 + 16 * 0x10000, 0x1_0000 + 17 * 0x10000, 1 << 46, (1 << 64) - PAGE])
def test_nothing_is_mapped_changed_or_removed_outside_the_space(at: int) -> None:
    space = AddressSpace(0x1_0000, 16 * 0x10000)
    for call in (space.map_at, space.protect):
        with pytest.raises(BadArgument):
            call(at, PAGE, 1)
    with pytest.raises(BadArgument):
        space.unmap(at, PAGE)
    assert space.map_any(PAGE, 1, hint=at) == 0x1_0000
    assert space.query(at) is None


def failing(space: AddressSpace, at: int) -> None:
    count = 0

    def callback(update: Update) -> None:
        nonlocal count
        count += 1
        if count == at + 1:
            raise Refusal

    space.subscribe(callback)


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize("operation", ["map_at", "unmap", "protect", "clear"])
def test_a_failure_half_way_leaves_everything_as_it_was(operation: str, at: int) -> None:
    space = space_of((0x1000, 0x3000, 7), (0x4000, 0x5000, 7), (0x6000, 0x7000, 5), (0x8000, 0xA000, 7))
    before = list(space)
    failing(space, at)
    calls: dict[str, Callable[[], Any]] = {
        "map_at": lambda: space.map_at(0x2000, 0x7000, 3),
        "unmap": lambda: space.unmap(0x2000, 0x7000),
        "protect": lambda: space.protect(0x2000, 0x7000, 3, holes="skip"),
        "clear": space.clear,
    }
    updates = 5 if operation == "map_at" else 4
    if at < updates:
        with pytest.raises(Refusal):
            calls[operation]()
        assert list(space) == before
    else:
        calls[operation]()
        assert list(space) != before
    space.check()


def test_map_and_protect_over_several_adjacent_regions() -> None:
    space = space_of((0x1000, 0x3000, 1), (0x3000, 0x5000, 3), (0x6000, 0x7000, 5))
    updates = seen_by(space)
    space.map_at(0x1000, 0x6000, 7)
    assert [(v.start, v.end, v.prot) for v in space] == [(0x1000, 0x7000, 7)]
    assert [(u.kind, u.start, u.end) for u in updates] == [
        (Kind.UNMAP, 0x1000, 0x3000),
        (Kind.UNMAP, 0x3000, 0x5000),
        (Kind.UNMAP, 0x6000, 0x7000),
        (Kind.MAP, 0x1000, 0x7000),
    ]
    space = space_of((0x1000, 0x3000, 1), (0x3000, 0x5000, 3))
    updates = seen_by(space)
    space.protect(0x1000, 0x4000, 7)
    assert [(v.start, v.end, v.prot) for v in space] == [(0x1000, 0x5000, 7)]
    assert [(u.kind, u.start, u.end) for u in updates] == [(Kind.PROTECT, 0x1000, 0x3000), (Kind.PROTECT, 0x3000, 0x5000)]


def test_cutting_a_region_does_not_merge_its_rest_with_a_different_neighbour() -> None:
    space = space_of((0x1000, 0x2000, 1), (0x2000, 0x4000, 3))
    space.unmap(0x3000, 0x1000)
    assert [(v.start, v.end, v.prot) for v in space] == [(0x1000, 0x2000, 1), (0x2000, 0x3000, 3)]


def test_replacing_inside_one_region_calls_back_in_bytes() -> None:
    space = space_of((0x2000, 0x6000, 1))
    updates = seen_by(space)
    space.map_at(0x3000, 0x1000, 3)
    assert [(u.kind, u.start, u.length) for u in updates] == [(Kind.UNMAP, 0x3000, 0x1000), (Kind.MAP, 0x3000, 0x1000)]
    updates.clear()
    space.protect(0x5000, 0x1000, 3)
    assert [(u.kind, u.start, u.length) for u in updates] == [(Kind.PROTECT, 0x5000, 0x1000)]


@pytest.mark.parametrize("address", [0x2000, 0x2001, 0x5FFF])
def test_query_takes_any_byte_address(address: int) -> None:
    found = space_of((0x2000, 0x6000, 1)).query(address)
    assert found is not None and (found.start, found.end) == (0x2000, 0x6000)


def test_find_free_stays_below_the_limit() -> None:
    space = space_of((0, 0x2000, 1), (0x8000, 0x9000, 1))
    assert space.find_free(0x1000, limit=(0, 0x2000)) is None
    assert space.find_free(0x1000, limit=(0, 0x3000)) == 0x2000
    assert space.find_free(0x1000, limit=(0x4000, 0x3000 + 0x2000)) == 0x4000


@pytest.mark.parametrize("align", [0, -1, 3, 6144])
def test_a_bad_alignment_is_an_error(align: int) -> None:
    with pytest.raises(BadArgument) as error:
        space_of().find_free(PAGE, align=align)
    assert error.value.argument == "align"


def test_no_space_and_overflow_are_errors() -> None:
    space = AddressSpace(0x1000, (1 << 64) - 0x2000)
    space.map_at(0x5000, (1 << 64) - 0x6000 - 0x1000, 1)
    with pytest.raises(NoSpace) as error:
        space.map_any(0x8000, 1)
    assert error.value.errno == 12
    with pytest.raises(BadArgument):
        space.map_at((1 << 64) - 0x2000, 0x2000, 1)
    assert space.find_free(0x1000, limit=((1 << 64) - 6, 1 << 64)) is None
    assert len(space) == 1
