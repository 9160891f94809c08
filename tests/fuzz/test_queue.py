"""The corpus: who is favoured, who comes next, what a turn is worth, and which inputs a small corpus needs."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from random import Random

import pytest

from emuvm.errors import EmuvmError
from emuvm.fuzz.afl.queue import SCHEDULES, Entry, Queue, edges_of, smallest_cover


def entry(identity: int, edges: tuple[int, ...] = (1,), *, blocks: int = 100, data: bytes = b"abcd") -> Entry:
    made = Entry(identity, f"id:{identity:06}", data)
    made.edges, made.blocks = edges, blocks
    return made


def queue(*entries: Entry, schedule: str = "fast", sequential: bool = False) -> Queue:
    made = Queue(schedule, sequential=sequential)
    for one in entries:
        made.add(one)
        made.measured(one)
    return made


def test_edges_are_the_counters_that_are_not_zero() -> None:
    counters = bytearray(65536)
    counters[0], counters[77], counters[65535] = 1, 255, 10
    assert edges_of(counters) == edges_of(memoryview(counters)) == (0, 77, 65535)
    assert edges_of(bytes(65536)) == ()


def test_the_favoured_have_every_edge_and_are_the_cheap_ones() -> None:
    a, b, c = entry(0, (1, 2, 3), blocks=100), entry(1, (1, 2), blocks=10), entry(2, (3,), blocks=500)
    made = queue(a, b, c)
    made.refresh()
    # b is the cheapest with 1 and 2, a with 3.
    assert [one.favoured for one in made.entries] == [True, True, False]
    assert made.favoured == 2 and made.pending == (3, 2)


def test_cost_is_blocks_times_length() -> None:
    long, short = entry(0, (1,), blocks=10, data=bytes(1000)), entry(1, (1,), blocks=100, data=bytes(10))
    made = queue(long, short)
    made.refresh()
    assert short.favoured and not long.favoured
    long.data = bytes(1)  # trimmed
    made.measured(long)
    made.refresh()
    assert long.favoured and not short.favoured


def test_a_disabled_entry_is_never_chosen() -> None:
    for sequential in (False, True):
        made = queue(*(entry(n, (n,)) for n in range(5)), sequential=sequential)
        made.entries[2].disabled = True
        random = Random(1)
        assert {made.next(random).identity for _ in range(300)} == {0, 1, 3, 4}
        assert not made.entries[2].favoured


def test_without_a_usable_entry_there_is_an_error() -> None:
    made = queue(entry(0))
    made.entries[0].disabled = True
    with pytest.raises(EmuvmError, match="no input is left"):
        made.next(Random(0))


def test_choice_depends_on_the_seed_only() -> None:
    def order(seed: int) -> list[int]:
        made = queue(*(entry(n, (n, n + 1), blocks=10 + n) for n in range(20)))
        random = Random(seed)
        return [made.next(random).identity for _ in range(100)]

    assert order(3) == order(3) != order(4)


def test_in_order_means_in_order() -> None:
    made = queue(*(entry(n, (n,)) for n in range(6)), sequential=True)
    assert [made.next(Random(0)).identity for _ in range(12)] == [*range(6), *range(6)]
    assert made.cycles == 1


def test_favoured_ones_that_wait_come_first() -> None:
    worse = [entry(n, (1,), blocks=1000) for n in range(30)]
    best = entry(30, (1,), blocks=1)
    made = queue(*worse, best, sequential=True)
    chosen = Counter(made.next(Random(seed)).identity for seed in range(40))
    assert chosen[30] > 15  # everybody else has one chance in a hundred


def test_favoured_and_new_entries_are_likelier() -> None:
    good, plain, old = entry(0, (1, 2), blocks=10), entry(1, (1,), blocks=11), entry(2, (1,), blocks=11)
    old.fuzzed = 5
    made = queue(good, plain, old)
    random = Random(1)
    chosen = Counter(made.next(random).identity for _ in range(2000))
    assert chosen[0] > 2 * chosen[1] > 3 * chosen[2] > 0


def test_paths_that_are_taken_often_are_chosen_less() -> None:
    common, rare = entry(0, (1,), blocks=50), entry(1, (2,), blocks=51)
    made = queue(common, rare)
    made.hits.update({50: 100_000, 51: 2})
    random = Random(1)
    chosen = Counter(made.next(random).identity for _ in range(1000))
    assert chosen[1] > 3 * chosen[0]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_scores_are_in_bounds(schedule: str) -> None:
    random = Random(7)
    entries = [entry(n, tuple(range(random.randrange(1, 200))), blocks=random.randrange(1, 100_000)) for n in range(50)]
    for one in entries:
        one.depth, one.fuzzed = random.randrange(1, 40), random.randrange(40)
    made = queue(*entries, schedule=schedule)
    made.hits.update({one.blocks: random.randrange(1 << 20) for one in entries})
    made.refresh()
    scores = [made.score(one) for one in entries]
    assert all(1 <= score <= 1600 for score in scores)
    assert len(set(scores)) > 1


def test_fast_and_telling_entries_get_more() -> None:
    slow, quick = entry(0, (1, 2), blocks=10_000), entry(1, (1, 2), blocks=100)
    poor, rich = entry(2, (1,), blocks=5000), entry(3, tuple(range(50)), blocks=5000)
    made = queue(slow, quick, poor, rich, schedule="explore")
    made.refresh()
    assert made.score(quick) > made.score(slow)
    assert made.score(rich) > made.score(poor)


def test_rare_paths_get_more_after_the_first_turn() -> None:
    common, rare = entry(0, (1,), blocks=100), entry(1, (1,), blocks=101)
    third = entry(2, (1,), blocks=1)  # the favoured one
    made = queue(common, rare, third)
    made.hits.update({100: 1 << 20, 101: 1})
    made.refresh()
    assert made.score(common) == made.score(rare)
    common.fuzzed = rare.fuzzed = 1
    assert made.score(rare) > 2 * made.score(common)


def test_late_entries_catch_up() -> None:
    made = queue(entry(0))
    made.cycles = 6
    late = entry(1)
    made.add(late)
    made.measured(late)
    made.refresh()
    first = made.score(late)
    later = [made.score(late) for _ in range(4)]
    assert first > later[-1] == made.score(late)


def test_an_unknown_schedule_is_an_error() -> None:
    with pytest.raises(EmuvmError, match="no power schedule 'slow'"):
        Queue("slow")


def test_a_partner_is_another_entry_of_some_length() -> None:
    made = queue(entry(0), entry(1, data=b"xyz"), entry(2, data=b"longer"))
    found = {id(made.partner(made.entries[0], Random(seed))) for seed in range(50)}
    assert id(made.entries[2]) in found and id(made.entries[0]) not in found and id(made.entries[1]) not in found
    assert queue(entry(0)).partner(entry(0, data=b""), Random(0)) is not None
    alone = queue(entry(0))
    assert alone.partner(alone.entries[0], Random(0)) is None


def test_counts_of_single_runs_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emuvm.fuzz.afl.queue._KINDS", 10)
    made = queue(entry(0))
    made.hits.update({n: 1 + (n == 3) for n in range(11)})
    made.refresh()
    assert made.hits == {3: 2}


def test_a_cover_has_everything_and_is_small() -> None:
    random = Random(11)
    for _ in range(40):
        sets = [(random.randrange(1, 9), frozenset(random.sample(range(12), random.randrange(1, 7)))) for _ in range(8)]
        everything = frozenset().union(*(elements for _, elements in sets))
        chosen = smallest_cover(sets)
        assert frozenset().union(*(sets[index][1] for index in chosen)) == everything
        choices = (choice for size in range(1, 9) for choice in combinations(range(8), size))
        least = next(len(choice) for choice in choices if frozenset().union(*(sets[index][1] for index in choice)) == everything)
        assert len(chosen) <= least + 2
        assert chosen == sorted(set(chosen))
    assert smallest_cover([]) == []


def test_of_equal_sets_the_cheapest_is_taken() -> None:
    assert smallest_cover([(5, frozenset({1, 2})), (3, frozenset({1, 2})), (4, frozenset({1, 2}))]) == [1]
