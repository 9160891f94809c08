"""A campaign on a target in plain Python: what is found, saved, counted and gone on with; the same again with the same seed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emuvm.errors import EmulatorBug, EmuvmError
from emuvm.fuzz.afl.campaign import LEAST_BUDGET, Campaign, Settings
from emuvm.fuzz.afl.folder import CRASHES, HANGS, QUEUE, Folder, fields, number, read_stats
from emuvm.fuzz.afl.screen import Screen
from emuvm.fuzz.coverage import Seen, classified
from emuvm.fuzz.outcome import Kind
from tests.fuzz.afl_fakes import Parser, Simple

SEEDS = [("a", b"FZabc"), ("b", b"hello")]


class Ticks:
    """A clock that goes a millisecond with each look."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def campaign(
    path: Path, *, target: Parser | None = None, seeds: list[tuple[str, bytes]] | None = None, resume: bool = False, name: str = "main",
    before: Callable[[Campaign], object] | None = None, screen: Screen | None = None, **settings: Any,
) -> Campaign:  # fmt: skip
    settings = {"execs": 3000, "seed": 1, "sync_every": 0.0, **settings}
    folder = Folder(path, name)
    folder.prepare(resume=resume)
    made = Campaign(target or Parser(), folder, Simple(settings["seed"]), Settings(**settings), screen, clock=Ticks())
    if before is not None:
        before(made)
    try:
        made.start(SEEDS if seeds is None else seeds, resume=resume)
        made.fuzz()
    finally:
        made.finish()
        folder.close()
    return made


def files(path: Path, kind: str, name: str = "main") -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in sorted((path / name / kind).glob("id:*"))}


class Dull(Parser):
    """Has two paths, so that nothing is found."""

    def run(self, data: bytes) -> Any:
        return super().run(b"FZab" if data.startswith(b"FZ") else b"ab")


# -- what is found ------------------------------------------------------------------------------------------------------------


def test_it_finds_and_keeps_what_is_new(tmp_path: Path) -> None:
    target = Parser()
    made = campaign(tmp_path, target=target)
    queue, crashes, hangs = (files(tmp_path, kind) for kind in (QUEUE, CRASHES, HANGS))
    assert len(queue) > 20 and crashes and hangs
    assert [number(name) for name in queue] == list(range(len(queue)))
    assert list(queue)[0] == "id:000000,time:0,execs:1,orig:a" and list(queue)[1].endswith(",orig:b")
    for name in list(queue)[2:]:
        assert re.fullmatch(r"id:\d{6},src:\d{6}(\+\d{6})?,time:\d+,execs:\d+,op:\w+,(rep|pos):\d+(,\+cov)?", name), name
    for name, data in crashes.items():
        outcome = target.run(data)
        assert outcome.kind is Kind.CRASH and int(fields(name)["sig"]) == outcome.signal
    target.budget = made.target.budget * 10
    assert all(target.run(data).kind is Kind.HANG for data in hangs.values())


def test_every_entry_but_the_seeds_showed_something_new_in_its_time(tmp_path: Path) -> None:
    campaign(tmp_path, trim=False)
    target, seen = Parser(), Seen()
    target.budget = 1 << 30
    new = []
    for data in files(tmp_path, QUEUE).values():
        target.run(data)
        new.append(seen.merge(target.counters))
    assert all(new[2:])
    assert [value == 2 for value in new[2:]] == ["+cov" in name for name in list(files(tmp_path, QUEUE))[2:]]


def test_crashes_that_touch_nothing_new_are_saved_once(tmp_path: Path) -> None:
    made = campaign(tmp_path, execs=5000)
    target, edges = Parser(), set[int]()
    for data in files(tmp_path, CRASHES).values():
        target.run(data)
        own = {edge for edge, count in enumerate(target.counters.view) if count}
        assert own - edges
        edges |= own
    assert made.stats.saved_crashes == len(files(tmp_path, CRASHES)) < 40
    for data in (b"FZaa!", b"FZaaaaaaaa!"):  # other counts, the same edges
        made.attempt(data, "op:x")
    made.attempt(b"FZaaaa!", "op:x")
    assert sum(data.startswith(b"FZaa") for data in files(tmp_path, CRASHES).values()) <= 1


