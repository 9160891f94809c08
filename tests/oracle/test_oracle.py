"""Random walks through the memory calls, line by line as the host's kernel does them. `make oracle SEEDS=10000` does more of them."""

from __future__ import annotations

import os
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.native.guests import missing
from tests.oracle.runner import REGRESSIONS, load, one_walk
from tests.oracle.walks import MODES, Difference, Emulator, Unavailable, Walk, by_the_host, compare, listing, numbers, program, shrink

OPERATIONS = 400
SEEDS = [("paged", 1), ("regions", 11), ("paged", 21), ("regions", 31), ("paged", 41), ("regions", 51)]
Group = list[Emulator]


@pytest.fixture(scope="module")
def emulators() -> Generator[Group, None, None]:
    """One for each core, at most four."""
    made = [Emulator() for _ in range(min(4, os.cpu_count() or 1))]
    yield made
    for emulator in made:
        emulator.close()


@pytest.fixture
def emulator(emulators: Group) -> Emulator:
    return emulators[0]


def same(walk: Walk, arch: str, engine: str, emulator: Emulator) -> None:
    """Fail with the shortest sequence that shows a difference."""
    try:
        _, _, difference = one_walk(walk, arch, engine, emulator)
    except Unavailable as error:
        missing(str(error))
    if difference is not None:
        shrunk, smallest = shrink(walk, difference, lambda tried: one_walk(tried, arch, engine, emulator)[2], 30)
        pytest.fail(f"{difference.name}: walk {' '.join(shrunk.words())} on {arch} {engine}\n{smallest.text(16)}", pytrace=False)


def all_same(walks: list[Walk], arch: str, engine: str, emulators: Group) -> None:
    """The same for many, shared out among the emulators."""
    with ThreadPoolExecutor(len(emulators)) as pool:
        shares = [walks[i :: len(emulators)] for i in range(len(emulators))]
        for done in [
            pool.submit(lambda share, emulator: [same(walk, arch, engine, emulator) for walk in share], share, emulator)
            for share, emulator in zip(shares, emulators, strict=True)
        ]:
            done.result()


STEADY = [mode for mode in MODES if mode != "fork"]


@pytest.mark.parametrize(("engine", "first"), SEEDS)
@pytest.mark.parametrize("mode", STEADY)
def test_walks(mode: str, engine: str, first: int, emulators: Group) -> None:
    all_same([Walk(mode, seed, OPERATIONS) for seed in range(first, first + 10)], "x86_64", engine, emulators)


@pytest.mark.parametrize("engine", ["paged", "regions"])
@pytest.mark.parametrize("mode", STEADY)
def test_walks_on_arm64(mode: str, engine: str, emulators: Group) -> None:
    """Judged by the same host: nothing that portable walks tell depends on the CPU."""
    all_same([Walk(mode, seed, OPERATIONS, portable=True) for seed in range(1, 5)], "arm64", engine, emulators)


@pytest.mark.parametrize(("arch", "engine", "seed"), [("x86_64", "paged", 1), ("x86_64", "regions", 11), ("arm64", "paged", 2)])
def test_walks_that_fork(arch: str, engine: str, seed: int, emulator: Emulator) -> None:
    """Few: on a machine with much to do one in a hundred tells of a page of a memfd that is in memory on one side only."""
    same(Walk("fork", seed, OPERATIONS, portable=arch != "x86_64"), arch, engine, emulator)


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("*.txt")), ids=lambda path: path.stem)
@pytest.mark.parametrize("engine", ["paged", "regions"])
def test_regression(path: Path, engine: str, emulator: Emulator) -> None:
    """What once differed."""
    walk = load(path)
    for arch in ("x86_64", "arm64") if walk.portable else ("x86_64",):
        same(walk, arch, engine, emulator)


def test_the_judge_agrees_with_itself() -> None:
    """A transcript that differed between two runs of one kernel could prove nothing."""
    for mode in MODES:
        for seed in range(1, 6):
            first, second = (by_the_host(Walk(mode, seed, OPERATIONS)) for _ in range(2))
            assert compare(first, second) is None
            assert first.lines[-2:] == ("end", "status 0")


def test_leaving_out_operations_keeps_the_arguments_of_the_others() -> None:
    whole = by_the_host(Walk("fixed", 3, 60)).lines
    part = by_the_host(Walk("fixed", 3, 60, (7, 20, 21, 59))).lines
    asked = {line.partition(" = ")[0] for line in whole if line[:1].isdigit()}
    kept = [line.partition(" = ")[0] for line in part if line[:1].isdigit()]
    assert [int(line.split()[0]) for line in kept] == [7, 20, 21, 59]
    assert {line for line in kept if " SIG" not in line} <= asked


def test_shrinking_finds_what_matters() -> None:
    """Of 100 operations a made-up kernel needs 17 and 42 to go wrong at 42."""
    walk = Walk("fixed", 1, 100)

    def check(tried: Walk) -> Difference | None:
        lines = by_the_host(tried)
        if {17, 42} <= set(tried.operations()):
            at = next(i for i, line in enumerate(lines.lines) if line.startswith("42 "))
            return compare(lines, type(lines)((*lines.lines[:at], lines.lines[at] + "?", *lines.lines[at + 1 :]), 0.0))
        return None

    found = check(walk)
    assert found is not None and found.operation == 42
    shrunk, smallest = shrink(walk, found, check)
    assert shrunk.kept == (17, 42) and smallest.operation == 42


def test_listing() -> None:
    assert listing((0, 1, 2, 9)) == "0-2,9" and numbers("0-2,9") == (0, 1, 2, 9)


def test_program_is_small() -> None:
    """The walker must not disturb what it looks at: no mappings beyond its own segments and stack."""
    assert program("x86_64").stat().st_size < 64 << 10
