"""Intervals and PortablePages against naive models."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from emuvm.engine.intervals import Intervals
from emuvm.engine.portable import BLOCK, PortablePages
from emuvm.errors import EngineError

PAGE = 4096


@pytest.mark.parametrize("seed", range(3))
def test_intervals_against_a_dict(seed: int) -> None:
    rng = random.Random(seed)
    ranges: Intervals[int] = Intervals(lambda value, offset: value + offset)
    model: dict[int, int] = {}
    for _ in range(300):
        start = rng.randrange(60)
        end = start + rng.randint(1, 12)
        if rng.random() < 0.5:
            value = rng.randrange(1, 1000) * 1000
            ranges.put(start, end, value)
            model.update({place: value + place - start for place in range(start, end)})
        else:
            gone = ranges.cut(start, end)
            assert {p: v + p - low for low, high, v in gone for p in range(low, high)} == {
                p: model.pop(p) for p in range(start, end) if p in model
            }
        assert {p: v + p - low for low, high, v in ranges for p in range(low, high)} == model
        low, high = sorted(rng.sample(range(75), 2))
        assert {p for first, last in ranges.gaps(low, high) for p in range(first, last)} == set(range(low, high)) - set(model)
        inside = {p: v + p - first for first, last, v in ranges.inside(low, high) for p in range(first, last)}
        assert inside == {p: v for p, v in model.items() if low <= p < high}
        at = ranges.at(low)
        assert (None if at is None else at[2] + low - at[0]) == model.get(low)


@pytest.mark.parametrize("seed", range(3))
def test_pages_against_a_bytearray(seed: int) -> None:
    rng = random.Random(seed)
    pages = PortablePages()
    base, size = 3 * BLOCK - 16 * PAGE, 32 * PAGE
    model = bytearray(size)
    for _ in range(200):
        start = rng.randrange(32) * PAGE
        length = rng.randint(1, 32 - start // PAGE) * PAGE
        choice = rng.randrange(4)
        if choice == 0:
            data = rng.randbytes(rng.randrange(1, length))
            offset = start + rng.randrange(length - len(data) + 1)
            pages.write(base + offset, data)
            model[offset : offset + len(data)] = data
        elif choice == 1:
            rng.choice((pages.release, pages.clear, pages.discard))(base + start, base + start + length)
            model[start : start + length] = bytes(length)
        elif choice == 2:
            to = rng.randrange(33 - length // PAGE) * PAGE
            if to + length <= start or start + length <= to:
                pages.move(base + start, base + start + length, base + to)
                model[to : to + length] = model[start : start + length]
                model[start : start + length] = bytes(length)
        else:
            runs = list(pages.spans(base + start, base + start + length))
            assert runs[0][0] == base + start and runs[-1][1] == base + start + length
            assert all(one[1] == two[0] and one[2] + one[1] - one[0] != two[2] for one, two in pairwise(runs))
            assert all(pages.pointer(low) == pointer for low, _, pointer in runs)
        assert pages.read(base, size) == bytes(model)


def test_neighbours_share_a_block_and_blocks_go_back() -> None:
    pages = PortablePages()
    for page in range(64):
        assert len(list(pages.spans(BLOCK + page * PAGE, BLOCK + (page + 1) * PAGE))) == 1
    assert len(list(pages.spans(BLOCK, BLOCK + 64 * PAGE))) == 1
    assert pages.bytes_reserved() == BLOCK
    pages.release(BLOCK, 2 * BLOCK)
    assert pages.bytes_reserved() == 0


def test_the_host_may_refuse() -> None:
    pages = PortablePages()
    with pytest.raises(EngineError, match="host"):
        list(pages.spans(0, 1 << 62))
    assert pages.bytes_reserved() == 0
