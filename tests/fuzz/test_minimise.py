"""A smaller corpus with everything in it, and what counts as the same input."""

from __future__ import annotations

from random import Random

import pytest

from emuvm.fuzz.afl.minimise import Likeness, Wanted, described, minimise, shown
from emuvm.fuzz.outcome import Kind
from tests.fuzz.afl_fakes import Parser


def tuples(inputs: dict[str, bytes], *, edges_only: bool = False) -> frozenset[int]:
    target, found = Parser(), set[int]()
    for data in inputs.values():
        target.run(data)
        found |= shown(target.counters.view, edges_only=edges_only)
    return frozenset(found)


def corpus() -> dict[str, bytes]:
    random = Random(3)
    return {f"n{index:03}": b"FZ" + bytes(random.choice(b"abcdef") for _ in range(random.randrange(12))) for index in range(200)}


@pytest.mark.parametrize("edges_only", [False, True])
def test_the_small_corpus_shows_the_same(edges_only: bool) -> None:
    inputs = corpus()
    result = minimise(Parser(), inputs.items(), edges_only=edges_only)
    kept = {name: inputs[name] for name in result.kept}
    assert result.total == 200 and result.left_out == 0
    assert tuples(kept, edges_only=edges_only) == tuples(inputs, edges_only=edges_only)
    assert result.tuples == len(tuples(inputs, edges_only=edges_only))
    assert len(kept) < (4 if edges_only else 20)
    for name in kept:  # and none is too much
        assert tuples({other: data for other, data in kept.items() if other != name}, edges_only=edges_only) != tuples(
            kept, edges_only=edges_only
        )


def test_of_inputs_that_show_the_same_the_shortest_is_kept() -> None:
    assert minimise(Parser(), [("long", b"FZ" + b"a" * 7), ("short", b"FZ" + b"a" * 4), ("other", b"FZb")]).kept == ["short", "other"]


def test_counts_matter_by_their_bucket() -> None:
    inputs = [("four", b"FZaaaa"), ("seven", b"FZaaaaaaa"), ("three", b"FZaaa")]
    assert minimise(Parser(), inputs).kept == ["four", "three"]
    assert minimise(Parser(), inputs, edges_only=True).kept == ["three"]


def test_which_runs_count() -> None:
    inputs = [("ends", b"FZa"), ("crash", b"FZa!"), ("hang", b"FZ@"), ("again", b"F!")]
    ended = minimise(Parser(), inputs)
    assert (ended.kept, ended.left_out) == (["ends"], 3)
    crashed = minimise(Parser(), inputs, wanted=Wanted.CRASHED)
    assert (crashed.kept, crashed.left_out) == (["crash", "again"], 2)
    everything = minimise(Parser(), inputs, wanted=Wanted.ALL)
    assert everything.left_out == 0 and {"crash", "hang", "again"} <= set(everything.kept)
    assert minimise(Parser(), []).kept == []


def test_progress_is_told() -> None:
    told: list[int] = []
    minimise(Parser(), [("a", b"a"), ("b", b"b")], tell=told.append)
    assert told == [1, 2]


def test_an_input_that_ends_is_like_one_with_the_same_map() -> None:
    like = Likeness(Parser(), b"FZaaaa")
    assert like(b"FZaaaaa") and not like(b"FZaaa") and not like(b"FZb") and not like(b"FZaaaa!")
    assert like.runs == 5
    assert Likeness(Parser(), b"FZaaaa", edges_only=True)(b"FZa")


def test_a_crash_is_like_one_of_the_same_kind_and_place() -> None:
    like = Likeness(Parser(), b"FZab!")
    assert like(b"FZ!") and not like(b"F!") and not like(b"FZ@") and not like(b"FZab")
    assert Likeness(Parser(), b"FZab!", loose=True)(b"F!")

    class Moved(Parser):
        def run(self, data: bytes):  # type: ignore[no-untyped-def]
            return super().run(data)._replace(pc=len(data))

    assert not Likeness(Moved(), b"FZab!")(b"FZ!")


def test_a_hang_is_like_any_hang() -> None:
    like = Likeness(Parser(), b"FZab@")
    assert like.outcome.kind is Kind.HANG and like(b"FZ@") and not like(b"FZ") and not like(b"FZ!")


def test_runs_in_words() -> None:
    target = Parser()
    assert [described(target.run(data)) for data in (b"FZabc", b"FZ!", b"FZ@")] == [
        "ends with exit code 1",
        "is ended by signal 11 at 0x1234",
        "hangs",
    ]
