"""Which processes of the host are a run's: the table that they share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from emuvm.errors import GuestError
from emuvm.kernel import host_family
from emuvm.kernel.host_family import Family, Relative


@pytest.fixture
def births(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """When processes started; those that are not in it do not exist."""
    known = {os.getpid(): 5}
    monkeypatch.setattr(host_family, "_born", lambda pid: known.get(pid, 0))
    return known


@pytest.fixture
def family(births: dict[int, int]) -> Iterator[Family]:
    made = Family(10, 11)
    yield made
    made.close()


def pids(family: Family) -> list[int]:
    return [relative.pid for relative in family]


def test_who_belongs_to_it(family: Family, births: dict[int, int]) -> None:
    me = os.getpid()
    assert list(family) == [Relative(me, 10, 11)] and family.find(me) == Relative(me, 10, 11) and family.find(me + 1) is None
    births.update({me + 1: 5, me + 2: 5, me + 3: 6})
    for n in (1, 2, 3):
        family.enter(me + n, n, n)
    assert pids(family) == [me, me + 1, me + 2, me + 3], "also those that started at one time"
    family.enter(me + 2, 7, 8)
    assert family.find(me + 2) == Relative(me + 2, 7, 8) and len(pids(family)) == 4


def test_a_number_that_is_used_again_is_a_stranger_s(family: Family, births: dict[int, int]) -> None:
    me = os.getpid()
    births.update({me + 1: 6, me + 2: 7})
    family.enter(me + 1, 1, 1)
    family.enter(me + 2, 2, 2)
    births[me + 1] = 9
    assert family.find(me + 1) is None and pids(family) == [me, me + 2]
    family.enter(me + 1, 3, 3)
    assert pids(family) == [me, me + 1, me + 2], "its place is taken by the next"
    del births[me + 1]
    births[me + 3] = 8
    family.enter(me + 3, 4, 4)
    assert pids(family) == [me, me + 3, me + 2]
    family.enter(me + 4, 0, 0)
    assert pids(family) == [me, me + 3, me + 2], "who does not exist does not enter"


def test_when_there_is_no_room_nobody_enters(births: dict[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_family, "_SLOTS", 4)
    family, me = Family(0, 0), os.getpid()
    births.update({me + n: n for n in range(1, 5)})
    for n in range(1, 5):
        family.enter(me + n, 0, 0)
    assert pids(family) == [me, me + 1, me + 2, me + 3] and family.find(me + 4) is None
    family.close()


def test_the_real_ones() -> None:
    family = Family(0, 0)
    child = os.fork()
    if child == 0:
        os.read(os.pipe()[0], 1)
    try:
        family.enter(child, 0, 0)
        assert family.find(child) is not None
        with pytest.raises(GuestError):
            family.ask(child, b"what", lambda request: b"")
        family.kill(child, 9)
        os.waitpid(child, 0)
        assert family.find(child) is None and pids(family) == [os.getpid()]
    finally:
        family.close()