def test_the_same_seed_finds_the_same(tmp_path: Path) -> None:
    settings: list[dict[str, Any]] = [{"seed": 5}, {"seed": 5}, {"seed": 6}]
    found = []
    for index, more in enumerate(settings):
        campaign(tmp_path / str(index), execs=6000, deterministic=True, **more)
        # Not the times: those are the clock's.
        every = [files(tmp_path / str(index), kind).items() for kind in (QUEUE, CRASHES, HANGS)]
        found.append([{re.sub("time:[0-9]+", "", name): data for name, data in some} for some in every])
    assert found[0] == found[1] != found[2]
    assert all(found[0])


def test_a_limit_in_executions_is_kept_exactly(tmp_path: Path) -> None:
    target = Parser()
    made = campaign(tmp_path, target=target, execs=777)
    # The last find may still be calibrated.
    assert 777 <= made.execs == target.runs < 777 + 10


def test_a_limit_in_seconds(tmp_path: Path) -> None:
    made = campaign(tmp_path, execs=None, seconds=0.5)
    assert made.stopped and made.execs > 100


def test_the_first_crash_may_be_the_end(tmp_path: Path) -> None:
    campaign(tmp_path, execs=None, until_crash=True)
    assert len(files(tmp_path, CRASHES)) == 1


# -- the beginning ------------------------------------------------------------------------------------------------------------


