"""Attributes put back by the C module and by its twin; the records of calls."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from emuvm.engine.native_code import native
from emuvm.fuzz import state
from emuvm.fuzz.outcome import Call, Calls
from emuvm.fuzz.state import State, _put_back

Put = Callable[[list[dict[str, Any]], list[dict[str, Any]]], None]


@pytest.fixture(params=["native", "python"])
def put(request: pytest.FixtureRequest) -> Put:
    code = native()
    if request.param == "python":
        return _put_back
    if code is None:
        pytest.skip("the C module is not built")
    return code.put_back


class Thing:
    """Something of emuvm's with attributes and a list."""

    def __init__(self) -> None:
        self.engine = object()  # not state
        self.one = 1
        self.two = [1, 2]
        self.three = "x"
        self.four: Any = None


Thing.__module__ = "emuvm.kernel.thing"


def test_values_come_back_whatever_happened_to_the_keys(put: Put) -> None:
    names = [f"n{i}" for i in range(12)]
    rng = random.Random(3)
    for _ in range(300):
        kept = {name: object() for name in rng.sample(names, rng.randrange(1, 9))}
        live: dict[str, Any] = {}
        for name in rng.sample(names, 12):  # another order, keys between, keys that are missing
            if rng.random() < 0.7:
                live[name] = kept.get(name) if rng.random() < 0.5 else object()
        others = {name: value for name, value in live.items() if name not in kept}
        put([live, {}], [kept, {"a": 1}])
        assert {name: live[name] for name in kept} == kept
        assert {name: value for name, value in live.items() if name not in kept} == others


def test_attributes_of_an_instance_come_back(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    thing = Thing()
    kept = State(thing)
    monkeypatch.setattr(kept, "_put_back", put)
    engine, two = object(), thing.two
    for turn in range(3):
        thing.one, thing.two, thing.three, thing.engine = 2 + turn, [7], "y", engine
        two.append(3)
        del thing.four
        thing.five = 5  # type: ignore[attr-defined]
        kept.restore()
        assert vars(thing) == {"engine": engine, "one": 1, "two": [1, 2], "three": "x", "four": None}
        assert thing.two is two and not kept.differences()


@pytest.mark.skipif(native() is None, reason="the C module is not built")
def test_the_module_refuses_what_is_no_list_of_dictionaries() -> None:
    code = native()
    assert code is not None
    for live, kept in (([{}], []), ([{}], [1]), ([()], [{}]), (({},), [{}])):
        with pytest.raises((TypeError, ValueError)):
            code.put_back(live, kept)  # type: ignore[arg-type]


def test_state_uses_the_module_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "native", lambda: None)
    assert State(Thing())._put_back is _put_back


def test_calls_are_a_sequence_of_calls() -> None:
    records = ((0, (1, 2), 3), (60, (0,), None))
    calls = Calls(records, {0: "read", 60: "exit"}.__getitem__)
    wanted = (Call("read", (1, 2), 3), Call("exit", (0,), None))
    assert tuple(calls) == wanted and calls[:] == wanted and calls[-1] == wanted[1] and len(calls) == 2
    assert calls == Calls(records, str) and hash(calls) == hash(Calls(records, str))
    assert calls != Calls(records[:1], str) and calls != wanted
    assert repr(calls) == repr(wanted)