def test_seeds_that_crash_or_hang_are_told_saved_and_not_used(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as stream:
        made = campaign(tmp_path / "out", seeds=[("bad", b"FZ!"), ("stuck", b"FZ@"), *SEEDS], execs=10, screen=Screen(stream))
    text = log.read_text()
    assert "ends by signal 11 with bad: it is not used" in text and "hangs with stuck: it is not used" in text
    assert [entry.data for entry in made.queue.entries][:2] == [b"FZabc", b"hello"]
    assert list(files(tmp_path / "out", CRASHES))[0].endswith(",orig:bad")
    assert list(files(tmp_path / "out", HANGS))[0].endswith(",orig:stuck")


@pytest.mark.parametrize(("seeds", "why"), [([], "no usable seeds"), ([("x", b"F!")], "no seed can be used")])
def test_without_a_usable_seed_there_is_an_error(tmp_path: Path, seeds: list[tuple[str, bytes]], why: str) -> None:
    with pytest.raises(EmuvmError, match=why):
        campaign(tmp_path, seeds=seeds)


def test_of_seeds_that_do_the_same_the_cheapest_is_used(tmp_path: Path) -> None:
    made = campaign(tmp_path, seeds=[("long", b"hello, this is long"), ("short", b"hi"), ("other", b"FZa"), ("again", b"hey")], execs=20)
    assert [entry.disabled for entry in made.queue.entries[:4]] == [True, False, False, True]


def test_the_budget_comes_from_the_slowest_seed(tmp_path: Path) -> None:
    assert campaign(tmp_path / "1", execs=20).target.budget == LEAST_BUDGET
    assert campaign(tmp_path / "2", execs=20, seeds=[("slow", b"FZ?"), *SEEDS]).target.budget == 20 * 200_002
    assert campaign(tmp_path / "3", execs=20, budget=4321).target.budget == 4321


def test_what_only_takes_longer_than_the_seeds_is_no_hang(tmp_path: Path) -> None:
    # With a budget found by itself there is a second try; with one that was given there is none.
    target = Parser()
    made = campaign(tmp_path / "1", target=target, execs=30)
    made.stopped = False
    before = made.stats.saved_hangs
    made.attempt(b"FZ?", "op:x")
    assert target.budget == LEAST_BUDGET
    made.refresh(0)
    assert made.stats.saved_hangs == before
    made.attempt(b"FZ@", "op:x")
    made.refresh(0)
    assert made.stats.saved_hangs == before + 1
    made = campaign(tmp_path / "2", target=target, execs=30, budget=LEAST_BUDGET)
    before = made.stats.saved_hangs
    made.attempt(b"FZ?", "op:x")
    made.refresh(0)
    assert made.stats.saved_hangs == before + 1


def test_stability_tells_that_runs_differ(tmp_path: Path) -> None:
    target = Parser()
    target.unstable = True
    made = campaign(tmp_path / "1", target=target, execs=2000)
    assert 0 < made.stats.stability < 100 and made.stats.var_byte_count == 2
    assert all(entry.variable for entry in made.queue.entries)
    assert campaign(tmp_path / "2", execs=500).stats.stability == 100


# -- stages -------------------------------------------------------------------------------------------------------------------


def test_entries_are_trimmed_and_do_the_same(tmp_path: Path) -> None:
    seeds = [("long", b"nothing of this matters"), ("a", b"FZ" + b"ab" * 9)]
    made = campaign(tmp_path, seeds=seeds, execs=4000)
    target = Parser()
    data = made.queue.entries[0].data
    assert data == files(tmp_path, QUEUE)["id:000000,time:0,execs:1,orig:long"]
    assert len(data) < 5
    target.run(seeds[1][1])
    maps = [classified(target.counters.view)]
    target.run(made.queue.entries[1].data)
    assert maps == [classified(target.counters.view)]
    untouched = campaign(tmp_path / "no", seeds=seeds, trim=False, execs=4000)
    assert [entry.data for entry in untouched.queue.entries[:2]] == [data for _, data in seeds]


def test_deterministic_stages_once_for_each_entry(tmp_path: Path) -> None:
    made = campaign(tmp_path, execs=8000, deterministic=True)
    done = made.folder.determined()
    assert done == {entry.name for entry in made.queue.entries if entry.determined} and done
    assert any("op:flip8,pos:" in name for name in files(tmp_path, QUEUE))
    again = campaign(tmp_path, execs=50, deterministic=True, resume=True)
    assert {entry.name for entry in again.queue.entries if entry.determined} >= done


def test_comparisons_are_asked_once(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def listen(made: Campaign) -> None:
        made._stages._mutator.compare = lambda data, attempt: asked.append(data)  # type: ignore[method-assign]

    made = campaign(tmp_path / "0", target=Dull(), execs=20_000, before=listen, trim=False)
    assert sorted(asked) == [b"FZabc", b"hello"] and all(entry.fuzzed > 1 for entry in made.queue.entries)
    campaign(tmp_path / "1", seeds=[("b", b"hello")], execs=5)
    assert any(",op:cmp,pos:0" in name for name in files(tmp_path / "1", QUEUE))
    campaign(tmp_path / "2", seeds=[("b", b"hello")], execs=5, compare=False)
    assert not any("op:cmp" in name for name in files(tmp_path / "2", QUEUE))


def test_splicing_begins_when_nothing_is_found(tmp_path: Path) -> None:
    ops: list[str] = []

    def listen(made: Campaign) -> None:
        attempt = made.attempt

        def heard(data: bytes, op: str = "", value: int | None = None) -> bool:
            ops.append(f"{made.origin} {op}")
            return attempt(data, op, value)

        made.attempt = heard  # type: ignore[method-assign]

    made = campaign(tmp_path, seeds=[("a", b"aaaa"), ("b", b"FZbbbb")], execs=300_000, before=listen, until_crash=True)
    assert made.stats.saved_crashes == 1
    assert not any("splice" in op for op in ops)

    ops.clear()
    campaign(tmp_path / "dull", target=Dull(), seeds=[("a", b"aaaa"), ("b", b"FZbbbb")], execs=30_000, before=listen)
    assert re.search(r"src:00000\d\+00000\d op:splice", "\n".join(ops))


# -- going on, and whatever may happen ------------------------------------------------------------------------------------------


def test_a_session_is_resumed(tmp_path: Path) -> None:
    first = campaign(tmp_path, execs=3000)
    before = {kind: files(tmp_path, kind) for kind in (QUEUE, CRASHES, HANGS)}
    stats = read_stats(tmp_path / "main" / "fuzzer_stats")
    second = campaign(tmp_path, execs=2000, seed=2, resume=True)
    assert second.execs >= first.execs + 2000
    for kind, old in before.items():
        now = files(tmp_path, kind)
        assert set(old) <= set(now)
        assert len({number(name) for name in now}) == len(now)
    assert len(files(tmp_path, QUEUE)) > len(before[QUEUE])
    assert second.seen.edges() >= first.seen.edges()
    assert int(read_stats(tmp_path / "main" / "fuzzer_stats")["execs_done"]) > int(stats["execs_done"])
    # Crashes that were known stay known.
    again = campaign(tmp_path, execs=100, resume=True)
    known = next(iter(before[CRASHES].values()))
    count = len(files(tmp_path, CRASHES))
    again.attempt(known, "op:again")
    assert len(files(tmp_path, CRASHES)) == count


def test_stop_ends_it_and_the_folder_is_complete(tmp_path: Path) -> None:
    def stop_soon(made: Campaign) -> None:
        run = made.target.run

        def stopping(data: bytes) -> Any:
            if made.execs == 500:
                made.stop()
            return run(data)

        made._run = stopping

    made = campaign(tmp_path, execs=None, before=stop_soon)
    assert 500 < made.execs < 520
    stats = read_stats(tmp_path / "main" / "fuzzer_stats")
    assert int(stats["execs_done"]) == made.execs
    assert int(stats["corpus_count"]) == len(files(tmp_path, QUEUE)) == len(made.queue)
    assert int(stats["saved_crashes"]) == len(files(tmp_path, CRASHES))
    virgin = (tmp_path / "main" / "fuzz_bitmap").read_bytes()
    assert 65536 - virgin.count(255) == made.seen.edges() == int(stats["edges_found"])


@pytest.mark.parametrize("error", [EmulatorBug("the map is wrong"), KeyError("what")])
def test_when_emuvm_fails_the_input_is_kept(tmp_path: Path, error: Exception) -> None:
    target = Parser()
    target.broken = error
    with pytest.raises(EmuvmError, match=f"emuvm failed, the input is in .*broken_input: {type(error).__name__}: "):
        campaign(tmp_path, target=target, execs=None)
    data = (tmp_path / "main" / "broken_input").read_bytes()
    assert data.startswith(b"FZ") and b"*" in data
    assert files(tmp_path, QUEUE) and (tmp_path / "main" / "fuzzer_stats").exists()
    with pytest.raises(EmuvmError, match="emuvm failed"):  # and so with a seed
        campaign(tmp_path / "seed", target=target, seeds=[("a", b"FZ*")])
    assert (tmp_path / "seed" / "main" / "broken_input").read_bytes() == b"FZ*"


def test_a_full_disk_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    def break_it(made: Campaign) -> None:
        monkeypatch.setattr(Path, "write_bytes", fail)

    with pytest.raises(EmuvmError, match="cannot write: No space left on device"):
        campaign(tmp_path, before=break_it)


def test_a_kill_at_any_time_loses_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from emuvm.fuzz.afl.campaign import *; from tests.fuzz.afl_fakes import *\n"
        "folder = Folder(Path(sys.argv[1]), 'main'); folder.prepare(resume=False)\n"
        "made = Campaign(Parser(), folder, Simple(1), Settings(seed=1))\n"
        "made.start([('a', b'FZabc')]); print('begun', flush=True); made.fuzz()\n"
    )
    root = Path(__file__).resolve().parents[2]
    child = subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, cwd=root)
    assert child.stdout is not None and child.stdout.readline() == b"begun\n"
    while len(files(tmp_path, QUEUE)) < 20 and child.poll() is None:
        time.sleep(0.01)
    child.kill()
    child.wait()
    child.stdout.close()
    left = files(tmp_path, QUEUE)
    assert len(left) >= 20 and all(left.values())
    made = campaign(tmp_path, resume=True, execs=100)
    assert {entry.name for entry in made.queue.entries} >= set(left)


# -- other instances ----------------------------------------------------------------------------------------------------------


def test_finds_of_others_are_taken_over(tmp_path: Path) -> None:
    campaign(tmp_path, name="one", execs=4000)
    dull = [("b", b"hello")]
    alone = campaign(tmp_path / "alone", name="two", seeds=dull, execs=300, compare=False)
    both = campaign(tmp_path, name="two", seeds=dull, execs=300, compare=False, sync_every=30.0)
    assert both.stats.corpus_imported > 10 and both.seen.edges() > alone.seen.edges()
    names = list(files(tmp_path, QUEUE, "two"))
    assert sum(bool(re.match(r"id:\d{6},sync:one,src:\d{6},time:", name)) for name in names) == both.stats.corpus_imported
    assert (tmp_path / "two" / ".synced" / "one").read_bytes() == len(files(tmp_path, QUEUE, "one")).to_bytes(4, "little")


def test_statistics_and_plot_are_written_as_time_goes_by(tmp_path: Path) -> None:
    made = campaign(tmp_path, execs=30_000)
    lines = (tmp_path / "main" / "plot_data").read_text().splitlines()
    assert lines[0].startswith("# relative_time, cycles_done") and len(lines) >= 3
    assert lines[-1].split(", ")[11] == str(made.execs)
    assert json.loads(lines[-1].split(", ")[3]) == len(made.queue)
